// Package train is how a network learns: the loop over epochs and batches,
// the optimizers, the history and its progress. Pictures of it are in the
// package train/plot, so that importing train stays light.
package train

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"example.com/lenet5/data"
	"example.com/lenet5/lenet"
)

// ErrConfig is wrapped by the errors about settings, networks and data sets
// that do not go together.
var ErrConfig = errors.New("train: bad config")

// ErrDiverged is wrapped by a [*DivergedError].
var ErrDiverged = errors.New("train: the loss is not finite")

// A DivergedError says at which step the loss became NaN or infinite. The
// parameters are those before that step.
type DivergedError struct {
	Epoch, Step int // both from 1; the step counts within the epoch
	Loss        float64
}

// Error names the step, and says what helps.
func (e *DivergedError) Error() string {
	return fmt.Sprintf("train: epoch %d, step %d: the loss is %v; a lower learning rate usually helps", e.Epoch, e.Step, e.Loss)
}

// Unwrap returns [ErrDiverged].
func (e *DivergedError) Unwrap() error { return ErrDiverged }

// A Config says how to train. The zero value trains as the network's own
// Defaults say.
type Config struct {
	Epochs    int // 0 means the network's default
	BatchSize int // 0 means the network's default
	// Optimizer is by default the network's own, with its learning rate.
	Optimizer Optimizer
	// Schedule changes the learning rate from step to step. Nil means the
	// network's own with its own optimizer, and else [Constant].
	Schedule Schedule
	// ClipNorm, if not 0, scales the gradients of a step down to at most this
	// norm, taken over all parameters.
	ClipNorm float64
	// LabelSmoothing is the share of each target that is spread over all
	// classes, in [0, 1); see [lenet.LabelSmoothing].
	LabelSmoothing float64
	// Augment says how the training images are changed, anew in each epoch. It
	// depends on Seed, the epoch and the image alone.
	Augment data.Augmentation
	// Validation, if not nil, is evaluated after each epoch.
	Validation *data.Dataset
	// Seed and the epoch's number decide the order of the examples, and how
	// they are augmented.
	Seed uint64
	// History, if not nil, is that of the run so far: training goes on after
	// its last epoch, with the data order of the epochs to come, and new
	// epochs are appended to it. Epochs counts those still to be trained.
	History *History
	// Checkpoint, if not empty, is the file that the run is saved to: before
	// the first step, every CheckpointEvery (0 means 5 seconds), after each
	// epoch, and when the context ends. The one before it is kept, under the
	// same name and [Previous]. A Solver of Gorgonia cannot be saved.
	Checkpoint      string
	CheckpointEvery time.Duration
	// Resume, if not nil, is where to go on from. The network, the data and the
	// settings must be those that it was made with, and then the run ends as if
	// it had never been stopped, bit by bit. If the Schedule is [Constant],
	// Epochs may be more than it was.
	Resume *Checkpoint
	// Notes are kept in the checkpoint, for its reader.
	Notes map[string]string
	// Stop ends the run early if it does not get better.
	Stop EarlyStopping
	// KeepBest leaves the network with the parameters after the epoch of the
	// best test accuracy in this run, whenever the training ends without an
	// error. To judge them takes a set that had no part in the choice.
	KeepBest bool
	// Progress, if not nil, is told how training goes: by a bar if it is a
	// terminal, else by one line per epoch.
	Progress io.Writer
	Hooks    Hooks
}

// Hooks are called by [Fit] as it goes, on its goroutine. An error ends the
// training, and Fit returns it wrapped. They may read the network, and must
// not change it.
type Hooks struct {
	EpochBegin func(epoch int) error
	// Step is called for each step, in order. A GPU takes some steps together:
	// then their hooks are called when all of them are done, and the network is
	// as it is after the last.
	Step func(Step) error
	// EpochEnd gets the history with the epoch that has just ended.
	EpochEnd func(*History) error
}

// A Step is what a hook is told about a step of training.
type Step struct {
	Epoch, Step, Steps int // from 1; Steps is the number in an epoch
	Total              int // steps since the start of the run, from 1
	lenet.Stats
}

// Fit trains net on set. It returns the history, with the epochs that were
// completed, also when it returns an error: from a hook, from a context that
// ended (the steps in progress are finished first), a [*DivergedError], or one
// that wraps [ErrConfig] before anything is trained. The sets must not change
// meanwhile.
//
// Fit on a network that is already trained goes on from its parameters. A
// network whose classes have no names gets those of the set.
func Fit(ctx context.Context, net *lenet.Net, set *data.Dataset, cfg Config) (*History, error) {
	r, err := newRun(net, set, cfg)
	if err != nil {
		return cfg.History, err
	}
	defer r.close()
	if net.ClassNames() == nil && len(set.Classes) == net.Config().Classes {
		if err := net.SetClassNames(set.Classes); err != nil {
			return r.history, err
		}
	}
	if cfg.Resume == nil {
		if err := r.checkpoint(); err != nil {
			return r.history, err
		}
	}
	for r.history.Last().Epoch < r.last && r.history.Stopped == "" {
		if err := r.epoch(ctx); err != nil {
			return r.history, err
		}
	}
	if r.best != nil {
		for i, p := range net.Params() {
			copy(p.Data, r.best[i])
		}
	}
	return r.history, nil
}

// run is a call of Fit.
type run struct {
	cfg       Config
	net       *lenet.Net
	set       *data.Dataset
	update    lenet.Update
	trainer   *lenet.Trainer
	evaluator *evaluator
	history   *History
	progress  *progress
	order     []int32
	transform func(dst, src []byte, k int) // nil without augmentation
	began     int                          // the number of the epoch before the first
	last      int                          // the number of the last epoch to train
	steps     int                          // in an epoch

	// Where the run is: step steps of the epoch in progress are done.
	step   int
	queued int // steps after them are in the trainer's queue
	sums   sums

	best [][]float32 // the parameters after the best epoch, if they are kept

	saved time.Time // when the last checkpoint was
	fixed []setting // what a checkpoint says about the run
}

// sums are totals over the part of an epoch that is done.
type sums struct {
	loss              float64
	correct, examples int
	time              time.Duration
}

// add counts a step in.
func (s *sums) add(stats lenet.Stats) {
	s.loss += stats.Loss * float64(stats.Count)
	s.correct += stats.Correct
	s.examples += stats.Count
}

// epoch is the row of the history, as far as it is known.
func (s *sums) epoch(number int) Epoch {
	n := float64(s.examples)
	return Epoch{
		Epoch: number, TrainLoss: s.loss / n, TrainAccuracy: float64(s.correct) / n,
		TestLoss: math.NaN(), TestAccuracy: math.NaN(), Examples: s.examples, TrainTime: s.time,
	}
}

func newRun(net *lenet.Net, set *data.Dataset, cfg Config) (r *run, err error) {
	if net == nil {
		return nil, fmt.Errorf("%w: no network", ErrConfig)
	}
	if err := fits(net, set, "training"); err != nil {
		return nil, err
	}
	if cfg, err = cfg.Resolve(net, set); err != nil {
		return nil, err
	}
	if cfg.Resume != nil && cfg.History != nil {
		return nil, fmt.Errorf("%w: Resume brings a History of its own", ErrConfig)
	}
	r = &run{cfg: cfg, net: net, set: set, history: cfg.History, progress: newProgress(cfg.Progress)}
	if r.history == nil {
		r.history = &History{}
	}
	r.history.Stopped = ""
	r.began = r.history.Last().Epoch
	r.last = r.began + cfg.Epochs
	r.steps = (set.Len() + cfg.BatchSize - 1) / cfg.BatchSize
	if r.update, err = cfg.update(); err != nil {
		return nil, err
	}
	if cfg.Validation != nil {
		if err := fits(net, cfg.Validation, "validation"); err != nil {
			return nil, err
		}
		if r.evaluator, err = newEvaluator(net, cfg.Validation); err != nil {
			return nil, err
		}
	}
	if r.trainer, err = net.NewTrainer(cfg.BatchSize, lenet.LabelSmoothing(cfg.LabelSmoothing)); err != nil {
		r.close()
		return nil, err
	}
	if cfg.Augment != (data.Augmentation{}) {
		a, err := data.NewAugmenter(cfg.Augment, set)
		if err != nil {
			r.close()
			return nil, fmt.Errorf("%w: %w", ErrConfig, err)
		}
		r.transform = func(dst, src []byte, k int) {
			a.Apply(dst, src, cfg.Seed, r.history.Last().Epoch+1, int(r.order[(r.step+r.queued)*cfg.BatchSize+k]))
		}
	}
	if cfg.Checkpoint != "" {
		r.fixed = r.settings()
	}
	if cfg.Resume != nil {
		if err := r.resume(net, cfg.Resume); err != nil {
			r.close()
			return nil, err
		}
	}
	return r, nil
}

// Resolve fills in what c leaves open, from the Defaults of the network's
// Config: it is what [Fit] trains by. The error wraps [ErrConfig].
func (c Config) Resolve(net *lenet.Net, set *data.Dataset) (_ Config, err error) {
	d := net.Config().Defaults
	if c.Epochs, err = orDefault("epochs", c.Epochs, d.Epochs); err != nil {
		return c, err
	}
	if c.BatchSize, err = orDefault("a batch size", c.BatchSize, d.BatchSize); err != nil {
		return c, err
	}
	c.BatchSize = min(c.BatchSize, set.Len())
	own := c.Optimizer == nil
	if own {
		if c.Optimizer, err = NewOptimizer(d.Optimizer, d.LearningRate); err != nil {
			return c, err
		}
	}
	if c.Optimizer, err = c.Optimizer.resolve(d); err != nil {
		return c, err
	}
	if c.Schedule == nil {
		c.Schedule = Constant{}
		if own {
			if c.Schedule, err = NewSchedule(d.Schedule); err != nil {
				return c, err
			}
		}
	}
	_, err = c.update()
	return c, err
}

// update checks what becomes of the gradients.
func (c Config) update() (lenet.Update, error) {
	u, err := c.Optimizer.update()
	if err != nil {
		return u, err
	}
	if err := c.Schedule.validate(); err != nil {
		return u, err
	}
	if err := checkAll(c, check{"ClipNorm", c.ClipNorm, 0, math.Inf(1)}, check{"LabelSmoothing", c.LabelSmoothing, 0, belowOne}); err != nil {
		return u, err
	}
	if _, constant := c.Schedule.(Constant); u.Solver != nil && (!constant || c.ClipNorm > 0) {
		return u, fmt.Errorf("%w: a Solver of Gorgonia takes no schedule and no clipping", ErrConfig)
	}
	if err := c.Stop.validate(c.Validation != nil); err != nil {
		return u, err
	}
	if c.KeepBest && c.Validation == nil {
		return u, fmt.Errorf("%w: KeepBest without a Validation set", ErrConfig)
	}
	if u.Solver != nil && (c.Checkpoint != "" || c.Resume != nil) {
		return u, fmt.Errorf("%w: a Solver of Gorgonia keeps its state to itself, so there is no checkpoint with one", ErrConfig)
	}
	u.ClipNorm = c.ClipNorm
	return u, nil
}

// orDefault returns value, or the network's if it is 0.
func orDefault(what string, value, preset int) (int, error) {
	if value == 0 {
		value = preset
	}
	if value < 1 {
		return 0, fmt.Errorf("%w: %s of %d; it must be at least 1", ErrConfig, what, value)
	}
	return value, nil
}

// fits reports whether the network can take the images.
func fits(net *lenet.Net, set *data.Dataset, what string) error {
	if set == nil || set.Len() == 0 {
		return fmt.Errorf("%w: the %s set is empty", ErrConfig, what)
	}
	c := net.Config()
	if in := c.Input; set.Channels != in.Channels || set.Height != in.Height || set.Width != in.Width {
		return fmt.Errorf("%w: %s: images of %d x %dx%d for a network that takes %d x %dx%d", ErrConfig, set.Name,
			set.Channels, set.Height, set.Width, in.Channels, in.Height, in.Width)
	}
	if len(set.Classes) > c.Classes {
		return fmt.Errorf("%w: %s: %d classes for a network of %d", ErrConfig, set.Name, len(set.Classes), c.Classes)
	}
	return nil
}

func (r *run) close() {
	if r.trainer != nil {
		r.trainer.Close()
	}
	if r.evaluator != nil {
		r.evaluator.close()
	}
	r.progress.abandon()
}

// epoch trains one epoch, or what is left of it, and appends it to the history.
func (r *run) epoch(ctx context.Context) error {
	number := r.history.Last().Epoch + 1
	if r.cfg.Hooks.EpochBegin != nil {
		if err := r.cfg.Hooks.EpochBegin(number); err != nil {
			return fmt.Errorf("train: beginning epoch %d: %w", number, err)
		}
	}
	r.progress.begin(number, r.last, r.set.Len())
	start := time.Now()
	r.order = data.Permutation(r.order, r.set.Len(), r.cfg.Seed, number)
	r.sums.time += time.Since(start)
	for r.step < r.steps {
		if err := ctx.Err(); err != nil {
			if err := r.flush(number); err != nil {
				return err
			}
			err = fmt.Errorf("train: stopped before step %d of %d in epoch %d: %w", r.step+1, r.steps, number, context.Cause(ctx))
			return errors.Join(err, r.checkpoint())
		}
		if err := r.train(number); err != nil {
			return err
		}
		due := r.cfg.Checkpoint != "" && time.Since(r.saved) >= r.every()
		if due || r.step+r.queued == r.steps || r.trainer.Room() == 0 {
			if err := r.flush(number); err != nil {
				return err
			}
		}
		if due {
			if err := r.checkpoint(); err != nil {
				return err
			}
		}
	}
	e := r.sums.epoch(number)
	if r.evaluator != nil {
		m, err := r.evaluator.run()
		if err != nil {
			return fmt.Errorf("train: evaluating after epoch %d: %w", number, err)
		}
		e.TestLoss, e.TestAccuracy = m.Loss, m.Accuracy
	}
	r.history.Epochs = append(r.history.Epochs, e)
	r.step, r.sums = 0, sums{}
	if r.cfg.KeepBest && r.own().Best().Epoch == number {
		r.best = r.best[:0]
		for _, p := range r.net.Params() {
			r.best = append(r.best, slices.Clone(p.Data))
		}
	}
	r.history.Stopped = r.cfg.Stop.reason(r.own())
	r.progress.end(e)
	if r.history.Stopped != "" {
		r.progress.say(r.history.Stopped)
	}
	if r.cfg.Hooks.EpochEnd != nil {
		if err := r.cfg.Hooks.EpochEnd(r.history); err != nil {
			return fmt.Errorf("train: ending epoch %d: %w", number, err)
		}
	}
	return r.checkpoint()
}

// own is the history of this run, without that of the one that it continues.
func (r *run) own() *History {
	first := slices.IndexFunc(r.history.Epochs, func(e Epoch) bool { return e.Epoch > r.began })
	if first < 0 {
		return &History{}
	}
	return &History{Epochs: r.history.Epochs[first:]}
}

// train takes the next step of epoch number, or puts it in the queue.
func (r *run) train(number int) error {
	start := time.Now()
	step := r.step + r.queued
	lo := step * r.cfg.BatchSize
	hi := min(lo+r.cfg.BatchSize, r.set.Len())
	update := r.update
	if p, ok := r.cfg.Schedule.(Plateau); ok {
		update.LearningRate *= p.after(r.history)
	} else {
		update.LearningRate *= r.cfg.Schedule.Factor((number-1)*r.steps+step, r.last*r.steps, r.steps)
	}
	batch := lenet.Batch{Images: r.set.Images, Labels: r.set.Labels, Index: r.order[lo:hi], Transform: r.transform}
	if update.Solver != nil {
		stats, err := r.trainer.Step(batch, update)
		r.sums.time += time.Since(start)
		if err != nil {
			return fmt.Errorf("train: epoch %d, step %d: %w", number, step+1, err)
		}
		return r.took(number, stats)
	}
	err := r.trainer.Enqueue(batch, update)
	r.sums.time += time.Since(start)
	if err != nil {
		return fmt.Errorf("train: epoch %d, step %d: %w", number, step+1, err)
	}
	r.queued++
	return nil
}

// flush waits for the steps in the queue, and enters them. After an error of a
// hook the others are entered too, since the network is as it is after them.
func (r *run) flush(number int) error {
	start := time.Now()
	all, err := r.trainer.Flush()
	r.sums.time += time.Since(start)
	r.queued = 0
	if err != nil {
		return fmt.Errorf("train: epoch %d, step %d or one soon after it: %w", number, r.step+1, err)
	}
	return r.took(number, all...)
}

// took enters steps that were taken.
func (r *run) took(number int, all ...lenet.Stats) error {
	var failed error
	for _, stats := range all {
		if math.IsNaN(stats.Loss) || math.IsInf(stats.Loss, 0) {
			return errors.Join(failed, &DivergedError{number, r.step + 1, stats.Loss})
		}
		r.step++
		r.sums.add(stats)
		r.progress.step(r.sums.epoch(number))
		if r.cfg.Hooks.Step != nil && failed == nil {
			if err := r.cfg.Hooks.Step(Step{number, r.step, r.steps, (number-1)*r.steps + r.step, stats}); err != nil {
				failed = fmt.Errorf("train: epoch %d, step %d: %w", number, r.step, err)
			}
		}
	}
	if failed != nil {
		return errors.Join(failed, r.checkpoint())
	}
	return nil
}

// every is the time between checkpoints.
func (r *run) every() time.Duration {
	if r.cfg.CheckpointEvery > 0 {
		return r.cfg.CheckpointEvery
	}
	return 5 * time.Second
}
