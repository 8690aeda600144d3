package lenet

import (
	"errors"
	"fmt"

	"gorgonia.org/gorgonia"

	"example.com/lenet5/internal/engine"
)

// A Batch names examples of a data set without copying them: Images holds the
// whole set, n images of C*H*W bytes, Labels its n classes, and Index the rows
// that form the batch. A nil Index means all rows, in order.
type Batch struct {
	Images []byte
	Labels []byte
	Index  []int32
}

// Stats are the results of a batch.
type Stats struct {
	Loss    float64 // mean over the batch
	Correct int     // examples whose most probable class is their label
	Count   int     // examples
}

// An Update says what to do with the gradients of a step.
type Update struct {
	// LearningRate is that of stochastic gradient descent.
	LearningRate float64
	// Solver, if not nil, is used in place of gradient descent, and then
	// LearningRate is not.
	Solver gorgonia.Solver
}

// A Trainer holds what training with batches of up to a certain size needs.
type Trainer struct {
	net    *Net
	engine engine.Engine
}

// NewTrainer compiles the network's graph for training with batches of at
// most batchSize examples.
func (n *Net) NewTrainer(batchSize int) (*Trainer, error) {
	e, err := n.compile(batchSize, forTraining)
	if err != nil {
		return nil, err
	}
	return &Trainer{n, e}, nil
}

// Step computes the loss of b and its gradients, and updates the parameters.
// The parameters are left alone if an error is returned before the Solver
// ran. A loss that is not finite is returned as it is, and then nothing is
// updated.
func (t *Trainer) Step(b Batch, u Update) (Stats, error) {
	s, err := run(t.engine, b, t.net.cfg.Input.Size())
	if err != nil || s.Loss-s.Loss != 0 {
		return s, err
	}
	if u.Solver == nil {
		t.engine.Descend(float32(u.LearningRate))
		return s, nil
	}
	if err := u.Solver.Step(t.engine.Gradients()); err != nil {
		return s, fmt.Errorf("lenet: solver: %w", err)
	}
	return s, nil
}

// Gradients returns the gradient of each parameter in the last Step, in the
// order of [Net.Params]. They are valid until the next Step.
func (t *Trainer) Gradients() [][]float32 { return gradients(t.engine) }

func gradients(e engine.Engine) [][]float32 {
	var gs [][]float32
	for _, vg := range e.Gradients() {
		g, _ := vg.Grad() // of ours, which never fail
		f, _ := g.Data().([]float32)
		gs = append(gs, f)
	}
	return gs
}

// Close frees the engine.
func (t *Trainer) Close() error { return t.engine.Close() }

// An Evaluator computes loss and accuracy without training.
type Evaluator struct {
	net    *Net
	engine engine.Engine
}

// NewEvaluator compiles the network's graph for batches of at most batchSize.
func (n *Net) NewEvaluator(batchSize int) (*Evaluator, error) {
	e, err := n.compile(batchSize, forEvaluation)
	if err != nil {
		return nil, err
	}
	return &Evaluator{n, e}, nil
}

// Eval computes the loss of b and counts the hits.
func (e *Evaluator) Eval(b Batch) (Stats, error) {
	return run(e.engine, b, e.net.cfg.Input.Size())
}

// Close frees the engine.
func (e *Evaluator) Close() error { return e.engine.Close() }

func run(e engine.Engine, b Batch, imageSize int) (Stats, error) {
	if b.Labels == nil {
		return Stats{}, errors.New("lenet: a batch without labels")
	}
	eb := engine.Batch(b)
	if err := e.Load(eb); err != nil {
		return Stats{}, err
	}
	if err := e.RunAll(); err != nil {
		return Stats{}, fmt.Errorf("lenet: running the graph: %w", err)
	}
	loss, hits := e.Loss()
	return Stats{Loss: float64(loss), Correct: hits, Count: eb.Len(imageSize)}, nil
}
