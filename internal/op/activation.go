package op

import (
	"fmt"
	"hash"
	"math"

	"github.com/chewxy/hm"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// A Function is a scalar non-linearity.
type Function string

// The functions that [Activation] knows.
const (
	Sigmoid    Function = "sigmoid"    // 1 / (1 + exp(-x))
	Tanh       Function = "tanh"       // tanh x
	ScaledTanh Function = "scaledtanh" // 1.7159 tanh(2x/3), LeCun et al. 1998, appendix A
	ReLU       Function = "relu"       // max(x, 0)
)

// The constants of [ScaledTanh].
const (
	ScaledTanhAmplitude = 1.7159
	ScaledTanhSlope     = 2.0 / 3
)

// Eval returns f(x).
func (f Function) Eval(x float32) float32 {
	switch f {
	case Sigmoid:
		return float32(1 / (1 + math.Exp(-float64(x))))
	case Tanh:
		return float32(math.Tanh(float64(x)))
	case ScaledTanh:
		return float32(ScaledTanhAmplitude * math.Tanh(ScaledTanhSlope*float64(x)))
	default: // ReLU; NaN passes through
		if x <= 0 {
			return 0
		}
		return x
	}
}

// Slope returns f'(x), from y = f(x) alone: every function here allows it,
// so that no engine need keep x.
func (f Function) Slope(y float32) float32 {
	switch f {
	case Sigmoid:
		return y * (1 - y)
	case Tanh:
		return 1 - y*y
	case ScaledTanh:
		const k = ScaledTanhSlope / ScaledTanhAmplitude
		return ScaledTanhSlope*ScaledTanhAmplitude - k*y*y
	default:
		if y > 0 {
			return 1
		}
		return 0
	}
}

// known reports whether f is one of the functions above.
func (f Function) known() bool {
	return f == Sigmoid || f == Tanh || f == ScaledTanh || f == ReLU
}

// Activation applies F to every element of x, of rank Rank.
type Activation struct {
	pure
	F    Function
	Rank int
}

func (a Activation) String() string        { return fmt.Sprintf("Activation{%v, rank=%d}", a.F, a.Rank) }
func (a Activation) WriteHash(h hash.Hash) { writeHash(h, a) }
func (a Activation) Hashcode() uint32      { return hashcode(a) }
func (a Activation) Arity() int            { return 1 }
func (a Activation) Type() hm.Type         { return hm.NewFnType(f32(a.Rank), f32(a.Rank)) }

// InferShape returns the shape of x.
func (a Activation) InferShape(ds ...gorgonia.DimSizer) (tensor.Shape, error) {
	s, err := shapes(a, ds, a.Rank)
	if err != nil {
		return nil, err
	}
	if !a.F.known() {
		return nil, fmt.Errorf("op: unknown activation %q", string(a.F))
	}
	return s[0].Clone(), nil
}

// Do computes F(x).
func (a Activation) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	x, s, err := floats(a, in, 0, a.Rank)
	if err != nil {
		return nil, err
	}
	y := make([]float32, len(x))
	row := max(1, len(x)/s[0])
	parallel(s[0], func(n int) {
		for i := n * row; i < (n+1)*row; i++ {
			y[i] = a.F.Eval(x[i])
		}
	})
	return newDense(y, s...), nil
}

// DiffWRT is true.
func (a Activation) DiffWRT(int) []bool { return []bool{true} }

// SymDiff returns the ActivationGrad of (y, dy).
func (a Activation) SymDiff(_ gorgonia.Nodes, y, grad *gorgonia.Node) (gorgonia.Nodes, error) {
	dx, err := gorgonia.ApplyOp(ActivationGrad{Activation: a}, y, grad)
	if err != nil {
		return nil, err
	}
	return gorgonia.Nodes{dx}, nil
}

// ActivationGrad is the derivative of an [Activation]: from its output y and
// dy, dx = F'(x) dy.
type ActivationGrad struct {
	Activation Activation
	pure
}

func (g ActivationGrad) String() string        { return g.Activation.String() + "Grad" }
func (g ActivationGrad) WriteHash(h hash.Hash) { writeHash(h, g) }
func (g ActivationGrad) Hashcode() uint32      { return hashcode(g) }
func (g ActivationGrad) Arity() int            { return 2 }
func (g ActivationGrad) Type() hm.Type {
	r := g.Activation.Rank
	return hm.NewFnType(f32(r), f32(r), f32(r))
}

// InferShape returns the shape of y.
func (g ActivationGrad) InferShape(ds ...gorgonia.DimSizer) (tensor.Shape, error) {
	s, err := shapes(g, ds, g.Activation.Rank, g.Activation.Rank)
	if err != nil {
		return nil, err
	}
	if !s[0].Eq(s[1]) {
		return nil, fmt.Errorf("op: %v: y %v and dy %v differ", g, s[0], s[1])
	}
	return s[0].Clone(), nil
}

// Do computes dx.
func (g ActivationGrad) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	y, s, err := floats(g, in, 0, g.Activation.Rank)
	if err != nil {
		return nil, err
	}
	dy, _, err := floats(g, in, 1, g.Activation.Rank)
	if err != nil {
		return nil, err
	}
	dx := make([]float32, len(y))
	row := max(1, len(y)/s[0])
	parallel(s[0], func(n int) {
		for i := n * row; i < (n+1)*row; i++ {
			dx[i] = g.Activation.F.Slope(y[i]) * dy[i]
		}
	})
	return newDense(dx, s...), nil
}

// DiffWRT is false throughout.
func (g ActivationGrad) DiffWRT(inputs int) []bool { return nothing(inputs) }

// SymDiff fails: second derivatives are not provided.
func (g ActivationGrad) SymDiff(gorgonia.Nodes, *gorgonia.Node, *gorgonia.Node) (gorgonia.Nodes, error) {
	return nil, errNotDifferentiable(g)
}
