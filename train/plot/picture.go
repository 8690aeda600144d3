package plot

import (
	"fmt"
	"image"
	"image/color"
	"io"
	"path/filepath"

	xdraw "golang.org/x/image/draw"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"example.com/lenet5/internal/atomicfile"
)

// A Picture can be written as PNG and as SVG. It is white where nothing is
// drawn.
type Picture struct {
	width, height vg.Length
	draw          func(draw.Canvas)
}

// Write writes the picture in a format, "png" or "svg".
func (p *Picture) Write(w io.Writer, format string) error {
	c, err := draw.NewFormattedCanvas(p.width, p.height, format)
	if err != nil {
		return fmt.Errorf("plot: %w", err)
	}
	canvas := draw.NewCanvas(c, p.width, p.height)
	fill(canvas, canvas.Rectangle, color.White)
	p.draw(canvas)
	if _, err := c.WriteTo(w); err != nil {
		return fmt.Errorf("plot: %w", err)
	}
	return nil
}

// Save writes name.png and name.svg into a folder. Each file is replaced only
// when the new one is whole, so that a viewer can follow a run.
func (p *Picture) Save(dir, name string) error {
	for _, format := range []string{"png", "svg"} {
		path := filepath.Join(dir, name+"."+format)
		if err := atomicfile.Write(path, func(w io.Writer) error { return p.Write(w, format) }); err != nil {
			return fmt.Errorf("plot: %w", err)
		}
	}
	return nil
}

func fill(c draw.Canvas, r vg.Rectangle, col color.Color) {
	c.SetColor(col)
	c.Fill(r.Path())
}

// style is that of a text, in points, centred at its place.
func style(size float64, col color.Color) text.Style {
	return text.Style{
		Color: col, Font: font.From(plot.DefaultFont, vg.Points(size)), Handler: plot.DefaultTextHandler,
		XAlign: draw.XCenter, YAlign: draw.YCenter,
	}
}

var (
	ink   = color.Color(color.Gray{40})
	right = color.Color(color.RGBA{0, 120, 60, 255})
	wrong = color.Color(color.RGBA{200, 30, 30, 255})
	pale  = color.Color(color.Gray{110})
)

// A line is a line of text below a tile.
type line struct {
	text string
	col  color.Color
}

// A tile is an image with lines of text below.
type tile struct {
	im    image.Image
	lines []line
}

// A row is a row of tiles, with a label to its left.
type row struct {
	label []string
	tiles []tile
	// width and height are those of each image, step is the distance from one
	// to the next.
	width, height, step vg.Length
}

// What lies between things, in points.
const (
	edge     = 12
	headline = 26
	skip     = 11
	gap      = 9
)

// sheet lays rows out below each other, under a title.
func sheet(title string, rows []row) *Picture {
	small := style(9, ink)
	var labels, width vg.Length
	height := vg.Length(2 * edge)
	if title != "" {
		height += headline
	}
	for _, r := range rows {
		for _, l := range r.label {
			labels = max(labels, small.Width(l)+edge)
		}
		width = max(width, r.step*vg.Length(len(r.tiles)))
		height += r.depth()
	}
	heading := style(12, color.Black)
	p := &Picture{width: max(labels+width, heading.Width(title)) + 2*edge, height: height}
	p.draw = func(c draw.Canvas) {
		y := p.height - edge
		if title != "" {
			c.FillText(heading, vg.Point{X: p.width / 2, Y: y - headline/3}, title)
			y -= headline
		}
		for _, r := range rows {
			for i, l := range r.label {
				s := small
				s.XAlign = draw.XLeft
				if i > 0 {
					s.Color = pale
				}
				c.FillText(s, vg.Point{X: edge, Y: y - r.height/2 - skip*(vg.Length(i)-vg.Length(len(r.label)-1)/2)}, l)
			}
			for i, t := range r.tiles {
				centre := edge + labels + r.step*(vg.Length(i)+0.5)
				frame := vg.Rectangle{Min: vg.Point{X: centre - r.width/2, Y: y - r.height}, Max: vg.Point{X: centre + r.width/2, Y: y}}
				c.DrawImage(frame, enlarge(t.im))
				for k, l := range t.lines {
					s := small
					s.Color = l.col
					c.FillText(s, vg.Point{X: centre, Y: frame.Min.Y - skip*(vg.Length(k)+0.6)}, l.text)
				}
			}
			y -= r.depth()
		}
	}
	return p
}

// depth is the height of a row with its text, and the gap to the next.
func (r row) depth() vg.Length {
	lines := 0
	for _, t := range r.tiles {
		lines = max(lines, len(t.lines))
	}
	return max(r.height+skip*vg.Length(lines), skip*vg.Length(len(r.label))) + gap
}

// enlarge makes squares of pixels, so that what shows the image does not blur
// them.
func enlarge(im image.Image) image.Image {
	b := im.Bounds()
	k := max(1, 280/max(b.Dx(), b.Dy()))
	out := image.NewRGBA(image.Rect(0, 0, b.Dx()*k, b.Dy()*k))
	xdraw.NearestNeighbor.Scale(out, out.Bounds(), im, b, xdraw.Src, nil)
	return out
}
