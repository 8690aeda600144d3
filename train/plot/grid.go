package plot

import (
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"

	"golang.org/x/image/draw"
	"golang.org/x/image/font"
	"golang.org/x/image/font/basicfont"
	"golang.org/x/image/math/fixed"

	"example.com/lenet5/data"
	"example.com/lenet5/internal/atomicfile"
)

// The cells of a grid, in pixels: the images are drawn at zoom times their
// size, but at least cellWidth wide, with two lines of text below.
const (
	zoom      = 3
	cellWidth = 100
	lineSkip  = 15
	margin    = 12
)

// Grid draws the first images of a set, columns in a row, each with its
// predicted class (green if it is right, red if not) and, where that is wrong,
// its true one. predicted holds a class for each image to draw. With title, a
// line of text heads the picture.
func Grid(set *data.Dataset, predicted []int, columns int, title string) (image.Image, error) {
	if len(predicted) == 0 || len(predicted) > set.Len() || columns < 1 {
		return nil, fmt.Errorf("plot: %d predictions in %d columns for a set of %d images", len(predicted), columns, set.Len())
	}
	for i, p := range predicted {
		if p < 0 || p >= len(set.Classes) {
			return nil, fmt.Errorf("plot: image %d: predicted class %d, of %d", i, p, len(set.Classes))
		}
	}
	w, h := max(cellWidth, set.Width*zoom+margin), set.Height*zoom+2*lineSkip+margin
	head := 0
	if title != "" {
		head = 2 * lineSkip
	}
	rows := (len(predicted) + columns - 1) / columns
	im := image.NewRGBA(image.Rect(0, 0, columns*w+margin, rows*h+margin+head))
	draw.Draw(im, im.Bounds(), image.White, image.Point{}, draw.Src)
	text(im, title, im.Bounds().Dx()/2, margin+lineSkip/2+4, color.Black)
	for i, p := range predicted {
		x, y := margin/2+i%columns*w, head+margin+i/columns*h
		left := x + (w-set.Width*zoom)/2
		frame := image.Rect(left, y, left+set.Width*zoom, y+set.Height*zoom)
		draw.NearestNeighbor.Scale(im, frame, picture(set, i), image.Rect(0, 0, set.Width, set.Height), draw.Src, nil)
		label := int(set.Labels[i])
		below := frame.Max.Y + lineSkip - 2
		if p == label {
			text(im, set.Classes[p], x+w/2, below, color.RGBA{0, 120, 60, 255})
		} else {
			text(im, set.Classes[p], x+w/2, below, color.RGBA{200, 30, 30, 255})
			text(im, "is "+set.Classes[label], x+w/2, below+lineSkip-2, color.Gray{90})
		}
	}
	return im, nil
}

// picture is the i-th image, dark on light as on paper; colour if it has three
// channels.
func picture(set *data.Dataset, i int) image.Image {
	pix, plane := set.Image(i), set.Height*set.Width
	im := image.NewRGBA(image.Rect(0, 0, set.Width, set.Height))
	for k := range plane {
		c := color.RGBA{255 - pix[k], 255 - pix[k], 255 - pix[k], 255}
		if set.Channels == 3 {
			c = color.RGBA{pix[k], pix[plane+k], pix[2*plane+k], 255}
		}
		im.SetRGBA(k%set.Width, k/set.Width, c)
	}
	return im
}

// text writes s centred at x on the base line y.
func text(im *image.RGBA, s string, x, y int, c color.Color) {
	face := basicfont.Face7x13
	d := font.Drawer{Dst: im, Src: image.NewUniform(c), Face: face}
	d.Dot = fixed.P(x-d.MeasureString(s).Round()/2, y)
	d.DrawString(s)
}

// SaveGrid writes the picture of [Grid] as PNG.
func SaveGrid(path string, set *data.Dataset, predicted []int, columns int, title string) error {
	im, err := Grid(set, predicted, columns, title)
	if err != nil {
		return err
	}
	return atomicfile.Write(path, func(w io.Writer) error { return png.Encode(w, im) })
}
