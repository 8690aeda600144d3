package cpu_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"example.com/lenet5/internal/engine"
	"example.com/lenet5/internal/engine/cpu"
	"example.com/lenet5/internal/engine/enginetest"
	"example.com/lenet5/lenet"
)

// tolerance is the relative L2 difference that is allowed against the
// TapeMachine, for the loss and every gradient.
const tolerance = 2e-5

// TestParity runs every variant and random networks on this engine, with each
// set of kernels, and on the TapeMachine.
func TestParity(t *testing.T) {
	configs := enginetest.Variants()
	rng := rand.New(rand.NewPCG(11, 12))
	for range 60 {
		configs = append(configs, enginetest.Config(rng))
	}
	for i, cfg := range configs {
		size := 1 + rng.IntN(40)
		n := 1 + rng.IntN(size)
		t.Run(fmt.Sprintf("%d %s %d of %d", i, cfg.Name, n, size), func(t *testing.T) {
			enginetest.Parity(t, cfg, n, size, uint64(i), i%2 == 1, tolerance, setNames(), newEngine)
		})
	}
}

// TestPredictionParity compares the probabilities, for one image, which has an
// engine of its own, and for many.
func TestPredictionParity(t *testing.T) {
	rng := rand.New(rand.NewPCG(21, 22))
	configs := enginetest.Variants()
	wide := lenet.Modern()
	wide.Blocks[0].Channels, wide.Blocks[1].Channels = 20, 33
	configs = append(configs, wide)
	for range 30 {
		configs = append(configs, enginetest.Config(rng))
	}
	for i, cfg := range configs {
		for _, size := range []int{1, 19} {
			t.Run(fmt.Sprintf("%d %s of %d", i, cfg.Name, size), func(t *testing.T) {
				enginetest.PredictionParity(t, cfg, size, size, uint64(i), tolerance, setNames(), newEngine)
			})
		}
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
	p := enginetest.Program(t, cfg, 20, 4)
	e, err := cpu.New(p, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := enginetest.Batch(cfg, 18, 5)
	enginetest.Run(t, e, b)
	for k, g := range enginetest.Gradients(t, e) {
		w := p.Params[k].Value().Data().([]float32)
		want := make([]float32, len(g))
		for i := range w {
			const h = 0.02
			old := w[i]
			w[i] = old + h
			enginetest.Run(t, e, b)
			hi, _ := e.Loss()
			w[i] = old - h
			enginetest.Run(t, e, b)
			lo, _ := e.Loss()
			w[i] = old
			want[i] = (hi - lo) / (2 * h)
		}
		if r := enginetest.Difference(g, want); !(r < 3e-3) {
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
				p := enginetest.Program(t, cfg, size, 6)
				e, err := cpu.New(p, 0)
				if err != nil {
					t.Fatal(err)
				}
				for k := range 3 {
					enginetest.Run(t, e, enginetest.Batch(cfg, size-k, uint64(k)))
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
	p := enginetest.Program(t, cfg, 64, 7)
	e, err := cpu.New(p, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := enginetest.Batch(cfg, 64, 8)
	enginetest.Run(t, e, b)
	if n := testing.AllocsPerRun(20, func() {
		enginetest.Run(t, e, b)
		e.Descend(engine.Rule{Rate: 0.01})
	}); n != 0 {
		t.Errorf("%v allocations in a step", n)
	}
}
