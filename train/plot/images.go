package plot

import (
	"fmt"
	"image"
	"image/color"
	"math"
	"slices"
	"strconv"

	"gonum.org/v1/plot/vg"

	"example.com/lenet5/data"
	"example.com/lenet5/lenet"
	"example.com/lenet5/train"
)

// Grid shows the images of a set at the given indices, columns in a row, each
// with its predicted class (green if it is right, red if not) and, where that
// is wrong, its true one. predicted holds a class for each index.
func Grid(set *data.Dataset, indices, predicted []int, columns int, title string) (*Picture, error) {
	if len(predicted) != len(indices) || columns < 1 {
		return nil, fmt.Errorf("plot: %d predictions for %d images in %d columns", len(predicted), len(indices), columns)
	}
	var rows []row
	for k, i := range indices {
		p := predicted[k]
		if i < 0 || i >= set.Len() || p < 0 {
			return nil, fmt.Errorf("plot: image %d of %d, predicted class %d", i, set.Len(), p)
		}
		if k%columns == 0 {
			rows = append(rows, newRow(56, set.Height, set.Width, 72))
		}
		t := tile{im: picture(set, i), lines: []line{{className(set, p), right}, {}}}
		if label := int(set.Labels[i]); p != label {
			t.lines = []line{{className(set, p), wrong}, {"is " + className(set, label), pale}}
		}
		r := &rows[len(rows)-1]
		r.tiles = append(r.tiles, t)
	}
	return sheet(title, rows), nil
}

// className is the name of a class; a network may know more classes than a set.
func className(set *data.Dataset, class int) string {
	if class < len(set.Classes) {
		return set.Classes[class]
	}
	return strconv.Itoa(class)
}

// Mistakes shows the images of a report's set that were classified wrongly, at
// most n, those with the least probability of the true class first.
func Mistakes(r *train.Report, set *data.Dataset, n, columns int, title string) (*Picture, error) {
	if len(r.Labels) != set.Len() {
		return nil, fmt.Errorf("plot: a report on %d images for a set of %d", len(r.Labels), set.Len())
	}
	worst := r.Mistakes()
	worst = worst[:min(n, len(worst))]
	predicted := make([]int, len(worst))
	for k, i := range worst {
		predicted[k] = r.Predicted[i]
	}
	return Grid(set, worst, predicted, columns, title)
}

// newRow is an empty row of images of a size in pixels, drawn so that the
// longer side is of a length.
func newRow(side vg.Length, height, width int, step vg.Length) row {
	longer := vg.Length(max(height, width))
	return row{width: side * vg.Length(width) / longer, height: side * vg.Length(height) / longer, step: step}
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

// Filters shows the kernels of the first convolution: blue where a weight is
// negative, red where it is positive, white at 0. Each kernel is a tile; with
// several input channels, each output channel has a row.
func Filters(net *lenet.Net, title string) (*Picture, error) {
	w := net.Params()[0]
	if len(w.Shape) != 4 {
		return nil, fmt.Errorf("plot: the network has no convolution, its first weights are of shape %v", w.Shape)
	}
	out, in, side := w.Shape[0], w.Shape[1], w.Shape[2]
	largest := float32(0)
	for _, v := range w.Data {
		largest = max(largest, v, -v)
	}
	var rows []row
	for o := range out {
		if o == 0 || in > 1 {
			rows = append(rows, newRow(64, side, side, 76))
		}
		r := &rows[len(rows)-1]
		for i := range in {
			kernel := w.Data[(o*in+i)*side*side:][:side*side]
			t := tile{im: paint(kernel, side, func(v float32) color.Color { return diverging(v / largest) })}
			if in == 1 {
				t.lines = []line{{fmt.Sprint(o + 1), pale}}
			} else {
				r.label = []string{fmt.Sprintf("channel %d", o+1)}
			}
			r.tiles = append(r.tiles, t)
		}
	}
	return sheet(title, rows), nil
}

// diverging goes from blue at -1 over white at 0 to red at 1.
func diverging(v float32) color.Color {
	fade := func(c byte) byte { return byte(255 - math.Abs(float64(v))*float64(255-c)) }
	if v < 0 {
		return color.RGBA{fade(33), fade(102), fade(172), 255}
	}
	return color.RGBA{fade(178), fade(24), fade(43), 255}
}

// paint makes an image of values, width to a row.
func paint(values []float32, width int, of func(float32) color.Color) image.Image {
	im := image.NewRGBA(image.Rect(0, 0, width, len(values)/width))
	for i, v := range values {
		im.Set(i%width, i/width, of(v))
	}
	return im
}

// Activations shows an image of C*H*W bytes and what each layer makes of it:
// maps as tiles, units as a strip. In each layer the least value is white and
// the largest black.
func Activations(net *lenet.Net, pixels []byte, title string) (*Picture, error) {
	layers, err := net.Activations(pixels)
	if err != nil {
		return nil, err
	}
	in := net.Config().Input
	set := &data.Dataset{Images: pixels, Labels: []byte{0}, Channels: in.Channels, Height: in.Height, Width: in.Width}
	input := newRow(56, in.Height, in.Width, 60)
	input.label = []string{"input", fmt.Sprintf("%dx%dx%d", in.Height, in.Width, in.Channels)}
	input.tiles = []tile{{im: picture(set, 0)}}
	rows := []row{input}
	for _, l := range layers {
		lo, hi := l.Values[0], l.Values[0]
		for _, v := range l.Values {
			lo, hi = min(lo, v), max(hi, v)
		}
		grey := func(v float32) color.Color {
			if hi == lo {
				return color.White
			}
			return color.Gray{byte(255 - 255*(v-lo)/(hi-lo))}
		}
		var r row
		if len(l.Output) == 3 && l.Output[0] > 1 {
			height, width, channels := l.Output[0], l.Output[1], l.Output[2]
			side := vg.Length(24 + height)
			if channels > 8 {
				side = 20 + vg.Length(height)
			}
			r = newRow(side, height, width, side+4)
			for c := range channels {
				r.tiles = append(r.tiles, tile{im: paint(l.Values[c*height*width:][:height*width], width, grey)})
			}
		} else {
			if l.Name == "flatten" {
				continue // it shows what the row above does
			}
			const height = 12
			cell := 4
			if len(l.Values) <= 32 {
				cell = height
			}
			// A pixel for each point: the image has the proportions of its frame.
			var strip []float32
			for range height {
				for _, v := range l.Values {
					strip = append(strip, slices.Repeat([]float32{v}, cell)...)
				}
			}
			width := cell * len(l.Values)
			r = row{width: vg.Length(width), height: height, step: vg.Length(width)}
			r.tiles = []tile{{im: paint(strip, width, grey)}}
		}
		r.label = []string{l.Name, l.String() + ", " + l.Kind}
		rows = append(rows, r)
	}
	return sheet(title, rows), nil
}
