package cpu

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"example.com/lenet5/internal/engine"
	"example.com/lenet5/internal/kernel"
	"example.com/lenet5/internal/op"
	"example.com/lenet5/internal/plan"
)

// A Single runs a graph for the prediction of one image, on one thread, in as
// short a time as may be. Where the other engine has images in the lanes, this
// one has output channels, and output units.
type Single struct {
	prog   *engine.Program
	plan   *plan.Plan
	set    *kernel.Set
	worker worker
	convs  []*singleConv
	denses []*singleDense
	pixels [256]float32
	params [][]float32
	prints []kernel.Fingerprint
	loaded bool
	codes  *op.Codes // nil: the last dense layer puts out the logits
	limits engine.Limits
	height int // of the image with its padding
	width  int

	logits, probabilities []float32
}

var _ engine.Engine = (*Single)(nil)

// singleConv is a convolution: from planes (C, rows, stride) to pixels
// (row, column, channel), the channels filled up to whole vectors.
type singleConv struct {
	*convStage
	mp      int       // channels, filled up
	stride  int       // of the rows of in, in floats
	in      []float32 // the planes with their padding
	weights []float32 // (C, K, K, mp)
	bias    []float32 // (mp)
	a       []float32 // the output of the convolution
	out     []float32 // of the stage; the same as a if it is not pooled
	tiling  kernel.Tiling
	// With few channels, columns are in the lanes instead, and the output goes
	// straight to the planes of the next convolution.
	next   *singleConv
	across int // vectors in a row
}

// singleDense is a dense layer, its weights turned: (inputs, op).
type singleDense struct {
	*denseStage
	inputs  int // as they lie in in, which may have gaps
	in, out []float32
	weights []float32
	bias    []float32 // (op)
	tiling  kernel.Tiling
	// source is the input that a place of in holds, -1 for a gap.
	source []int
}

// newSingle compiles a program for one image.
func newSingle(prog *engine.Program, p *plan.Plan, set *kernel.Set) (*Single, error) {
	s := &Single{prog: prog, plan: p, set: set, limits: prog.Limits()}
	values := map[*gorgonia.Node][]float32{}
	for _, n := range prog.Params {
		v, ok := n.Value().(*tensor.Dense)
		if !ok {
			return nil, fmt.Errorf("cpu: the parameter %v has no value", n)
		}
		values[n] = v.Float32s()
		s.params = append(s.params, v.Float32s())
	}
	s.params = runs(s.params)
	s.prints = make([]kernel.Fingerprint, len(s.params))
	for _, st := range p.Stages {
		switch st.Kind {
		case plan.Conv:
			c, err := newConvStage(st, set, false)
			if err != nil {
				return nil, err
			}
			c.w, c.b = values[st.Weight], values[st.Bias]
			for _, step := range st.Steps {
				if step.Pool == plan.Trainable {
					c.poolW, c.poolB = values[step.Weight], values[step.Bias]
				}
			}
			sc := newSingleConv(c, set)
			if n := len(s.convs); n > 0 {
				s.convs[n-1].lead(sc, set)
			}
			s.convs = append(s.convs, sc)
		case plan.Dense:
			d := newDenseStage(st, set, 0, false)
			d.w, d.b = values[st.Weight], values[st.Bias]
			s.addDense(d, set)
		}
	}
	shape := prog.Images.Shape()
	s.height, s.width = shape[2], shape[3]
	s.background()
	for b := range s.pixels {
		s.pixels[b] = prog.Scale*float32(b) + prog.Offset
	}
	last := s.denses[len(s.denses)-1]
	s.logits = last.out[:last.O]
	if out := p.Stages[len(p.Stages)-1]; out.Codes != nil {
		s.codes, s.logits = out.Codes, make([]float32, out.Codes.Classes)
	}
	s.probabilities = make([]float32, len(s.logits))
	for node, v := range map[*gorgonia.Node][]float32{prog.Logits: s.logits, prog.Probabilities: s.probabilities} {
		if err := gorgonia.UnsafeLet(node, tensor.New(tensor.WithShape(1, len(v)), tensor.WithBacking(v))); err != nil {
			return nil, fmt.Errorf("cpu: binding %v: %w", node, err)
		}
	}
	return s, nil
}

func newSingleConv(c *convStage, set *kernel.Set) *singleConv {
	s := &singleConv{convStage: c, mp: roundUp(c.M, 16), stride: c.wp + 16}
	// 16 planes can be written at once, whether they are used or not.
	s.in = make([]float32, roundUp(c.C, 16)*c.hp*s.stride)
	s.weights = make([]float32, c.C*c.K*c.K*s.mp)
	s.bias = make([]float32, s.mp)
	// A square of 16 x 16 is turned from any row: there must be 16 pixels.
	s.a = make([]float32, (c.oh*c.ow+16)*s.mp)
	s.out = s.a
	if c.pool != "" {
		s.out = make([]float32, (c.ph*c.pw+16)*s.mp)
	}
	s.tiling = set.Tile(c.ow, s.mp/16, true)
	return s
}

// lead puts columns into the lanes if that is less work and next can take it:
// what is written beyond its rows must fall into their slack.
func (c *singleConv) lead(next *singleConv, set *kernel.Set) {
	across := (c.ow + 15) / 16
	if next.pad != 0 || c.pool == "" || c.pool == plan.Trainable || c.M*across >= c.ow*c.mp/16 || 16*across+c.K-1 > c.stride || 8*across > next.stride {
		return
	}
	c.next, c.across = next, across
	c.a = make([]float32, c.M*c.oh*across*16)
	c.tiling = set.Tile(c.M, across, false)
}

// runAcross is run with columns in the lanes.
func (c *singleConv) runAcross(w *worker, set *kernel.Set) {
	k, width := &w.correlation, 16*c.across
	*k = kernel.Correlation{
		W: kernel.At(c.packed, 0), Bias: kernel.At(c.b, 0), Channels: c.C, Rows: c.K, Cols: c.K,
		XTap: 4, XRow: 4 * c.stride, XChan: 4 * c.stride * c.hp,
		WTap: 4 * c.M, WRow: 4 * c.M * c.K, WChan: 4 * c.M * c.K * c.K, OutStride: 4 * c.oh * width, Mode: kernel.FromBias,
	}
	for y := range c.oh {
		k.X, k.Out = kernel.At(c.in, y*c.stride), kernel.At(c.a, y*width)
		c.tiling.Run(k)
	}
	c.pre.forward(w, kernel.At(c.a, 0), kernel.At(c.a, 0), len(c.a)/16)
	pool := set.AvgRow
	if c.pool == op.Max {
		pool = set.MaxRow
	}
	in, stride := c.next.in, c.next.stride
	for m := range c.M {
		for y := range c.ph {
			w.pooling = kernel.Pooling{X: kernel.At(c.a, (m*c.oh+2*y)*width), Y: kernel.At(in, (m*c.ph+y)*stride), N: c.across, XRow: 4 * width}
			pool(&w.pooling)
		}
	}
	if c.post.some { // the slack of the rows too
		c.post.forward(w, kernel.At(in, 0), kernel.At(in, 0), c.M*c.ph*stride/16)
		for i := c.M * c.ph * stride &^ 15; i < c.M*c.ph*stride; i++ {
			in[i] = c.post.f.Eval(in[i])
		}
	}
}

// addDense lays out a dense layer behind the stages so far.
func (s *Single) addDense(d *denseStage, set *kernel.Set) {
	sd := &singleDense{denseStage: d, out: make([]float32, d.op), bias: make([]float32, d.op)}
	switch {
	case len(s.denses) > 0:
		sd.in = s.denses[len(s.denses)-1].out
		for i := range d.I {
			sd.source = append(sd.source, i)
		}
	case len(s.convs) > 0:
		c := s.convs[len(s.convs)-1]
		sd.in = c.out
		for pixel := range c.ph * c.pw { // (row, column, channel) for (channel, row, column)
			for m := range c.mp {
				if m < c.M {
					sd.source = append(sd.source, m*c.ph*c.pw+pixel)
				} else {
					sd.source = append(sd.source, -1)
				}
			}
		}
	default:
		sd.in = make([]float32, d.I)
		for i := range d.I {
			sd.source = append(sd.source, i)
		}
	}
	sd.inputs = len(sd.source)
	sd.weights = make([]float32, sd.inputs*d.op)
	sd.tiling = set.Tile(1, d.op/16, true)
	s.denses = append(s.denses, sd)
}

// Load sets the image.
func (s *Single) Load(b engine.Batch) error {
	if err := b.Check(s.limits); err != nil {
		return err
	}
	size := s.limits.ImageSize
	image := b.Images[b.Row(0)*size:][:size]
	s.loaded = true
	in, height, width, inner := s.denses[0].in, s.height, s.width, s.prog.Padding
	if len(s.convs) > 0 {
		c := s.convs[0]
		in, height, width, inner = c.in, c.hp, c.stride, inner+c.pad
	}
	h, w := s.height-2*s.prog.Padding, s.width-2*s.prog.Padding
	for at := 0; len(image) > 0; at++ {
		row := in[(at/h*height+at%h+inner)*width+inner:][:w]
		for x, v := range image[:w] {
			row[x] = s.pixels[v]
		}
		image = image[w:]
	}
	return nil
}

// background fills the padding of the image, which is not that of the
// convolution.
func (s *Single) background() {
	if s.prog.Padding == 0 {
		return
	}
	if len(s.convs) == 0 {
		in := s.denses[0].in
		for i := range in {
			in[i] = s.prog.Offset
		}
		return
	}
	c := s.convs[0]
	for ch := range c.C {
		for y := range c.H {
			row := c.in[(ch*c.hp+y+c.pad)*c.stride+c.pad:][:c.W]
			for x := range row {
				row[x] = s.prog.Offset
			}
		}
	}
}

// RunAll predicts.
func (s *Single) RunAll() error {
	if !s.loaded {
		return fmt.Errorf("cpu: nothing was loaded")
	}
	s.refresh()
	for i, c := range s.convs {
		if c.next != nil {
			c.runAcross(&s.worker, s.set)
			continue
		}
		c.run(&s.worker, s.set)
		if i+1 < len(s.convs) {
			s.planes(c, s.convs[i+1])
		}
	}
	for _, d := range s.denses {
		s.worker.correlation = kernel.Correlation{
			X: kernel.At(d.weights, 0), W: kernel.At(d.in, 0), Bias: kernel.At(d.bias, 0), Out: kernel.At(d.out, 0),
			Channels: 1, Rows: 1, Cols: d.inputs, XTap: 4 * d.op, WTap: 4, Mode: kernel.FromVectorBias,
		}
		d.tiling.Run(&s.worker.correlation)
		d.act.forward(&s.worker, kernel.At(d.out, 0), kernel.At(d.out, 0), d.op/16)
	}
	if s.codes != nil {
		x := s.denses[len(s.denses)-1].out
		for k := range s.logits {
			var total float32
			for i, c := range s.codes.Values[k*s.codes.Width:][:s.codes.Width] {
				d := x[i] - float32(c)
				total -= d * d
			}
			s.logits[k] = total
		}
	}
	_, sum := exponentials(s.probabilities, s.logits, s.logits[op.ArgMax(s.logits)])
	for i := range s.probabilities {
		s.probabilities[i] /= sum
	}
	return nil
}

// run computes a convolution with its activation and pooling.
func (c *singleConv) run(w *worker, set *kernel.Set) {
	k := &w.correlation
	*k = kernel.Correlation{
		X: kernel.At(c.weights, 0), Bias: kernel.At(c.bias, 0), Channels: c.C, Rows: c.K, Cols: c.K,
		XTap: 4 * c.mp, XRow: 4 * c.mp * c.K, XChan: 4 * c.mp * c.K * c.K,
		WTap: 4, WRow: 4 * c.stride, WChan: 4 * c.stride * c.hp, OutStride: 4 * c.mp, Mode: kernel.FromVectorBias,
	}
	for y := range c.oh {
		k.W, k.Out = kernel.At(c.in, y*c.stride), kernel.At(c.a, y*c.ow*c.mp)
		c.tiling.Run(k)
	}
	vectors := c.mp / 16
	c.pre.forward(w, kernel.At(c.a, 0), kernel.At(c.a, 0), c.oh*c.ow*vectors)
	if c.pool == "" {
		return
	}
	if vectors == 1 {
		for y := range c.ph {
			w.pooling = kernel.Pooling{X: kernel.At(c.a, 2*y*c.ow*c.mp), Y: kernel.At(c.out, y*c.pw*c.mp), N: c.pw, XRow: 4 * c.ow * c.mp}
			if c.pool == op.Max {
				set.MaxPool(&w.pooling)
			} else {
				set.AvgPool(&w.pooling)
			}
		}
	} else {
		c.poolWide()
	}
	if c.pool == plan.Trainable {
		for i := range c.ph * c.pw {
			pixel := c.out[i*c.mp:][:c.M]
			for m := range pixel {
				pixel[m] = 4*c.poolW[m]*pixel[m] + c.poolB[m]
			}
		}
	}
	c.post.forward(w, kernel.At(c.out, 0), kernel.At(c.out, 0), c.ph*c.pw*vectors)
}

// poolWide pools pixels of more than one vector.
func (c *singleConv) poolWide() {
	for y := range c.ph {
		for x := range c.pw {
			s, t := c.a[(2*y*c.ow+2*x)*c.mp:], c.a[((2*y+1)*c.ow+2*x)*c.mp:]
			for m, o := range c.out[(y*c.pw+x)*c.mp:][:c.mp] {
				if c.pool == op.Max {
					o = max(s[m], s[c.mp+m], t[m], t[c.mp+m])
				} else {
					o = ((s[m] + s[c.mp+m]) + (t[m] + t[c.mp+m])) * 0.25
				}
				c.out[(y*c.pw+x)*c.mp+m] = o
			}
		}
	}
}

// planes turns the pixels that c puts out into the planes that next takes.
func (s *Single) planes(c, next *singleConv) {
	if next.pad == 0 && c.mp == 16 && c.pw <= 16 {
		for y := range c.ph {
			// What is turned beyond the row falls into its slack.
			s.worker.transposition = kernel.Transposition{
				Dst: kernel.At(next.in, y*next.stride), Src: kernel.At(c.out, y*c.pw*16), N: 1,
				SrcStride: block, DstStride: 4 * next.stride * next.hp,
			}
			s.set.Transpose(&s.worker.transposition)
		}
		return
	}
	for ch := range next.C {
		for y := range c.ph {
			row := next.in[(ch*next.hp+y+next.pad)*next.stride+next.pad:][:c.pw]
			for x := range row {
				row[x] = c.out[(y*c.pw+x)*c.mp+ch]
			}
		}
	}
}

// refresh rearranges the parameters if they have changed since that was done.
func (s *Single) refresh() {
	stale := false
	for i, v := range s.params {
		if f := fingerprint(&s.worker, s.set, v); f != s.prints[i] {
			s.prints[i], stale = f, true
		}
	}
	if !stale {
		return
	}
	for _, c := range s.convs {
		n := c.C * c.K * c.K
		c.pack()
		for m := range c.M {
			c.bias[m] = c.b[m]
			for i, v := range c.w[m*n:][:n] {
				c.weights[i*c.mp+m] = v
			}
		}
	}
	for _, d := range s.denses {
		copy(d.bias, d.b)
		for i, source := range d.source {
			if source < 0 {
				continue
			}
			for o := range d.O {
				d.weights[i*d.op+o] = d.w[o*d.I+source]
			}
		}
	}
}

// Loss is not computed.
func (s *Single) Loss() (float32, int) { return 0, 0 }

// Probabilities returns those of the image.
func (s *Single) Probabilities() []float32 { return s.probabilities }

// Gradients is empty: there is no backward pass.
func (s *Single) Gradients() []gorgonia.ValueGrad { return nil }

// Descend does nothing: there are no gradients.
func (s *Single) Descend(engine.Rule) {}

// State is empty.
func (s *Single) State() [][]float32 { return nil }

// SetState accepts none.
func (s *Single) SetState(vectors [][]float32) error { return engine.CheckState(vectors, 0) }

// Reset forgets the image.
func (s *Single) Reset() { s.loaded = false }

// Close does nothing: there is nothing to free.
func (s *Single) Close() error { return nil }

// Describe returns "avx512, 1 thread".
func (s *Single) Describe() string { return describe(s.set, 1) }
