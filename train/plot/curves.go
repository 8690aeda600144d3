// Package plot makes pictures of training, as PNG and as SVG: the curves of a
// history, the confusion matrix, images with what the network took them for,
// its first filters, and what its layers make of an image. It uses
// gonum.org/v1/plot, which importing the package train alone does not.
package plot

import (
	"fmt"
	"image/color"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"example.com/lenet5/train"
)

// Okabe and Ito's colours, which colour-blind people can tell apart; the dash
// patterns tell the curves apart without any.
var (
	blue   = color.RGBA{0, 114, 178, 255}
	orange = color.RGBA{213, 94, 0, 255}
	green  = color.RGBA{0, 158, 115, 255}
	faint  = color.RGBA{225, 225, 225, 255}
)

// Curves draws train loss, train accuracy and test accuracy against the epoch.
func Curves(h *train.History, title string) (*Picture, error) {
	p := plot.New()
	p.Title.Text = title
	p.Title.TextStyle.Font.Size = vg.Points(13)
	p.Title.Padding = vg.Points(8)
	p.X.Label.Text, p.Y.Label.Text = "epoch", "loss, accuracy"
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Label.TextStyle.Font.Size = vg.Points(11)
		a.Tick.Label.Font.Size = vg.Points(10)
		a.LineStyle.Color, a.Tick.LineStyle.Color = color.Gray{90}, color.Gray{90}
	}
	grid := plotter.NewGrid()
	grid.Horizontal.Color, grid.Vertical.Color = faint, faint
	p.Add(grid)
	p.Legend.Top, p.Legend.XOffs, p.Legend.YOffs = true, -vg.Points(6), -vg.Points(4)
	p.Legend.TextStyle.Font.Size = vg.Points(10)
	p.Legend.Padding = vg.Points(3)
	p.Legend.ThumbnailWidth = vg.Points(30)

	top, first, last := 1.0, math.Inf(1), math.Inf(-1)
	for _, e := range h.Epochs {
		if !math.IsInf(e.TrainLoss, 0) {
			top = max(top, e.TrainLoss)
		}
		first, last = min(first, float64(e.Epoch)), max(last, float64(e.Epoch))
	}
	for _, c := range []struct {
		name string
		of   func(train.Epoch) float64
		col  color.Color
		dash []vg.Length
		mark draw.GlyphDrawer
	}{
		{"train loss", func(e train.Epoch) float64 { return e.TrainLoss }, blue, nil, draw.CircleGlyph{}},
		{"train accuracy", func(e train.Epoch) float64 { return e.TrainAccuracy }, orange, []vg.Length{vg.Points(6), vg.Points(3)}, draw.SquareGlyph{}},
		{"test accuracy", func(e train.Epoch) float64 { return e.TestAccuracy }, green, []vg.Length{vg.Points(2), vg.Points(2)}, draw.TriangleGlyph{}},
	} {
		var points plotter.XYs
		for _, e := range h.Epochs {
			if v := c.of(e); !math.IsNaN(v) && !math.IsInf(v, 0) {
				points = append(points, plotter.XY{X: float64(e.Epoch), Y: v})
			}
		}
		if points == nil {
			continue
		}
		line, marks, err := plotter.NewLinePoints(points)
		if err != nil {
			return nil, fmt.Errorf("plot: %s: %w", c.name, err)
		}
		line.Color, line.Width, line.Dashes = c.col, vg.Points(1.8), c.dash
		marks.Color, marks.Shape, marks.Radius = c.col, c.mark, vg.Points(2.4)
		p.Add(line, marks)
		p.Legend.Add(c.name, line, marks)
	}
	if last < first {
		first, last = 1, 1
	}
	pad := max(0.04*(last-first), 0.02)
	if first == last {
		pad = 0.5
	}
	p.X.Min, p.X.Max = first-pad, last+pad
	p.Y.Min, p.Y.Max = 0, top*1.03
	p.X.Tick.Marker = epochs{}
	return &Picture{width: 16 * vg.Centimeter, height: 10 * vg.Centimeter, draw: p.Draw}, nil
}

// epochs puts ticks on whole numbers, at most about ten.
type epochs struct{}

func (epochs) Ticks(lo, hi float64) []plot.Tick {
	step := max(1, int(math.Ceil((hi-lo)/10)))
	var ts []plot.Tick
	for v := int(math.Ceil(lo)); float64(v) <= hi; v++ {
		if v%step == 0 || step == 1 {
			ts = append(ts, plot.Tick{Value: float64(v), Label: fmt.Sprint(v)})
		}
	}
	return ts
}

// SaveCurves writes curves.png and curves.svg into a folder.
func SaveCurves(dir string, h *train.History, title string) error {
	p, err := Curves(h, title)
	if err != nil {
		return err
	}
	return p.Save(dir, "curves")
}

// Live returns an EpochEnd hook for [train.Hooks] that rewrites the curves in
// a folder after every epoch.
func Live(dir, title string) func(*train.History) error {
	return func(h *train.History) error { return SaveCurves(dir, h, title) }
}
