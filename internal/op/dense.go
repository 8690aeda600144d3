package op

import (
	"fmt"
	"hash"

	"github.com/chewxy/hm"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// Dense is a fully connected layer: x (N, I), w (O, I), b (O) to
// y (N, O) = x wT + b.
type Dense struct {
	pure
	// FirstLayer says that x is data: no gradient flows to it.
	FirstLayer bool
}

func (d Dense) String() string        { return fmt.Sprintf("Dense{first=%t}", d.FirstLayer) }
func (d Dense) WriteHash(h hash.Hash) { writeHash(h, d) }
func (d Dense) Hashcode() uint32      { return hashcode(d) }
func (d Dense) Arity() int            { return 3 }
func (d Dense) Type() hm.Type         { return hm.NewFnType(f32(2), f32(2), f32(1), f32(2)) }

// InferShape returns (N, O).
func (d Dense) InferShape(ds ...gorgonia.DimSizer) (tensor.Shape, error) {
	s, err := shapes(d, ds, 2, 2, 1)
	if err != nil {
		return nil, err
	}
	return d.outShape(s[0], s[1], s[2])
}

func (d Dense) outShape(x, w, b tensor.Shape) (tensor.Shape, error) {
	if x[1] != w[1] || b[0] != w[0] {
		return nil, fmt.Errorf("op: %v: shapes do not fit: x %v, w %v, b %v", d, x, w, b)
	}
	return tensor.Shape{x[0], w[0]}, nil
}

// Do computes y.
func (d Dense) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	x, xs, err := floats(d, in, 0, 2)
	if err != nil {
		return nil, err
	}
	w, ws, err := floats(d, in, 1, 2)
	if err != nil {
		return nil, err
	}
	b, bs, err := floats(d, in, 2, 1)
	if err != nil {
		return nil, err
	}
	ys, err := d.outShape(xs, ws, bs)
	if err != nil {
		return nil, err
	}
	I, O := ws[1], ws[0]
	y := make([]float32, ys.TotalSize())
	parallel(xs[0], func(n int) {
		for o := range O {
			y[n*O+o] = b[o] + dot(w[o*I:][:I], x[n*I:][:I])
		}
	})
	return newDense(y, ys...), nil
}

// DiffWRT is true for the parameters, and for x unless this is the first layer.
func (d Dense) DiffWRT(int) []bool { return []bool{!d.FirstLayer, true, true} }

// SymDiff returns the DenseGrad nodes.
func (d Dense) SymDiff(in gorgonia.Nodes, _, grad *gorgonia.Node) (gorgonia.Nodes, error) {
	return layerGrads(d.FirstLayer, func(wrt Operand) gorgonia.Op { return DenseGrad{Dense: d, WRT: wrt} }, in, grad)
}

// DenseGrad is a derivative of a [Dense]: from x, w and dy, the gradient with
// respect to x (N, I), w (O, I) or b (O), as WRT says.
type DenseGrad struct {
	Dense Dense
	pure
	WRT Operand
}

func (g DenseGrad) String() string        { return fmt.Sprintf("%vGrad{%v}", g.Dense, g.WRT) }
func (g DenseGrad) WriteHash(h hash.Hash) { writeHash(h, g) }
func (g DenseGrad) Hashcode() uint32      { return hashcode(g) }
func (g DenseGrad) Arity() int            { return 3 }
func (g DenseGrad) Type() hm.Type {
	out := f32(2)
	if g.WRT == Bias {
		out = f32(1)
	}
	return hm.NewFnType(f32(2), f32(2), f32(2), out)
}

// InferShape returns the shape of the operand.
func (g DenseGrad) InferShape(ds ...gorgonia.DimSizer) (tensor.Shape, error) {
	s, err := shapes(g, ds, 2, 2, 2)
	if err != nil {
		return nil, err
	}
	return g.outShape(s[0], s[1], s[2])
}

func (g DenseGrad) outShape(x, w, dy tensor.Shape) (tensor.Shape, error) {
	if x[1] != w[1] || dy[0] != x[0] || dy[1] != w[0] {
		return nil, fmt.Errorf("op: %v: shapes do not fit: x %v, w %v, dy %v", g, x, w, dy)
	}
	switch g.WRT {
	case Input:
		return x.Clone(), nil
	case Weight:
		return w.Clone(), nil
	default:
		return tensor.Shape{w[0]}, nil
	}
}

// Do computes the gradient.
func (g DenseGrad) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	x, xs, err := floats(g, in, 0, 2)
	if err != nil {
		return nil, err
	}
	w, ws, err := floats(g, in, 1, 2)
	if err != nil {
		return nil, err
	}
	dy, ys, err := floats(g, in, 2, 2)
	if err != nil {
		return nil, err
	}
	shape, err := g.outShape(xs, ws, ys)
	if err != nil {
		return nil, err
	}
	N, I, O := xs[0], ws[1], ws[0]
	out := make([]float32, shape.TotalSize())
	switch g.WRT {
	case Input:
		parallel(N, func(n int) {
			for o := range O {
				axpy(dy[n*O+o], w[o*I:][:I], out[n*I:][:I])
			}
		})
	case Weight:
		parallel(O, func(o int) {
			for n := range N {
				axpy(dy[n*O+o], x[n*I:][:I], out[o*I:][:I])
			}
		})
	case Bias:
		for n := range N {
			axpy(1, dy[n*O:][:O], out)
		}
	}
	return newDense(out, shape...), nil
}

// DiffWRT is false throughout.
func (g DenseGrad) DiffWRT(inputs int) []bool { return nothing(inputs) }

// SymDiff fails: second derivatives are not provided.
func (g DenseGrad) SymDiff(gorgonia.Nodes, *gorgonia.Node, *gorgonia.Node) (gorgonia.Nodes, error) {
	return nil, errNotDifferentiable(g)
}
