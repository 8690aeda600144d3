package lenet

import (
	"math"
	"math/rand/v2"
)

// initialize draws the weights of every layer. Each tensor has a generator of
// its own, seeded by its place, so that a change to one layer leaves the
// others as they were.
func (n *Net) initialize(seed uint64) {
	for i, l := range n.layers {
		if l.weight == nil {
			continue
		}
		in, out := l.fans()
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		uniform := func(bound float64) func() float64 {
			return func() float64 { return bound * (2*rng.Float64() - 1) }
		}
		var draw func() float64
		switch n.cfg.Init {
		case InitXavierNormal:
			sd := math.Sqrt(2 / float64(in+out))
			draw = func() float64 { return sd * rng.NormFloat64() }
		case InitKaiming:
			draw = uniform(math.Sqrt(6 / float64(in)))
		case InitLeCun:
			draw = uniform(2.4 / float64(in))
		default:
			draw = uniform(math.Sqrt(6 / float64(in+out)))
		}
		w := n.param(l.name + ".weight").Data
		for j := range w {
			w[j] = float32(draw())
		}
	}
}
