package cuda

import (
	"errors"
	"fmt"
	"math"
	"unsafe"

	"example.com/lenet5/internal/engine"
)

// together is the number of steps that are launched at once: few, so that the
// device need not wait long for the first.
const together = 16

// Room is the number of steps that can be queued.
func (e *Engine) Room() int { return queued - len(e.steps) }

// Enqueue adds a step to the queue.
func (e *Engine) Enqueue(b engine.Batch, r engine.Rule) error {
	if err := e.enqueue(b, r); err != nil {
		return fmt.Errorf("cuda: %w", err)
	}
	return nil
}

func (e *Engine) enqueue(b engine.Batch, r engine.Rule) error {
	switch {
	case e.failed != nil:
		return e.failed
	case e.p.backward == 0:
		return errors.New("a graph without gradients cannot be trained")
	case e.Room() == 0:
		return errors.New("the queue is full")
	}
	if err := b.Check(e.limits); err != nil {
		return err
	}
	if len(e.steps) == 0 {
		if err := errors.Join(e.push(), e.vectors(r), write(e, e.p.counters, make([]counters, 1))); err != nil {
			return err
		}
	} else if e.stateVectors != r.Vectors() || modeOf(r) != modeOf(e.rule) {
		return errors.New("a rule of another kind than that of the steps in the queue")
	}
	s, err := e.place(b, len(e.steps))
	if err != nil {
		return err
	}
	e.rule = r
	e.steps = append(e.steps, constants(s, r))
	for k := range e.prog.BatchSize() {
		switch {
		case k >= int(s.count):
			e.index = append(e.index, 0)
		case s.gathered != 0:
			e.index = append(e.index, int32(k))
		default:
			e.index = append(e.index, b.Index[k])
		}
	}
	if len(e.steps)-e.launched >= together {
		return e.start()
	}
	return nil
}

// place brings what a step reads to the device. A batch that is not rows of a
// data set, or whose images are changed on the way, is copied; it is small.
func (e *Engine) place(b engine.Batch, slot int) (step, error) {
	if b.Index == nil || b.Transform != nil {
		if err := e.widen(); err != nil {
			return step{}, err
		}
		return e.stage(b, slot)
	}
	err := e.reside(b)
	return step{images: e.set.atImages, labels: e.set.atLabels, count: int32(len(b.Index))}, err
}

// modeOf is the kind of step that a rule makes.
func modeOf(r engine.Rule) mode {
	if r.Clip > 0 {
		return stepClip
	}
	return stepPlain
}

// start launches the steps that wait.
func (e *Engine) start() error {
	n := len(e.steps) - e.launched
	if n == 0 {
		return nil
	}
	steps, index := e.steps[e.launched:], e.index[e.launched*e.prog.BatchSize():]
	err := errors.Join(
		write(e, e.p.steps+address(e.launched*int(unsafe.Sizeof(step{}))), steps),
		write(e, e.p.index+address(4*e.launched*e.prog.BatchSize()), index))
	if err == nil {
		e.launched = len(e.steps)
		err = e.launch(modeOf(e.rule), n)
	}
	e.failed = err // what has become of the steps is not known
	return err
}

// Flush waits for the steps.
func (e *Engine) Flush() ([]engine.Result, error) {
	e.results = e.results[:0]
	if len(e.steps) == 0 {
		return e.results, e.failed
	}
	err := errors.Join(e.start(), read(e, e.raw[:len(e.steps)], e.p.results), e.pull())
	if err != nil {
		e.failed = err
		return e.results, fmt.Errorf("cuda: %w", err)
	}
	for i, s := range e.steps {
		r := e.raw[i]
		e.results = append(e.results, engine.Result{Loss: r.loss, Hits: int(r.hits), Count: int(s.count)})
		if l := float64(r.loss); math.IsNaN(l) || math.IsInf(l, 0) {
			break // the steps after it changed nothing
		}
	}
	e.steps, e.index, e.launched = e.steps[:0], e.index[:0], 0
	e.stale = true
	for _, r := range e.retired {
		e.release(r)
	}
	e.retired = e.retired[:0]
	return e.results, nil
}

// reside brings the data set of a batch to the device, unless it is there.
func (e *Engine) reside(b engine.Batch) error {
	s := resident{images: unsafe.SliceData(b.Images), labels: unsafe.SliceData(b.Labels), nImages: len(b.Images), nLabels: len(b.Labels)}
	if have := e.set; have.images == s.images && have.labels == s.labels && have.nImages == s.nImages && have.nLabels == s.nLabels {
		return nil
	}
	var err error
	if s.atImages, err = e.dev.alloc(len(b.Images)); err != nil {
		return fmt.Errorf("%w, for a data set of %d MB", err, len(b.Images)>>20)
	}
	if s.atLabels, err = e.dev.alloc(len(b.Labels)); err != nil {
		return err
	}
	if e.set.images != nil {
		e.retired = append(e.retired, e.set) // steps in the queue may use it
	}
	e.set = s
	return errors.Join(write(e, s.atImages, b.Images), write(e, s.atLabels, b.Labels))
}

func (e *Engine) release(r resident) {
	e.dev.free(r.atImages)
	e.dev.free(r.atLabels)
}

// widen makes room for the images of every step that can wait.
func (e *Engine) widen() error {
	if e.wide {
		return nil
	}
	at, err := e.dev.alloc(queued * e.prog.BatchSize() * (e.size + 1))
	if err != nil {
		return fmt.Errorf("%w, for the images of %d steps", err, queued)
	}
	e.dev.free(e.staged)
	e.staged, e.wide = at, true
	return nil
}
