package lenet

import (
	"fmt"

	"example.com/lenet5/internal/engine"
	"example.com/lenet5/internal/op"
)

// A Prediction is the network's answer for one image.
type Prediction struct {
	Class         int       // the most probable class, the first of equals
	Name          string    // its name, of [Net.ClassNames]
	Probabilities []float32 // one per class, summing to 1
}

// The two sizes of graph that predictions run on: one image, and many.
const predictBatch = 256

// Probabilities appends the class probabilities of each image to dst, Classes
// numbers an image. Images are C*H*W bytes each, row-major, one after the
// other; 0 is background.
func (n *Net) Probabilities(dst []float32, images []byte) ([]float32, error) {
	size := n.cfg.Input.Size()
	if len(images) == 0 || len(images)%size != 0 {
		return dst, fmt.Errorf("lenet: %d bytes of images; want a positive multiple of %d (%d x %d x %d)",
			len(images), size, n.cfg.Input.Channels, n.cfg.Input.Height, n.cfg.Input.Width)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for len(images) > 0 {
		count := min(len(images)/size, predictBatch)
		e, err := n.predictor(count)
		if err != nil {
			return dst, err
		}
		if err := e.Load(engine.Batch{Images: images[:count*size]}); err != nil {
			return dst, err
		}
		if err := e.RunAll(); err != nil {
			return dst, fmt.Errorf("lenet: running the graph: %w", err)
		}
		dst = append(dst, e.Probabilities()...)
		images = images[count*size:]
	}
	return dst, nil
}

// predictor returns the engine for count images. n.mu is held.
func (n *Net) predictor(count int) (engine.Engine, error) {
	if count > 1 {
		count = predictBatch
	}
	if e, ok := n.predictors[count]; ok {
		return e, nil
	}
	e, err := n.compile(count, forPrediction, 0)
	if err != nil {
		return nil, err
	}
	n.predictors[count] = e
	return e, nil
}

// PredictBytes classifies images, C*H*W bytes each, one after the other.
func (n *Net) PredictBytes(images []byte) ([]Prediction, error) {
	p, err := n.Probabilities(nil, images)
	if err != nil {
		return nil, err
	}
	out := make([]Prediction, len(p)/n.cfg.Classes)
	for i := range out {
		row := p[i*n.cfg.Classes : (i+1)*n.cfg.Classes : (i+1)*n.cfg.Classes]
		class := op.ArgMax(row)
		out[i] = Prediction{Class: class, Name: n.className(class), Probabilities: row}
	}
	return out, nil
}
