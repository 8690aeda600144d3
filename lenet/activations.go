package lenet

import (
	"fmt"
	"slices"

	"gorgonia.org/gorgonia"

	"example.com/lenet5/internal/engine"
)

// A LayerOutput is what a layer puts out for one image.
type LayerOutput struct {
	LayerShape
	// Values is (channels, height, width), row-major, or (units).
	Values []float32
}

// tapped is a graph for one image on Gorgonia's TapeMachine, and where it
// leaves the outputs of the layers.
type tapped struct {
	tape   *engine.Tape
	values []gorgonia.Value
}

// Activations returns the output of every layer, activation included, for one
// image of C*H*W bytes, in the order of [Net.Shapes]. It runs the graph by its
// reference implementation, in milliseconds: it is for looking at, not for
// predicting.
func (n *Net) Activations(image []byte) ([]LayerOutput, error) {
	if size := n.cfg.Input.Size(); len(image) != size {
		return nil, fmt.Errorf("lenet: an image of %d bytes; want %d (%d x %d x %d)",
			len(image), size, n.cfg.Input.Channels, n.cfg.Input.Height, n.cfg.Input.Width)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.tapped == nil {
		t, err := n.tap()
		if err != nil {
			return nil, err
		}
		n.tapped = t
	}
	if err := n.tapped.tape.Load(engine.Batch{Images: image}); err != nil {
		return nil, err
	}
	if err := n.tapped.tape.RunAll(); err != nil {
		return nil, fmt.Errorf("lenet: running the graph: %w", err)
	}
	var out []LayerOutput
	for i, s := range n.Shapes() {
		v, ok := n.tapped.values[i].Data().([]float32)
		if !ok {
			return nil, fmt.Errorf("lenet: %s: its output is of %T", s.Name, n.tapped.values[i].Data())
		}
		out = append(out, LayerOutput{s, slices.Clone(v)})
	}
	return out, nil
}

func (n *Net) tap() (*tapped, error) {
	b, err := n.PredictionGraph(1)
	if err != nil {
		return nil, err
	}
	building.Lock()
	defer building.Unlock()
	t := &tapped{values: make([]gorgonia.Value, len(b.Layers))}
	for i, node := range b.Layers {
		gorgonia.Read(node, &t.values[i])
	}
	t.tape, err = engine.NewTape(n.program(b))
	return t, err
}
