package op

import (
	"fmt"
	"hash"

	"github.com/chewxy/hm"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// Flatten makes a vector of each image: (N, C, H, W) to (N, C*H*W), in that
// order.
type Flatten struct{ pure }

func (f Flatten) String() string        { return "Flatten" }
func (f Flatten) WriteHash(h hash.Hash) { writeHash(h, f) }
func (f Flatten) Hashcode() uint32      { return hashcode(f) }
func (f Flatten) Arity() int            { return 1 }
func (f Flatten) Type() hm.Type         { return hm.NewFnType(f32(4), f32(2)) }

// InferShape returns (N, C*H*W).
func (f Flatten) InferShape(ds ...gorgonia.DimSizer) (tensor.Shape, error) {
	s, err := shapes(f, ds, 4)
	if err != nil {
		return nil, err
	}
	return tensor.Shape{s[0][0], s[0][1] * s[0][2] * s[0][3]}, nil
}

// Do copies x into its new shape.
func (f Flatten) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	x, s, err := floats(f, in, 0, 4)
	if err != nil {
		return nil, err
	}
	return newDense(append([]float32(nil), x...), s[0], s[1]*s[2]*s[3]), nil
}

// DiffWRT is true.
func (f Flatten) DiffWRT(int) []bool { return []bool{true} }

// SymDiff returns the FlattenGrad of (x, dy).
func (f Flatten) SymDiff(in gorgonia.Nodes, _, grad *gorgonia.Node) (gorgonia.Nodes, error) {
	dx, err := gorgonia.ApplyOp(FlattenGrad{}, in[0], grad)
	if err != nil {
		return nil, err
	}
	return gorgonia.Nodes{dx}, nil
}

// FlattenGrad is the derivative of [Flatten]: dy in the shape of x.
type FlattenGrad struct{ pure }

func (g FlattenGrad) String() string        { return "FlattenGrad" }
func (g FlattenGrad) WriteHash(h hash.Hash) { writeHash(h, g) }
func (g FlattenGrad) Hashcode() uint32      { return hashcode(g) }
func (g FlattenGrad) Arity() int            { return 2 }
func (g FlattenGrad) Type() hm.Type         { return hm.NewFnType(f32(4), f32(2), f32(4)) }

// InferShape returns the shape of x.
func (g FlattenGrad) InferShape(ds ...gorgonia.DimSizer) (tensor.Shape, error) {
	s, err := shapes(g, ds, 4, 2)
	if err != nil {
		return nil, err
	}
	return s[0].Clone(), nil
}

// Do copies dy into the shape of x.
func (g FlattenGrad) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	_, s, err := floats(g, in, 0, 4)
	if err != nil {
		return nil, err
	}
	dy, ds, err := floats(g, in, 1, 2)
	if err != nil {
		return nil, err
	}
	if len(dy) != s.TotalSize() {
		return nil, fmt.Errorf("op: %v: dy of shape %v does not fit x of shape %v", g, ds, s)
	}
	return newDense(append([]float32(nil), dy...), s...), nil
}

// DiffWRT is false throughout.
func (g FlattenGrad) DiffWRT(inputs int) []bool { return nothing(inputs) }

// SymDiff fails: second derivatives are not provided.
func (g FlattenGrad) SymDiff(gorgonia.Nodes, *gorgonia.Node, *gorgonia.Node) (gorgonia.Nodes, error) {
	return nil, errNotDifferentiable(g)
}
