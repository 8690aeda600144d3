package enginetest

import (
	"math"
	"testing"

	"example.com/lenet5/internal/engine"
	"example.com/lenet5/lenet"
)

// A Compiler makes engines by their names: sets of kernels, say.
type Compiler func(p *engine.Program, name string) (engine.Engine, error)

// compile makes one that is closed when the test ends.
func (c Compiler) compile(t *testing.T, p *engine.Program, name string) engine.Engine {
	t.Helper()
	e, err := c(p, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// Parity compares loss, hits and gradients of n examples, in a graph for size
// of them, with those of the TapeMachine. With changed, each image is changed
// on its way in another manner. The tolerance is that of [Difference].
func Parity(t *testing.T, cfg lenet.Config, n, size int, seed uint64, changed bool, tolerance float64, engines []string, c Compiler) {
	t.Helper()
	b := Batch(cfg, n, seed)
	if changed {
		b.Transform = func(dst, src []byte, k int) {
			for j, v := range src {
				dst[len(src)-1-j] = v + byte(k)
			}
		}
	}
	tape, err := engine.NewTape(Program(t, cfg, size, seed))
	if err != nil {
		t.Fatal(err)
	}
	Run(t, tape, b)
	wantLoss, wantHits := tape.Loss()
	want := Gradients(t, tape)
	for _, name := range engines {
		p := Program(t, cfg, size, seed)
		e := c.compile(t, p, name)
		for pass := range 2 { // the second finds used buffers
			Run(t, e, b)
			loss, hits := e.Loss()
			if !(math.Abs(float64(loss-wantLoss)) <= tolerance*math.Abs(float64(wantLoss))) || hits != wantHits {
				t.Errorf("%s, pass %d: loss %v, %d hits; want %v, %d", name, pass, loss, hits, wantLoss, wantHits)
			}
			for k, g := range Gradients(t, e) {
				if r := Difference(g, want[k]); !(r < tolerance) {
					t.Errorf("%s, pass %d: %s: relative difference %.2g (%+v)", name, pass, p.Params[k].Name(), r, cfg)
				}
			}
		}
		node, err := p.Params[0].Grad()
		if err != nil || !(Difference(node.Data().([]float32), want[0]) < tolerance) {
			t.Errorf("%s: the gradient is not bound to its node: %v", name, err)
		}
	}
}

// PredictionParity compares the probabilities of n examples, in a graph for
// size of them, before and after the parameters have changed in place.
func PredictionParity(t *testing.T, cfg lenet.Config, n, size int, seed uint64, tolerance float64, engines []string, c Compiler) {
	t.Helper()
	net, err := lenet.New(cfg, lenet.Seed(seed), lenet.OnDevice("cpu"))
	if err != nil {
		t.Fatal(err)
	}
	b := Batch(cfg, n, seed)
	program := func() *engine.Program {
		g, err := net.PredictionGraph(size)
		if err != nil {
			t.Fatal(err)
		}
		return ProgramOf(g, cfg)
	}
	tape, err := engine.NewTape(program())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range engines {
		e := c.compile(t, program(), name)
		for pass := range 3 {
			if pass == 2 {
				net.Params()[0].Data[0] += 0.5
			}
			Run(t, tape, b)
			Run(t, e, b)
			if r := Difference(e.Probabilities(), tape.Probabilities()); !(r < tolerance) {
				t.Errorf("%s, pass %d: relative difference %.2g (%+v)", name, pass, r, cfg)
			}
		}
	}
}
