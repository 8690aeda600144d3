package op

import (
	"fmt"
	"hash"

	"github.com/chewxy/hm"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// Subsample is the trainable pooling of LeCun et al. 1998, layers S2 and S4:
// the sum of each 2x2 window, with stride 2, times a coefficient, plus a bias,
// one pair per map. x (N, C, H, W), w (C), b (C) to (N, C, H/2, W/2), sizes
// rounded down.
type Subsample struct{ pure }

func (s Subsample) String() string        { return "Subsample" }
func (s Subsample) WriteHash(h hash.Hash) { writeHash(h, s) }
func (s Subsample) Hashcode() uint32      { return hashcode(s) }
func (s Subsample) Arity() int            { return 3 }
func (s Subsample) Type() hm.Type         { return hm.NewFnType(f32(4), f32(1), f32(1), f32(4)) }

// InferShape returns (N, C, H/2, W/2).
func (s Subsample) InferShape(ds ...gorgonia.DimSizer) (tensor.Shape, error) {
	in, err := shapes(s, ds, 4, 1, 1)
	if err != nil {
		return nil, err
	}
	return s.outShape(in[0], in[1], in[2])
}

func (s Subsample) outShape(x, w, b tensor.Shape) (tensor.Shape, error) {
	if w[0] != x[1] || b[0] != x[1] {
		return nil, fmt.Errorf("op: %v: %d coefficients and %d biases for %d maps", s, w[0], b[0], x[1])
	}
	return Pool{R: Average}.outShape(x)
}

// Do computes the output.
func (s Subsample) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	x, xs, err := floats(s, in, 0, 4)
	if err != nil {
		return nil, err
	}
	w, ws, err := floats(s, in, 1, 1)
	if err != nil {
		return nil, err
	}
	b, bs, err := floats(s, in, 2, 1)
	if err != nil {
		return nil, err
	}
	ys, err := s.outShape(xs, ws, bs)
	if err != nil {
		return nil, err
	}
	y := make([]float32, ys.TotalSize())
	area := ys[2] * ys[3]
	eachWindow(xs, func(yi int, xi [4]int) {
		c := yi / area % xs[1]
		y[yi] = b[c] + w[c]*(x[xi[0]]+x[xi[1]]+x[xi[2]]+x[xi[3]])
	})
	return newDense(y, ys...), nil
}

// DiffWRT is true throughout.
func (s Subsample) DiffWRT(int) []bool { return []bool{true, true, true} }

// SymDiff returns the SubsampleGrad nodes.
func (s Subsample) SymDiff(in gorgonia.Nodes, _, grad *gorgonia.Node) (gorgonia.Nodes, error) {
	return layerGrads(false, func(wrt Operand) gorgonia.Op { return SubsampleGrad{WRT: wrt} }, in, grad)
}

// SubsampleGrad is a derivative of [Subsample]: from x, w and dy, the gradient
// with respect to x (N, C, H, W), w (C) or b (C), as WRT says.
type SubsampleGrad struct {
	pure
	WRT Operand
}

func (g SubsampleGrad) String() string        { return fmt.Sprintf("SubsampleGrad{%v}", g.WRT) }
func (g SubsampleGrad) WriteHash(h hash.Hash) { writeHash(h, g) }
func (g SubsampleGrad) Hashcode() uint32      { return hashcode(g) }
func (g SubsampleGrad) Arity() int            { return 3 }
func (g SubsampleGrad) Type() hm.Type {
	out := f32(1)
	if g.WRT == Input {
		out = f32(4)
	}
	return hm.NewFnType(f32(4), f32(1), f32(4), out)
}

// InferShape returns the shape of the operand.
func (g SubsampleGrad) InferShape(ds ...gorgonia.DimSizer) (tensor.Shape, error) {
	in, err := shapes(g, ds, 4, 1, 4)
	if err != nil {
		return nil, err
	}
	return g.outShape(in[0], in[1], in[2])
}

func (g SubsampleGrad) outShape(x, w, dy tensor.Shape) (tensor.Shape, error) {
	ys, err := Subsample{}.outShape(x, w, w)
	if err != nil {
		return nil, err
	}
	if !ys.Eq(dy) {
		return nil, fmt.Errorf("op: %v: want dy of shape %v, found %v", g, ys, dy)
	}
	if g.WRT == Input {
		return x.Clone(), nil
	}
	return w.Clone(), nil
}

// Do computes the gradient.
func (g SubsampleGrad) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	x, xs, err := floats(g, in, 0, 4)
	if err != nil {
		return nil, err
	}
	w, ws, err := floats(g, in, 1, 1)
	if err != nil {
		return nil, err
	}
	dy, ys, err := floats(g, in, 2, 4)
	if err != nil {
		return nil, err
	}
	shape, err := g.outShape(xs, ws, ys)
	if err != nil {
		return nil, err
	}
	out := make([]float32, shape.TotalSize())
	maps, area := xs[1], ys[2]*ys[3]
	switch g.WRT {
	case Input:
		eachWindow(xs, func(yi int, xi [4]int) {
			for _, i := range xi {
				out[i] = w[yi/area%maps] * dy[yi]
			}
		})
	case Weight:
		// The sums over the windows, image by image, then over the images.
		part := make([]float32, xs[0]*maps)
		eachWindow(xs, func(yi int, xi [4]int) {
			part[yi/area] += dy[yi] * (x[xi[0]] + x[xi[1]] + x[xi[2]] + x[xi[3]])
		})
		for i, p := range part {
			out[i%maps] += p
		}
	case Bias:
		for n := range xs[0] * maps {
			out[n%maps] += sum(dy[n*area:][:area])
		}
	}
	return newDense(out, shape...), nil
}

// DiffWRT is false throughout.
func (g SubsampleGrad) DiffWRT(inputs int) []bool { return nothing(inputs) }

// SymDiff fails: second derivatives are not provided.
func (g SubsampleGrad) SymDiff(gorgonia.Nodes, *gorgonia.Node, *gorgonia.Node) (gorgonia.Nodes, error) {
	return nil, errNotDifferentiable(g)
}
