//go:build (gpu || cudasim) && cgo

package cuda_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"example.com/lenet5/internal/engine"
	"example.com/lenet5/internal/engine/cpu"
	"example.com/lenet5/internal/engine/cuda"
	"example.com/lenet5/internal/engine/enginetest"
	"example.com/lenet5/lenet"
)

// tolerance is the relative L2 difference that is allowed against the
// TapeMachine and the CPU, for the loss and every gradient.
const tolerance = 1e-5

// names are those of the engines that newEngine makes.
var names = []string{"cuda"}

func newEngine(p *engine.Program, _ string) (engine.Engine, error) { return cuda.New(p, 0) }

func compile(t testing.TB, p *engine.Program) *cuda.Engine {
	t.Helper()
	e, err := cuda.New(p, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err) // a kernel wrote where it should not
		}
	})
	return e.(*cuda.Engine)
}

// networks are the variants, networks with one of everything, and random ones.
func networks(random int) []lenet.Config {
	configs := enginetest.Variants()
	wide := lenet.Modern() // does not fit the shared memory
	wide.Blocks = slices.Clone(wide.Blocks)
	wide.Blocks[0].Channels, wide.Blocks[1].Channels = 20, 33
	same := lenet.ReLU() // 3x3, padded by 1, and an odd number of maps
	same.Blocks = slices.Clone(same.Blocks)
	for i := range same.Blocks {
		same.Blocks[i].Padding, same.Blocks[i].Channels = 1, 5+2*i
	}
	perceptron := lenet.Sigmoid()
	perceptron.Blocks = nil
	regression := perceptron
	regression.Dense = nil
	classes := regression
	classes.Classes = 77
	configs = append(configs, wide, same, perceptron, regression, classes)
	rng := rand.New(rand.NewPCG(11, 13))
	for range random {
		configs = append(configs, enginetest.Config(rng))
	}
	return configs
}

// TestParity compares loss, hits, scores and gradients with the TapeMachine.
func TestParity(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for i, cfg := range networks(40) {
		size := 1 + rng.IntN(12)
		n := 1 + rng.IntN(size)
		t.Run(fmt.Sprintf("%d %s %d of %d", i, cfg.Name, n, size), func(t *testing.T) {
			enginetest.Parity(t, cfg, n, size, uint64(i), i%2 == 1, tolerance, names, newEngine)
		})
	}
}

// TestPrediction compares probabilities.
func TestPrediction(t *testing.T) {
	for i, cfg := range networks(10) {
		enginetest.PredictionParity(t, cfg, 5, 7, uint64(i), tolerance, names, newEngine)
	}
}

func TestOptimizersPyTorch(t *testing.T) {
	enginetest.OptimizersPyTorch(t, names, newEngine)
}

func parameters(p *engine.Program) (flat []float32) {
	for _, n := range p.Params {
		flat = append(flat, n.Value().Data().([]float32)...)
	}
	return flat
}

// train takes steps of changing sizes with e, through the queue if it has one.
func train(t testing.TB, e engine.Engine, cfg lenet.Config, rule engine.Rule, size, steps int) (losses []engine.Result) {
	t.Helper()
	set := enginetest.Batch(cfg, 0, 7)
	set.Index = []int32{}
	rng := rand.New(rand.NewPCG(3, 4))
	q, _ := e.(engine.Queue)
	flush := func() {
		rs, err := q.Flush()
		if err != nil {
			t.Fatal(err)
		}
		losses = append(losses, rs...)
	}
	for s := range steps {
		b := set
		n := size
		if s%3 == 2 {
			n = 1 + rng.IntN(size)
		}
		b.Index = nil
		for range n {
			b.Index = append(b.Index, int32(rng.IntN(len(b.Labels))))
		}
		if s%4 == 3 {
			b.Transform = func(dst, src []byte, k int) {
				for j, v := range src {
					dst[j] = v ^ byte(k)
				}
			}
		}
		if s%7 == 6 { // a batch that is no rows of a set
			b = enginetest.Batch(cfg, 0, uint64(s))
			b.Images, b.Labels, b.Index = b.Images[:n*cfg.Input.Size()], b.Labels[:n], nil
		}
		rule.Step = s + 1
		rule.Rate *= 0.97
		if q == nil {
			enginetest.Run(t, e, b)
			loss, hits := e.Loss()
			losses = append(losses, engine.Result{Loss: loss, Hits: hits, Count: n})
			e.Descend(rule)
			continue
		}
		if err := q.Enqueue(b, rule); err != nil {
			t.Fatal(err)
		}
		if s%4 == 2 {
			flush()
		}
	}
	if q != nil {
		flush()
	}
	return losses
}

// TestTraining takes steps with every rule, in the queue, and compares losses,
// parameters and state with the CPU's. The same steps once more give the same
// bits.
func TestTraining(t *testing.T) {
	configs := enginetest.Variants()
	i := 0
	for name, rule := range enginetest.Rules() {
		cfg := configs[i%len(configs)]
		i++
		t.Run(name+" "+cfg.Name, func(t *testing.T) {
			const size, steps = 6, 9
			rule.Rate /= 10
			if cfg.Output == lenet.OutputRBF { // whose losses are hundreds: other bits would soon be other numbers
				rule.Rate /= 100
			}
			cp := enginetest.Program(t, cfg, size, 5)
			c, err := cpu.New(cp, 0)
			if err != nil {
				t.Fatal(err)
			}
			want := train(t, c, cfg, rule, size, steps)
			var first []float32
			for range 2 {
				p := enginetest.Program(t, cfg, size, 5)
				e := compile(t, p)
				got := train(t, e, cfg, rule, size, steps)
				if len(got) != len(want) {
					t.Fatalf("%d results, want %d", len(got), len(want))
				}
				for s := range got {
					if math.Abs(float64(got[s].Loss-want[s].Loss)) > 2e-4*math.Abs(float64(want[s].Loss)) || got[s].Count != want[s].Count {
						t.Errorf("step %d: %+v, want %+v", s, got[s], want[s])
					}
				}
				if r := enginetest.Difference(parameters(p), parameters(cp)); !(r < 2e-4) {
					t.Errorf("the parameters differ by %.2g", r)
				}
				for v, s := range e.State() {
					if r := enginetest.Difference(s, c.State()[v]); !(r < 2e-3) {
						t.Errorf("vector %d of the state differs by %.2g", v, r)
					}
				}
				if first == nil {
					first = parameters(p)
				} else if !slices.Equal(first, parameters(p)) {
					t.Error("the second time the bits are others")
				}
			}
		})
	}
}

// TestBits: the arithmetic of the kernels is that of IEEE 754, in an order that
// is laid down, so every GPU and the simulator come to the same bits. Those
// recorded here are the simulator's.
func TestBits(t *testing.T) {
	recorded := map[string]uint32{"lecun98": 0x548d2a67, "modern": 0x7e38653f, "relu": 0x3ce31770, "sigmoid": 0xff18f5ed}
	for _, cfg := range enginetest.Variants() {
		p := enginetest.Program(t, cfg, 9, 3)
		e := compile(t, p)
		for step := range 3 {
			rule := engine.Rule{Adam: true, Rate: 0.001, Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8, Decay: 0.01, Decoupled: true, Step: step + 1, Clip: 1}
			if err := e.Enqueue(enginetest.Batch(cfg, 9-step, uint64(step)), rule); err != nil {
				t.Fatal(err)
			}
		}
		rs, err := e.Flush()
		if err != nil {
			t.Fatal(err)
		}
		sum := crc32.NewIEEE()
		for _, r := range rs {
			binary.Write(sum, binary.LittleEndian, r.Loss)
		}
		binary.Write(sum, binary.LittleEndian, parameters(p))
		if got := sum.Sum32(); got != recorded[cfg.Name] {
			t.Errorf("%s: checksum %#08x, recorded %#08x", cfg.Name, got, recorded[cfg.Name])
		}
	}
}

// TestDivergence: after a loss that is not finite nothing is updated.
func TestDivergence(t *testing.T) {
	cfg := lenet.ReLU()
	p := enginetest.Program(t, cfg, 4, 1)
	e := compile(t, p)
	b := enginetest.Batch(cfg, 4, 1)
	if err := e.Enqueue(b, engine.Rule{Rate: 0.01}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Flush(); err != nil {
		t.Fatal(err)
	}
	good := parameters(p)
	p.Params[0].Value().Data().([]float32)[3] = float32(math.NaN())
	bad := parameters(p)
	for range 3 {
		if err := e.Enqueue(b, engine.Rule{Rate: 0.01}); err != nil {
			t.Fatal(err)
		}
	}
	rs, err := e.Flush()
	if err != nil || len(rs) != 1 || !math.IsNaN(float64(rs[0].Loss)) {
		t.Fatalf("%v, %v; want the one result that is not a number", rs, err)
	}
	for i, v := range parameters(p) {
		if math.Float32bits(v) != math.Float32bits(bad[i]) {
			t.Fatalf("parameter %d changed after the loss was not finite", i)
		}
	}
	copy(p.Params[0].Value().Data().([]float32), good)
	if err := e.Enqueue(b, engine.Rule{Rate: 0.01}); err != nil {
		t.Fatal(err)
	}
	if rs, err := e.Flush(); err != nil || len(rs) != 1 || !(rs[0].Loss < 100) || slices.Equal(parameters(p), good) {
		t.Errorf("it does not go on after the parameters were mended: %v, %v", rs, err)
	}
}

// TestFullQueue: one step more than there is room for is an error, and nothing
// is lost.
func TestFullQueue(t *testing.T) {
	cfg := lenet.Config{Input: lenet.Input{Channels: 1, Height: 4, Width: 4, Scale: 1.0 / 255}, Classes: 3}
	e := compile(t, enginetest.Program(t, cfg, 4, 1))
	b := enginetest.Batch(cfg, 4, 1)
	room := e.Room()
	for range room {
		if err := e.Enqueue(b, engine.Rule{Rate: 0.01}); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Enqueue(b, engine.Rule{Rate: 0.01}); err == nil || e.Room() != 0 {
		t.Errorf("a full queue takes one more: %v", err)
	}
	if err := e.Load(b); err != nil {
		t.Fatal(err)
	}
	if err := e.RunAll(); err == nil {
		t.Error("a run overtakes the queue")
	}
	if rs, err := e.Flush(); err != nil || len(rs) != room || e.Room() != room {
		t.Errorf("%d results, %v; want %d", len(rs), err, room)
	}
}

// TestClosed: after Close there are errors, and no crash.
func TestClosed(t *testing.T) {
	cfg := lenet.Config{Input: lenet.Input{Channels: 1, Height: 4, Width: 4, Scale: 1.0 / 255}, Classes: 3}
	e := compile(t, enginetest.Program(t, cfg, 4, 1))
	b := enginetest.Batch(cfg, 4, 1)
	enginetest.Run(t, e, b)
	name := e.Describe()
	for range 2 {
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Load(b); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"a run": e.RunAll(), "a step": e.Enqueue(b, engine.Rule{Rate: 1}), "a state": e.SetState(nil),
	} {
		if err == nil || !strings.Contains(err.Error(), "closed") {
			t.Errorf("%s on a closed engine: %v", what, err)
		}
	}
	e.Descend(engine.Rule{Rate: 1})
	e.State()
	e.Gradients()
	if e.Describe() != name {
		t.Errorf("it calls itself %q, was %q", e.Describe(), name)
	}
}

// TestNoSuchDevice names the device that is not there.
func TestNoSuchDevice(t *testing.T) {
	if _, err := cuda.Open(99); !errors.Is(err, cuda.ErrNoDevice) {
		t.Errorf("device 99: %v", err)
	}
}

// TestMemory: a LeNet takes megabytes, and what does not fit is an error.
func TestMemory(t *testing.T) {
	e := compile(t, enginetest.Program(t, lenet.Sigmoid(), 256, 1))
	mb := e.Memory() >> 20
	t.Logf("an engine for a batch of 256 takes %d MB", mb)
	if mb < 1 || mb > 64 {
		t.Error("that is too much, or not counted")
	}
	big := lenet.Config{
		Input:  lenet.Input{Channels: 1, Height: 256, Width: 256, Scale: 1},
		Blocks: []lenet.Block{{Channels: 1000, Kernel: 3, Pool: lenet.PoolMax}, {Channels: 1, Kernel: 3}}, Classes: 2,
	}
	net, err := lenet.New(big)
	if err != nil {
		t.Fatal(err)
	}
	g, err := net.PredictionGraph(4000)
	if err != nil {
		t.Fatal(err)
	}
	_, err = cuda.New(enginetest.ProgramOf(g, big), 0)
	if !errors.Is(err, cuda.ErrMemory) || !strings.Contains(err.Error(), "batch of 4000") {
		t.Errorf("a network of 260 GB: %v", err)
	}
}

// TestAgainstCPU compares batches of the usual sizes with the CPU engine.
func TestAgainstCPU(t *testing.T) {
	sizes := []int{256, 1030}
	if cuda.Build().Simulated {
		sizes = []int{40}
	}
	for _, size := range sizes {
		for _, cfg := range enginetest.Variants() {
			b := enginetest.Batch(cfg, size, 1)
			cp := enginetest.Program(t, cfg, size, 2)
			c, err := cpu.New(cp, 0)
			if err != nil {
				t.Fatal(err)
			}
			enginetest.Run(t, c, b)
			e := compile(t, enginetest.Program(t, cfg, size, 2))
			enginetest.Run(t, e, b)
			want, _ := c.Loss()
			got, _ := e.Loss()
			worst := math.Abs(float64(got-want)) / float64(want)
			for k, g := range enginetest.Gradients(t, e) {
				worst = max(worst, enginetest.Difference(g, enginetest.Gradients(t, c)[k]))
			}
			t.Logf("%s, batch %d: the loss and all gradients differ from the CPU's by %.2g at most", cfg.Name, size, worst)
			if !(worst < tolerance) {
				t.Errorf("%s, batch %d: relative difference %.2g", cfg.Name, size, worst)
			}
		}
	}
}

// BenchmarkStep is a step of training in the queue, data on the device: gather,
// forward, backward and update.
func BenchmarkStep(b *testing.B) {
	for _, name := range lenet.Variants() {
		cfg, _ := lenet.Variant(name)
		for _, size := range []int{64, 256, 1024, 4096} {
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				e := compile(b, enginetest.Program(b, cfg, size, 1))
				set := enginetest.Batch(cfg, size, 1)
				rule := engine.Rule{Rate: 1e-4}
				flush := func() {
					if _, err := e.Flush(); err != nil {
						b.Fatal(err)
					}
				}
				if err := e.Enqueue(set, rule); err != nil { // the first builds the graph
					b.Fatal(err)
				}
				flush()
				b.ReportAllocs()
				b.ResetTimer()
				for range b.N {
					if e.Room() == 0 {
						flush()
					}
					if err := e.Enqueue(set, rule); err != nil {
						b.Fatal(err)
					}
				}
				flush()
				b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "examples/s")
			})
		}
	}
}
