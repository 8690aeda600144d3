package data

import (
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"

	"example.com/lenet5/internal/atomicfile"
)

// Grid draws images of a set beside and below each other, row by row, each
// pixel as a square of scale pixels: something to look at. Sets of one channel
// become grey, sets of three red, green and blue; of others, the first channel
// is drawn. It is an error if an index is out of range, or columns or scale is
// not positive.
func Grid(d *Dataset, indices []int, columns, scale int) (image.Image, error) {
	if len(indices) == 0 {
		return nil, errors.New("data: grid: want at least one image, found none")
	}
	if columns < 1 || scale < 1 || scale > 64 {
		return nil, fmt.Errorf("data: grid: want at least 1 column and a scale of 1 to 64, found %d and %d", columns, scale)
	}
	columns = min(columns, len(indices))
	rows := (len(indices) + columns - 1) / columns
	const gap = 1 // between images, in pixels of theirs
	cellW, cellH := d.Width+gap, d.Height+gap
	bounds := image.Rect(0, 0, (columns*cellW+gap)*scale, (rows*cellH+gap)*scale)
	out := image.NewNRGBA(bounds)
	for y := range bounds.Dy() {
		for x := range bounds.Dx() {
			out.SetNRGBA(x, y, color.NRGBA{64, 64, 64, 255})
		}
	}
	for k, i := range indices {
		if i < 0 || i >= d.Len() {
			return nil, fmt.Errorf("data: grid: want indices from 0 to %d, found %d", d.Len()-1, i)
		}
		left, up := (k%columns*cellW+gap)*scale, (k/columns*cellH+gap)*scale
		pixels, plane := d.Image(i), d.Height*d.Width
		for y := range d.Height * scale {
			for x := range d.Width * scale {
				at := y/scale*d.Width + x/scale
				c := color.NRGBA{pixels[at], pixels[at], pixels[at], 255}
				if d.Channels == 3 {
					c.G, c.B = pixels[plane+at], pixels[2*plane+at]
				}
				out.SetNRGBA(left+x, up+y, c)
			}
		}
	}
	return out, nil
}

// SaveGrid writes what [Grid] draws to a PNG file, which appears only when it
// is whole.
func SaveGrid(path string, d *Dataset, indices []int, columns, scale int) error {
	picture, err := Grid(d, indices, columns, scale)
	if err != nil {
		return err
	}
	if err := atomicfile.Write(path, func(w io.Writer) error { return png.Encode(w, picture) }); err != nil {
		return fmt.Errorf("data: %w", err)
	}
	return nil
}

// ByClass returns the indices of the first n images of each class, class by
// class: the rows of a [Grid] of n columns. A class of fewer images has fewer
// indices.
func (d *Dataset) ByClass(n int) []int {
	found := make([][]int, len(d.Classes))
	for i, l := range d.Labels {
		if len(found[l]) < n {
			found[l] = append(found[l], i)
		}
	}
	var indices []int
	for _, f := range found {
		indices = append(indices, f...)
	}
	return indices
}
