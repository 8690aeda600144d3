package lenet

import (
	"fmt"
	"sync"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"example.com/lenet5/internal/engine"
	"example.com/lenet5/internal/op"
	"example.com/lenet5/internal/plan"
)

// A Graph is a network as a Gorgonia expression graph, for batches of at most
// N examples. Its parameter nodes hold the network's own tensors, so that a
// Solver stepping them trains the network.
//
// A smaller batch is the same graph padded: a label of -1 marks an empty row,
// which takes no part in the loss, the gradients or the hits.
type Graph struct {
	Graph *gorgonia.ExprGraph
	// Images is the input (N, C, H, W), float32: Scale*byte + Offset of the
	// Config's Input, with its padding of Offset. Labels is (N), int32; nil in a graph for prediction.
	Images, Labels *gorgonia.Node
	// Layers holds the output of every row of [Net.Shapes], activations
	// applied; Logits (N, Classes) is the last of them.
	Layers gorgonia.Nodes
	Logits *gorgonia.Node
	// Probabilities is (N, Classes), the softmax of the logits; only in a
	// graph for prediction.
	Probabilities *gorgonia.Node
	// Loss is the mean softmax cross-entropy over the rows that have a label,
	// Hits the number of them that are classified correctly. Scalars.
	Loss, Hits *gorgonia.Node
	// Params are the parameters in the order of [Net.Params], Grads the
	// gradients of the loss with respect to them.
	Params, Grads gorgonia.Nodes
}

// building serialises work on graphs: Gorgonia keeps shared state while it
// builds one.
var building sync.Mutex

type purpose int

const (
	forTraining purpose = iota
	forEvaluation
	forPrediction
)

// Graph builds the graph for training: loss, hits and symbolic gradients, for
// batches of at most batch examples. It can be run by
// gorgonia.NewTapeMachine.
func (n *Net) Graph(batch int) (*Graph, error) { return n.graph(batch, forTraining, 0) }

// PredictionGraph builds the graph that ends in the probabilities.
func (n *Net) PredictionGraph(batch int) (*Graph, error) { return n.graph(batch, forPrediction, 0) }

func (n *Net) graph(batch int, why purpose, smoothing float32) (*Graph, error) {
	if batch < 1 || batch > maxElements/n.cfg.Input.Size() {
		return nil, fmt.Errorf("lenet: a batch of %d; it must be at least 1 and fit in memory", batch)
	}
	building.Lock()
	defer building.Unlock()
	in := n.cfg.Input
	b := &Graph{Graph: gorgonia.NewGraph(gorgonia.WithGraphName("lenet " + n.cfg.Name))}
	b.Images = gorgonia.NewTensor(b.Graph, tensor.Float32, 4,
		gorgonia.WithShape(batch, in.Channels, in.Height+2*in.Padding, in.Width+2*in.Padding), gorgonia.WithName("images"))
	params := map[string]*gorgonia.Node{}
	for i, p := range n.params {
		node := gorgonia.NewTensor(b.Graph, tensor.Float32, len(p.Shape), gorgonia.WithShape(p.Shape...),
			gorgonia.WithName(p.Name), gorgonia.WithValue(n.values[i]))
		params[p.Name] = node
		b.Params = append(b.Params, node)
	}
	x := b.Images
	apply := func(o gorgonia.Op, name string, in ...*gorgonia.Node) error {
		out, err := gorgonia.ApplyOp(o, in...)
		if err != nil {
			return fmt.Errorf("lenet: %s: %w", name, err)
		}
		gorgonia.WithName(name)(out)
		x = out
		return nil
	}
	for _, l := range n.layers {
		var o gorgonia.Op
		args := []*gorgonia.Node{x}
		switch l.kind {
		case layerConv:
			o = op.Conv{Padding: l.block.Padding, FirstLayer: l.first, Table: l.connections()}
		case layerPool:
			o = op.Pool{R: op.Reduction(l.block.Pool)}
			if l.block.Pool == PoolTrainable {
				o = op.Subsample{}
			}
		case layerFlatten:
			o = op.Flatten{}
		case layerDense:
			o = op.Dense{FirstLayer: l.first}
		case layerRBF:
			o = op.RBF{Codes: newCodes(n.cfg.Classes)}
		}
		if l.weight != nil {
			args = append(args, params[l.name+".weight"], params[l.name+".bias"])
		}
		if err := apply(o, l.name, args...); err != nil {
			return nil, err
		}
		if l.act != ActNone {
			a := op.Activation{F: op.Function(l.act), Rank: x.Dims()}
			if err := apply(a, l.name+"."+string(l.act), x); err != nil {
				return nil, err
			}
		}
		b.Layers = append(b.Layers, x)
	}
	b.Logits = x
	if why == forPrediction {
		err := apply(op.Softmax{}, "probabilities", x)
		b.Probabilities = x
		return b, err
	}
	b.Labels = gorgonia.NewTensor(b.Graph, tensor.Int32, 1, gorgonia.WithShape(batch), gorgonia.WithName("labels"))
	if err := apply(n.cfg.criterion(smoothing), "loss", b.Logits, b.Labels); err != nil {
		return nil, err
	}
	b.Loss = x
	if why == forTraining {
		grads, err := gorgonia.Grad(b.Loss, b.Params...)
		if err != nil {
			return nil, fmt.Errorf("lenet: differentiating: %w", err)
		}
		b.Grads = grads
	}
	if err := apply(op.Hits{}, "hits", b.Logits, b.Labels); err != nil {
		return nil, err
	}
	b.Hits = x
	return b, nil
}

// Plan describes, for a reader, how an engine runs the graph for training: the
// stages, what is fused in each, its nodes, its estimated floating-point
// operations and the memory of its values, for a batch.
func (n *Net) Plan(batch int) (string, error) {
	b, err := n.Graph(batch)
	if err != nil {
		return "", err
	}
	p, err := plan.Compile(b.Graph)
	if err != nil {
		return "", fmt.Errorf("lenet: %w", err)
	}
	return p.String(), nil
}

// criterion is the loss that goes with the output layer.
func (c Config) criterion(smoothing float32) op.CrossEntropy {
	if c.Output == OutputRBF {
		return op.CrossEntropy{Rubbish: true, Background: -rubbishPenalty, Smoothing: smoothing}
	}
	return op.CrossEntropy{Smoothing: smoothing}
}

// rubbishPenalty is the j of the MAP criterion. The codes of two digits are
// some 40 to 180 apart: an image that is further than this from its own is
// pulled however far the others are.
const rubbishPenalty = 20

// program is the graph as an engine sees it.
func (n *Net) program(b *Graph) *engine.Program {
	return &engine.Program{
		Graph: b.Graph, Images: b.Images, Labels: b.Labels,
		Logits: b.Logits, Probabilities: b.Probabilities, Loss: b.Loss, Hits: b.Hits,
		Params: b.Params, Grads: b.Grads,
		Scale: n.cfg.Input.Scale, Offset: n.cfg.Input.Offset, Padding: n.cfg.Input.Padding,
	}
}

// compile builds a graph and an engine for it.
func (n *Net) compile(batch int, why purpose, smoothing float32) (engine.Engine, error) {
	b, err := n.graph(batch, why, smoothing)
	if err != nil {
		return nil, err
	}
	building.Lock()
	defer building.Unlock()
	return n.newEngine(n.program(b))
}
