package cpu

import (
	"unsafe"

	"example.com/lenet5/internal/engine"
	"example.com/lenet5/internal/kernel"
)

// A piece is a stretch of the parameters that is updated and packed by one
// task: a convolution, or rows of a dense layer.
type piece struct {
	conv   *convStage
	dense  *denseStage
	lo, hi int // rows
	params []stretch
}

// A stretch is part of a parameter, with its gradient and its place among all
// parameters.
type stretch struct {
	p, g []float32
	at   int
}

// pieceRows is a multiple of 16, since rows are turned in squares.
const pieceRows = 16

// cut makes the pieces.
func (e *Engine) cut() {
	places, at := map[*float32]int{}, 0
	for _, p := range e.params {
		places[&p[0]] = at
		at += len(p)
	}
	e.optimizer.parameters = at
	part := func(p, g []float32, lo, hi int) stretch {
		return stretch{p[lo:hi], g[lo:hi], places[&p[0]] + lo}
	}
	for _, d := range e.denses {
		for lo := 0; lo < d.O; lo += pieceRows {
			hi := min(lo+pieceRows, d.O)
			e.pieces = append(e.pieces, piece{dense: d, lo: lo, hi: hi,
				params: []stretch{part(d.w, d.gw, lo*d.I, hi*d.I), part(d.b, d.gb, lo, hi)}})
		}
	}
	for _, c := range e.convs {
		p := piece{conv: c, params: []stretch{part(c.w, c.gw, 0, len(c.w)), part(c.b, c.gb, 0, len(c.b))}}
		if c.poolW != nil {
			p.params = append(p.params, part(c.poolW, c.gradPoolW, 0, len(c.poolW)), part(c.poolB, c.gradPoolB, 0, len(c.poolB)))
		}
		e.pieces = append(e.pieces, p)
	}
	e.optimizer.squares = make([]float64, len(e.pieces))
}

// prepare packs a piece.
func (e *Engine) prepare(worker, task int) {
	if p := e.pieces[task]; p.conv != nil {
		p.conv.pack()
	} else {
		p.dense.turn(e.workers[worker], e.set, p.lo, p.hi)
	}
}

// optimizer is the state of the update.
type optimizer struct {
	parameters int // how many
	rule       engine.Rule
	step       engine.Step
	state      [][]float32 // as long as all parameters
	squares    []float64   // of the gradients, per piece
}

// Descend takes a step of the rule, and packs the parameters for the next run.
func (e *Engine) Descend(r engine.Rule) {
	o := &e.optimizer
	if len(o.state) != r.Vectors() {
		o.state = make([][]float32, r.Vectors())
		for i := range o.state {
			o.state[i] = make([]float32, o.parameters)
		}
	}
	square := 0.0
	if r.Clip > 0 {
		e.job.do(len(e.pieces), e.threads, e.doSquare)
		for _, s := range o.squares {
			square += s
		}
	}
	o.rule, o.step = r, r.Constants(r.Scale(square))
	e.job.do(len(e.pieces), e.threads, e.doDescend)
	for i, v := range e.runs {
		e.prepared[i] = fingerprint(e.workers[0], e.set, v)
	}
}

// State returns the vectors that rules keep.
func (e *Engine) State() [][]float32 { return e.optimizer.state }

// SetState replaces them.
func (e *Engine) SetState(vectors [][]float32) error {
	if err := engine.CheckState(vectors, e.optimizer.parameters); err != nil {
		return err
	}
	e.optimizer.state = nil
	for _, v := range vectors {
		e.optimizer.state = append(e.optimizer.state, append([]float32(nil), v...))
	}
	return nil
}

// square adds up the squares of the gradients of a piece.
func (e *Engine) square(worker, task int) {
	w, total := e.workers[worker], 0.0
	for _, s := range e.pieces[task].params {
		whole := len(s.g) / kernel.Lanes
		var sum [kernel.Lanes]float32
		if whole > 0 {
			w.unused = sum
			w.elements = kernel.Elements{Dst: kernel.At(s.g, 0), Src: kernel.At(s.g, 0), Aux: unsafe.Pointer(&w.unused), N: whole}
			e.set.Dot(&w.elements)
			sum = w.unused
		}
		for _, x := range s.g[whole*kernel.Lanes:] {
			sum[0] += x * x
		}
		for _, x := range sum {
			total += float64(x)
		}
	}
	e.optimizer.squares[task] = total
}

// descend updates a piece and packs it.
func (e *Engine) descend(worker, task int) {
	w := e.workers[worker]
	for _, s := range e.pieces[task].params {
		e.update(w, s)
	}
	e.prepare(worker, task)
}

// update takes a step on a stretch. What does not fill a block is updated in
// one of its own.
func (e *Engine) update(w *worker, s stretch) {
	o, c := &e.optimizer, &e.optimizer.step
	whole := len(s.p) / kernel.Lanes
	if o.rule.Vectors() == 0 {
		if whole > 0 {
			w.elements = kernel.Elements{Dst: kernel.At(s.p, 0), Src: kernel.At(s.g, 0), N: whole, P: kernel.Param(c.Rate, c.Keep, 0)}
			e.set.Descend(&w.elements)
		}
		for k := whole * kernel.Lanes; k < len(s.p); k++ {
			s.p[k] = c.Keep*s.p[k] - c.Rate*s.g[k]
		}
		return
	}
	m := o.state[0][s.at:][:len(s.p)]
	v := m
	if len(o.state) > 1 {
		v = o.state[1][s.at:][:len(s.p)]
	}
	if whole > 0 {
		e.optimize(w, s.p, s.g, m, v, whole)
	}
	if from := whole * kernel.Lanes; from < len(s.p) {
		rest := [4][]float32{s.p[from:], s.g[from:], m[from:], v[from:]}
		t := &w.tail
		for i, r := range rest {
			copy(t[i][:], r)
		}
		e.optimize(w, t[0][:], t[1][:], t[2][:], t[3][:], 1)
		for _, i := range []int{0, 2, 3} {
			if i < 3 || len(o.state) > 1 {
				copy(rest[i], t[i][:])
			}
		}
	}
}

// optimize runs the kernel of the rule.
func (e *Engine) optimize(w *worker, p, g, m, v []float32, blocks int) {
	c := &e.optimizer.step
	w.optimization = kernel.Optimization{
		P: kernel.At(p, 0), G: kernel.At(g, 0), M: kernel.At(m, 0), V: kernel.At(v, 0), N: blocks,
		Scale: kernel.Number(c.Scale), Decay: kernel.Number(c.Decay), Beta1: kernel.Number(c.Beta1), Alpha1: kernel.Number(c.Alpha1),
		Beta2: kernel.Number(c.Beta2), Alpha2: kernel.Number(c.Alpha2), Correction: kernel.Number(c.Correction), Epsilon: kernel.Number(c.Epsilon),
		Rate: kernel.Number(c.Rate), Keep: kernel.Number(c.Keep),
	}
	if e.optimizer.rule.Adam {
		e.set.Adam(&w.optimization)
	} else {
		e.set.Momentum(&w.optimization)
	}
}
