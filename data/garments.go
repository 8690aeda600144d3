package data

import "math"

// drawGarment draws one of the classes of Fashion-MNIST: on a dark ground, shoes
// with their toes to the left.
func drawGarment(c *canvas, class int) {
	c.place(c.between(-0.06, 0.06), c.between(0.86, 1.06), c.between(0.86, 1.02), 0, c.between(-1, 1), c.between(-1, 1))
	tone := c.between(0.25, 1)
	if c.chance(0.4) { // more of them are bright than dark
		tone = c.between(0.65, 1)
	}
	switch class {
	case 0:
		c.tshirt(tone)
	case 1:
		c.trouser(tone)
	case 2:
		c.pullover(tone)
	case 3:
		c.dress(tone)
	case 4:
		c.coat(tone)
	case 5:
		c.sandal(tone)
	case 6:
		c.shirt(tone)
	case 7:
		c.sneaker(tone)
	case 8:
		c.bag(tone)
	case 9:
		c.boot(tone)
	}
	c.texture()
}

// detail is a tone that stands out from another, more or less.
func (c *canvas) detail(tone float64) float64 {
	if tone > 0.6 || tone > 0.4 && c.chance(0.5) {
		return tone * c.between(0.3, 0.8)
	}
	return tone + c.between(0.1, 0.4)
}

// A top is what t-shirts, pullovers, coats, shirts and some dresses have in
// common, in pixels.
type top struct {
	y, bottom         float64 // of the shoulders and the hem
	shoulder, hem     float64 // half widths
	waist             float64
	neck, depth       float64 // half width and depth of the opening
	sleeve            float64 // length, 0 for none
	spread            float64 // angle of the sleeves, from straight down
	sleeveTop, wristW float64 // their width
}

// top draws one. Sleeves come first: the body covers where they are sewn on.
func (c *canvas) top(tone float64, t top) {
	sin, cos := math.Sincos(t.spread)
	if t.sleeve > 0 {
		shade := tone * c.between(0.82, 1)
		for _, s := range []float64{-1, 1} {
			// The outer edge goes from the shoulder, the inner one from the
			// armpit.
			ax, ay := t.shoulder-0.8, t.y+1.2
			length := t.sleeve + c.between(-0.4, 0.4)
			ox, oy := ax+sin*length, ay+cos*length
			c.fill(shade, 1,
				point{s * (ax - 1.5), ay - 0.4},
				point{s * (ax + 0.6), ay + 0.3},
				point{s * (ox + 0.5*cos*t.wristW), oy - 0.5*sin*t.wristW},
				point{s * (ox - 0.5*cos*t.wristW), oy + 0.5*sin*t.wristW},
				point{s * (ax - 0.7*t.sleeveTop), ay + t.sleeveTop + 1.2},
			)
		}
	}
	middle := 0.45*t.y + 0.55*t.bottom
	right := []point{{t.neck, t.y - 0.3}, {t.shoulder, t.y + 1.3}, {t.shoulder - 0.3, t.y + 5}, {t.waist, middle}, {t.hem, t.bottom - 1.5}, {t.hem, t.bottom}}
	body := append(make([]point, 0, 12), right...)
	for i := len(right) - 1; i >= 0; i-- {
		body = append(body, point{-right[i].x, right[i].y})
	}
	c.fill(tone, 1, body...)
	// Through the opening one sees the inside of the back.
	c.fill(tone*c.between(0, 0.7), 2, point{-t.neck, t.y - 1}, point{t.neck, t.y - 1},
		point{0.7 * t.neck, t.y - 0.5 + t.depth}, point{-0.7 * t.neck, t.y - 0.5 + t.depth})
}

// print is a picture or letters on the chest.
func (c *canvas) print(tone float64) {
	w, y, h := c.between(2, 4.5), c.between(-6, -1), c.between(1.5, 6)
	c.fill(c.detail(tone), c.choose(3), point{-w, y}, point{w, y}, point{w * c.between(0.6, 1), y + h}, point{-w * c.between(0.6, 1), y + h})
}

func (c *canvas) tshirt(tone float64) {
	w := c.between(5.8, 8)
	t := top{
		y: -12, bottom: c.between(10, 13), shoulder: w + c.between(-0.3, 0.6), hem: w + c.between(-0.8, 0.8), waist: w + c.between(-1, 0.3),
		neck: c.between(2.4, 4.2), depth: c.between(1, 3.6),
		sleeve: c.between(3.5, 8), spread: c.between(0.45, 0.95), sleeveTop: c.between(3.5, 5), wristW: c.between(3.5, 4.8),
	}
	if c.chance(0.12) { // a top without sleeves
		t.sleeve, t.depth = 0, c.between(2.5, 5.5)
	}
	c.top(tone, t)
	if c.chance(0.4) {
		c.print(tone)
	}
}

func (c *canvas) pullover(tone float64) {
	w, bottom := c.between(5.4, 7.4), c.between(9.5, 13)
	hem := w + c.between(-0.7, 0.7)
	c.top(tone, top{
		y: -12, bottom: bottom, shoulder: w + c.between(-0.5, 0.4), hem: hem, waist: w + c.between(-0.7, 0.4),
		neck: c.between(2, 3.4), depth: c.between(0.8, 2.6),
		sleeve: c.between(18, 23), spread: c.between(0.12, 0.34), sleeveTop: c.between(3.6, 4.8), wristW: c.between(2.4, 3.4),
	})
	if c.chance(0.55) { // a knitted hem
		c.fill(tone*c.between(0.6, 0.9), 0, point{-hem, bottom - 1.7}, point{hem, bottom - 1.7}, point{hem, bottom}, point{-hem, bottom})
	}
	if c.chance(0.2) {
		c.print(tone)
	}
}

func (c *canvas) coat(tone float64) {
	w, bottom := c.between(5.8, 7.8), c.between(11, 13.2)
	t := top{
		y: -12, bottom: bottom, shoulder: w + c.between(-0.4, 0.5), hem: w + c.between(-0.4, 1.2), waist: w + c.between(-1, 0.3),
		neck: c.between(2, 3.2), depth: c.between(1, 3.5),
		sleeve: c.between(19, 24), spread: c.between(0.1, 0.32), sleeveTop: c.between(3.8, 5), wristW: c.between(2.6, 3.6),
	}
	c.top(tone, t)
	// It is open, or closed by a zip.
	front := tone * c.between(0, 0.65)
	if c.chance(0.25) {
		front = min(1, tone+c.between(0.15, 0.4))
	}
	x := c.between(-0.6, 0.6)
	c.stroke(front, c.between(0.25, 0.7), 0, point{0, -11 + t.depth}, point{x, bottom})
	if c.chance(0.6) { // lapels, or the edges of a hood
		lapel, reach := c.detail(tone), c.between(-6.5, -2)
		for _, s := range []float64{-1, 1} {
			c.stroke(lapel, 0.45, 1, point{s * t.neck, -12}, point{s * (t.neck + 0.4), -9.5}, point{x, reach})
		}
	}
	if c.chance(0.4) { // pockets
		y, shade := c.between(2, 6), tone*c.between(0.5, 0.85)
		for _, s := range []float64{-1, 1} {
			c.stroke(shade, 0.4, 0, point{s * 2.2, y}, point{s * (w - 1.6), y + c.between(-0.5, 1.2)})
		}
	}
}

func (c *canvas) shirt(tone float64) {
	w, bottom := c.between(5.6, 7.6), c.between(10, 13)
	t := top{
		y: -12, bottom: bottom, shoulder: w + c.between(-0.4, 0.5), hem: w + c.between(-0.8, 0.9), waist: w + c.between(-1.3, 0.2),
		neck: c.between(2, 3.6), depth: c.between(1.2, 4.5),
		sleeve: c.between(17, 23), spread: c.between(0.1, 0.34), sleeveTop: c.between(3.2, 4.4), wristW: c.between(2.2, 3.2),
	}
	if c.chance(0.35) {
		t.sleeve, t.spread, t.wristW = c.between(4, 10), c.between(0.35, 0.8), c.between(3, 4.2)
	}
	c.top(tone, t)
	shade := c.detail(tone)
	if c.chance(0.75) { // where it is buttoned
		c.stroke(tone+(shade-tone)*c.between(0.3, 0.8), 0.3, 0, point{0, -11 + t.depth}, point{0, bottom - 0.5})
		for y := -11 + t.depth + 1; y < bottom-1; y += 3.2 {
			c.stroke(shade, 0.4, 0, point{0, y}, point{0, y + 0.2})
		}
	}
	if c.chance(0.8) { // the collar
		for _, s := range []float64{-1, 1} {
			c.stroke(shade, 0.5, 0, point{s * t.neck, -12.3}, point{s * (t.neck + 0.3), -10.4}, point{s * 0.4, -11 + t.depth})
		}
	}
	if c.chance(0.25) { // a pocket on the chest
		c.fill(c.detail(tone), 0, point{2, -6}, point{4.6, -6}, point{4.6, -3}, point{2, -3})
	}
}

func (c *canvas) dress(tone float64) {
	bust, waist, hem := c.between(3.4, 5), c.between(2.6, 4.4), c.between(4, 8.5)
	t := top{
		y: -13, bottom: 13.2, shoulder: bust, hem: hem, waist: waist + 0.35*(hem-waist),
		neck: c.between(1.4, 2.8), depth: c.between(1, 4.5),
	}
	switch c.choose(4) {
	case 0:
		t.sleeve, t.spread, t.sleeveTop, t.wristW = c.between(3, 7), c.between(0.3, 0.8), 2.8, c.between(2, 3.2)
	case 1:
		t.sleeve, t.spread, t.sleeveTop, t.wristW = c.between(12, 19), c.between(0.12, 0.3), 2.8, c.between(1.6, 2.4)
	}
	c.top(tone, t)
	if c.chance(0.4) { // a belt
		y := c.between(-4, -1)
		c.stroke(c.detail(tone), c.between(0.4, 0.8), 0, point{-waist - 0.5, y}, point{waist + 0.5, y})
	}
}

func (c *canvas) trouser(tone float64) {
	waist, hip, ankle := c.between(3.6, 5.2), c.between(4.6, 6.2), c.between(2, 3.4)
	crotch, gap := c.between(-6, -2), c.between(0.2, 1.8)
	for _, s := range []float64{-1, 1} {
		c.fill(tone*c.between(0.9, 1), 0,
			point{-0.3 * s, -13}, point{s * waist, -13}, point{s * hip, crotch - 1.5},
			point{s * (gap + 2*ankle), 13.2}, point{s * gap, 13.2}, point{s * 0.15, crotch}, point{-0.3 * s, crotch - 0.5})
	}
	if c.chance(0.6) {
		c.stroke(c.detail(tone), 0.4, 0, point{-waist, -12}, point{waist, -12})
	}
	if c.chance(0.4) { // creases, or the light on them
		shade := tone * c.between(0.75, 1.2)
		for _, s := range []float64{-1, 1} {
			c.stroke(shade, 0.4, 0, point{s * 0.5 * hip, crotch}, point{s * (gap + ankle), 12})
		}
	}
}

// sole draws what shoes stand on, from y at the toe to y-heel at the other end,
// and returns the height of its upper edge at x.
func (c *canvas) sole(tone, y, heel, half float64) func(x float64) float64 {
	c.stroke(tone, half, 2, point{-12.5, y - 0.6}, point{-9, y}, point{-2, y - 0.1*heel}, point{5, y - 0.9*heel}, point{12, y - heel})
	return func(x float64) float64 {
		t := min(max((x+2)/10, 0), 1)
		return y - heel*t - half
	}
}

func (c *canvas) sandal(tone float64) {
	heel := c.between(0, 2.5)
	if c.chance(0.45) {
		heel = c.between(4, 9)
	}
	y := c.between(4, 7) + 0.35*heel
	above := c.sole(tone*c.between(0.7, 1), y, heel, c.between(0.6, 1.3))
	if heel > 3 { // what it stands on: a pin, a block or a wedge
		w := c.between(0.4, 3)
		if c.chance(0.25) {
			w = c.between(5, 9)
		}
		c.fill(tone*c.between(0.7, 1), 0, point{11.5 - w, y - heel}, point{12, y - heel}, point{11.5, y + 0.5}, point{11.5 - 0.6*w, y + 0.5})
	}
	for range 1 + c.choose(3) { // over the toes
		x, w, h := c.between(-11, -5), c.between(3, 6), c.between(2, 5)
		c.stroke(tone, c.between(0.5, 1.1), 2, point{x, above(x)}, point{x + 0.3*w, above(x) - h}, point{x + w, above(x+w) - h*0.8}, point{x + w + 1, above(x + w + 1)})
	}
	if c.chance(0.8) { // around the ankle
		h, x := c.between(5, 10), c.between(2, 5)
		c.stroke(tone, c.between(0.4, 0.9), 1, point{11.5, above(11.5)}, point{11, above(11) - h}, point{x, above(x) - h + c.between(-1, 1)})
		if c.chance(0.6) {
			c.stroke(tone, c.between(0.4, 0.8), 1, point{x, above(x) - h}, point{c.between(-5, 0), above(-2) - 1})
		}
	}
}

func (c *canvas) sneaker(tone float64) {
	y, h, toe := c.between(5, 7), c.between(8, 12), c.between(2.5, 4)
	tongue := c.between(0, 4)
	c.fill(tone, 1,
		point{-12.6, y}, point{-12.4, y - 0.6*toe}, point{-9.5, y - toe - 0.5}, point{-4, y - 0.6*h},
		point{tongue - 1, y - h}, point{tongue + 2, y - h + 0.6}, point{7, y - 0.72*h}, point{11, y - h + c.between(0, 2)},
		point{12.6, y - 0.8*h}, point{12.4, y})
	if c.chance(0.7) {
		for k := range 3 { // laces
			x := -5 + float64(k)*(tongue+4)/3
			c.stroke(c.detail(tone), 0.35, 0, point{x, y - 0.55*h - 0.8*float64(k)}, point{x + 2, y - 0.45*h - 0.6*float64(k)})
		}
	}
	if c.chance(0.7) { // a mark on its side
		x, shade := c.between(-1, 4), c.detail(tone)
		for k := range 1 + c.choose(3) {
			d := 2 * float64(k)
			c.stroke(shade, c.between(0.3, 0.7), 0, point{x + d, y - 1}, point{x + d + c.between(-2, 2), y - 0.6*h})
		}
	}
	c.sole(min(1, tone*c.between(0.5, 1.5)), y+0.4, c.between(0, 0.8), c.between(0.7, 1.3))
}

func (c *canvas) boot(tone float64) {
	y, shaft, front := c.between(9, 11), c.between(15, 22), c.between(-3.5, 1)
	back := c.between(9, 11.5)
	toe := c.between(2.5, 4)
	heel := c.between(0, 3.5)
	c.fill(tone, 1,
		point{-12, y}, point{-11.8, y - 0.7*toe}, point{-9, y - toe - 0.3}, point{front - 1.5, y - toe - 4},
		point{front, y - 10}, point{front - c.between(0, 1.5), y - shaft}, point{back, y - shaft + c.between(-1, 1)},
		point{back - c.between(0, 1), y - 9}, point{back + 0.8, y - 3 - 0.5*heel}, point{back + 0.6, y - heel},
		point{3, y - 0.8*heel}, point{-4, y})
	shade := tone * c.between(0.5, 1.1)
	c.stroke(shade, c.between(0.4, 0.8), 1, point{-12, y + 0.2}, point{-4, y + 0.2}, point{4, y - 0.9*heel}, point{back + 0.5, y - heel})
	c.fill(shade, 0, point{back - c.between(2, 6), y - heel}, point{back + 0.6, y - heel}, point{back + 0.4, y + 0.8}, point{back - c.between(1.5, 4), y + 0.8})
	switch c.choose(3) {
	case 0: // laces
		for k := range 4 {
			at := y - toe - 3 - 2.3*float64(k)
			c.stroke(c.detail(tone), 0.35, 0, point{front - 1, at}, point{front + 2, at + 0.8})
		}
	case 1: // elastic, or a zip
		c.stroke(c.detail(tone), c.between(0.4, 1.5), 0, point{0.5 * (front + back), y - shaft + 1}, point{0.5 * (front + back), y - 6})
	}
}

func (c *canvas) bag(tone float64) {
	w, high, bottom := c.between(8.5, 13), c.between(-6, 1), c.between(7, 12)
	narrow := w * c.between(0.75, 1.05)
	// The handle stands up, or is a long strap, or is missing.
	if handle := c.choose(5); handle < 4 {
		reach, rise := narrow*c.between(0.35, 0.8), c.between(3, 12)
		rise = max(high-rise, -13.2)
		c.stroke(tone*c.between(0.6, 1.1), c.between(0.4, 1.2), 2,
			point{-reach, high + 1}, point{-reach * c.between(0.6, 1), rise}, point{reach * c.between(0.6, 1), rise}, point{reach, high + 1})
	}
	c.fill(tone, c.choose(3), point{-narrow, high}, point{0, high - c.between(-0.5, 0.5)}, point{narrow, high}, point{w, bottom - 1.5},
		point{w - 1, bottom}, point{-w + 1, bottom}, point{-w, bottom - 1.5})
	if c.chance(0.55) { // a flap
		y := high + c.between(0.3, 0.6)*(bottom-high)
		c.stroke(tone*c.between(0.5, 0.85), 0.45, 1, point{-narrow, high + 1}, point{-0.6 * narrow, y}, point{0.6 * narrow, y}, point{narrow, high + 1})
	}
	if c.chance(0.5) { // a clasp
		y, x := high+c.between(0.3, 0.7)*(bottom-high), c.between(-1, 1)
		c.fill(c.detail(tone), 0, point{x - 1.2, y}, point{x + 1.2, y}, point{x + 1.2, y + 1.8}, point{x - 1.2, y + 1.8})
	}
	if c.chance(0.4) { // seams
		for _, s := range []float64{-1, 1} {
			x := s * c.between(0.5, 0.8) * narrow
			c.stroke(tone*c.between(0.6, 0.9), 0.35, 0, point{x, high + 0.5}, point{x, bottom - 0.5})
		}
	}
}

// texture gives the cloth its folds, pattern, light and grain.
func (c *canvas) texture() {
	folds, foldWave, foldTilt := c.between(0, 0.12), c.between(0.4, 1.3), c.between(-0.4, 0.4)
	foldPhase := c.between(0, 2*math.Pi)
	stripes, wave, tilt, phase := 0.0, 0.0, 0.0, c.between(0, 2*math.Pi)
	if c.chance(0.25) {
		stripes, wave = c.between(0.1, 0.4), 2*math.Pi/c.between(2.5, 7)
		if tilt = math.Pi / 2; c.chance(0.3) {
			tilt = c.between(0, math.Pi)
		}
	}
	across, down := math.Cos(tilt)*wave, math.Sin(tilt)*wave
	checks := stripes > 0 && c.chance(0.3)
	lightX, lightY := c.between(-0.012, 0.012), c.between(-0.012, 0.012)
	grain := c.between(0.01, 0.08)
	for i, v := range c.light {
		if v == 0 {
			continue
		}
		x, y := float64(i%side)-13.5, float64(i/side)-13.5
		gain := 1 + lightX*x + lightY*y + folds*math.Sin(foldWave*(x+foldTilt*y)+foldPhase)
		if stripes > 0 {
			s := math.Sin(across*x + down*y + phase)
			if checks {
				s *= math.Sin(down*x - across*y + phase)
			}
			gain += stripes * s
		}
		c.light[i] = v * (gain + grain*c.normal())
	}
}
