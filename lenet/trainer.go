package lenet

import (
	"errors"
	"fmt"
	"slices"

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
	// Transform, if not nil, makes of the image src of the k-th example of the
	// batch the image dst that the network sees. Both are of C*H*W bytes; src
	// must not be changed. It is called from several goroutines at once.
	Transform func(dst, src []byte, k int)
}

// Stats are the results of a batch.
type Stats struct {
	Loss    float64 // mean over the batch
	Correct int     // examples whose most probable class is their label
	Count   int     // examples
}

// An Update says what to do with the gradients of a step. With d the gradient
// plus WeightDecay times the parameter p, it is
//
//	m = Momentum m + d;  p -= LearningRate m
//
// or with Nesterov, p -= LearningRate (d + Momentum m); or with Adam,
//
//	m = Beta1 m + (1-Beta1) d;  v = Beta2 v + (1-Beta2) d d
//	p -= LearningRate mhat / (sqrt(vhat) + Epsilon)
//
// where mhat is m / (1 - Beta1^t) and vhat is v / (1 - Beta2^t) at the t-th
// step. These are PyTorch's formulas.
type Update struct {
	LearningRate float64
	Momentum     float64
	Nesterov     bool
	WeightDecay  float64
	// Adam chooses the second formula.
	Adam                  bool
	Beta1, Beta2, Epsilon float64
	// Decoupled takes LearningRate*WeightDecay of each parameter off it
	// instead of adding to its gradient, as AdamW does.
	Decoupled bool
	// ClipNorm, if not 0, scales the gradients down to at most this norm, taken
	// over all of them.
	ClipNorm float64
	// Solver, if not nil, is used in place of all that.
	Solver gorgonia.Solver
}

// A Trainer holds what training with batches of up to a certain size needs.
//
// A step is taken by [Trainer.Step], or put in a queue by [Trainer.Enqueue] and
// waited for by [Trainer.Flush]: on a GPU that is faster, since it need not
// wait for the host after each.
type Trainer struct {
	net    *Net
	engine engine.Engine
	queue  engine.Queue // the engine, if it is one
	steps  int          // updates so far
	done   []Stats      // of steps in the queue of a trainer whose engine has none
	queued int
}

// A TrainerOption adjusts [Net.NewTrainer].
type TrainerOption func(*trainerOptions)

type trainerOptions struct{ smoothing float64 }

// LabelSmoothing spreads a share of each target, in [0, 1), over all classes
// (Szegedy et al., "Rethinking the Inception architecture", 2016). The loss is
// then that of the smoothed targets.
func LabelSmoothing(share float64) TrainerOption {
	return func(o *trainerOptions) { o.smoothing = share }
}

// NewTrainer compiles the network's graph for training with batches of at
// most batchSize examples.
func (n *Net) NewTrainer(batchSize int, opts ...TrainerOption) (*Trainer, error) {
	var o trainerOptions
	for _, f := range opts {
		f(&o)
	}
	if !(o.smoothing >= 0 && o.smoothing < 1) {
		return nil, fmt.Errorf("lenet: label smoothing of %g; it must be in [0, 1)", o.smoothing)
	}
	e, err := n.compile(batchSize, forTraining, float32(o.smoothing))
	if err != nil {
		return nil, err
	}
	t := &Trainer{net: n, engine: e}
	t.queue, _ = e.(engine.Queue)
	return t, nil
}

// OptimizerState is what an optimizer remembers between steps; with the
// parameters, it is all that training goes on from.
type OptimizerState struct {
	Steps int // updates so far
	// Vectors hold a number for each parameter, in the order of [Net.Params]:
	// none for plain gradient descent, m with momentum, m and v for Adam.
	Vectors [][]float32
}

// State returns a copy of the optimizer's state. A Solver of Gorgonia keeps
// its own, which is not in it.
func (t *Trainer) State() OptimizerState {
	s := OptimizerState{Steps: t.steps}
	for _, v := range t.engine.State() {
		s.Vectors = append(s.Vectors, slices.Clone(v))
	}
	return s
}

// SetState puts the optimizer where another one was. The error says what does
// not fit the network; then nothing is changed.
func (t *Trainer) SetState(s OptimizerState) error {
	if s.Steps < 0 {
		return fmt.Errorf("lenet: an optimizer's state after %d steps", s.Steps)
	}
	if err := t.engine.SetState(s.Vectors); err != nil {
		return err
	}
	t.steps = s.Steps
	return nil
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
		t.steps++
		t.engine.Descend(t.rule(u))
		return s, nil
	}
	if err := u.Solver.Step(t.engine.Gradients()); err != nil {
		return s, fmt.Errorf("lenet: solver: %w", err)
	}
	return s, nil
}

// rule is the update of the current step as an engine takes it.
func (t *Trainer) rule(u Update) engine.Rule {
	return engine.Rule{
		Adam: u.Adam, Rate: u.LearningRate, Decay: u.WeightDecay, Momentum: u.Momentum, Nesterov: u.Nesterov,
		Decoupled: u.Decoupled, Beta1: u.Beta1, Beta2: u.Beta2, Epsilon: u.Epsilon, Step: t.steps, Clip: u.ClipNorm,
	}
}

// Room is how many steps can be put in the queue before [Trainer.Flush] must be
// called. On the CPU, which takes a step at once, it is at most 1.
func (t *Trainer) Room() int {
	if t.queue != nil {
		return t.queue.Room()
	}
	return 1 - len(t.done)
}

// Enqueue puts a step in the queue. It is the same step as that of
// [Trainer.Step], but for this: until the next Flush, the parameters may be
// those of any step of the queue; and with an Index, Images and Labels are
// taken to be those that they were at the first Enqueue, since a GPU keeps
// them.
//
// A Solver, which needs the gradients of each step on the host, cannot be used.
func (t *Trainer) Enqueue(b Batch, u Update) error {
	switch {
	case u.Solver != nil:
		return errors.New("lenet: a step with a Solver cannot be queued")
	case b.Labels == nil:
		return errNoLabels
	case t.Room() == 0:
		return errors.New("lenet: the queue of the trainer is full; Flush it")
	}
	if t.queue == nil {
		s, err := t.Step(b, u)
		if err == nil {
			t.done = append(t.done, s)
		}
		return err
	}
	t.steps++
	if err := t.queue.Enqueue(engine.Batch(b), t.rule(u)); err != nil {
		t.steps--
		return err
	}
	t.queued++
	return nil
}

// Flush waits for the steps in the queue and returns their results, in order.
// If a loss is not finite, its result is the last: the steps after it were not
// taken, and the parameters are those before it. The results are valid until
// the next Enqueue.
func (t *Trainer) Flush() ([]Stats, error) {
	stats := t.done
	t.done = t.done[:0]
	if t.queue == nil {
		return stats, nil
	}
	results, err := t.queue.Flush()
	if err != nil {
		return nil, err
	}
	for _, r := range results {
		stats = append(stats, Stats{Loss: float64(r.Loss), Correct: r.Hits, Count: r.Count})
	}
	if n := len(results); n > 0 {
		updates := n
		if l := results[n-1].Loss; l-l != 0 {
			updates--
		}
		t.steps -= t.queued - updates
	}
	t.queued = 0
	t.done = stats[:0]
	return stats, nil
}

// Gradients returns the gradient of each parameter in the last step, in the
// order of [Net.Params]. They are valid until the next step.
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
	e, err := n.compile(batchSize, forEvaluation, 0)
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

var errNoLabels = errors.New("lenet: a batch without labels")

func run(e engine.Engine, b Batch, imageSize int) (Stats, error) {
	if b.Labels == nil {
		return Stats{}, errNoLabels
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
