// Package op is the vocabulary of the network: each layer of a LeNet and each
// of its derivatives as a Gorgonia operation.
//
// The operations stand at the granularity in which a person draws the network
// (convolution with bias, activation, pooling, flatten, dense with bias,
// softmax cross-entropy). All of them are [gorgonia.SDOp]s, so that one
// gorgonia.Grad makes the backward graph; the derivatives are operations of
// the same vocabulary, and it is left to an execution engine to fuse them.
//
// Do is a reference: plain loops over float32, spread over goroutines so that
// no sum depends on their number. It defines what the engines must compute.
//
// Conventions, which are PyTorch's: images are (N, C, H, W), convolution
// weights (out, in, kernel, kernel), dense weights (out, in), everything
// row-major. Labels are an int32 vector in which -1 marks an empty row.
package op

import (
	"fmt"
	"hash"
	"hash/fnv"
	"io"

	"github.com/chewxy/hm"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// pure is embedded by every operation: none writes to its inputs, none leaves
// Go, and each returns a value of its own.
type pure struct{}

func (pure) ReturnsPtr() bool     { return false }
func (pure) CallsExtern() bool    { return false }
func (pure) OverwritesInput() int { return -1 }

// writeHash and hashcode identify an operation by its String, which therefore
// holds every attribute: Gorgonia merges nodes whose hash and inputs agree.
func writeHash(h hash.Hash, op fmt.Stringer) {
	io.WriteString(h, op.String()) //nolint:errcheck // a hash never fails
}

func hashcode(op fmt.Stringer) uint32 {
	h := fnv.New32a()
	writeHash(h, op)
	return h.Sum32()
}

// nothing is the DiffWRT of an operation that is not differentiated further.
func nothing(inputs int) []bool { return make([]bool, inputs) }

// errNotDifferentiable answers SymDiff on a derivative or a metric.
func errNotDifferentiable(op fmt.Stringer) error {
	return fmt.Errorf("op: %v is not differentiable", op)
}

// f32 is the type of a float32 tensor of rank dims. Gorgonia recycles the
// types it is given, so each call makes a fresh one.
func f32(dims int) hm.Type {
	if dims == 0 {
		return tensor.Float32
	}
	return gorgonia.TensorType{Dims: dims, Of: tensor.Float32}
}

func labelType() hm.Type { return gorgonia.TensorType{Dims: 1, Of: tensor.Int32} }

// shapes turns the argument of InferShape into shapes of the given ranks.
func shapes(op fmt.Stringer, ds []gorgonia.DimSizer, ranks ...int) ([]tensor.Shape, error) {
	s, err := gorgonia.DimSizersToShapes(ds)
	if err != nil {
		return nil, fmt.Errorf("op: %v: %w", op, err)
	}
	if len(s) != len(ranks) {
		return nil, fmt.Errorf("op: %v: want %d inputs, found %d", op, len(ranks), len(s))
	}
	for i, r := range ranks {
		if s[i].Dims() != r {
			return nil, fmt.Errorf("op: %v: input %d: want rank %d, found shape %v", op, i, r, s[i])
		}
	}
	return s, nil
}

// floats returns the storage of input i, a dense row-major float32 tensor of
// the given rank, and its shape.
func floats(op fmt.Stringer, in []gorgonia.Value, i, rank int) ([]float32, tensor.Shape, error) {
	if i >= len(in) {
		return nil, nil, fmt.Errorf("op: %v: input %d is missing", op, i)
	}
	t, ok := in[i].(*tensor.Dense)
	if !ok {
		return nil, nil, fmt.Errorf("op: %v: input %d: want a dense tensor, found %T", op, i, in[i])
	}
	f, ok := t.Data().([]float32)
	if !ok || t.RequiresIterator() {
		return nil, nil, fmt.Errorf("op: %v: input %d: want contiguous float32, found %v", op, i, t.Info())
	}
	if t.Dims() != rank || len(f) != t.Shape().TotalSize() {
		return nil, nil, fmt.Errorf("op: %v: input %d: want rank %d, found shape %v", op, i, rank, t.Shape())
	}
	return f, t.Shape(), nil
}

// newDense wraps data, which it keeps.
func newDense(data []float32, shape ...int) *tensor.Dense {
	return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(data))
}

// An Operand names the input that a derivative is taken with respect to.
type Operand string

// The operands of the layers that have parameters.
const (
	Input  Operand = "input"
	Weight Operand = "weight"
	Bias   Operand = "bias"
)
