package cpu

import (
	"unsafe"

	"example.com/lenet5/internal/kernel"
	"example.com/lenet5/internal/plan"
)

// denseStage is a dense layer with its activation.
type denseStage struct {
	I, O   int
	ip, op int // rounded up to whole blocks
	act    activation
	gradX  bool
	w, b   []float32 // live
	gw, gb []float32 // gradients
	// turned is w as (I, O), for the forward pass.
	turned []float32
	// xs (rows, ip) and dys (rows, op) are the inputs and the gradients of the
	// outputs of the whole batch, an example a row: the weight gradient is
	// their product, which needs no sum over shards.
	xs, dys       []float32
	padded        []float32 // the product, (O, ip)
	paddedBias    []float32 // (op)
	fwd, back     kernel.Tiling
	product, sums kernel.Tiling
}

func newDenseStage(s *plan.Stage, set *kernel.Set, rows int, backward bool) *denseStage {
	w := s.Weight.Shape()
	inputs := w.TotalSize() / w[0] // a convolution that is dense has them in three dimensions
	d := &denseStage{I: inputs, O: w[0], ip: roundUp(inputs, 16), op: roundUp(w[0], 16), gradX: s.GradX != nil}
	for _, st := range s.Steps {
		d.act = newActivation(set, st.Activation)
	}
	d.turned = make([]float32, d.I*d.O)
	d.fwd = set.Tile(d.O, 1, false)
	if backward {
		d.back = set.Tile(d.I, 1, false)
		d.product = set.Tile(d.O, d.ip/16, true)
		d.sums = set.Tile(1, d.op/16, true)
		d.xs, d.dys = make([]float32, rows*d.ip), make([]float32, rows*d.op)
		d.padded, d.paddedBias = make([]float32, d.O*d.ip), make([]float32, d.op)
	}
	return d
}

// turn fills turned from up to 16 rows of w.
func (d *denseStage) turn(w *worker, set *kernel.Set, lo, hi int) {
	whole := d.I / 16
	if hi-lo < 16 {
		whole = 0
	}
	if whole > 0 {
		w.transposition = kernel.Transposition{
			Dst: kernel.At(d.turned, lo), Src: kernel.At(d.w, lo*d.I), N: whole,
			SrcStride: 4 * d.I, DstStride: 4 * d.O, SrcNext: block, DstNext: 16 * 4 * d.O,
		}
		set.Transpose(&w.transposition)
	}
	for i := 16 * whole; i < d.I; i++ {
		row := d.turned[i*d.O:][:d.O]
		for o := lo; o < hi; o++ {
			row[o] = d.w[o*d.I+i]
		}
	}
}

// denseBuffers is what a worker needs for a stage; the rows that fill the last
// block stay zero.
type denseBuffers struct {
	x, y, dx, dy []float32 // (ip, lane), (op, lane)
	sum          [kernel.Lanes]float32
}

// forward computes y of one block.
func (d *denseStage) forward(w *worker, b *denseBuffers) {
	w.correlation = kernel.Correlation{
		X: kernel.At(b.x, 0), W: kernel.At(d.turned, 0), Bias: kernel.At(d.b, 0), Out: kernel.At(b.y, 0),
		Channels: 1, Rows: 1, Cols: d.I, XTap: block, WTap: 4 * d.O, OutStride: block, Mode: kernel.FromBias,
	}
	d.fwd.Run(&w.correlation)
	d.act.forward(w, kernel.At(b.y, 0), kernel.At(b.y, 0), d.O)
}

// backward turns dy into the gradient before the activation, stores it and the
// inputs by examples from row on, and computes dx.
func (d *denseStage) backward(w *worker, b *denseBuffers, set *kernel.Set, row int) {
	if d.act.some {
		d.act.backward(w, set, kernel.At(b.dy, 0), kernel.At(b.y, 0), unsafe.Pointer(&b.sum), d.O)
	}
	t := &w.transposition
	*t = kernel.Transposition{Dst: kernel.At(d.xs, row*d.ip), Src: kernel.At(b.x, 0), N: d.ip / 16,
		SrcStride: block, DstStride: 4 * d.ip, SrcNext: 16 * block, DstNext: block}
	set.Transpose(t)
	*t = kernel.Transposition{Dst: kernel.At(d.dys, row*d.op), Src: kernel.At(b.dy, 0), N: d.op / 16,
		SrcStride: block, DstStride: 4 * d.op, SrcNext: 16 * block, DstNext: block}
	set.Transpose(t)
	if !d.gradX {
		return
	}
	w.correlation = kernel.Correlation{
		X: kernel.At(b.dy, 0), W: kernel.At(d.w, 0), Out: kernel.At(b.dx, 0),
		Channels: 1, Rows: 1, Cols: d.O, XTap: block, WTap: 4 * d.I, OutStride: block, Mode: kernel.FromZero,
	}
	d.back.Run(&w.correlation)
}

// one is the weight of a plain sum.
var one = [1]float32{1}

// gradient computes part of the gradients of the parameters, over the given
// number of rows: the sum over the batch has one order, whatever the threads.
func (d *denseStage) gradient(w *worker, rows, part, parts int) {
	k := &w.correlation
	*k = kernel.Correlation{
		X: kernel.At(d.xs, 0), W: kernel.At(d.dys, 0), Out: kernel.At(d.padded, 0),
		Channels: 1, Rows: 1, Cols: rows, XTap: 4 * d.ip, WTap: 4 * d.op, OutStride: 4 * d.ip, Mode: kernel.FromZero,
	}
	d.product.RunPart(k, part, parts)
	if part == 0 {
		*k = kernel.Correlation{
			X: kernel.At(d.dys, 0), W: unsafe.Pointer(&one), Out: kernel.At(d.paddedBias, 0),
			Channels: 1, Rows: 1, Cols: rows, XTap: 4 * d.op, OutStride: 4 * d.op, Mode: kernel.FromZero,
		}
		d.sums.Run(k)
		copy(d.gb, d.paddedBias)
	}
}

// unpad moves the product to the gradient.
func (d *denseStage) unpad() {
	if d.ip == d.I {
		return // it was computed there
	}
	for o := range d.O {
		copy(d.gw[o*d.I:][:d.I], d.padded[o*d.ip:])
	}
}
