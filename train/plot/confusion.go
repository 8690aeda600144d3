package plot

import (
	"fmt"
	"image/color"
	"math"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"example.com/lenet5/train"
)

// Confusion draws the confusion matrix of a report: a row for each true class,
// a column for each predicted one, the darker the larger the share of the row.
func Confusion(r *train.Report, title string) *Picture {
	const cell = 34
	n := vg.Length(len(r.Classes))
	names, heading, axis := style(9, ink), style(12, color.Black), style(10, pale)
	widest := vg.Length(0)
	for _, c := range r.Classes {
		widest = max(widest, names.Width(c))
	}
	// The column names are slanted, by 45 degrees if they are long.
	slant, above := 0.0, vg.Length(skip+4)
	if widest > cell-4 {
		slant, above = math.Pi/4, widest*math.Sqrt2/2+skip
	}
	left := edge + skip + 4 + widest + 6
	over := vg.Length(0) // how far the last column's name reaches beyond it
	if slant > 0 {
		over = max(0, widest*math.Sqrt2/2-cell/2+4)
	}
	top := vg.Length(edge + skip + 4)
	if title != "" {
		top += headline
	}
	p := &Picture{width: left + cell*n + over + edge, height: top + above + cell*n + edge}
	p.draw = func(c draw.Canvas) {
		origin := vg.Point{X: left, Y: p.height - top - above} // the upper left corner of the matrix
		if title != "" {
			c.FillText(heading, vg.Point{X: p.width / 2, Y: p.height - edge - headline/3}, title)
		}
		c.FillText(axis, vg.Point{X: left + cell*n/2, Y: p.height - top + skip/2 + 2}, "predicted")
		sideways := axis
		sideways.Rotation = math.Pi / 2
		c.FillText(sideways, vg.Point{X: edge + skip/2, Y: origin.Y - cell*n/2}, "true")
		for i, counts := range r.Confusion {
			s := names
			s.XAlign = draw.XRight
			y := origin.Y - cell*(vg.Length(i)+0.5)
			c.FillText(s, vg.Point{X: left - 5, Y: y}, r.Classes[i])
			s = names
			x := left + cell*(vg.Length(i)+0.5)
			if slant > 0 {
				s.Rotation, s.XAlign = slant, draw.XLeft
			}
			c.FillText(s, vg.Point{X: x, Y: origin.Y + skip - 2}, r.Classes[i])
			total := 0
			for _, k := range counts {
				total += k
			}
			for j, k := range counts {
				corner := vg.Point{X: left + cell*vg.Length(j), Y: origin.Y - cell*vg.Length(i+1)}
				box := vg.Rectangle{Min: corner, Max: vg.Point{X: corner.X + cell - 1, Y: corner.Y + cell - 1}}
				share := float64(k) / math.Max(1, float64(total))
				shade, number := mistakeShade(share), style(9, ink)
				if i == j {
					shade = hitShade(share)
				}
				if share > 0.5 {
					number.Color = color.White
				}
				fill(c, box, shade)
				if k > 0 {
					c.FillText(number, vg.Point{X: corner.X + cell/2, Y: corner.Y + cell/2}, fmt.Sprint(k))
				}
			}
		}
	}
	return p
}

// Hits are blue and mistakes orange; a root makes rare mistakes visible.
func hitShade(share float64) color.Color { return blend(color.RGBA{0, 90, 150, 255}, share) }

func mistakeShade(share float64) color.Color {
	return blend(color.RGBA{213, 94, 0, 255}, math.Sqrt(share))
}

// blend goes from near white to a colour.
func blend(c color.RGBA, t float64) color.Color {
	mix := func(v byte) byte { return byte(246 + t*(float64(v)-246)) }
	return color.RGBA{mix(c.R), mix(c.G), mix(c.B), 255}
}
