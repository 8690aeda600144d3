package data

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
)

// side is the height and width of synthetic images, as of MNIST.
const side = 28

// SyntheticGarments draws a set in the likeness of Fashion-MNIST, for machines
// that can have neither it nor a network: the same classes, each drawn with
// random cut, place, tilt, brightness and texture. The same seed gives the
// same images. It is easier than the real one, and says nothing about it.
func SyntheticGarments(train, test int, seed uint64) *Set {
	return synthesize("synthetic garments", train, test, seed, fashionMNIST.classes, drawGarment)
}

// SyntheticDigits draws a set in the likeness of MNIST; see
// [SyntheticGarments].
func SyntheticDigits(train, test int, seed uint64) *Set {
	return synthesize("synthetic digits", train, test, seed, mnist.classes, drawDigit)
}

// synthesize draws both parts. Each image has a generator of its own, so that
// they can be drawn in parallel.
func synthesize(name string, train, test int, seed uint64, classes []string, draw func(*canvas, int)) *Set {
	part := func(name string, n int, stream uint64) *Dataset {
		n = max(n, 0)
		d := &Dataset{
			Name: name, Images: make([]byte, n*side*side), Labels: make([]byte, n),
			Channels: 1, Height: side, Width: side, Classes: slices.Clone(classes), Synthetic: true,
		}
		workers := min(runtime.GOMAXPROCS(0), max(n, 1))
		var wg sync.WaitGroup
		for w := range workers {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for i := w; i < n; i += workers {
					c := &canvas{rng: rand.New(rand.NewPCG(seed, stream+uint64(i)))}
					class := c.rng.IntN(len(classes))
					d.Labels[i] = byte(class)
					draw(c, class)
					c.render(d.Image(i))
				}
			}()
		}
		wg.Wait()
		return d
	}
	return &Set{
		Name: name, Synthetic: true, Source: fmt.Sprintf("drawn by this program, seed %d", seed),
		Train: part(name+" train", train, 0), Test: part(name+" test", test, 1<<40),
	}
}

// A canvas is a drawing on the square [-1, 1]^2, y downwards: shapes that add
// cloth and shapes that cut it away, seen through a random small movement.
type canvas struct {
	rng    *rand.Rand
	shapes []shape
	// shade is the brightness at a point of the cloth.
	shade func(x, y float64) float64
	noise float64
}

// A shape is a quadrilateral with horizontal edges, or a thick line.
type shape struct {
	cut bool
	// A trapezoid from y0 to y1, centred at c0 and c1, half as wide as w0 and
	// w1; or, with line set, the points within w0 of the line from (c0, y0)
	// to (c1, y1).
	line                   bool
	y0, y1, c0, c1, w0, w1 float64
}

// inside is how far within the shape a point lies, in units of the square.
func (s *shape) inside(x, y float64) float64 {
	if s.line {
		dx, dy := s.c1-s.c0, s.y1-s.y0
		t := 0.0
		if q := dx*dx + dy*dy; q > 0 {
			t = min(1, max(0, ((x-s.c0)*dx+(y-s.y0)*dy)/q))
		}
		return s.w0 - math.Hypot(x-s.c0-t*dx, y-s.y0-t*dy)
	}
	t := min(1, max(0, (y-s.y0)/(s.y1-s.y0)))
	half := s.w0 + t*(s.w1-s.w0)
	return min(half-math.Abs(x-(s.c0+t*(s.c1-s.c0))), y-s.y0, s.y1-y)
}

// trapezoid adds cloth between two heights, of half widths w0 and w1.
func (c *canvas) trapezoid(y0, y1, w0, w1 float64) {
	c.shapes = append(c.shapes, shape{y0: y0, y1: y1, w0: w0, w1: w1})
}

// slanted is a trapezoid whose middle moves from c0 to c1.
func (c *canvas) slanted(y0, y1, c0, c1, w0, w1 float64) {
	c.shapes = append(c.shapes, shape{y0: y0, y1: y1, c0: c0, c1: c1, w0: w0, w1: w1})
}

func (c *canvas) line(x0, y0, x1, y1, half float64) {
	c.shapes = append(c.shapes, shape{line: true, c0: x0, y0: y0, c1: x1, y1: y1, w0: half})
}

// cutLast turns the last shape into a hole.
func (c *canvas) cutLast() { c.shapes[len(c.shapes)-1].cut = true }

// vary draws a number from [lo, hi).
func (c *canvas) vary(lo, hi float64) float64 { return lo + (hi-lo)*c.rng.Float64() }

// render draws the shapes into side x side pixels.
func (c *canvas) render(pix []byte) {
	angle, zoom := c.vary(-0.12, 0.12), c.vary(0.85, 1.08)
	tx, ty := c.vary(-0.1, 0.1), c.vary(-0.1, 0.1)
	sin, cos := math.Sincos(angle)
	sin, cos = sin/zoom, cos/zoom
	const soft = side / 2.0 // pixels per unit: edges are one pixel wide
	for i := range side {
		for j := range side {
			u, v := (float64(j)+0.5)/soft-1-tx, (float64(i)+0.5)/soft-1-ty
			x, y := cos*u+sin*v, cos*v-sin*u
			cover := 0.0
			for k := range c.shapes {
				s := &c.shapes[k]
				in := min(1, max(0, 0.5+s.inside(x, y)*soft*zoom))
				if s.cut {
					cover = min(cover, 1-in)
				} else {
					cover = max(cover, in)
				}
			}
			value := 0.0
			if cover > 0 {
				value = cover * (c.shade(x, y) + c.noise*c.rng.NormFloat64())
			}
			pix[i*side+j] = byte(min(255, max(0, 255*value)))
		}
	}
}

// cloth chooses brightness and texture.
func (c *canvas) cloth() {
	base, slope := c.vary(0.35, 0.95), c.vary(-0.2, 0.2)
	depth, wave, phase := 0.0, c.vary(6, 20), c.vary(0, 7)
	if c.rng.IntN(3) == 0 {
		depth = c.vary(0.05, 0.3)
	}
	across := c.rng.IntN(2) == 0
	c.noise = c.vary(0.02, 0.12)
	c.shade = func(x, y float64) float64 {
		s := y
		if across {
			s = x
		}
		return base + slope*y + depth*math.Sin(wave*s+phase)
	}
}

// drawGarment draws one of the classes of Fashion-MNIST.
func drawGarment(c *canvas, class int) {
	c.cloth()
	switch class {
	case 0: // t-shirt: a body and short sleeves
		c.torso(c.vary(0.38, 0.52), c.vary(-0.9, -0.75), c.vary(0.7, 0.9))
		c.sleeves(c.vary(0.3, 0.5), c.vary(0.14, 0.2))
	case 1: // trouser: two legs
		hip, bottom, gap := c.vary(0.25, 0.4), c.vary(0.8, 0.95), c.vary(0.1, 0.25)
		c.trapezoid(-0.95, -0.4, hip*0.85, hip)
		foot := c.vary(0.1, 0.17)
		for _, s := range []float64{-1, 1} {
			c.slanted(-0.45, bottom, s*hip/2, s*(gap/2+foot), hip/2, foot)
		}
	case 2: // pullover: a body and long sleeves
		c.torso(c.vary(0.4, 0.52), c.vary(-0.85, -0.7), c.vary(0.65, 0.85))
		c.sleeves(c.vary(1.15, 1.45), c.vary(0.13, 0.18))
	case 3: // dress: long and narrow, wider below, hardly any sleeves
		waist := c.vary(0.16, 0.26)
		c.trapezoid(-0.95, -0.25, c.vary(0.2, 0.32), waist)
		c.trapezoid(-0.27, 0.95, waist, c.vary(0.28, 0.5))
		if c.rng.IntN(2) == 0 {
			c.sleeves(c.vary(0.15, 0.9), 0.08)
		}
		c.neck(0.1, -0.88)
	case 4: // coat: a pullover that is open in front, with a collar
		c.torso(c.vary(0.42, 0.55), c.vary(-0.9, -0.75), c.vary(0.8, 0.95))
		c.sleeves(c.vary(1.2, 1.5), c.vary(0.14, 0.19))
		c.line(0, -0.7, c.vary(-0.04, 0.04), 1, c.vary(0.025, 0.05))
		c.cutLast()
	case 5: // sandal: a sole and straps
		sole := c.vary(0.45, 0.6)
		heel := c.vary(0, 0.35)
		c.line(-0.85, sole-heel, 0.1, sole, c.vary(0.06, 0.1))
		c.line(0.1, sole, 0.85, sole, c.vary(0.06, 0.1))
		for range 2 + c.rng.IntN(3) {
			x := c.vary(-0.8, 0.7)
			c.line(x, sole-0.05, x+c.vary(-0.3, 0.3), sole-c.vary(0.3, 0.8), c.vary(0.03, 0.06))
		}
		if heel > 0.15 {
			c.line(-0.8, sole-heel, -0.8, sole+0.05, 0.05)
		}
	case 6: // shirt: between t-shirt and pullover, with a row of buttons
		c.torso(c.vary(0.36, 0.5), c.vary(-0.9, -0.75), c.vary(0.7, 0.95))
		c.sleeves(c.vary(0.6, 1.4), c.vary(0.11, 0.16))
		for y := -0.6; y < 0.75; y += 0.27 {
			c.line(0, y, 0, y, 0.045)
			c.cutLast()
		}
	case 7: // sneaker: low
		c.shoe(c.vary(-0.05, 0.12))
	case 8: // bag: a box and a handle
		top, w := c.vary(-0.35, -0.05), c.vary(0.6, 0.9)
		c.trapezoid(top, c.vary(0.65, 0.85), w*c.vary(0.85, 1), w)
		reach, rise := w*c.vary(0.4, 0.8), top-c.vary(0.3, 0.55)
		c.line(-reach, top, -reach*0.7, rise, 0.06)
		c.line(reach, top, reach*0.7, rise, 0.06)
		c.line(-reach*0.7, rise, reach*0.7, rise, 0.06)
	case 9: // ankle boot: a shoe with a shaft
		c.shoe(c.vary(-0.1, 0.1))
		c.slanted(c.vary(-0.95, -0.7), 0.3, c.vary(-0.5, -0.4), -0.48, c.vary(0.28, 0.38), 0.36)
	}
}

// torso is the body of a garment, with shoulders and a neck.
func (c *canvas) torso(half, top, bottom float64) {
	c.trapezoid(top, top+0.2, half*0.6, half)
	c.trapezoid(top+0.18, bottom, half*c.vary(0.9, 1), half*c.vary(0.85, 1.1))
	c.neck(c.vary(0.12, 0.22), top+c.vary(0.02, 0.1))
}

func (c *canvas) neck(half, y float64) {
	c.line(0, y-0.2, 0, y-half*0.5, half)
	c.cutLast()
}

// sleeves are two thick lines from the shoulders.
func (c *canvas) sleeves(length, half float64) {
	angle := c.vary(0.15, 0.4)
	if length < 0.6 {
		angle = c.vary(0.4, 0.9)
	}
	x, y := 0.36, -0.58
	dx, dy := math.Sin(angle)*length, math.Cos(angle)*length
	for _, s := range []float64{-1, 1} {
		c.line(s*x, y, s*min(0.85, x+dx), y+dy, half)
	}
}

// shoe points to the right; top is where its opening lies.
func (c *canvas) shoe(top float64) {
	sole := c.vary(0.5, 0.65)
	c.slanted(top, sole, -0.45, -0.02, 0.38, 0.85)
	c.slanted(sole-0.02, sole+0.12, 0, 0, 0.88, 0.88)
	if c.rng.IntN(2) == 0 { // a light line above the sole
		c.line(-0.8, sole-0.04, 0.8, sole-0.04, 0.025)
		c.cutLast()
	}
}

// strokes are the digits, as polylines through points of [-1, 1]^2.
var strokes = [10][][][2]float64{
	{{{0, -.8}, {.4, -.6}, {.5, 0}, {.4, .6}, {0, .8}, {-.4, .6}, {-.5, 0}, {-.4, -.6}, {0, -.8}}},
	{{{-.25, -.5}, {.05, -.8}, {.05, .8}}},
	{{{-.45, -.5}, {-.2, -.78}, {.2, -.78}, {.43, -.5}, {.3, -.1}, {-.5, .8}, {.5, .8}}},
	{{{-.4, -.7}, {0, -.8}, {.4, -.6}, {.35, -.2}, {0, -.05}, {.4, .15}, {.45, .55}, {.1, .8}, {-.45, .7}}},
	{{{-.2, -.8}, {-.5, .2}, {.5, .2}}, {{.25, -.4}, {.2, .8}}},
	{{{.45, -.8}, {-.35, -.8}, {-.4, -.1}, {0, -.2}, {.4, .05}, {.42, .5}, {.1, .8}, {-.45, .7}}},
	{{{.3, -.8}, {-.2, -.4}, {-.45, .2}, {-.3, .7}, {.1, .8}, {.42, .5}, {.3, .1}, {-.1, .05}, {-.42, .35}}},
	{{{-.5, -.75}, {.5, -.75}, {.1, 0}, {-.1, .8}}},
	{{{0, -.05}, {-.38, -.35}, {-.3, -.7}, {0, -.82}, {.3, -.7}, {.38, -.35}, {0, -.05}, {-.42, .3}, {-.35, .7}, {0, .82}, {.35, .7}, {.42, .3}, {0, -.05}}},
	{{{.4, -.4}, {.1, -.05}, {-.3, -.1}, {-.4, -.5}, {-.1, -.8}, {.3, -.7}, {.4, -.4}, {.3, .3}, {.1, .8}}},
}

// drawDigit draws a digit with a pen, each point a little off its place.
func drawDigit(c *canvas, class int) {
	ink, half := c.vary(0.8, 1), c.vary(0.07, 0.15)
	c.shade = func(float64, float64) float64 { return ink }
	c.noise = 0.03
	slant, widen, shrink := c.vary(-0.3, 0.3), c.vary(0.7, 1.2), c.vary(0.75, 0.95)
	for _, stroke := range strokes[class] {
		var px, py float64
		for i, p := range stroke {
			y := shrink*p[1] + c.vary(-0.06, 0.06)
			x := shrink*widen*p[0] - slant*y + c.vary(-0.06, 0.06)
			if i > 0 {
				c.line(px, py, x, y, half)
			}
			px, py = x, y
		}
	}
}
