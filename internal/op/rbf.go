package op

import (
	"fmt"
	"hash"
	"hash/fnv"

	"github.com/chewxy/hm"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// RBF is the output layer of LeCun et al. 1998: Euclidean radial basis
// functions around fixed codes. Its outputs are the negated penalties,
//
//	y[n,k] = -sum over i of (x[n,i] - codes[k][i])^2,
//
// so that, as with logits, the largest one names the class and their softmax
// is its probability. x (N, I) to y (N, K).
type RBF struct {
	pure
	// Codes are the K centres, each of I values of +1 or -1.
	Codes *Codes
}

// Codes are the centres of an [RBF].
type Codes struct {
	Classes, Width int
	Values         []int8 // (Classes, Width)
	sum            uint32
}

// NewCodes makes codes of values, row by row.
func NewCodes(classes, width int, values []int8) *Codes {
	h := fnv.New32a()
	for _, v := range values {
		h.Write([]byte{byte(v)})
	}
	return &Codes{classes, width, values, h.Sum32()}
}

func (r RBF) String() string {
	return fmt.Sprintf("RBF{%dx%d, codes=%08x}", r.Codes.Classes, r.Codes.Width, r.Codes.sum)
}
func (r RBF) WriteHash(h hash.Hash) { writeHash(h, r) }
func (r RBF) Hashcode() uint32      { return hashcode(r) }
func (r RBF) Arity() int            { return 1 }
func (r RBF) Type() hm.Type         { return hm.NewFnType(f32(2), f32(2)) }

// InferShape returns (N, K).
func (r RBF) InferShape(ds ...gorgonia.DimSizer) (tensor.Shape, error) {
	in, err := shapes(r, ds, 2)
	if err != nil {
		return nil, err
	}
	return r.outShape(in[0])
}

func (r RBF) outShape(x tensor.Shape) (tensor.Shape, error) {
	if x[1] != r.Codes.Width {
		return nil, fmt.Errorf("op: %v: an input of %d for codes of %d", r, x[1], r.Codes.Width)
	}
	return tensor.Shape{x[0], r.Codes.Classes}, nil
}

// Do computes the negated penalties.
func (r RBF) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	x, xs, err := floats(r, in, 0, 2)
	if err != nil {
		return nil, err
	}
	ys, err := r.outShape(xs)
	if err != nil {
		return nil, err
	}
	I, K := r.Codes.Width, r.Codes.Classes
	y := make([]float32, ys.TotalSize())
	parallel(xs[0], func(n int) {
		for k := range K {
			total := 0.0 // some hundreds, of squares that may be small
			for i, c := range r.Codes.Values[k*I:][:I] {
				d := float64(x[n*I+i]) - float64(c)
				total += d * d
			}
			y[n*K+k] = float32(-total)
		}
	})
	return newDense(y, ys...), nil
}

// DiffWRT is true: the codes are fixed, the input is not.
func (r RBF) DiffWRT(int) []bool { return []bool{true} }

// SymDiff returns the RBFGrad of (x, dy).
func (r RBF) SymDiff(in gorgonia.Nodes, _, grad *gorgonia.Node) (gorgonia.Nodes, error) {
	dx, err := gorgonia.ApplyOp(RBFGrad{RBF: r}, in[0], grad)
	if err != nil {
		return nil, err
	}
	return gorgonia.Nodes{dx}, nil
}

// RBFGrad is the derivative of an [RBF]: from x and dy,
// dx[n,i] = -2 sum over k of dy[n,k] (x[n,i] - codes[k][i]).
type RBFGrad struct {
	RBF RBF
	pure
}

func (g RBFGrad) String() string        { return g.RBF.String() + "Grad" }
func (g RBFGrad) WriteHash(h hash.Hash) { writeHash(h, g) }
func (g RBFGrad) Hashcode() uint32      { return hashcode(g) }
func (g RBFGrad) Arity() int            { return 2 }
func (g RBFGrad) Type() hm.Type         { return hm.NewFnType(f32(2), f32(2), f32(2)) }

// InferShape returns the shape of x.
func (g RBFGrad) InferShape(ds ...gorgonia.DimSizer) (tensor.Shape, error) {
	in, err := shapes(g, ds, 2, 2)
	if err != nil {
		return nil, err
	}
	return in[0].Clone(), nil
}

// Do computes dx.
func (g RBFGrad) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	x, xs, err := floats(g, in, 0, 2)
	if err != nil {
		return nil, err
	}
	dy, ds, err := floats(g, in, 1, 2)
	if err != nil {
		return nil, err
	}
	ys, err := g.RBF.outShape(xs)
	if err != nil {
		return nil, err
	}
	if !ys.Eq(ds) {
		return nil, fmt.Errorf("op: %v: want dy of shape %v, found %v", g, ys, ds)
	}
	I, K := g.RBF.Codes.Width, g.RBF.Codes.Classes
	dx := make([]float32, len(x))
	parallel(xs[0], func(n int) {
		for k := range K {
			d := -2 * dy[n*K+k]
			for i, c := range g.RBF.Codes.Values[k*I:][:I] {
				dx[n*I+i] += d * (x[n*I+i] - float32(c))
			}
		}
	})
	return newDense(dx, xs...), nil
}

// DiffWRT is false throughout.
func (g RBFGrad) DiffWRT(inputs int) []bool { return nothing(inputs) }

// SymDiff fails: second derivatives are not provided.
func (g RBFGrad) SymDiff(gorgonia.Nodes, *gorgonia.Node, *gorgonia.Node) (gorgonia.Nodes, error) {
	return nil, errNotDifferentiable(g)
}
