package cpu

import (
	"math"

	"example.com/lenet5/internal/kernel"
	"example.com/lenet5/internal/op"
)

// codes are the centres of an output layer of radial basis functions.
type codes struct {
	*op.Codes
	values []float32 // (classes, width)
}

func newCodes(c *op.Codes) *codes {
	k := &codes{c, make([]float32, len(c.Values))}
	for i, v := range c.Values {
		k.values[i] = float32(v)
	}
	return k
}

// distances computes the negated squared distances of x (width, lane) from the
// codes, y (classes, lane).
func (c *codes) distances(x, y []float32) {
	for k := range c.Classes {
		var sum [kernel.Lanes]float32
		for i, code := range c.values[k*c.Width:][:c.Width] {
			for l, v := range x[i*kernel.Lanes:][:kernel.Lanes] {
				d := v - code
				sum[l] -= d * d
			}
		}
		copy(y[k*kernel.Lanes:], sum[:])
	}
}

// back computes the gradient dx of x from dy.
func (c *codes) back(x, dy, dx []float32) {
	for i := range c.Width {
		var sum [kernel.Lanes]float32
		xs := x[i*kernel.Lanes:][:kernel.Lanes]
		for k := range c.Classes {
			code := c.values[k*c.Width+i]
			for l, d := range dy[k*kernel.Lanes:][:kernel.Lanes] {
				sum[l] -= 2 * d * (xs[l] - code)
			}
		}
		copy(dx[i*kernel.Lanes:], sum[:])
	}
}

// output computes the losses, the hits, the gradient of the logits and the
// probabilities of block b, lane by lane.
func (e *Engine) output(w *worker, b int) {
	last := w.denses[len(e.denses)-1]
	y, dy, k := last.y, last.dy, e.classes
	if e.codes != nil {
		y = w.scores
		e.codes.distances(last.y, y)
		if dy != nil {
			dy = w.dscores
		}
	}
	total, hits := 0.0, 0
	scale := 1 / float32(e.count)
	for l := range kernel.Lanes {
		n := b*kernel.Lanes + l
		if n >= e.count { // an empty row
			if dy != nil {
				for c := range k {
					dy[c*kernel.Lanes+l] = 0
				}
			}
			continue
		}
		row, exps := e.logits[n*k:][:k], w.exps[:k]
		for c := range row {
			row[c] = y[c*kernel.Lanes+l]
		}
		best := op.ArgMax(row)
		top, sum := exponentials(exps, row, row[best])
		if e.probabilities != nil {
			for c, p := range exps {
				e.probabilities[n*k+c] = p / sum
			}
		}
		if e.prog.Labels == nil {
			continue
		}
		label := int(e.batch.Labels[e.batch.Row(n)])
		if best == label {
			hits++
		}
		if e.criterion.Rubbish {
			if j := e.criterion.Background; j > top {
				top, sum = exponentials(exps, row, j)
			}
			sum += kernel.Exp(e.criterion.Background - top)
		}
		total += math.Log(float64(sum)) + float64(top) - e.criterion.Aim(row, label)
		if dy != nil {
			smoothing := e.criterion.Smoothing
			for c, p := range exps {
				p = p/sum - smoothing/float32(k)
				if c == label {
					p -= 1 - smoothing
				}
				dy[c*kernel.Lanes+l] = p * scale
			}
		}
	}
	e.losses[b], e.hits[b] = total, hits
	if e.codes != nil && dy != nil {
		e.codes.back(last.y, dy, last.dy)
	}
}

// exponentials fills dst with exp(row - top), and adds it up.
func exponentials(dst, row []float32, top float32) (float32, float32) {
	var sum float32
	for c, v := range row {
		dst[c] = kernel.Exp(v - top)
		sum += dst[c]
	}
	return top, sum
}
