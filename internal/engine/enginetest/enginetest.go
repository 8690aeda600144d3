// Package enginetest has what the tests of the engines share: networks of every
// form, batches for them, and how far two results are apart.
package enginetest

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"example.com/lenet5/internal/engine"
	"example.com/lenet5/lenet"
)

// Variants returns the Config of every variant.
func Variants() (configs []lenet.Config) {
	for _, name := range lenet.Variants() {
		cfg, _ := lenet.Variant(name)
		configs = append(configs, cfg)
	}
	return configs
}

// Program is the graph of a network with random parameters.
func Program(t testing.TB, cfg lenet.Config, batch int, seed uint64) *engine.Program {
	t.Helper()
	net, err := lenet.New(cfg, lenet.Seed(seed))
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(seed, 3))
	for _, p := range net.Params() {
		scale := 0.3
		if len(p.Shape) > 1 {
			fan := 1
			for _, d := range p.Shape[1:] {
				fan *= d
			}
			scale = 1.5 / math.Sqrt(float64(fan))
		}
		for i := range p.Data {
			p.Data[i] = float32(rng.NormFloat64() * scale)
		}
	}
	g, err := net.Graph(batch)
	if err != nil {
		t.Fatal(err)
	}
	return ProgramOf(g, cfg)
}

// ProgramOf is a graph as an engine sees it.
func ProgramOf(g *lenet.Graph, cfg lenet.Config) *engine.Program {
	return &engine.Program{
		Graph: g.Graph, Images: g.Images, Labels: g.Labels, Logits: g.Logits, Probabilities: g.Probabilities,
		Loss: g.Loss, Hits: g.Hits, Params: g.Params, Grads: g.Grads, Scale: cfg.Input.Scale, Offset: cfg.Input.Offset, Padding: cfg.Input.Padding,
	}
}

// Batch is n random rows of a set of random images.
func Batch(cfg lenet.Config, n int, seed uint64) engine.Batch {
	rng := rand.New(rand.NewPCG(seed, 1))
	const set = 70 // images to choose from
	b := engine.Batch{Images: make([]byte, set*cfg.Input.Size()), Labels: make([]byte, set)}
	for i := range b.Images {
		b.Images[i] = byte(rng.UintN(256))
	}
	for i := range b.Labels {
		b.Labels[i] = byte(rng.IntN(cfg.Classes))
	}
	for range n {
		b.Index = append(b.Index, int32(rng.IntN(set)))
	}
	return b
}

// Config makes a network that is no variant.
func Config(rng *rand.Rand) lenet.Config {
	acts := []lenet.Activation{lenet.ActNone, lenet.ActSigmoid, lenet.ActTanh, lenet.ActScaledTanh, lenet.ActReLU}
	pools := []lenet.Pool{lenet.PoolNone, lenet.PoolAverage, lenet.PoolMax, lenet.PoolTrainable}
	for {
		cfg := lenet.Config{
			Name:            "random",
			Input:           lenet.Input{Channels: 1 + rng.IntN(3), Height: 5 + rng.IntN(20), Width: 5 + rng.IntN(20), Scale: 1.0 / 255, Offset: -0.3, Padding: rng.IntN(3) * rng.IntN(2)},
			DenseActivation: acts[rng.IntN(5)], Classes: 2 + rng.IntN(20),
		}
		for range rng.IntN(4) {
			k := 1 + rng.IntN(7)
			b := lenet.Block{
				Channels: 1 + rng.IntN(9), Kernel: k, Padding: rng.IntN(k), Activation: acts[rng.IntN(5)],
				Pool: pools[rng.IntN(4)], PoolFirst: rng.IntN(2) == 0,
			}
			if b.Pool != lenet.PoolNone && !b.PoolFirst {
				b.PoolActivation = acts[rng.IntN(5)]
			}
			cfg.Blocks = append(cfg.Blocks, b)
		}
		for range rng.IntN(3) {
			cfg.Dense = append(cfg.Dense, 1+rng.IntN(40))
		}
		if cfg.Validate() == nil {
			return cfg
		}
	}
}

// Difference is the relative difference of two vectors in the L2 norm.
func Difference(got, want []float32) float64 {
	var d, n float64
	for i := range want {
		e := float64(got[i]) - float64(want[i])
		d, n = d+e*e, n+float64(want[i])*float64(want[i])
	}
	if n == 0 {
		return math.Sqrt(d)
	}
	return math.Sqrt(d / n)
}

// Gradients copies the gradients of an engine.
func Gradients(t testing.TB, e engine.Engine) [][]float32 {
	t.Helper()
	var gs [][]float32
	for _, u := range e.Gradients() {
		g, err := u.Grad()
		if err != nil {
			t.Fatal(err)
		}
		gs = append(gs, slices.Clone(g.Data().([]float32)))
	}
	return gs
}

// Run loads a batch and runs the graph.
func Run(t testing.TB, e engine.Engine, b engine.Batch) {
	t.Helper()
	if err := e.Load(b); err != nil {
		t.Fatal(err)
	}
	if err := e.RunAll(); err != nil {
		t.Fatal(err)
	}
}
