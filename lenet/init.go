package lenet

import (
	"math"
	"math/rand/v2"
	"strings"
)

// initialize draws the weights of every layer. Each tensor has a generator of
// its own, seeded by its place, so that a change to one layer leaves the
// others as they were.
func (n *Net) initialize(seed uint64) {
	for i, l := range n.layers {
		if l.weight == nil {
			continue
		}
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		w := n.param(l.name + ".weight").Data
		rows := l.weight[0]
		per := len(w) / rows
		for row := range rows {
			in, out := l.fans()
			if l.connections() != nil {
				in = strings.Count(l.block.Connections[row], "X") * l.block.Kernel * l.block.Kernel
			}
			draw := n.cfg.Init.draw(rng, float64(in), float64(out))
			for j := range per {
				if !l.absent(row*per + j) {
					w[row*per+j] = float32(draw())
				}
			}
		}
	}
}

// draw returns the distribution of a weight with the given fans.
func (i Init) draw(rng *rand.Rand, in, out float64) func() float64 {
	uniform := func(bound float64) func() float64 {
		return func() float64 { return bound * (2*rng.Float64() - 1) }
	}
	switch i {
	case InitXavierNormal:
		sd := math.Sqrt(2 / (in + out))
		return func() float64 { return sd * rng.NormFloat64() }
	case InitKaiming:
		return uniform(math.Sqrt(6 / in))
	case InitLeCun:
		return uniform(2.4 / in)
	default:
		return uniform(math.Sqrt(6 / (in + out)))
	}
}
