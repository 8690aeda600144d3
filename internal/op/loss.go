package op

import (
	"fmt"
	"hash"
	"math"

	"github.com/chewxy/hm"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// CrossEntropy is the softmax cross-entropy of logits (N, K) against labels
// (N), a scalar: the sum of -log softmax(logits)[label] over the rows whose
// label is not -1, divided by their number. With no such row it is 0.
//
// With Rubbish, the softmax counts one more class, whose logit is always
// Background: an image that is like none of the classes. On the outputs of an
// [RBF], this is the MAP criterion of LeCun et al. 1998, equation 9, in which
// the penalty of the rubbish class is j = -Background.
//
// With Smoothing s, the target of a row is not its label alone, but 1-s of it
// and s spread over all K classes (Szegedy et al. 2016).
type CrossEntropy struct {
	pure
	Rubbish    bool
	Background float32
	Smoothing  float32 // in [0, 1)
}

func (c CrossEntropy) String() string {
	return fmt.Sprintf("CrossEntropy{rubbish=%t, background=%g, smoothing=%g}", c.Rubbish, c.Background, c.Smoothing)
}

// Aim returns the mean of row under the target of its label.
func (c CrossEntropy) Aim(row []float32, label int) float64 {
	if c.Smoothing == 0 {
		return float64(row[label])
	}
	sum := 0.0
	for _, v := range row {
		sum += float64(v)
	}
	s := float64(c.Smoothing)
	return (1-s)*float64(row[label]) + s*sum/float64(len(row))
}
func (c CrossEntropy) WriteHash(h hash.Hash) { writeHash(h, c) }
func (c CrossEntropy) Hashcode() uint32      { return hashcode(c) }
func (c CrossEntropy) Arity() int            { return 2 }
func (c CrossEntropy) Type() hm.Type         { return hm.NewFnType(f32(2), labelType(), f32(0)) }

// InferShape returns the shape of a scalar.
func (c CrossEntropy) InferShape(ds ...gorgonia.DimSizer) (tensor.Shape, error) {
	return scoreShape(c, ds)
}

func scoreShape(op fmt.Stringer, ds []gorgonia.DimSizer) (tensor.Shape, error) {
	s, err := shapes(op, ds, 2, 1)
	if err != nil {
		return nil, err
	}
	if s[0][0] != s[1][0] {
		return nil, fmt.Errorf("op: %v: %d rows of logits, %d labels", op, s[0][0], s[1][0])
	}
	return tensor.ScalarShape(), nil
}

// Do computes the mean loss.
func (c CrossEntropy) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	logits, labels, k, err := scored(c, in)
	if err != nil {
		return nil, err
	}
	var total float64
	var count int
	for n, label := range labels {
		if label < 0 {
			continue
		}
		row := logits[n*k:][:k]
		top, z := c.normalizer(row)
		total += math.Log(z) + float64(top) - c.Aim(row, int(label))
		count++
	}
	if count > 0 {
		total /= float64(count)
	}
	return gorgonia.NewF32(float32(total)), nil
}

// DiffWRT is true for the logits.
func (c CrossEntropy) DiffWRT(int) []bool { return []bool{true, false} }

// SymDiff returns the CrossEntropyGrad of (logits, labels, dloss).
func (c CrossEntropy) SymDiff(in gorgonia.Nodes, _, grad *gorgonia.Node) (gorgonia.Nodes, error) {
	dx, err := gorgonia.ApplyOp(CrossEntropyGrad{Loss: c}, in[0], in[1], grad)
	if err != nil {
		return nil, err
	}
	return gorgonia.Nodes{dx, nil}, nil
}

// CrossEntropyGrad is the derivative of [CrossEntropy]: from logits, labels
// and the scalar dloss, (softmax(logits) - target(label)) dloss / count for
// the rows that have a label, zero for the others.
type CrossEntropyGrad struct {
	Loss CrossEntropy
	pure
}

func (g CrossEntropyGrad) String() string        { return g.Loss.String() + "Grad" }
func (g CrossEntropyGrad) WriteHash(h hash.Hash) { writeHash(h, g) }
func (g CrossEntropyGrad) Hashcode() uint32      { return hashcode(g) }
func (g CrossEntropyGrad) Arity() int            { return 3 }
func (g CrossEntropyGrad) Type() hm.Type {
	return hm.NewFnType(f32(2), labelType(), f32(0), f32(2))
}

// InferShape returns the shape of the logits.
func (g CrossEntropyGrad) InferShape(ds ...gorgonia.DimSizer) (tensor.Shape, error) {
	s, err := shapes(g, ds, 2, 1, 0)
	if err != nil {
		return nil, err
	}
	return s[0].Clone(), nil
}

// Do computes the gradient of the logits.
func (g CrossEntropyGrad) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	logits, labels, k, err := scored(g, in)
	if err != nil {
		return nil, err
	}
	scale, ok := scalar(in[2])
	if !ok {
		return nil, fmt.Errorf("op: %v: want a float32 scalar for dloss, found %T", g, in[2])
	}
	count := 0
	for _, label := range labels {
		if label >= 0 {
			count++
		}
	}
	dx := make([]float32, len(logits))
	for n, label := range labels {
		if label < 0 {
			continue
		}
		row, out := logits[n*k:][:k], dx[n*k:][:k]
		top, z := g.Loss.normalizer(row)
		for i, v := range row {
			p := math.Exp(float64(v-top))/z - float64(g.Loss.Smoothing)/float64(k)
			if i == int(label) {
				p -= 1 - float64(g.Loss.Smoothing)
			}
			out[i] = float32(p) * scale / float32(count)
		}
	}
	return newDense(dx, len(labels), k), nil
}

// DiffWRT is false throughout.
func (g CrossEntropyGrad) DiffWRT(inputs int) []bool { return nothing(inputs) }

// SymDiff fails: second derivatives are not provided.
func (g CrossEntropyGrad) SymDiff(gorgonia.Nodes, *gorgonia.Node, *gorgonia.Node) (gorgonia.Nodes, error) {
	return nil, errNotDifferentiable(g)
}

// Hits counts the rows of logits (N, K) whose largest element, the first of
// equals, stands at their label (N): a scalar metric, without a derivative.
type Hits struct{ pure }

func (m Hits) String() string        { return "Hits" }
func (m Hits) WriteHash(h hash.Hash) { writeHash(h, m) }
func (m Hits) Hashcode() uint32      { return hashcode(m) }
func (m Hits) Arity() int            { return 2 }
func (m Hits) Type() hm.Type         { return hm.NewFnType(f32(2), labelType(), f32(0)) }

// InferShape returns the shape of a scalar.
func (m Hits) InferShape(ds ...gorgonia.DimSizer) (tensor.Shape, error) { return scoreShape(m, ds) }

// Do counts.
func (m Hits) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	logits, labels, k, err := scored(m, in)
	if err != nil {
		return nil, err
	}
	hits := 0
	for n, label := range labels {
		if label >= 0 && ArgMax(logits[n*k:][:k]) == int(label) {
			hits++
		}
	}
	return gorgonia.NewF32(float32(hits)), nil
}

// DiffWRT is false throughout.
func (m Hits) DiffWRT(inputs int) []bool { return nothing(inputs) }

// SymDiff fails: a count has no derivative.
func (m Hits) SymDiff(gorgonia.Nodes, *gorgonia.Node, *gorgonia.Node) (gorgonia.Nodes, error) {
	return nil, errNotDifferentiable(m)
}

// Softmax turns logits (N, K) into probabilities (N, K), row by row. It ends
// a graph for prediction; training goes through [CrossEntropy].
type Softmax struct{ pure }

func (s Softmax) String() string        { return "Softmax" }
func (s Softmax) WriteHash(h hash.Hash) { writeHash(h, s) }
func (s Softmax) Hashcode() uint32      { return hashcode(s) }
func (s Softmax) Arity() int            { return 1 }
func (s Softmax) Type() hm.Type         { return hm.NewFnType(f32(2), f32(2)) }

// InferShape returns the shape of the logits.
func (s Softmax) InferShape(ds ...gorgonia.DimSizer) (tensor.Shape, error) {
	in, err := shapes(s, ds, 2)
	if err != nil {
		return nil, err
	}
	return in[0].Clone(), nil
}

// Do computes the probabilities.
func (s Softmax) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	logits, shape, err := floats(s, in, 0, 2)
	if err != nil {
		return nil, err
	}
	k := shape[1]
	p := make([]float32, len(logits))
	for n := range shape[0] {
		row := logits[n*k:][:k]
		top, z := normalizer(row)
		for i, v := range row {
			p[n*k+i] = float32(math.Exp(float64(v-top)) / z)
		}
	}
	return newDense(p, shape...), nil
}

// DiffWRT is false.
func (s Softmax) DiffWRT(inputs int) []bool { return nothing(inputs) }

// SymDiff fails: see [CrossEntropy].
func (s Softmax) SymDiff(gorgonia.Nodes, *gorgonia.Node, *gorgonia.Node) (gorgonia.Nodes, error) {
	return nil, errNotDifferentiable(s)
}

// ArgMax returns the first position of the largest element of row, which must
// not be empty.
func ArgMax(row []float32) int {
	best := 0
	for i, v := range row {
		if v > row[best] {
			best = i
		}
	}
	return best
}

// normalizer returns the largest element of row and the sum of
// exp(element - largest).
func normalizer(row []float32) (top float32, z float64) {
	top = row[ArgMax(row)]
	for _, v := range row {
		z += math.Exp(float64(v - top))
	}
	return top, z
}

// normalizer is that of the softmax with the rubbish class, if there is one.
func (c CrossEntropy) normalizer(row []float32) (top float32, z float64) {
	top, z = normalizer(row)
	if !c.Rubbish {
		return top, z
	}
	if c.Background > top {
		return c.Background, z*math.Exp(float64(top-c.Background)) + 1
	}
	return top, z + math.Exp(float64(c.Background-top))
}

// scored unpacks logits and labels and checks that every label names a column.
func scored(op fmt.Stringer, in []gorgonia.Value) (logits []float32, labels []int32, k int, err error) {
	logits, s, err := floats(op, in, 0, 2)
	if err != nil {
		return nil, nil, 0, err
	}
	if len(in) < 2 {
		return nil, nil, 0, fmt.Errorf("op: %v: the labels are missing", op)
	}
	labels, ok := in[1].Data().([]int32)
	if !ok {
		return nil, nil, 0, fmt.Errorf("op: %v: want int32 labels, found %T", op, in[1].Data())
	}
	if len(labels) != s[0] {
		return nil, nil, 0, fmt.Errorf("op: %v: %d rows of logits, %d labels", op, s[0], len(labels))
	}
	for n, l := range labels {
		if int(l) >= s[1] || l < -1 {
			return nil, nil, 0, fmt.Errorf("op: %v: label %d of row %d is not in [-1, %d)", op, l, n, s[1])
		}
	}
	return logits, labels, s[1], nil
}

// scalar returns the number in a float32 scalar.
func scalar(v gorgonia.Value) (float32, bool) {
	switch d := v.Data().(type) {
	case float32:
		return d, true
	case []float32:
		if len(d) == 1 {
			return d[0], true
		}
	}
	return 0, false
}
