package data

import (
	"math"
	"slices"
)

// side is the height and width of synthetic images, as of MNIST.
const side = 28

// A point lies on a canvas: x to the right and y down, in pixels, from the
// middle of the image.
type point struct{ x, y float64 }

// A canvas is one image while it is drawn: shapes are painted over each other,
// then given a texture. All arithmetic is in float64, so that the last bit, in
// which processors may differ, practically never decides about a byte.
type canvas struct {
	dice
	light [side * side]float64 // brightness, 0 background to 1
	mask  [side * side]float64 // how much of each pixel the current shape covers
	// The rectangle of mask that is not zero, in pixels, y1 and x1 exclusive.
	x0, y0, x1, y1 int
	// Points are moved by this affine map on their way to pixels.
	xx, xy, yx, yy, dx, dy float64

	outline, other []point   // memory for fill
	crossings      []float64 // and for its rows
}

// reset makes the canvas empty, with the random numbers of one image.
func (c *canvas) reset(seed, image uint64) {
	c.pcg.Seed(seed, image)
	clear(c.light[:])
	clear(c.mask[:])
	c.x0, c.y0, c.x1, c.y1 = side, side, 0, 0
	c.place(0, 1, 1, 0, 0, 0)
}

// place has everything that follows turned by angle (radians), stretched,
// slanted to the right by slant pixels per pixel, and moved.
func (c *canvas) place(angle, stretchX, stretchY, slant, dx, dy float64) {
	sin, cos := math.Sincos(angle)
	c.xx, c.xy = cos*stretchX, -cos*slant*stretchY-sin*stretchY
	c.yx, c.yy = sin*stretchX, cos*stretchY-sin*slant*stretchY
	c.dx, c.dy = side/2+dx, side/2+dy
}

func (c *canvas) pixel(p point) point {
	return point{c.xx*p.x + c.xy*p.y + c.dx, c.yx*p.x + c.yy*p.y + c.dy}
}

// round cuts the corners of a polygon (Chaikin), times times.
func (c *canvas) round(points []point, times int, closed bool) []point {
	c.outline = append(c.outline[:0], points...)
	for range times {
		in, out := c.outline, c.other[:0]
		for i, p := range in {
			if !closed && i == len(in)-1 {
				break
			}
			q := in[(i+1)%len(in)]
			if closed || i > 0 {
				out = append(out, point{0.75*p.x + 0.25*q.x, 0.75*p.y + 0.25*q.y})
			} else {
				out = append(out, p)
			}
			if closed || i < len(in)-2 {
				out = append(out, point{0.25*p.x + 0.75*q.x, 0.25*p.y + 0.75*q.y})
			} else {
				out = append(out, q)
			}
		}
		c.outline, c.other = out, in
	}
	return c.outline
}

// fill paints a polygon with brightness tone, its corners rounded.
func (c *canvas) fill(tone float64, rounding int, points ...point) {
	outline := c.round(points, rounding, true)
	lo, hi := float64(side), 0.0
	for i, p := range outline {
		outline[i] = c.pixel(p)
		lo, hi = min(lo, outline[i].y), max(hi, outline[i].y)
	}
	// Each row of pixels is cut into lines; along a line coverage is exact.
	const lines = 4
	for y := max(int(lo), 0); y < min(int(math.Ceil(hi)), side); y++ {
		row := c.mask[y*side : (y+1)*side]
		for l := range lines {
			at := float64(y) + (float64(l)+0.5)/lines
			c.crossings = c.crossings[:0]
			for i, p := range outline {
				q := outline[(i+1)%len(outline)]
				if (p.y <= at) != (q.y <= at) {
					c.crossings = append(c.crossings, p.x+(at-p.y)/(q.y-p.y)*(q.x-p.x))
				}
			}
			slices.Sort(c.crossings)
			for i := 0; i+1 < len(c.crossings); i += 2 {
				c.span(row, y, c.crossings[i], c.crossings[i+1], 1.0/lines)
			}
		}
	}
	c.paint(tone)
}

// span adds a piece of a line to the mask.
func (c *canvas) span(row []float64, y int, from, to, weight float64) {
	from, to = max(from, 0), min(to, side)
	if from >= to {
		return
	}
	first, last := int(from), min(int(to), side-1)
	c.touch(first, y, last+1, y+1)
	if first == last {
		row[first] += (to - from) * weight
		return
	}
	row[first] += (float64(first+1) - from) * weight
	for x := first + 1; x < last; x++ {
		row[x] += weight
	}
	row[last] += (to - float64(last)) * weight
}

func (c *canvas) touch(x0, y0, x1, y1 int) {
	c.x0, c.y0, c.x1, c.y1 = min(c.x0, x0), min(c.y0, y0), max(c.x1, x1), max(c.y1, y1)
}

// stroke paints a line through points, of half that thickness to each side,
// its corners rounded.
func (c *canvas) stroke(tone, half float64, rounding int, points ...point) {
	path := c.round(points, rounding, false)
	for i := range path {
		path[i] = c.pixel(path[i])
	}
	for i := 0; i+1 < len(path); i++ {
		c.segment(path[i], path[i+1], half)
	}
	c.paint(tone)
}

// segment adds one piece of a stroke to the mask: pixels near the line.
func (c *canvas) segment(p, q point, half float64) {
	reach := half + 1
	x0, x1 := max(int(min(p.x, q.x)-reach), 0), min(int(max(p.x, q.x)+reach)+1, side)
	y0, y1 := max(int(min(p.y, q.y)-reach), 0), min(int(max(p.y, q.y)+reach)+1, side)
	if x0 >= x1 || y0 >= y1 {
		return
	}
	c.touch(x0, y0, x1, y1)
	dx, dy := q.x-p.x, q.y-p.y
	scale := 0.0
	if length := dx*dx + dy*dy; length > 0 {
		scale = 1 / length
	}
	for y := y0; y < y1; y++ {
		for x := x0; x < x1; x++ {
			ux, uy := float64(x)+0.5-p.x, float64(y)+0.5-p.y
			t := min(max((ux*dx+uy*dy)*scale, 0), 1)
			ux, uy = ux-t*dx, uy-t*dy
			cover := min(half+0.5-math.Sqrt(ux*ux+uy*uy), 2*half, 1)
			if m := &c.mask[y*side+x]; cover > *m {
				*m = cover
			}
		}
	}
}

// paint brings the current shape to the canvas and forgets it.
func (c *canvas) paint(tone float64) {
	for y := c.y0; y < c.y1; y++ {
		for i := y*side + c.x0; i < y*side+c.x1; i++ {
			if m := c.mask[i]; m > 0 {
				c.light[i] += min(m, 1) * (tone - c.light[i])
				c.mask[i] = 0
			}
		}
	}
	c.x0, c.y0, c.x1, c.y1 = side, side, 0, 0
}

// store writes the image as bytes.
func (c *canvas) store(pixels []byte) {
	for i, v := range c.light {
		pixels[i] = byte(min(max(v, 0), 1)*255 + 0.5)
	}
}
