// Package engine executes the graphs of a network. An [Engine] is a
// [gorgonia.VM] that also knows where the images come from and where the
// updates go, so that a training step need not pass through the values of the
// graph's nodes.
package engine

import (
	"fmt"

	"gorgonia.org/gorgonia"
)

// A Program is a graph with its landmarks. Nodes that the graph does not have
// (the labels of a graph for prediction, say) are nil.
type Program struct {
	Graph *gorgonia.ExprGraph
	// Images is the input (N, C, H, W), float32, with Padding rows and columns
	// of background (a byte of 0) around each image; Labels (N), int32.
	Images, Labels *gorgonia.Node
	// Logits is (N, K), Probabilities their softmax, Loss and Hits scalars.
	Logits, Probabilities, Loss, Hits *gorgonia.Node
	// Params are the parameters, Grads their gradients in the same order.
	Params, Grads gorgonia.Nodes
	// Scale and Offset make a pixel of a byte: Scale*byte + Offset.
	Scale, Offset float32
	Padding       int
}

// BatchSize is N.
func (p *Program) BatchSize() int { return p.Images.Shape()[0] }

// ImageSize is the number of bytes in an image, without the padding.
func (p *Program) ImageSize() int {
	s := p.Images.Shape()
	return s[1] * (s[2] - 2*p.Padding) * (s[3] - 2*p.Padding)
}

// A Batch names rows of a data set: Images holds (n, C, H, W) bytes, Labels n
// classes (nil where none are needed), Index the rows that form the batch. A
// nil Index means every row of Images in order.
//
// Transform, if not nil, makes of the image src of the k-th example the image
// dst that is used, as long as src. It is called from several goroutines at
// once.
type Batch struct {
	Images    []byte
	Labels    []byte
	Index     []int32
	Transform func(dst, src []byte, k int)
}

// Len is the number of examples in the batch, for images of the given size.
func (b Batch) Len(imageSize int) int {
	if b.Index != nil {
		return len(b.Index)
	}
	return len(b.Images) / imageSize
}

// Limits are what a batch must keep to.
type Limits struct {
	BatchSize, ImageSize int
	Classes              int // 0 if no labels are needed
}

// Limits returns those of a program. An engine asks once: shapes of nodes are
// copied with every call.
func (p *Program) Limits() Limits {
	l := Limits{BatchSize: p.BatchSize(), ImageSize: p.ImageSize()}
	if p.Labels != nil {
		l.Classes = p.Logits.Shape()[1]
	}
	return l
}

// Check reports what is wrong with b: an image that is cut off, more examples
// than the graph takes, an index or a label out of range.
func (b Batch) Check(p Limits) error {
	size := p.ImageSize
	rows := len(b.Images) / size
	switch n := b.Len(size); {
	case len(b.Images)%size != 0:
		return fmt.Errorf("engine: %d bytes of images are no whole number of images of %d bytes", len(b.Images), size)
	case n == 0:
		return fmt.Errorf("engine: an empty batch")
	case n > p.BatchSize:
		return fmt.Errorf("engine: a batch of %d for a graph of at most %d", n, p.BatchSize)
	case p.Classes > 0 && len(b.Labels) != rows:
		return fmt.Errorf("engine: %d images, %d labels", rows, len(b.Labels))
	}
	for _, i := range b.Index {
		if i < 0 || int(i) >= rows {
			return fmt.Errorf("engine: index %d, of %d images", i, rows)
		}
	}
	if p.Classes == 0 {
		return nil
	}
	for k := range b.Len(size) {
		if i := b.Row(k); int(b.Labels[i]) >= p.Classes {
			return fmt.Errorf("engine: image %d has label %d, of %d classes", i, b.Labels[i], p.Classes)
		}
	}
	return nil
}

// Row is the place in the data set of the k-th example of the batch.
func (b Batch) Row(k int) int {
	if b.Index != nil {
		return int(b.Index[k])
	}
	return k
}

// An Engine runs one program. It is used by one goroutine at a time.
//
// RunAll runs the graph on what was loaded, backward pass included if there
// is one; then the accessors answer.
type Engine interface {
	gorgonia.VM
	// Load sets the images and labels of the next run.
	Load(Batch) error
	// Loss returns the mean loss and the number of hits.
	Loss() (loss float32, hits int)
	// Probabilities returns the rows (n, K) of the examples that were loaded;
	// they are valid until the next run.
	Probabilities() []float32
	// Gradients returns the value and gradient of each parameter, for a
	// Solver of Gorgonia. The gradients are valid until the next run.
	Gradients() []gorgonia.ValueGrad
	// Descend updates every parameter by its gradient. With a rule of another
	// [Rule.Vectors] than that of the call before, the state starts anew.
	Descend(Rule)
	// State returns what rules keep between steps: vectors as long as all
	// parameters, in their order. They are live until the next Descend.
	State() [][]float32
	// SetState replaces it by a copy; an error says what does not fit.
	SetState([][]float32) error
	// Describe says what the engine runs on: "avx512, 2 threads".
	Describe() string
}

// A Queue is an [Engine] that takes several steps of training before anybody
// waits for their results.
type Queue interface {
	Engine
	// Room is how many steps can be added before Flush must be called.
	Room() int
	// Enqueue adds a step: the graph is run on the batch and the parameters
	// are updated by the rule, unless the loss of this step or of one before
	// it in the queue is not finite. The data set must not change from the
	// first Enqueue with it on; the batch's Index and Transform are done with
	// when Enqueue returns.
	Enqueue(Batch, Rule) error
	// Flush waits for the steps, and returns their results in order; the last
	// is the first whose loss is not finite, if there is one. The parameters
	// are then those after these steps, and the queue is empty. The results
	// are valid until the next Flush.
	Flush() ([]Result, error)
}

// A Result is what came of a step.
type Result struct {
	Loss        float32
	Hits, Count int
}

// A Pair is a parameter and its gradient, as a Solver wants them.
type Pair struct {
	V, G gorgonia.Value
}

// Value returns the parameter.
func (p Pair) Value() gorgonia.Value { return p.V }

// Grad returns the gradient.
func (p Pair) Grad() (gorgonia.Value, error) { return p.G, nil }
