// Package cuda runs the graph of a network on an NVIDIA GPU: a plan's stages in
// five kernels of its own, through the driver alone, without cuBLAS or cuDNN.
//
// The parameters, the state of the optimizer and the data set stay on the
// device. A step is a graph of kernels that was put together once: what
// changes from step to step, the images and the constants of the update, the
// kernels read from an array of steps, so that many steps are handed over at
// once and their losses come back together.
//
// The parameters on the host are the network's: what was changed there is
// noticed and copied to the device before a run, and what the device has
// changed is copied back when the host waits for it.
//
// There are two devices: a GPU, by gorgonia.org/cu, with the build tag gpu;
// and for tests a simulator of one, which runs the same kernels, compiled for
// the CPU, with the tag cudasim. Without either the package only says how to
// build it.
package cuda

import (
	"errors"
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"example.com/lenet5/internal/engine"
	"example.com/lenet5/internal/plan"
)

// An Engine is an [engine.Engine] and [engine.Queue] on a GPU.
type Engine struct {
	prog   *engine.Program
	plan   *plan.Plan
	dev    device // nil: closed
	name   string
	p      program
	at     address // of p on the device
	limits engine.Limits
	size   int // bytes of an image
	memory int // bytes allocated

	params       []placed
	mirror       []float32 // the parameters as they are on the device
	pushed       bool      // since the engine was made
	grads        []placed
	gradMirror   []float32 // the gradients likewise
	stale        bool      // the host's gradients are older than the device's
	pairs        []gorgonia.ValueGrad
	rule         engine.Rule // of the step that was queued last
	stateVectors int         // vectors of state that the optimizer keeps
	state        [][]float32

	graphs map[mode]graph

	batch         engine.Batch
	count         int
	loss          *gorgonia.F32
	hits          *gorgonia.F32
	logits        []float32
	probabilities []float32
	results       []engine.Result
	raw           []result

	// The queue.
	steps        []step
	index        []int32
	launched     int // of the steps
	set          resident
	retired      []resident
	staging      []byte // images on their way
	stagedLabels []byte
	staged       address // images and then labels of a batch, or once that is needed of every step that can wait
	wide         bool    // the latter
	failed       error   // of an earlier call
}

// mode is a kind of run.
type mode int

const (
	runOnly     mode = iota // forward, and backward if there are gradients
	stepPlain               // and the update
	stepClip                // with a look at the norm before it
	updateOnly              // of gradients that are there
	updateClip              // with a look at their norm
	packWeights             // after the host has changed them
)

// resident is a data set on the device.
type resident struct {
	images, labels     *byte // of the host, to know it again
	nImages, nLabels   int
	atImages, atLabels address
}

var _ engine.Queue = (*Engine)(nil)

// Open looks whether device n can be used, and returns its name.
func Open(n int) (string, error) {
	d, err := open(n)
	if err != nil {
		return "", err
	}
	return d.describe(), d.close()
}

// New compiles a program for device n. The error wraps [plan.ErrUnsupported]
// if the graph cannot be run there, or one of the errors of [Open].
func New(prog *engine.Program, n int) (engine.Engine, error) {
	p, err := plan.Compile(prog.Graph)
	if err != nil {
		return nil, err
	}
	dev, err := open(n)
	if err != nil {
		return nil, err
	}
	e, err := newEngine(prog, p, dev)
	if err != nil {
		return nil, errors.Join(err, dev.close())
	}
	return e, nil
}

func newEngine(prog *engine.Program, pl *plan.Plan, dev device) (*Engine, error) {
	e := &Engine{prog: prog, plan: pl, dev: dev, name: dev.describe(), limits: prog.Limits(), size: prog.ImageSize(), graphs: map[mode]graph{}}
	b := &builder{dev: dev, prog: prog, plan: pl, p: &e.p, places: map[*gorgonia.Node]int32{}}
	if err := b.build(); err != nil {
		return nil, fmt.Errorf("cuda: %w", err)
	}
	var err error
	if e.params, err = b.params(); err != nil {
		return nil, err
	}
	e.at = upload(b, []program{e.p})
	e.staged = b.array(prog.BatchSize(), e.size+1)
	if b.err != nil {
		return nil, fmt.Errorf("cuda: %w", b.err)
	}
	e.memory = b.memory
	e.mirror = make([]float32, e.p.parameters)
	e.raw = make([]result, queued)
	return e, e.bind()
}

// bind gives the nodes of the graph values that a run fills.
func (e *Engine) bind() error {
	p, n, k := e.prog, e.prog.BatchSize(), int(e.p.classes)
	e.logits = make([]float32, n*k)
	e.loss, e.hits = gorgonia.NewF32(0), gorgonia.NewF32(0)
	matrix := func(s []float32) *tensor.Dense { return tensor.New(tensor.WithShape(n, k), tensor.WithBacking(s)) }
	let := func(node *gorgonia.Node, v any) error {
		if node == nil {
			return nil
		}
		if err := gorgonia.UnsafeLet(node, v); err != nil {
			return fmt.Errorf("cuda: binding %v: %w", node, err)
		}
		return nil
	}
	if p.Probabilities != nil {
		e.probabilities = make([]float32, n*k)
		if err := let(p.Probabilities, matrix(e.probabilities)); err != nil {
			return err
		}
	}
	if e.plan.Backward {
		e.gradMirror = make([]float32, e.p.parameters)
		for i, node := range p.Params {
			g := make([]float32, len(e.params[i].value))
			grad := tensor.New(tensor.WithShape(node.Shape()...), tensor.WithBacking(g))
			gorgonia.WithGrad(grad)(node)
			if err := let(p.Grads[i], grad); err != nil {
				return err
			}
			e.grads = append(e.grads, placed{g, e.params[i].at})
			e.pairs = append(e.pairs, engine.Pair{V: node.Value(), G: grad})
		}
	}
	return errors.Join(let(p.Logits, matrix(e.logits)), let(p.Loss, e.loss), let(p.Hits, e.hits))
}

// wideFrom is the batch from which on blocks take more examples through the
// dense layers: as many blocks as a large device has processors are left.
var wideFrom = 1024

func denseLaunch(n int) launch {
	if n < wideFrom {
		return launch{kernel: "dense", grid: (n + denseExamples - 1) / denseExamples, threads: denseThreads}
	}
	return launch{kernel: "dense_wide", grid: (n + wideExamples - 1) / wideExamples, threads: denseThreads}
}

// graph returns the launches of a mode, which it puts together once.
func (e *Engine) graph(m mode) (graph, error) {
	if g, ok := e.graphs[m]; ok {
		return g, nil
	}
	p := &e.p
	n := int(p.batch)
	var ls []launch
	if m == runOnly || m == stepPlain || m == stepClip {
		ls = append(ls, launch{kernel: "forward", grid: min(n, maxBlocks), threads: threads},
			denseLaunch(n))
	}
	if e.prog.Loss != nil && len(ls) > 0 {
		ls = append(ls, launch{kernel: "tally", grid: 1, threads: threads, beside: true})
	}
	if p.backward != 0 && len(ls) > 0 {
		tiles := 0
		for i := range p.denses {
			tiles += int(p.dense[i].tiles)
		}
		ls = append(ls, launch{kernel: "dense_gradient", grid: tiles * int(p.denseParts), threads: threads, beside: true})
		if p.convs > 0 {
			ls = append(ls, launch{kernel: "conv_gradient", grid: int(p.gradBlocks), threads: threads})
		}
		what := int64(fromPartials)
		if m == stepPlain {
			what |= andUpdate
		}
		ls = append(ls, launch{kernel: "reduce", grid: int(p.reduceBlocks), threads: threads, argument: what, join: true})
	}
	if m == updateClip {
		ls = append(ls, launch{kernel: "reduce", grid: int(p.reduceBlocks), threads: threads})
	}
	if m == stepClip || m == updateOnly || m == updateClip {
		ls = append(ls, launch{kernel: "update", grid: (int(p.parameters) + threads - 1) / threads, threads: threads})
	}
	if m == packWeights {
		ls = append(ls, launch{kernel: "pack", grid: (int(p.convParams) + threads - 1) / threads, threads: threads})
	}
	g, err := e.dev.build(e.at, ls)
	if err != nil {
		return 0, err
	}
	e.graphs[m] = g
	return g, nil
}

func (e *Engine) launch(m mode, times int) error {
	g, err := e.graph(m)
	if err != nil {
		return err
	}
	return e.dev.run(g, times)
}

// Plan returns the stages, for a reader.
func (e *Engine) Plan() *plan.Plan { return e.plan }

// Memory is the number of bytes of device memory that the engine took, the
// data set apart.
func (e *Engine) Memory() int { return e.memory }

// Load sets the batch. Its images are copied by RunAll.
func (e *Engine) Load(b engine.Batch) error {
	if err := b.Check(e.limits); err != nil {
		return err
	}
	e.batch, e.count = b, b.Len(e.size)
	return nil
}

// RunAll runs the graph on what was loaded, and brings loss, scores and
// gradients to the host.
func (e *Engine) RunAll() error {
	if err := e.runAll(); err != nil {
		return fmt.Errorf("cuda: %w", err)
	}
	return nil
}

func (e *Engine) runAll() error {
	switch {
	case e.failed != nil:
		return e.failed
	case e.count == 0:
		return errors.New("nothing was loaded")
	case len(e.steps) > 0:
		return errors.New("steps are waiting in the queue")
	}
	if err := e.push(); err != nil {
		return err
	}
	s, err := e.stage(e.batch, 0)
	if err != nil {
		return err
	}
	e.index = e.index[:0]
	for k := range e.count {
		e.index = append(e.index, int32(k))
	}
	err = errors.Join(write(e, e.p.index, e.index), write(e, e.p.steps, []step{s}), write(e, e.p.counters, make([]counters, 1)), e.launch(runOnly, 1))
	e.index = e.index[:0]
	if err != nil {
		return err
	}
	n := e.count * int(e.p.classes)
	if err := read(e, e.logits[:n], e.p.logits); err != nil {
		return err
	}
	if e.probabilities != nil {
		if err := read(e, e.probabilities[:n], e.p.probabilities); err != nil {
			return err
		}
	}
	if e.prog.Loss != nil {
		if err := read(e, e.raw[:1], e.p.results); err != nil {
			return err
		}
		*e.loss, *e.hits = gorgonia.F32(e.raw[0].loss), gorgonia.F32(e.raw[0].hits)
	}
	if e.p.backward != 0 {
		e.stale = true
		return e.pullGradients()
	}
	return nil
}

// Loss returns the mean loss and the hits.
func (e *Engine) Loss() (float32, int) { return float32(*e.loss), int(*e.hits) }

// Probabilities returns the rows of the examples.
func (e *Engine) Probabilities() []float32 { return e.probabilities[:e.count*int(e.p.classes)] }

// Gradients returns the parameters with their gradients, on the host.
func (e *Engine) Gradients() []gorgonia.ValueGrad {
	if e.failed == nil {
		e.failed = e.pullGradients() // the next run says so
	}
	return e.pairs
}

// constants makes a step of a rule.
func constants(s step, r engine.Rule) step {
	c := r.Constants(1)
	s.decay, s.beta1, s.alpha1, s.beta2, s.alpha2 = c.Decay, c.Beta1, c.Alpha1, c.Beta2, c.Alpha2
	s.correction, s.epsilon, s.rate, s.keep, s.clip = c.Correction, c.Epsilon, c.Rate, c.Keep, float32(r.Clip)
	s.vectors = int32(r.Vectors())
	return s
}

// vectors makes the state fit a rule.
func (e *Engine) vectors(r engine.Rule) error {
	if e.stateVectors == r.Vectors() {
		return nil
	}
	e.stateVectors = r.Vectors()
	return e.dev.clear(e.p.state, 8*int(e.p.parameters))
}

// Descend takes a step of the rule by the gradients of the host.
func (e *Engine) Descend(r engine.Rule) {
	if e.failed == nil {
		e.failed = e.descend(r)
	}
}

func (e *Engine) descend(r engine.Rule) error {
	if err := errors.Join(e.push(), e.pullGradients()); err != nil {
		return err
	}
	if differ(e.gradMirror, e.grads) {
		if err := write(e, e.p.grads, e.gradMirror); err != nil {
			return err
		}
	}
	m := updateOnly
	if r.Clip > 0 {
		m = updateClip
	}
	return errors.Join(e.vectors(r), write(e, e.p.steps, []step{constants(step{count: 1}, r)}),
		write(e, e.p.counters, make([]counters, 1)), e.launch(m, 1), e.pull())
}

// State returns the vectors that rules keep, as copies.
func (e *Engine) State() [][]float32 {
	n := int(e.p.parameters)
	raw := make([]float32, e.stateVectors*n)
	if e.failed == nil {
		e.failed = read(e, raw, e.p.state)
	}
	if e.failed != nil {
		return e.state // the next run says so
	}
	e.state = e.state[:0]
	for i := range e.stateVectors {
		var v []float32
		for _, p := range e.params {
			v = append(v, raw[i*n+p.at:][:len(p.value)]...)
		}
		e.state = append(e.state, v)
	}
	return e.state
}

// SetState replaces them.
func (e *Engine) SetState(vectors [][]float32) error {
	if e.failed != nil {
		return fmt.Errorf("cuda: %w", e.failed)
	}
	total := 0
	for _, p := range e.params {
		total += len(p.value)
	}
	if err := engine.CheckState(vectors, total); err != nil {
		return err
	}
	n := int(e.p.parameters)
	raw := make([]float32, 2*n)
	for i, v := range vectors {
		for _, p := range e.params {
			copy(raw[i*n+p.at:], v[:len(p.value)])
			v = v[len(p.value):]
		}
	}
	e.stateVectors = len(vectors)
	return write(e, e.p.state, raw)
}

// Reset forgets what was loaded.
func (e *Engine) Reset() { e.count, e.batch = 0, engine.Batch{} }

// Close frees the memory of the device.
func (e *Engine) Close() error {
	e.count = 0
	if e.dev == nil {
		return nil
	}
	err := e.dev.close()
	e.dev, e.failed = nil, errClosed
	return err
}

var errClosed = errors.New("the engine is closed")

// Describe returns the name of the device.
func (e *Engine) Describe() string { return e.name }
