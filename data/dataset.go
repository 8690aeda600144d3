package data

import (
	"errors"
	"fmt"
	"math"
)

// ErrDataset is wrapped by the errors about images, labels and classes that do
// not belong together.
var ErrDataset = errors.New("data: bad data set")

// A Dataset is a sequence of labelled images of one size. Nothing here changes
// one once it is made, so any number of goroutines may read it. The zero value
// is an empty set.
type Dataset struct {
	// Name is for people: "Fashion-MNIST train".
	Name string
	// Images holds N images, (N, Channels, Height, Width), row-major, 0 to
	// 255; 0 is background.
	Images []byte
	// Labels holds N classes, each an index into Classes.
	Labels []byte
	// Channels, Height and Width are the size of every image, in pixels.
	Channels, Height, Width int
	// Classes holds the name of each class.
	Classes []string
	// Flippable says that an image mirrored left to right is one of the same
	// class: true of garments, and not of digits.
	Flippable bool
	// Synthetic says that the images were drawn by a program.
	Synthetic bool
}

// NewDataset makes a data set of slices, which it keeps: images is
// (N, channels, height, width), row-major, labels holds N indices into
// classes, of which there are 2 to 256. The error wraps [ErrDataset].
func NewDataset(name string, images, labels []byte, channels, height, width int, classes []string) (*Dataset, error) {
	bad := func(format string, args ...any) (*Dataset, error) {
		return nil, fmt.Errorf("%w: %s: %s", ErrDataset, name, fmt.Sprintf(format, args...))
	}
	const side = 1 << 14 // three such sizes do not overflow 64 bits
	if channels < 1 || height < 1 || width < 1 || channels > side || height > side || width > side {
		return bad("want images of at least 1 channel and 1x1 pixels, at most %d each way, found %d channels, %dx%d pixels", side, channels, height, width)
	}
	if len(classes) < 2 || len(classes) > 256 {
		return bad("want 2 to 256 classes, found %d", len(classes))
	}
	size := int64(channels) * int64(height) * int64(width)
	if size > math.MaxInt32 {
		return bad("images of %d channels, %dx%d pixels are too large", channels, height, width)
	}
	if int64(len(images))%size != 0 {
		return bad("want a whole number of images of %d bytes (%dx%dx%d), found %d bytes", size, channels, height, width, len(images))
	}
	if n := int64(len(images)) / size; n != int64(len(labels)) {
		return bad("want a label for each image, found %s and %s", plural(n, "image"), plural(int64(len(labels)), "label"))
	}
	for i, l := range labels {
		if int(l) >= len(classes) {
			return bad("label %d: want a class from 0 to %d, found %d", i, len(classes)-1, l)
		}
	}
	return &Dataset{Name: name, Images: images, Labels: labels, Channels: channels, Height: height, Width: width, Classes: classes}, nil
}

// Len is the number of images.
func (d *Dataset) Len() int { return len(d.Labels) }

// ImageSize is the number of bytes in an image.
func (d *Dataset) ImageSize() int { return d.Channels * d.Height * d.Width }

// Image returns the i-th image, (Channels, Height, Width); it aliases Images.
// It panics if there is no such image, as indexing does.
func (d *Dataset) Image(i int) []byte {
	size := d.ImageSize()
	return d.Images[i*size : (i+1)*size : (i+1)*size]
}

// Slice returns the images from lo up to hi, sharing their storage. It panics
// if they are out of range, as slicing does.
func (d *Dataset) Slice(lo, hi int) *Dataset {
	s, size := *d, d.ImageSize()
	s.Images = d.Images[lo*size : hi*size : hi*size]
	s.Labels = d.Labels[lo:hi:hi]
	return &s
}

// Subset returns a copy of the images at the given indices, in their order;
// an index may occur more than once. The error wraps [ErrDataset].
func (d *Dataset) Subset(indices []int) (*Dataset, error) {
	s := *d
	s.Images = make([]byte, 0, len(indices)*d.ImageSize())
	s.Labels = make([]byte, 0, len(indices))
	for _, i := range indices {
		if i < 0 || i >= d.Len() {
			return nil, fmt.Errorf("%w: %s: want indices from 0 to %d, found %d", ErrDataset, d.Name, d.Len()-1, i)
		}
		s.Images = append(s.Images, d.Image(i)...)
		s.Labels = append(s.Labels, d.Labels[i])
	}
	return &s, nil
}

// Split sets n images aside, chosen by seed, for validation: it returns the
// rest and those n, as copies, each in the order of d. The error wraps
// [ErrDataset].
func (d *Dataset) Split(n int, seed uint64) (rest, held *Dataset, err error) {
	if n < 0 || n > d.Len() {
		return nil, nil, fmt.Errorf("%w: %s: cannot set %s aside, there are %d", ErrDataset, d.Name, plural(int64(n), "image"), d.Len())
	}
	aside := make([]bool, d.Len())
	// No epoch has this number, so a run that uses the same seed for its
	// order is not tied to the choice made here.
	for _, i := range Permutation(nil, d.Len(), seed, -1)[:n] {
		aside[i] = true
	}
	indices := map[bool][]int{}
	for i, a := range aside {
		indices[a] = append(indices[a], i)
	}
	if rest, err = d.Subset(indices[false]); err != nil {
		return nil, nil, err
	}
	if held, err = d.Subset(indices[true]); err != nil {
		return nil, nil, err
	}
	rest.Name, held.Name = d.Name+", rest", d.Name+", held out"
	return rest, held, nil
}

// Counts returns the number of images of each class.
func (d *Dataset) Counts() []int {
	counts := make([]int, len(d.Classes))
	for _, l := range d.Labels {
		counts[l]++
	}
	return counts
}
