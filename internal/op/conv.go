package op

import (
	"fmt"
	"hash"

	"github.com/chewxy/hm"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// Conv is a two-dimensional cross-correlation of stride 1 with zero padding
// and bias: x (N, C, H, W), w (M, C, K, K), b (M) to y (N, M, H', W') with
// H' = H + 2 Padding - K + 1, and
//
//	y[n,m,i,j] = b[m] + sum over c, p, q of w[m,c,p,q] x[n,c,i+p-Padding,j+q-Padding].
type Conv struct {
	pure
	Padding int
	// FirstLayer says that x is data: no gradient flows to it.
	FirstLayer bool
	// Table, if not nil, says which input channels each output channel sees.
	// The weights of the other kernels are taken as they are, which should be
	// zero; their gradient is zero, so that they stay so.
	Table *Table
}

// A Table connects input channels (columns) to output channels (rows), as
// Table I of LeCun et al. 1998 does for layer C3.
type Table struct {
	Rows []string // 'X' for a connection, anything else for none
}

// Connected reports whether output channel m sees input channel c.
func (t *Table) Connected(m, c int) bool { return t == nil || t.Rows[m][c] == 'X' }

// fits reports whether the table is one for m output and c input channels.
func (t *Table) fits(m, c int) bool {
	if t == nil {
		return true
	}
	for _, row := range t.Rows {
		if len(row) != c {
			return false
		}
	}
	return len(t.Rows) == m
}

func (c Conv) String() string {
	if c.Table != nil {
		return fmt.Sprintf("Conv{padding=%d, first=%t, table=%v}", c.Padding, c.FirstLayer, c.Table.Rows)
	}
	return fmt.Sprintf("Conv{padding=%d, first=%t}", c.Padding, c.FirstLayer)
}
func (c Conv) WriteHash(h hash.Hash) { writeHash(h, c) }
func (c Conv) Hashcode() uint32      { return hashcode(c) }
func (c Conv) Arity() int            { return 3 }
func (c Conv) Type() hm.Type         { return hm.NewFnType(f32(4), f32(4), f32(1), f32(4)) }

// InferShape returns (N, M, H', W').
func (c Conv) InferShape(ds ...gorgonia.DimSizer) (tensor.Shape, error) {
	s, err := shapes(c, ds, 4, 4, 1)
	if err != nil {
		return nil, err
	}
	return c.outShape(s[0], s[1], s[2])
}

func (c Conv) outShape(x, w, b tensor.Shape) (tensor.Shape, error) {
	oh, ow := x[2]+2*c.Padding-w[2]+1, x[3]+2*c.Padding-w[3]+1
	switch {
	case w[2] != w[3]:
		return nil, fmt.Errorf("op: %v: the kernel must be square, found %dx%d", c, w[2], w[3])
	case w[1] != x[1]:
		return nil, fmt.Errorf("op: %v: weights for %d channels, input of %d", c, w[1], x[1])
	case !c.Table.fits(w[0], w[1]):
		return nil, fmt.Errorf("op: %v: the table does not fit weights of shape %v", c, w)
	case b[0] != w[0]:
		return nil, fmt.Errorf("op: %v: %d biases for %d output channels", c, b[0], w[0])
	case oh < 1 || ow < 1:
		return nil, fmt.Errorf("op: %v: a %dx%d kernel does not fit an input of %dx%d", c, w[2], w[3], x[2], x[3])
	}
	return tensor.Shape{x[0], w[0], oh, ow}, nil
}

// Do computes y.
func (c Conv) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	x, xs, err := floats(c, in, 0, 4)
	if err != nil {
		return nil, err
	}
	w, ws, err := floats(c, in, 1, 4)
	if err != nil {
		return nil, err
	}
	b, bs, err := floats(c, in, 2, 1)
	if err != nil {
		return nil, err
	}
	ys, err := c.outShape(xs, ws, bs)
	if err != nil {
		return nil, err
	}
	d := convDims{ys[0], xs[1], xs[2], xs[3], ys[1], ys[2], ys[3], ws[2], c.Padding}
	y := make([]float32, ys.TotalSize())
	parallel(d.N, func(n int) {
		for m := range d.M {
			out := y[(n*d.M+m)*d.OH*d.OW:][:d.OH*d.OW]
			for i := range out {
				out[i] = b[m]
			}
			d.taps(n, m, func(xi, yi, cols, wi int) {
				axpy(w[wi], x[xi:xi+cols], y[yi:yi+cols])
			})
		}
	})
	return newDense(y, ys...), nil
}

// DiffWRT is true for the parameters, and for x unless this is the first layer.
func (c Conv) DiffWRT(int) []bool { return []bool{!c.FirstLayer, true, true} }

// SymDiff returns the ConvGrad nodes.
func (c Conv) SymDiff(in gorgonia.Nodes, _, grad *gorgonia.Node) (gorgonia.Nodes, error) {
	return layerGrads(c.FirstLayer, func(wrt Operand) gorgonia.Op { return ConvGrad{Conv: c, WRT: wrt} }, in, grad)
}

// layerGrads applies the three derivatives of a layer with inputs x, w, b to
// (x, w, dy); the one for x is nil if first says that x is data.
func layerGrads(first bool, derivative func(Operand) gorgonia.Op, in gorgonia.Nodes, grad *gorgonia.Node) (gorgonia.Nodes, error) {
	out := make(gorgonia.Nodes, 3)
	for i, wrt := range []Operand{Input, Weight, Bias} {
		if wrt == Input && first {
			continue
		}
		n, err := gorgonia.ApplyOp(derivative(wrt), in[0], in[1], grad)
		if err != nil {
			return nil, err
		}
		out[i] = n
	}
	return out, nil
}

// ConvGrad is a derivative of a [Conv]: from x, w and dy, the gradient with
// respect to x (N, C, H, W), w (M, C, K, K) or b (M), as WRT says. The
// gradients of the parameters are sums over the batch.
type ConvGrad struct {
	Conv Conv
	pure
	WRT Operand
}

func (g ConvGrad) String() string        { return fmt.Sprintf("%vGrad{%v}", g.Conv, g.WRT) }
func (g ConvGrad) WriteHash(h hash.Hash) { writeHash(h, g) }
func (g ConvGrad) Hashcode() uint32      { return hashcode(g) }
func (g ConvGrad) Arity() int            { return 3 }
func (g ConvGrad) Type() hm.Type {
	out := f32(4)
	if g.WRT == Bias {
		out = f32(1)
	}
	return hm.NewFnType(f32(4), f32(4), f32(4), out)
}

// InferShape returns the shape of the operand.
func (g ConvGrad) InferShape(ds ...gorgonia.DimSizer) (tensor.Shape, error) {
	s, err := shapes(g, ds, 4, 4, 4)
	if err != nil {
		return nil, err
	}
	return g.outShape(s[0], s[1], s[2])
}

func (g ConvGrad) outShape(x, w, dy tensor.Shape) (tensor.Shape, error) {
	ys, err := g.Conv.outShape(x, w, tensor.Shape{w[0]})
	if err != nil {
		return nil, err
	}
	if !ys.Eq(dy) {
		return nil, fmt.Errorf("op: %v: want dy of shape %v, found %v", g, ys, dy)
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
func (g ConvGrad) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	x, xs, err := floats(g, in, 0, 4)
	if err != nil {
		return nil, err
	}
	w, ws, err := floats(g, in, 1, 4)
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
	d := convDims{ys[0], xs[1], xs[2], xs[3], ys[1], ys[2], ys[3], ws[2], g.Conv.Padding}
	out := make([]float32, shape.TotalSize())
	switch g.WRT {
	case Input:
		parallel(d.N, func(n int) {
			for m := range d.M {
				d.taps(n, m, func(xi, yi, cols, wi int) {
					axpy(w[wi], dy[yi:yi+cols], out[xi:xi+cols])
				})
			}
		})
	case Weight:
		parallel(d.M, func(m int) {
			for n := range d.N {
				d.taps(n, m, func(xi, yi, cols, wi int) {
					out[wi] += dot(dy[yi:yi+cols], x[xi:xi+cols])
				})
			}
			for ch := range d.C {
				if !g.Conv.Table.Connected(m, ch) {
					clear(out[(m*d.C+ch)*d.K*d.K:][:d.K*d.K])
				}
			}
		})
	case Bias:
		parallel(d.M, func(m int) {
			for n := range d.N {
				out[m] += sum(dy[(n*d.M+m)*d.OH*d.OW:][:d.OH*d.OW])
			}
		})
	}
	return newDense(out, shape...), nil
}

// DiffWRT is false throughout.
func (g ConvGrad) DiffWRT(inputs int) []bool { return nothing(inputs) }

// SymDiff fails: second derivatives are not provided.
func (g ConvGrad) SymDiff(gorgonia.Nodes, *gorgonia.Node, *gorgonia.Node) (gorgonia.Nodes, error) {
	return nil, errNotDifferentiable(g)
}

// convDims are the sizes of a convolution.
type convDims struct {
	N, C, H, W, M, OH, OW, K, P int
}

// taps visits, for image n and output channel m, every row segment that a
// weight couples: cols columns of x from offset xi and of y from offset yi,
// by the weight at offset wi. Taps that see only padding are skipped.
func (d convDims) taps(n, m int, f func(xi, yi, cols, wi int)) {
	for c := range d.C {
		for p := range d.K {
			for q := range d.K {
				wi := ((m*d.C+c)*d.K+p)*d.K + q
				lo, hi := max(0, d.P-q), min(d.OW, d.W+d.P-q)
				if hi <= lo {
					continue
				}
				for i := max(0, d.P-p); i < min(d.OH, d.H+d.P-p); i++ {
					xi := ((n*d.C+c)*d.H+i+p-d.P)*d.W + lo + q - d.P
					yi := ((n*d.M+m)*d.OH+i)*d.OW + lo
					f(xi, yi, hi-lo, wi)
				}
			}
		}
	}
}

// axpy adds a*x to y.
func axpy(a float32, x, y []float32) {
	y = y[:len(x)]
	for i, v := range x {
		y[i] += a * v
	}
}

// dot is the inner product, in four partial sums.
func dot(x, y []float32) float32 {
	y = y[:len(x)]
	var s0, s1, s2, s3 float32
	for len(x) >= 4 && len(y) >= 4 {
		s0 += x[0] * y[0]
		s1 += x[1] * y[1]
		s2 += x[2] * y[2]
		s3 += x[3] * y[3]
		x, y = x[4:], y[4:]
	}
	for i, v := range x {
		s0 += v * y[i]
	}
	return (s0 + s1) + (s2 + s3)
}

// sum adds up x.
func sum(x []float32) float32 {
	var s float32
	for _, v := range x {
		s += v
	}
	return s
}
