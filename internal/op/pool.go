package op

import (
	"fmt"
	"hash"

	"github.com/chewxy/hm"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// A Reduction says how a pooling window becomes one number.
type Reduction string

// The reductions that [Pool] knows.
const (
	Average Reduction = "average"
	Max     Reduction = "max" // the first of equal maxima, in row-major order, takes the gradient
)

// Pool reduces windows of 2x2 with stride 2: x (N, C, H, W) to
// (N, C, H/2, W/2), sizes rounded down, so that an odd last row or column is
// left out, as in Keras and PyTorch.
type Pool struct {
	pure
	R Reduction
}

func (p Pool) String() string        { return fmt.Sprintf("Pool{%v}", p.R) }
func (p Pool) WriteHash(h hash.Hash) { writeHash(h, p) }
func (p Pool) Hashcode() uint32      { return hashcode(p) }
func (p Pool) Arity() int            { return 1 }
func (p Pool) Type() hm.Type         { return hm.NewFnType(f32(4), f32(4)) }

// InferShape returns (N, C, H/2, W/2).
func (p Pool) InferShape(ds ...gorgonia.DimSizer) (tensor.Shape, error) {
	s, err := shapes(p, ds, 4)
	if err != nil {
		return nil, err
	}
	return p.outShape(s[0])
}

func (p Pool) outShape(x tensor.Shape) (tensor.Shape, error) {
	if p.R != Average && p.R != Max {
		return nil, fmt.Errorf("op: unknown pooling %q", string(p.R))
	}
	if x[2] < 2 || x[3] < 2 {
		return nil, fmt.Errorf("op: %v: a window of 2x2 does not fit an input of %dx%d", p, x[2], x[3])
	}
	return tensor.Shape{x[0], x[1], x[2] / 2, x[3] / 2}, nil
}

// Do computes the pooled images.
func (p Pool) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	x, xs, err := floats(p, in, 0, 4)
	if err != nil {
		return nil, err
	}
	ys, err := p.outShape(xs)
	if err != nil {
		return nil, err
	}
	y := make([]float32, ys.TotalSize())
	eachWindow(xs, func(yi int, xi [4]int) {
		if p.R == Max {
			y[yi] = x[xi[argmax(x, xi)]]
		} else {
			y[yi] = (x[xi[0]] + x[xi[1]] + x[xi[2]] + x[xi[3]]) / 4
		}
	})
	return newDense(y, ys...), nil
}

// DiffWRT is true.
func (p Pool) DiffWRT(int) []bool { return []bool{true} }

// SymDiff returns the PoolGrad of (x, dy).
func (p Pool) SymDiff(in gorgonia.Nodes, _, grad *gorgonia.Node) (gorgonia.Nodes, error) {
	dx, err := gorgonia.ApplyOp(PoolGrad{Pool: p}, in[0], grad)
	if err != nil {
		return nil, err
	}
	return gorgonia.Nodes{dx}, nil
}

// PoolGrad is the derivative of a [Pool]: from x and dy, dx.
type PoolGrad struct {
	Pool Pool
	pure
}

func (g PoolGrad) String() string        { return g.Pool.String() + "Grad" }
func (g PoolGrad) WriteHash(h hash.Hash) { writeHash(h, g) }
func (g PoolGrad) Hashcode() uint32      { return hashcode(g) }
func (g PoolGrad) Arity() int            { return 2 }
func (g PoolGrad) Type() hm.Type         { return hm.NewFnType(f32(4), f32(4), f32(4)) }

// InferShape returns the shape of x.
func (g PoolGrad) InferShape(ds ...gorgonia.DimSizer) (tensor.Shape, error) {
	s, err := shapes(g, ds, 4, 4)
	if err != nil {
		return nil, err
	}
	return s[0].Clone(), nil
}

// Do computes dx.
func (g PoolGrad) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	x, xs, err := floats(g, in, 0, 4)
	if err != nil {
		return nil, err
	}
	dy, dys, err := floats(g, in, 1, 4)
	if err != nil {
		return nil, err
	}
	ys, err := g.Pool.outShape(xs)
	if err != nil {
		return nil, err
	}
	if !ys.Eq(dys) {
		return nil, fmt.Errorf("op: %v: want dy of shape %v, found %v", g, ys, dys)
	}
	dx := make([]float32, len(x))
	eachWindow(xs, func(yi int, xi [4]int) {
		if g.Pool.R == Max {
			dx[xi[argmax(x, xi)]] = dy[yi]
			return
		}
		for _, i := range xi {
			dx[i] = dy[yi] / 4
		}
	})
	return newDense(dx, xs...), nil
}

// DiffWRT is false throughout.
func (g PoolGrad) DiffWRT(inputs int) []bool { return nothing(inputs) }

// SymDiff fails: second derivatives are not provided.
func (g PoolGrad) SymDiff(gorgonia.Nodes, *gorgonia.Node, *gorgonia.Node) (gorgonia.Nodes, error) {
	return nil, errNotDifferentiable(g)
}

// eachWindow visits the 2x2 windows of images of shape x (N, C, H, W), in
// parallel over N: the offset of the window's output, and of its four inputs
// in row-major order.
func eachWindow(x tensor.Shape, f func(yi int, xi [4]int)) {
	c, h, w := x[1], x[2], x[3]
	oh, ow := h/2, w/2
	parallel(x[0], func(n int) {
		for plane := n * c; plane < (n+1)*c; plane++ {
			for i := range oh {
				for j := range ow {
					o := (plane*h+2*i)*w + 2*j
					f((plane*oh+i)*ow+j, [4]int{o, o + 1, o + w, o + w + 1})
				}
			}
		}
	})
}

// argmax returns the first position of the largest of the four elements; a
// NaN counts as larger, so that it is not lost.
func argmax(x []float32, at [4]int) int {
	best := 0
	for k := 1; k < 4; k++ {
		if v := x[at[k]]; v > x[at[best]] || v != v {
			best = k
		}
	}
	return best
}
