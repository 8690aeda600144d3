// Package plan turns an expression graph of the network, forward and symbolic
// backward, into stages: what belongs together when it is executed. The graph
// is fine, so that differentiation is simple; a stage is coarse, so that an
// engine can fuse what is in it.
//
// Every node of the graph that is not an input belongs to exactly one stage.
package plan

import (
	"errors"
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"example.com/lenet5/internal/op"
)

// ErrUnsupported is wrapped by the errors about graphs that cannot be planned.
// They still run on Gorgonia's TapeMachine.
var ErrUnsupported = errors.New("plan: unsupported graph")

// A Plan is the stages of a graph in the order of the forward pass.
type Plan struct {
	Graph  *gorgonia.ExprGraph
	Images *gorgonia.Node // the input of the first stage, (N, C, H, W)
	Labels *gorgonia.Node // (N); nil if there is no loss
	Stages []*Stage
	// Backward is whether there are gradients.
	Backward bool
}

// A Kind says what is at the heart of a stage.
type Kind int

// The kinds.
const (
	Conv Kind = iota
	Dense
	Output // loss, hits or probabilities; before them the distances from codes
)

func (k Kind) String() string { return [...]string{"conv", "dense", "output"}[k] }

// Trainable is the reduction of a [op.Subsample], as a [Step] names it.
const Trainable op.Reduction = "trainable"

// A Step is an activation or a pooling that follows a convolution or a dense
// layer.
type Step struct {
	Activation op.Function  // or
	Pool       op.Reduction //
	// In and Out are the forward nodes.
	In, Out *gorgonia.Node
	// Of a trainable pooling: a number for each map.
	Weight, Bias, GradWeight, GradBias *gorgonia.Node
}

// A Stage is a layer with all that is fused with it, forward and backward.
type Stage struct {
	Kind Kind
	// X is the input of the layer, Y its output before the steps, Weight and
	// Bias its parameters. An output stage has X alone: the logits.
	X, Y, Weight, Bias *gorgonia.Node
	Padding            int
	Table              *op.Table // of a convolution; nil: every channel is connected
	Flatten            bool      // a dense stage that takes images, as (C, H, W)
	Steps              []Step
	// The gradients, nil where there are none.
	GradX, GradWeight, GradBias *gorgonia.Node
	// Of the output stage.
	Loss, Hits, Probabilities, GradLogits *gorgonia.Node
	Criterion                             op.CrossEntropy // of the loss
	Codes                                 *op.Codes       // nil: X are the logits themselves
	// Nodes are all nodes of the stage, in the order of execution.
	Nodes gorgonia.Nodes
}

// Logits are what an output stage compares with the labels.
func (s *Stage) Logits() *gorgonia.Node {
	if s.Codes != nil {
		return s.Y
	}
	return s.X
}

// Out is the last forward node of the stage.
func (s *Stage) Out() *gorgonia.Node {
	if n := len(s.Steps); n > 0 {
		return s.Steps[n-1].Out
	}
	return s.Y
}

func unsupported(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrUnsupported, fmt.Sprintf(format, args...))
}

// compiler is the state of Compile.
type compiler struct {
	p        *Plan
	children map[*gorgonia.Node]gorgonia.Nodes
	stageOf  map[*gorgonia.Node]*Stage // of non-input nodes
	flat     map[*gorgonia.Node]*gorgonia.Node
	// gradOf is the node of the gradient with respect to a forward node.
	gradOf map[*gorgonia.Node]*gorgonia.Node
	last   *gorgonia.Node // the forward node that the next stage must take
	output *Stage
	// waiting are nodes whose stage comes later: a flatten before its dense
	// layer, the constant 1 before the loss.
	waiting gorgonia.Nodes
}

// Compile plans a graph. Its forward part must be a chain of this project's
// operations from one image input to the logits. The error, which wraps
// [ErrUnsupported], names the operation that has no place.
func Compile(g *gorgonia.ExprGraph) (*Plan, error) {
	sorted, err := gorgonia.Sort(g)
	if err != nil {
		return nil, fmt.Errorf("plan: sorting the graph: %w", err)
	}
	c := &compiler{
		p: &Plan{Graph: g}, children: map[*gorgonia.Node]gorgonia.Nodes{}, stageOf: map[*gorgonia.Node]*Stage{},
		flat: map[*gorgonia.Node]*gorgonia.Node{}, gradOf: map[*gorgonia.Node]*gorgonia.Node{},
	}
	for i := len(sorted) - 1; i >= 0; i-- {
		n := sorted[i]
		it := g.From(n.ID())
		for it.Next() {
			child, ok := it.Node().(*gorgonia.Node)
			if !ok {
				return nil, unsupported("a child of %v is a %T", n, it.Node())
			}
			c.children[n] = append(c.children[n], child)
		}
		if n.Op() == nil {
			continue // an input; a stage takes it up
		}
		if err := c.place(n); err != nil {
			return nil, err
		}
	}
	if c.output == nil {
		return nil, unsupported("the graph has no loss and no probabilities")
	}
	for _, n := range c.waiting {
		c.put(c.output, n)
	}
	c.flatten()
	return c.p, nil
}

// flatten makes dense stages of the convolutions whose kernel covers their
// whole input, like layer C5 of LeCun et al. 1998, when no other convolution
// follows: the weights (out, in, K, K) are those of a dense layer, (out,
// in*K*K), as they are.
func (c *compiler) flatten() {
	for i := len(c.p.Stages) - 1; i >= 0; i-- {
		s := c.p.Stages[i]
		if s.Kind != Conv {
			continue
		}
		y := s.Y.Shape()
		if y[2] != 1 || y[3] != 1 || s.Padding != 0 || s.Table != nil {
			return
		}
		s.Kind, s.Flatten = Dense, true
	}
}

// put enters a node into a stage.
func (c *compiler) put(s *Stage, n *gorgonia.Node) {
	s.Nodes = append(s.Nodes, n)
	c.stageOf[n] = s
}

// place finds the stage of a node whose children have theirs.
func (c *compiler) place(n *gorgonia.Node) error {
	in := c.children[n]
	switch o := n.Op().(type) {
	case op.Conv:
		if err := c.follows(n, in[0]); err != nil {
			return err
		}
		c.add(&Stage{Kind: Conv, X: in[0], Weight: in[1], Bias: in[2], Y: n, Padding: o.Padding, Table: o.Table}, n)
	case op.Flatten:
		if err := c.follows(n, in[0]); err != nil {
			return err
		}
		c.flat[n] = in[0]
		c.last = n
		c.waiting = append(c.waiting, n)
	case op.Dense:
		if err := c.follows(n, in[0]); err != nil {
			return err
		}
		s := &Stage{Kind: Dense, X: in[0], Weight: in[1], Bias: in[2], Y: n}
		if x, ok := c.flat[in[0]]; ok {
			s.X, s.Flatten = x, true
			c.waiting = nil
			c.put(s, in[0])
		}
		c.add(s, n)
	case op.Activation:
		return c.step(n, in[0], Step{Activation: o.F})
	case op.Pool:
		return c.step(n, in[0], Step{Pool: o.R})
	case op.Subsample:
		return c.step(n, in[0], Step{Pool: Trainable, Weight: in[1], Bias: in[2]})
	case op.RBF:
		if err := c.follows(n, in[0]); err != nil {
			return err
		}
		c.output = &Stage{Kind: Output, X: in[0], Y: n, Codes: o.Codes}
		c.add(c.output, n)
	case op.CrossEntropy, op.Hits, op.Softmax:
		return c.end(n, in)
	default:
		return c.placeGradient(n, in)
	}
	return nil
}

// placeGradient finds the stage of a node of the backward pass, and checks
// that the gradient it takes is the one of its stage's output.
func (c *compiler) placeGradient(n *gorgonia.Node, in gorgonia.Nodes) error {
	switch o := n.Op().(type) {
	case op.CrossEntropyGrad:
		if c.output == nil || c.output.Loss == nil || in[0] != c.output.Logits() {
			return unsupported("%v is not the gradient of the loss", n.Op())
		}
		c.output.GradLogits = n
		return c.derive(c.output, n, in[0], c.output.Loss, nil)
	case op.ConvGrad:
		return c.layerGradient(n, in, o.WRT)
	case op.DenseGrad:
		return c.layerGradient(n, in, o.WRT)
	case op.ActivationGrad:
		s := c.stageOf[in[0]]
		for _, st := range s.stepsOrNil() {
			if st.Out == in[0] && st.Activation == o.Activation.F {
				return c.derive(s, n, st.In, st.Out, in[1])
			}
		}
	case op.PoolGrad:
		s := c.stageOf[in[0]]
		for _, st := range s.stepsOrNil() {
			if st.In == in[0] && st.Pool == o.Pool.R {
				return c.derive(s, n, st.In, st.Out, in[1])
			}
		}
	case op.SubsampleGrad:
		return c.subsampleGradient(n, in, o.WRT)
	case op.RBFGrad:
		if s := c.stageOf[in[0]]; c.output != nil && c.output.X == in[0] && s != nil {
			c.output.GradX = n
			return c.derive(c.output, n, in[0], c.output.Y, in[1])
		}
	case op.FlattenGrad:
		for _, s := range c.p.Stages {
			if s.Kind == Dense && s.Flatten && s.X == in[0] {
				return c.derive(s, n, in[0], s.Nodes[0], in[1])
			}
		}
	default:
		if n.Type() == tensor.Float32 && n.IsScalar() && len(in) == 0 {
			// The constant 1, from which differentiation starts.
			if c.output != nil {
				c.put(c.output, n)
			} else {
				c.waiting = append(c.waiting, n)
			}
			return nil
		}
	}
	return unsupported("the operation %v has no place in a stage", n.Op())
}

// layerGradient places the derivative of a convolution or a dense layer.
func (c *compiler) layerGradient(n *gorgonia.Node, in gorgonia.Nodes, wrt op.Operand) error {
	for _, s := range c.p.Stages {
		if s.Weight != in[1] {
			continue
		}
		switch wrt {
		case op.Input:
			x := s.X
			if s.Flatten {
				x = s.Nodes[0]
			}
			s.GradX = n
			return c.derive(s, n, x, s.Y, in[2])
		case op.Weight:
			s.GradWeight = n
			return c.derive(s, n, s.Weight, s.Y, in[2])
		default:
			s.GradBias = n
			return c.derive(s, n, s.Bias, s.Y, in[2])
		}
	}
	return unsupported("%v belongs to no layer", n.Op())
}

// subsampleGradient places the derivative of a trainable pooling.
func (c *compiler) subsampleGradient(n *gorgonia.Node, in gorgonia.Nodes, wrt op.Operand) error {
	for _, s := range c.p.Stages {
		for i := range s.Steps {
			st := &s.Steps[i]
			if st.Pool != Trainable || st.Weight != in[1] {
				continue
			}
			switch wrt {
			case op.Input:
				return c.derive(s, n, st.In, st.Out, in[2])
			case op.Weight:
				st.GradWeight = n
				return c.derive(s, n, st.Weight, st.Out, in[2])
			default:
				st.GradBias = n
				return c.derive(s, n, st.Bias, st.Out, in[2])
			}
		}
	}
	return unsupported("%v belongs to no layer", n.Op())
}

// derive enters n, the gradient with respect to x, which follows from dy, that
// with respect to y (nil: y is the loss).
func (c *compiler) derive(s *Stage, n, x, y, dy *gorgonia.Node) error {
	if dy != nil && c.gradOf[y] != dy {
		return unsupported("%v takes a gradient that is not that of %v", n.Op(), y)
	}
	if c.gradOf[x] != nil {
		return unsupported("%v has two gradients", x)
	}
	c.gradOf[x] = n
	c.p.Backward = true
	c.put(s, n)
	return nil
}

// stepsOrNil allows a nil stage.
func (s *Stage) stepsOrNil() []Step {
	if s == nil {
		return nil
	}
	return s.Steps
}

// follows checks that x continues the chain.
func (c *compiler) follows(n, x *gorgonia.Node) error {
	switch {
	case c.output != nil && c.last != x:
		return unsupported("%v comes after the output", n.Op())
	case c.last == nil && x.Op() == nil:
		c.p.Images = x
	case c.last != x:
		return unsupported("%v takes %v, which does not end the chain so far", n.Op(), x)
	}
	return nil
}

func (c *compiler) add(s *Stage, n *gorgonia.Node) {
	c.p.Stages = append(c.p.Stages, s)
	c.put(s, n)
	c.last = n
}

func (c *compiler) step(n, x *gorgonia.Node, st Step) error {
	if err := c.follows(n, x); err != nil {
		return err
	}
	if len(c.p.Stages) == 0 || c.flat[x] != nil {
		return unsupported("%v follows no layer", n.Op())
	}
	s := c.p.Stages[len(c.p.Stages)-1]
	// At most an activation, a pooling, and an activation.
	for i, other := range s.Steps {
		if last := i == len(s.Steps)-1; st.Pool != "" && other.Pool != "" || st.Pool == "" && other.Pool == "" && last {
			return unsupported("%v and %v follow the same layer", other.Out.Op(), n.Op())
		}
	}
	if st.Pool != "" && s.Kind != Conv {
		return unsupported("%v follows a dense layer", n.Op())
	}
	st.In, st.Out = x, n
	s.Steps = append(s.Steps, st)
	c.put(s, n)
	c.last = n
	return nil
}

// end places a node that takes the logits.
func (c *compiler) end(n *gorgonia.Node, in gorgonia.Nodes) error {
	if in[0] != c.last || c.flat[in[0]] != nil {
		return unsupported("%v takes %v, which is not the end of the chain", n.Op(), in[0])
	}
	if c.output == nil {
		c.output = &Stage{Kind: Output, X: in[0]}
		c.p.Stages = append(c.p.Stages, c.output)
	}
	switch n.Op().(type) {
	case op.CrossEntropy:
		c.output.Loss, c.output.Criterion = n, n.Op().(op.CrossEntropy)
		c.p.Labels = in[1]
	case op.Hits:
		c.output.Hits = n
		c.p.Labels = in[1]
	case op.Softmax:
		c.output.Probabilities = n
	}
	c.put(c.output, n)
	return nil
}
