package cpu_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"example.com/lenet5/internal/engine"
	"example.com/lenet5/internal/engine/cpu"
	"example.com/lenet5/internal/kernel"
	"example.com/lenet5/lenet"
)

// program is the graph of a network with random parameters.
func program(t testing.TB, cfg lenet.Config, batch int, seed uint64) *engine.Program {
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
	return programOf(g, cfg)
}

func programOf(g *lenet.Graph, cfg lenet.Config) *engine.Program {
	return &engine.Program{
		Graph: g.Graph, Images: g.Images, Labels: g.Labels, Logits: g.Logits, Probabilities: g.Probabilities,
		Loss: g.Loss, Hits: g.Hits, Params: g.Params, Grads: g.Grads, Scale: cfg.Input.Scale, Offset: cfg.Input.Offset, Padding: cfg.Input.Padding,
	}
}

func randomBatch(cfg lenet.Config, n int, seed uint64) engine.Batch {
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

// randomConfig makes a network that is no variant.
func randomConfig(rng *rand.Rand) lenet.Config {
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

func relL2(got, want []float32) float64 {
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

func gradients(t testing.TB, e engine.Engine) [][]float32 {
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

// tolerance is the relative L2 difference that is allowed against the
// TapeMachine, for the loss and every gradient.
const tolerance = 2e-5

// TestParity runs every variant and random networks on this engine, with each
// set of kernels, and on the TapeMachine.
func TestParity(t *testing.T) {
	configs := []lenet.Config{}
	for _, name := range lenet.Variants() {
		cfg, _ := lenet.Variant(name)
		configs = append(configs, cfg)
	}
	rng := rand.New(rand.NewPCG(11, 12))
	for range 60 {
		configs = append(configs, randomConfig(rng))
	}
	for i, cfg := range configs {
		size := 1 + rng.IntN(40)
		n := 1 + rng.IntN(size)
		t.Run(fmt.Sprintf("%d %s %d of %d", i, cfg.Name, n, size), func(t *testing.T) {
			b := randomBatch(cfg, n, uint64(i))
			if i%2 == 1 { // images that are changed on the way, each in another manner
				b.Transform = func(dst, src []byte, k int) {
					for j, v := range src {
						dst[len(src)-1-j] = v + byte(k)
					}
				}
			}
			tape, err := engine.NewTape(program(t, cfg, size, uint64(i)))
			if err != nil {
				t.Fatal(err)
			}
			step(t, tape, b)
			wantLoss, wantHits := tape.Loss()
			want := gradients(t, tape)
			for _, set := range kernel.Available() {
				p := program(t, cfg, size, uint64(i))
				e, err := cpu.NewWith(p, 0, set)
				if err != nil {
					t.Fatal(err)
				}
				for pass := range 2 { // the second finds used buffers
					step(t, e, b)
					loss, hits := e.Loss()
					if math.Abs(float64(loss-wantLoss)) > tolerance*math.Abs(float64(wantLoss)) || hits != wantHits {
						t.Errorf("%s, pass %d: loss %v, %d hits; want %v, %d", set.Name, pass, loss, hits, wantLoss, wantHits)
					}
					for k, g := range gradients(t, e) {
						if r := relL2(g, want[k]); !(r < tolerance) {
							t.Errorf("%s, pass %d: %s: relative difference %.2g (%+v)", set.Name, pass, p.Params[k].Name(), r, cfg)
						}
					}
				}
				node, err := p.Params[0].Grad()
				if err != nil || relL2(node.Data().([]float32), want[0]) > tolerance {
					t.Errorf("%s: the gradient is not bound to its node: %v", set.Name, err)
				}
			}
		})
	}
}

// TestPredictionParity compares the probabilities, for one image, which has an
// engine of its own, and for many.
func TestPredictionParity(t *testing.T) {
	rng := rand.New(rand.NewPCG(21, 22))
	configs := []lenet.Config{}
	for _, name := range lenet.Variants() {
		cfg, _ := lenet.Variant(name)
		configs = append(configs, cfg)
	}
	wide := lenet.Modern()
	wide.Blocks[0].Channels, wide.Blocks[1].Channels = 20, 33
	configs = append(configs, wide)
	for range 30 {
		configs = append(configs, randomConfig(rng))
	}
	for i, cfg := range configs {
		for _, size := range []int{1, 19} {
			t.Run(fmt.Sprintf("%d %s of %d", i, cfg.Name, size), func(t *testing.T) {
				net, err := lenet.New(cfg, lenet.Seed(uint64(i)))
				if err != nil {
					t.Fatal(err)
				}
				b := randomBatch(cfg, size, uint64(i))
				compile := func(f func(p *engine.Program) (engine.Engine, error)) engine.Engine {
					g, err := net.PredictionGraph(size)
					if err != nil {
						t.Fatal(err)
					}
					e, err := f(programOf(g, cfg))
					if err != nil {
						t.Fatal(err)
					}
					return e
				}
				tape := compile(func(p *engine.Program) (engine.Engine, error) { return engine.NewTape(p) })
				for _, set := range kernel.Available() {
					e := compile(func(p *engine.Program) (engine.Engine, error) { return cpu.NewWith(p, 0, set) })
					for pass := range 3 {
						if pass == 2 { // the parameters change in place
							net.Params()[0].Data[0] += 0.5
						}
						step(t, tape, b)
						step(t, e, b)
						if r := relL2(e.Probabilities(), tape.Probabilities()); !(r < tolerance) {
							t.Errorf("%s, pass %d: relative difference %.2g (%+v)", set.Name, pass, r, cfg)
						}
					}
				}
			})
		}
	}
}

func step(t testing.TB, e engine.Engine, b engine.Batch) {
	t.Helper()
	if err := e.Load(b); err != nil {
		t.Fatal(err)
	}
	if err := e.RunAll(); err != nil {
		t.Fatal(err)
	}
}

// TestFiniteDifferences checks the gradients through the engine alone.
func TestFiniteDifferences(t *testing.T) {
	cfg := lenet.Config{
		Input: lenet.Input{Channels: 2, Height: 9, Width: 8, Scale: 1.0 / 255, Offset: -0.5},
		Blocks: []lenet.Block{
			{Channels: 3, Kernel: 3, Padding: 1, Activation: lenet.ActTanh, Pool: lenet.PoolAverage, PoolFirst: true},
			{Channels: 4, Kernel: 2, Activation: lenet.ActScaledTanh},
		},
		Dense: []int{7}, DenseActivation: lenet.ActSigmoid, Classes: 5,
	}
	p := program(t, cfg, 20, 4)
	e, err := cpu.New(p, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := randomBatch(cfg, 18, 5)
	step(t, e, b)
	for k, g := range gradients(t, e) {
		w := p.Params[k].Value().Data().([]float32)
		want := make([]float32, len(g))
		for i := range w {
			const h = 0.02
			old := w[i]
			w[i] = old + h
			step(t, e, b)
			hi, _ := e.Loss()
			w[i] = old - h
			step(t, e, b)
			lo, _ := e.Loss()
			w[i] = old
			want[i] = (hi - lo) / (2 * h)
		}
		if r := relL2(g, want); !(r < 3e-3) {
			t.Errorf("%s: relative difference %.2g against differences of the loss", p.Params[k].Name(), r)
		}
	}
}

// TestThreads: the same bits on any number of threads.
func TestThreads(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, name := range lenet.Variants() {
		cfg, _ := lenet.Variant(name)
		for _, size := range []int{256, 50} {
			var want []float32
			for _, threads := range []int{1, 2, 3, 8} {
				runtime.GOMAXPROCS(threads)
				p := program(t, cfg, size, 6)
				e, err := cpu.New(p, 0)
				if err != nil {
					t.Fatal(err)
				}
				for k := range 3 {
					step(t, e, randomBatch(cfg, size-k, uint64(k)))
					e.Descend(engine.Rule{Rate: 0.1})
				}
				var got []float32
				for _, n := range p.Params {
					got = append(got, n.Value().Data().([]float32)...)
				}
				if want == nil {
					want = got
				} else if !slices.Equal(got, want) {
					t.Errorf("%s, batch %d: %d threads give other bits than 1", name, size, threads)
				}
			}
		}
	}
}

// TestNoAllocation: steps and predictions allocate nothing once they run.
func TestNoAllocation(t *testing.T) {
	cfg := lenet.Sigmoid()
	p := program(t, cfg, 64, 7)
	e, err := cpu.New(p, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := randomBatch(cfg, 64, 8)
	step(t, e, b)
	if n := testing.AllocsPerRun(20, func() {
		step(t, e, b)
		e.Descend(engine.Rule{Rate: 0.01})
	}); n != 0 {
		t.Errorf("%v allocations in a step", n)
	}
}
