package data

import (
	"errors"
	"fmt"
	"math/rand/v2"
)

// ErrDataset is wrapped by the errors about images and labels that do not
// belong together.
var ErrDataset = errors.New("data: bad data set")

// A Dataset is a sequence of labelled images of one size. It is read only
// once it is made: any number of goroutines may use it.
type Dataset struct {
	Name string // "Fashion-MNIST train"
	// Images holds (N, Channels, Height, Width), row-major; 0 is background.
	Images []byte
	// Labels holds N classes, each an index into Classes.
	Labels                  []byte
	Channels, Height, Width int
	Classes                 []string
	Synthetic               bool // drawn by a program
}

// NewDataset makes a data set of slices, which it keeps. The error wraps
// [ErrDataset].
func NewDataset(name string, images, labels []byte, channels, height, width int, classes []string) (*Dataset, error) {
	bad := func(format string, args ...any) (*Dataset, error) {
		return nil, fmt.Errorf("%w: %s: %s", ErrDataset, name, fmt.Sprintf(format, args...))
	}
	const side = 1 << 16
	if channels < 1 || height < 1 || width < 1 || channels > 1<<8 || height > side || width > side {
		return bad("images of %d channels, %dx%d pixels", channels, height, width)
	}
	if len(classes) < 2 || len(classes) > 256 {
		return bad("%d classes; there must be 2 to 256", len(classes))
	}
	size := channels * height * width
	if len(images)%size != 0 {
		return bad("%d bytes of images are no whole number of images of %d bytes", len(images), size)
	}
	if n := len(images) / size; n != len(labels) {
		return bad("%d images, %d labels", n, len(labels))
	}
	for i, l := range labels {
		if int(l) >= len(classes) {
			return bad("label %d of image %d is not one of the %d classes", l, i, len(classes))
		}
	}
	return &Dataset{Name: name, Images: images, Labels: labels, Channels: channels, Height: height, Width: width, Classes: classes}, nil
}

// Len is the number of images.
func (d *Dataset) Len() int { return len(d.Labels) }

// ImageSize is the number of bytes in an image.
func (d *Dataset) ImageSize() int { return d.Channels * d.Height * d.Width }

// Image returns the i-th image, (Channels, Height, Width); it aliases Images.
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

// Split sets n images aside, chosen by seed, for validation: it returns the
// rest and the n, as copies in the order of d.
func (d *Dataset) Split(n int, seed uint64) (rest, held *Dataset, err error) {
	if n < 0 || n > d.Len() {
		return nil, nil, fmt.Errorf("%w: %s: cannot set %d images aside, of %d", ErrDataset, d.Name, n, d.Len())
	}
	aside := make([]bool, d.Len())
	for _, i := range Permutation(nil, d.Len(), seed, 0)[:n] {
		aside[i] = true
	}
	pick := func(want bool, count int, name string) *Dataset {
		s := *d
		s.Name = d.Name + ", " + name
		s.Images = make([]byte, 0, count*d.ImageSize())
		s.Labels = make([]byte, 0, count)
		for i, a := range aside {
			if a == want {
				s.Images = append(s.Images, d.Image(i)...)
				s.Labels = append(s.Labels, d.Labels[i])
			}
		}
		return &s
	}
	return pick(false, d.Len()-n, "rest"), pick(true, n, "held out"), nil
}

// Permutation returns the order in which an epoch visits n examples: a shuffle
// of 0 to n-1 that depends on seed and epoch alone, on every platform and
// version of Go. It is written over dst if that is large enough.
func Permutation(dst []int32, n int, seed uint64, epoch int) []int32 {
	if cap(dst) < n {
		dst = make([]int32, n)
	}
	dst = dst[:n]
	for i := range dst {
		dst[i] = int32(i)
	}
	// Fisher-Yates, written out: rand.Shuffle does not promise its order.
	rng := rand.NewPCG(seed, uint64(epoch))
	for i := n - 1; i > 0; i-- {
		// The bias of this reduction is below 2^-32 for any n here.
		j := int((rng.Uint64() >> 32) * uint64(i+1) >> 32)
		dst[i], dst[j] = dst[j], dst[i]
	}
	return dst
}
