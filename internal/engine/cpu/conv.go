package cpu

import (
	"unsafe"

	"example.com/lenet5/internal/kernel"
	"example.com/lenet5/internal/op"
	"example.com/lenet5/internal/plan"
)

const block = kernel.Block

// A view is where the images of a block lie: (channel, row, column, lane),
// with the strides of channels and rows in bytes. Columns are side by side.
type view struct {
	p          unsafe.Pointer
	chan_, row int
}

func (v view) at(c, y int) unsafe.Pointer { return unsafe.Add(v.p, c*v.chan_+y*v.row) }

// viewOf makes a view of a buffer of h x w images that begins offset pixels in.
func viewOf(buf []float32, h, w, offset int) view {
	return view{kernel.At(buf, offset*kernel.Lanes), h * w * block, w * block}
}

// convStage is a convolution with its activation and pooling.
type convStage struct {
	C, H, W, M, K, pad int
	hp, wp             int        // the input with its padding
	oh, ow             int        // the output; if it is pooled, without an odd last row or column
	ph, pw             int        // the output of the stage
	pre, post          activation // before and after the pooling; without one, pre
	pool               op.Reduction
	gradX              bool
	w, b               []float32 // live
	gw, gb             []float32 // gradients
	// Of a trainable pooling, a number for each map: the mean of a window
	// times 4 pw, plus pb.
	poolW, poolB, gradPoolW, gradPoolB []float32
	table                              *op.Table
	packed                             []float32 // w as (C, K, K, M)
	tiling                             kernel.Tiling
	weights                            kernel.WeightGradient
	scatter                            kernel.RowGradient
	// shards holds a gradient for each shard: w, b, poolW and poolB, each in
	// whole blocks.
	shards    []float32
	shardSize int
}

func newConvStage(s *plan.Stage, set *kernel.Set, backward bool) (*convStage, error) {
	x, w, y := s.X.Shape(), s.Weight.Shape(), s.Y.Shape()
	c := &convStage{
		C: x[1], H: x[2], W: x[3], M: w[0], K: w[2], pad: s.Padding,
		hp: x[2] + 2*s.Padding, wp: x[3] + 2*s.Padding, oh: y[2], ow: y[3], gradX: s.GradX != nil,
	}
	for _, st := range s.Steps {
		switch {
		case st.Pool != "":
			c.pool = st.Pool
		case c.pool != "":
			c.post = newActivation(set, st.Activation)
		default:
			c.pre = newActivation(set, st.Activation)
		}
	}
	c.table = s.Table
	c.ph, c.pw = c.oh, c.ow
	if c.pool != "" {
		c.ph, c.pw = c.oh/2, c.ow/2
		c.oh, c.ow = 2*c.ph, 2*c.pw // what is not pooled need not be computed
	}
	c.tiling = set.Tile(c.M, c.ow, false)
	c.packed = make([]float32, c.M*c.C*c.K*c.K)
	if backward {
		c.weights = set.Weights(c.M, c.K)
		c.scatter = set.Scatter(c.ow, c.K, c.C)
		c.shardSize = roundUp(len(c.packed), 16) + 3*roundUp(c.M, 16)
		c.shards = make([]float32, maxShards*c.shardSize)
	}
	return c, nil
}

func roundUp(n, to int) int { return (n + to - 1) / to * to }

// pack rearranges the weights for the forward pass.
func (c *convStage) pack() {
	n := c.C * c.K * c.K
	for m := range c.M {
		for i, v := range c.w[m*n:][:n] {
			c.packed[i*c.M+m] = v
		}
	}
}

// convBuffers is what a worker needs for a stage.
type convBuffers struct {
	x       []float32 // the padded input; its border stays zero
	a       []float32 // the output of the convolution, activated; then its gradient
	q       []float32 // the pooled output as it is before what follows, where that is needed
	dx      []float32
	acc     []float32 // gradients of the weights, lane by lane
	accBias []float32 // (3, maps, lane): of b, poolW, poolB
	aView   view
	// out is where the output goes, dout where its gradient comes from.
	out, dout view
}

// buffers makes them. For the backward pass all rows of the convolution's
// output are kept, else those of one window.
func (c *convStage) buffers(backward bool) *convBuffers {
	b := &convBuffers{x: make([]float32, c.C*c.hp*c.wp*kernel.Lanes)}
	rows := c.oh
	if !backward {
		rows = 2
	}
	if c.pool != "" {
		b.a = make([]float32, c.M*rows*c.ow*kernel.Lanes)
		b.aView = viewOf(b.a, rows, c.ow, 0)
		if !backward {
			b.aView.row = c.ow * block
		}
	}
	if backward && (c.post.some && c.pool == op.Max || c.pool == plan.Trainable) {
		b.q = make([]float32, c.M*c.ph*c.pw*kernel.Lanes)
	}
	if !backward {
		return b
	}
	if c.gradX {
		b.dx = make([]float32, len(b.x))
	}
	b.acc = make([]float32, roundUp(len(c.packed), 16)*kernel.Lanes)
	b.accBias = make([]float32, 3*roundUp(c.M, 16)*kernel.Lanes)
	return b
}

// forward computes the stage for one block. keep is whether all rows are kept.
func (c *convStage) forward(w *worker, b *convBuffers, set *kernel.Set, keep bool) {
	step := 1
	if c.pool != "" {
		step = 2
	}
	k := &w.correlation
	*k = kernel.Correlation{
		W: kernel.At(c.packed, 0), Bias: kernel.At(c.b, 0), Channels: c.C, Rows: c.K, Cols: c.K,
		XTap: block, XRow: c.wp * block, XChan: c.hp * c.wp * block,
		WTap: 4 * c.M, WRow: 4 * c.M * c.K, WChan: 4 * c.M * c.K * c.K, Mode: kernel.FromBias,
	}
	for y := 0; y < c.oh; y += step {
		into, row := b.out, y
		if c.pool != "" {
			into = b.aView
			if !keep {
				row = 0
			}
		}
		k.OutStride = into.chan_
		for r := range step {
			k.X, k.Out = kernel.At(b.x, (y+r)*c.wp*kernel.Lanes), into.at(0, row+r)
			c.tiling.Run(k)
		}
		if c.pool == "" {
			for m := range c.M {
				c.pre.forward(w, into.at(m, row), into.at(m, row), c.ow)
			}
			continue
		}
		for m := range c.M {
			a, out := into.at(m, row), b.out.at(m, y/2)
			c.pre.forward(w, a, a, 2*c.ow)
			p := &w.pooling
			*p = kernel.Pooling{X: a, Y: out, N: c.pw, XRow: c.ow * block}
			if b.q != nil {
				p.Y = kernel.At(b.q, (m*c.ph+y/2)*c.pw*kernel.Lanes)
			}
			if c.pool == op.Max {
				set.MaxPool(p)
			} else {
				set.AvgPool(p)
			}
			pooled := p.Y
			if c.pool == plan.Trainable {
				w.elements = kernel.Elements{Dst: out, Src: pooled, N: c.pw, P: kernel.Param(4*c.poolW[m], c.poolB[m], 0)}
				set.Affine(&w.elements)
				pooled = out
			}
			c.post.forward(w, out, pooled, c.pw)
		}
	}
}

// backward computes the gradients of one block, those of the parameters being
// added to the worker's sums. The gradient of the convolution's output takes
// the place of that output. The rows are passed over from the last to the
// first, since the last are the ones that the forward pass left in the cache.
func (c *convStage) backward(w *worker, b *convBuffers, set *kernel.Set) {
	step, da := 1, b.dout
	if c.pool != "" {
		step, da = 2, b.aView
	}
	wg := &w.weights
	*wg = kernel.Weights{Rows: step, Cols: c.ow, DYChan: da.chan_, DYRow: da.row, XRow: c.wp * block, AccStride: c.C * c.K * c.K * block}
	for y := c.oh - step; y >= 0; y -= step {
		for m := range c.M {
			c.backwardRow(w, b, set, m, y)
		}
		if !c.gradX {
			c.addWeights(wg, b, da, y)
		}
	}
	if !c.gradX {
		return
	}
	wg.Rows = c.oh
	c.addWeights(wg, b, da, 0)
	s := &w.scatter
	*s = kernel.Scatter{Channels: c.M, DYChan: da.chan_, DYRow: -da.row, WChan: 4 * c.C * c.K * c.K, WRow: 4 * c.K, Mode: kernel.FromZero}
	s.WPlane, s.OutPlane = 4*c.K*c.K, c.hp*c.wp*block
	for y := range c.oh + c.K - 1 {
		lo, hi := max(0, y-c.oh+1), min(c.K-1, y)
		s.Rows = hi - lo + 1
		s.DY, s.W = da.at(0, y-lo), kernel.At(c.w, lo*c.K)
		s.Out = kernel.At(b.dx, y*c.wp*kernel.Lanes)
		c.scatter.Run(s)
	}
}

// backwardRow goes back through the activation and the pooling of channel m,
// for the rows from y on that make a row of the stage's output.
func (c *convStage) backwardRow(w *worker, b *convBuffers, set *kernel.Set, m, y int) {
	maps := roundUp(c.M, 16)
	sums := func(i int) unsafe.Pointer { return kernel.At(b.accBias, (i*maps+m)*kernel.Lanes) }
	bias := sums(0)
	if c.pool == "" {
		c.pre.backward(w, set, b.dout.at(m, y), b.out.at(m, y), bias, c.ow)
		return
	}
	d, out := b.dout.at(m, y/2), b.out.at(m, y/2)
	pooled := out
	if b.q != nil {
		pooled = kernel.At(b.q, (m*c.ph+y/2)*c.pw*kernel.Lanes)
	}
	switch {
	case c.pool == plan.Trainable:
		c.post.backward(w, set, d, out, sums(2), c.pw)
		w.elements = kernel.Elements{Dst: d, Src: pooled, Aux: sums(1), N: c.pw}
		set.Dot(&w.elements)
		w.elements = kernel.Elements{Dst: d, Src: d, N: c.pw, P: kernel.Param(4*c.poolW[m], 0, 0)}
		set.Affine(&w.elements)
	case c.post.some:
		c.post.backward(w, set, d, out, unsafe.Pointer(&w.unused), c.pw)
	}
	p := &w.pooling
	*p = kernel.Pooling{X: b.aView.at(m, y), Y: pooled, DX: b.aView.at(m, y), DY: d, N: c.pw, XRow: c.ow * block, DXRow: c.ow * block}
	if c.pool != op.Max && c.pre.some {
		// The slope differs within a window.
		if c.pre.polynomial {
			p.Aux, p.P = bias, kernel.Param(c.pre.deriv[0], c.pre.deriv[1], c.pre.deriv[2])
			set.AvgSlope(p)
		} else {
			c.pre.unpool(w, set, p, bias)
		}
		return
	}
	// The slope at a maximum is that at the pooled value; and the sum over a
	// window is what its pooled value gets.
	c.pre.backward(w, set, d, pooled, bias, c.pw)
	if c.pool == op.Max {
		set.MaxUnpool(p)
	} else {
		set.AvgUnpool(p)
	}
}

// addWeights adds the weight gradients of the rows of the output from y on.
func (c *convStage) addWeights(wg *kernel.Weights, b *convBuffers, da view, y int) {
	for ch := range c.C {
		for i := range c.K {
			wg.DY = da.at(0, y)
			wg.X = kernel.At(b.x, (ch*c.hp+y+i)*c.wp*kernel.Lanes)
			wg.Acc = kernel.At(b.acc, (ch*c.K+i)*c.K*kernel.Lanes)
			c.weights.Run(wg)
		}
	}
}

// finishShard moves the worker's sums into a shard.
func (c *convStage) finishShard(w *worker, b *convBuffers, set *kernel.Set, shard int) {
	out := c.shards[shard*c.shardSize:][:c.shardSize]
	clear(out)
	n := roundUp(len(c.packed), 16)
	e := &w.elements
	*e = kernel.Elements{Dst: kernel.At(out, 0), Src: kernel.At(b.acc, 0), N: len(c.packed)}
	set.LaneSums(e)
	*e = kernel.Elements{Dst: kernel.At(out, n), Src: kernel.At(b.accBias, 0), N: 3 * roundUp(c.M, 16)}
	set.LaneSums(e)
	clear(b.acc)
	clear(b.accBias)
}

// reduce adds up the shards, in their order.
func (c *convStage) reduce(w *worker, set *kernel.Set, shards int) {
	e := &w.elements
	for s := 1; s < shards; s++ {
		*e = kernel.Elements{Dst: kernel.At(c.shards, 0), Src: kernel.At(c.shards, s*c.shardSize), N: c.shardSize / kernel.Lanes, P: kernel.Param(-1, 1, 0)}
		set.Descend(e)
	}
	copy(c.gw, c.shards)
	if c.table != nil {
		area := c.K * c.K
		for m := range c.M {
			for ch := range c.C {
				if !c.table.Connected(m, ch) {
					clear(c.gw[(m*c.C+ch)*area:][:area])
				}
			}
		}
	}
	rest, maps := c.shards[roundUp(len(c.packed), 16):], roundUp(c.M, 16)
	copy(c.gb, rest)
	if c.pool != plan.Trainable {
		return
	}
	for m := range c.M {
		c.gradPoolW[m] = 4 * rest[maps+m] // the mean was kept, not the sum
	}
	copy(c.gradPoolB, rest[2*maps:])
}
