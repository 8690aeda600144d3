// Package cpu runs the graph of a network on the CPU at the speed of
// hand-written code: a plan's stages, over blocks of 16 images, with the
// kernels of the package kernel.
//
// A worker takes a block through all stages, forward and backward, while it
// stays in its cache. The gradients of convolutions are summed per shard, a
// fixed group of blocks, and the shards in their order; those of dense layers
// are one product over the whole batch. So a result has the same bits on any
// number of threads.
package cpu

import (
	"fmt"
	"math"
	"runtime"
	"unsafe"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"example.com/lenet5/internal/engine"
	"example.com/lenet5/internal/kernel"
	"example.com/lenet5/internal/op"
	"example.com/lenet5/internal/plan"
)

// maxShards bounds the shards of a batch, and with them the threads that the
// blocks of a batch are spread over.
const maxShards = 16

// An Engine is an [engine.Engine] on the CPU.
type Engine struct {
	prog      *engine.Program
	plan      *plan.Plan
	set       *kernel.Set
	threads   int // at most; 0 means GOMAXPROCS
	convs     []*convStage
	denses    []*denseStage
	classes   int
	codes     *codes // nil: the last dense stage puts out the logits
	criterion op.CrossEntropy
	packs     []packRow
	size      int // bytes in an image
	limits    engine.Limits

	batch         engine.Batch
	count, blocks int // of what is loaded
	shards        int

	logits, probabilities []float32 // (N, classes)
	losses                []float64 // per block
	hits                  []int
	loss                  *gorgonia.F32
	hitsValue             *gorgonia.F32
	updates               []gorgonia.ValueGrad
	params, grads, runs   [][]float32

	workers []*worker
	job     job
	// The tasks, made once, so that a run allocates nothing.
	doShard, doProduct, doPrepare, doSquare, doDescend func(worker, task int)
	products                                           []part
	pieces                                             []piece
	optimizer                                          optimizer
	prepared                                           []kernel.Fingerprint // fingerprints of the parameters as packed
	stale                                              bool
	zeros                                              []byte
}

// part is one of several tasks of a dense stage, or the task of a convolution.
type part struct {
	dense       *denseStage
	conv        *convStage
	part, parts int
}

var _ engine.Engine = (*Engine)(nil)

// New compiles a program for at most threads threads (0: GOMAXPROCS). The
// error wraps [plan.ErrUnsupported] if the graph is none of this project's.
func New(p *engine.Program, threads int) (engine.Engine, error) {
	set, err := kernel.Default()
	if err != nil {
		return nil, err
	}
	return NewWith(p, threads, set)
}

// NewWith is [New] with the kernels to use.
func NewWith(prog *engine.Program, threads int, set *kernel.Set) (engine.Engine, error) {
	p, err := plan.Compile(prog.Graph)
	if err != nil {
		return nil, err
	}
	if n := len(p.Stages); n < 2 || p.Stages[n-2].Kind != plan.Dense {
		return nil, fmt.Errorf("%w: the output is not that of a dense layer", plan.ErrUnsupported)
	}
	if prog.BatchSize() == 1 && prog.Probabilities != nil && !p.Backward {
		return newSingle(prog, p, set)
	}
	return newEngine(prog, p, threads, set)
}

func newEngine(prog *engine.Program, p *plan.Plan, threads int, set *kernel.Set) (*Engine, error) {
	n := prog.BatchSize()
	blocks := (n + kernel.Lanes - 1) / kernel.Lanes
	e := &Engine{prog: prog, plan: p, set: set, threads: threads, size: prog.ImageSize(), limits: prog.Limits(), stale: true}
	index := map[*gorgonia.Node]int{}
	for i, node := range prog.Params {
		v, ok := node.Value().(*tensor.Dense)
		if !ok {
			return nil, fmt.Errorf("cpu: the parameter %v has no value", node)
		}
		g := make([]float32, v.Size())
		grad := tensor.New(tensor.WithShape(v.Shape()...), tensor.WithBacking(g))
		e.params, e.grads = append(e.params, v.Float32s()), append(e.grads, g)
		if p.Backward {
			gorgonia.WithGrad(grad)(node)
			if err := gorgonia.UnsafeLet(prog.Grads[i], grad); err != nil {
				return nil, fmt.Errorf("cpu: binding a gradient: %w", err)
			}
			e.updates = append(e.updates, engine.Pair{V: v, G: grad})
		}
		index[node] = i
	}
	for _, s := range p.Stages {
		switch s.Kind {
		case plan.Conv:
			c, err := newConvStage(s, set, p.Backward)
			if err != nil {
				return nil, err
			}
			w, b := index[s.Weight], index[s.Bias]
			c.w, c.b, c.gw, c.gb = e.params[w], e.params[b], e.grads[w], e.grads[b]
			for _, st := range s.Steps {
				if st.Pool == plan.Trainable {
					w, b := index[st.Weight], index[st.Bias]
					c.poolW, c.poolB, c.gradPoolW, c.gradPoolB = e.params[w], e.params[b], e.grads[w], e.grads[b]
				}
			}
			e.convs = append(e.convs, c)
			if p.Backward {
				e.products = append(e.products, part{conv: c, parts: 1})
			}
		case plan.Dense:
			d := newDenseStage(s, set, blocks*kernel.Lanes, p.Backward)
			w, b := index[s.Weight], index[s.Bias]
			d.w, d.b, d.gw, d.gb = e.params[w], e.params[b], e.grads[w], e.grads[b]
			if d.ip == d.I {
				d.padded = d.gw
			}
			e.denses = append(e.denses, d)
			if p.Backward {
				// Enough parts for many threads; the large layer goes first.
				parts := max(1, min(32, d.product.Len()/4))
				for k := range parts {
					e.products = append(e.products, part{dense: d, part: k, parts: parts})
				}
			}
		}
	}
	out := p.Stages[len(p.Stages)-1]
	e.classes, e.criterion = e.denses[len(e.denses)-1].O, out.Criterion
	if out.Codes != nil {
		e.codes, e.classes = newCodes(out.Codes), out.Codes.Classes
	}
	e.zeros = make([]byte, e.size)
	e.runs = runs(e.params)
	e.prepared = make([]kernel.Fingerprint, len(e.runs))
	if err := e.bindResults(n); err != nil {
		return nil, err
	}
	e.losses, e.hits = make([]float64, blocks), make([]int, blocks)
	e.planPacking()
	e.doShard, e.doProduct, e.doPrepare, e.doSquare, e.doDescend = e.shard, e.product, e.prepare, e.square, e.descend
	e.cut()
	return e, nil
}

// bindResults gives the output nodes values that each run fills.
func (e *Engine) bindResults(n int) error {
	p := e.prog
	e.logits = make([]float32, n*e.classes)
	let := func(node *gorgonia.Node, v any) error {
		if node == nil {
			return nil
		}
		if err := gorgonia.UnsafeLet(node, v); err != nil {
			return fmt.Errorf("cpu: binding %v: %w", node, err)
		}
		return nil
	}
	matrix := func(s []float32) *tensor.Dense {
		return tensor.New(tensor.WithShape(n, e.classes), tensor.WithBacking(s))
	}
	e.loss, e.hitsValue = gorgonia.NewF32(0), gorgonia.NewF32(0)
	if p.Probabilities != nil {
		e.probabilities = make([]float32, n*e.classes)
		if err := let(p.Probabilities, matrix(e.probabilities)); err != nil {
			return err
		}
	}
	if err := let(p.Logits, matrix(e.logits)); err != nil {
		return err
	}
	if err := let(p.Loss, e.loss); err != nil {
		return err
	}
	return let(p.Hits, e.hitsValue)
}

// Plan returns the stages, for a reader.
func (e *Engine) Plan() *plan.Plan { return e.plan }

// Load sets the batch. Nothing is copied: the images are read by RunAll.
func (e *Engine) Load(b engine.Batch) error {
	if err := b.Check(e.limits); err != nil {
		return err
	}
	e.batch = b
	e.count = b.Len(e.size)
	e.blocks = (e.count + kernel.Lanes - 1) / kernel.Lanes
	e.shards = min(maxShards, e.blocks)
	return nil
}

// RunAll runs the graph on what was loaded.
func (e *Engine) RunAll() error {
	if e.count == 0 {
		return fmt.Errorf("cpu: nothing was loaded")
	}
	e.hire()
	e.refresh()
	e.job.do(e.shards, e.threads, e.doShard)
	if e.plan.Backward {
		e.job.do(len(e.products), e.threads, e.doProduct)
		for _, d := range e.denses {
			d.unpad()
		}
	}
	if e.prog.Loss != nil {
		total, hits := 0.0, 0
		for b := range e.blocks {
			total += e.losses[b]
			hits += e.hits[b]
		}
		*e.loss = gorgonia.F32(total / float64(e.count))
		*e.hitsValue = gorgonia.F32(hits)
	}
	return nil
}

// shard takes a group of blocks through the network.
func (e *Engine) shard(worker, s int) {
	w := e.workers[worker]
	for b := s * e.blocks / e.shards; b < (s+1)*e.blocks/e.shards; b++ {
		e.forward(w, b)
		if e.plan.Backward {
			e.backward(w, b)
		}
	}
	if e.plan.Backward {
		for i, c := range e.convs {
			c.finishShard(w, w.convs[i], e.set, s)
		}
	}
}

// forward computes the outputs of block b.
func (e *Engine) forward(w *worker, b int) {
	e.packBlock(w, b)
	for i, c := range e.convs {
		c.forward(w, w.convs[i], e.set, e.plan.Backward)
	}
	for i, d := range e.denses {
		d.forward(w, w.denses[i])
	}
	e.output(w, b)
}

// backward computes the gradients of block b.
func (e *Engine) backward(w *worker, b int) {
	for i := len(e.denses) - 1; i >= 0; i-- {
		e.denses[i].backward(w, w.denses[i], e.set, b*kernel.Lanes)
	}
	for i := len(e.convs) - 1; i >= 0; i-- {
		e.convs[i].backward(w, w.convs[i], e.set)
	}
}

// product is a task of the second phase, which sums over the batch.
func (e *Engine) product(worker, task int) {
	w, p := e.workers[worker], e.products[task]
	if p.conv != nil {
		p.conv.reduce(w, e.set, e.shards)
		return
	}
	p.dense.gradient(w, e.blocks*kernel.Lanes, p.part, p.parts)
}

// refresh packs the parameters if they have changed since that was done.
func (e *Engine) refresh() {
	w := e.workers[0]
	for i, v := range e.runs {
		if f := fingerprint(w, e.set, v); f != e.prepared[i] {
			e.prepared[i], e.stale = f, true
		}
	}
	if e.stale {
		e.job.do(len(e.pieces), e.threads, e.doPrepare)
		e.stale = false
	}
}

// fingerprint sums up a parameter: a change shows.
func fingerprint(w *worker, set *kernel.Set, v []float32) kernel.Fingerprint {
	const stride = 4 * kernel.Lanes
	whole := len(v) / stride
	w.print = kernel.Fingerprint{}
	if whole > 0 {
		w.elements = kernel.Elements{Src: kernel.At(v, 0), Aux: unsafe.Pointer(&w.print), N: 4 * whole}
		set.Fold(&w.elements)
	}
	rest := &w.print[0]
	for k, x := range v[whole*stride:] {
		rest[k%kernel.Lanes] = rest[k%kernel.Lanes]*31 + math.Float32bits(x)
	}
	return w.print
}

// runs joins parameters that lie one after the other: there is less to do for
// few long ones than for many short ones.
func runs(params [][]float32) [][]float32 {
	var out [][]float32
	for _, p := range params {
		if n := len(out); n > 0 && unsafe.Add(unsafe.Pointer(unsafe.SliceData(out[n-1])), 4*len(out[n-1])) == unsafe.Pointer(unsafe.SliceData(p)) {
			// The same allocation: the first one's memory reaches this far.
			out[n-1] = unsafe.Slice(&out[n-1][0], len(out[n-1])+len(p))
			continue
		}
		out = append(out, p)
	}
	return out
}

// Loss returns the mean loss and the hits.
func (e *Engine) Loss() (float32, int) { return float32(*e.loss), int(*e.hitsValue) }

// Probabilities returns the rows of the examples.
func (e *Engine) Probabilities() []float32 { return e.probabilities[:e.count*e.classes] }

// Gradients returns the parameters with their gradients.
func (e *Engine) Gradients() []gorgonia.ValueGrad { return e.updates }

// Reset forgets what was loaded.
func (e *Engine) Reset() { e.count = 0; e.batch = engine.Batch{} }

// Close frees the memory of the workers.
func (e *Engine) Close() error {
	e.workers, e.count = nil, 0
	return nil
}

// Describe returns "avx512, 2 threads".
func (e *Engine) Describe() string { return describe(e.set, e.threads) }

func describe(set *kernel.Set, threads int) string {
	n := runtime.GOMAXPROCS(0)
	if threads > 0 {
		n = min(n, threads)
	}
	if n == 1 {
		return set.Name + ", 1 thread"
	}
	return fmt.Sprintf("%s, %d threads", set.Name, n)
}

// Describe says what an engine made by [New] will run on.
func Describe(threads int) string {
	set, err := kernel.Default()
	if err != nil {
		return err.Error()
	}
	return describe(set, threads)
}

// Kernels names the instruction set of engines made by [New].
func Kernels() string {
	set, err := kernel.Default()
	if err != nil {
		return err.Error()
	}
	return set.Name
}
