package cpu

import (
	"unsafe"

	"example.com/lenet5/internal/kernel"
	"example.com/lenet5/internal/op"
)

// activation is a function with the parameters of its kernels.
type activation struct {
	f            op.Function
	some         bool
	polynomial   bool // the slope is a polynomial in the value: deriv
	run, slope   func(*kernel.Elements)
	value, deriv [3]float32
}

// newActivation chooses the kernels. The sigmoid family is one kernel: tanh x
// is 2 sigmoid(2x) - 1.
func newActivation(set *kernel.Set, f op.Function) activation {
	const a, s = op.ScaledTanhAmplitude, op.ScaledTanhSlope
	switch f {
	case op.ReLU:
		return activation{f: f, some: true, run: set.ReLU, slope: set.ReLUSlope}
	case op.Sigmoid:
		return activation{f, true, true, set.Sigmoid, set.Slope, [3]float32{1, 1, 0}, [3]float32{0, 1, -1}}
	case op.Tanh:
		return activation{f, true, true, set.Sigmoid, set.Slope, [3]float32{2, 2, -1}, [3]float32{1, 0, -1}}
	case op.ScaledTanh:
		return activation{f, true, true, set.Sigmoid, set.Slope, [3]float32{2 * a, 2 * s, -a}, [3]float32{a * s, 0, -s / a}}
	}
	return activation{}
}

// forward computes n blocks of dst from src; without a function, dst must be
// src.
func (f *activation) forward(w *worker, dst, src unsafe.Pointer, n int) {
	if !f.some {
		return
	}
	w.elements = kernel.Elements{Dst: dst, Src: src, N: n, P: kernel.Param(f.value[0], f.value[1], f.value[2])}
	f.run(&w.elements)
}

// backward multiplies n blocks of d by the slope at y, and adds them to the
// lanes at sum.
func (f *activation) backward(w *worker, set *kernel.Set, d, y, sum unsafe.Pointer, n int) {
	if !f.some {
		w.elements = kernel.Elements{Src: d, Aux: sum, N: n}
		set.Sum(&w.elements)
		return
	}
	w.elements = kernel.Elements{Dst: d, Src: y, Aux: sum, N: n, P: kernel.Param(f.deriv[0], f.deriv[1], f.deriv[2])}
	f.slope(&w.elements)
}

// unpool goes back through average pooling and the function before it, for one
// row of windows, where there is no kernel for both. p.X is overwritten.
func (f *activation) unpool(w *worker, set *kernel.Set, p *kernel.Pooling, sum unsafe.Pointer) {
	n := 2 * p.N
	if cap(w.rows) < 2*n*kernel.Lanes {
		w.rows = make([]float32, 2*n*kernel.Lanes)
	}
	p.DX, p.DXRow = kernel.At(w.rows[:1], 0), n*block
	set.AvgUnpool(p)
	for r := range 2 {
		x := unsafe.Add(p.X, r*p.XRow)
		d := unsafe.Add(p.DX, r*p.DXRow)
		f.backward(w, set, d, x, sum, n)
		copy(unsafe.Slice((*float32)(x), n*kernel.Lanes), unsafe.Slice((*float32)(d), n*kernel.Lanes))
	}
}
