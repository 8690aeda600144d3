package train

import (
	"fmt"
	"math"
)

// A Schedule changes the learning rate as training goes on: what an
// [Optimizer] names is multiplied by Factor. Schedules are functions of the
// step alone, or of the history, so a run that is taken up again goes on as it
// would have.
type Schedule interface {
	// Factor is for the step at, of steps in the whole run, perEpoch of them in
	// an epoch; at counts from 0.
	Factor(at, steps, perEpoch int) float64
	// String says what it is, with its settings.
	String() string
	// validate reports settings that make no sense.
	validate() error
}

// Constant leaves the learning rate as it is.
type Constant struct{}

// Factor is 1.
func (Constant) Factor(int, int, int) float64 { return 1 }
func (Constant) validate() error              { return nil }

// String returns "constant".
func (Constant) String() string { return "constant" }

// StepDecay multiplies the learning rate by Gamma after each Epochs epochs.
type StepDecay struct {
	Epochs int     // 0 means a third of the run
	Gamma  float64 // 0 means 0.1
}

// Factor is Gamma to the number of times that it was due.
func (s StepDecay) Factor(at, steps, perEpoch int) float64 {
	every := s.Epochs * perEpoch
	if s.Epochs == 0 {
		every = max(1, steps/perEpoch/3) * perEpoch
	}
	return math.Pow(orElse(s.Gamma, 0.1), float64(at/every))
}

// String returns "times 0.1 every 5 epochs".
func (s StepDecay) String() string {
	if s.Epochs == 0 {
		return fmt.Sprintf("times %g after each third", orElse(s.Gamma, 0.1))
	}
	return fmt.Sprintf("times %g every %d epochs", orElse(s.Gamma, 0.1), s.Epochs)
}

func (s StepDecay) validate() error {
	return checkAll(s, check{"Epochs", float64(s.Epochs), 0, math.Inf(1)}, check{"Gamma", s.Gamma, 0, 1})
}

// Cosine lets the learning rate fall along half a cosine to Floor times itself
// (Loshchilov and Hutter, "SGDR", 2017, without restarts), after a linear
// Warmup of so many epochs, or parts of one.
type Cosine struct {
	Warmup float64
	Floor  float64
}

// Factor rises to 1, and then falls.
func (s Cosine) Factor(at, steps, perEpoch int) float64 {
	warm := s.Warmup * float64(perEpoch)
	if float64(at) < warm {
		return (float64(at) + 1) / (warm + 1)
	}
	return between(1, s.Floor, (float64(at)-warm)/math.Max(1, float64(steps)-warm))
}

// String returns "cosine to 0.1 after 1 epochs of warm-up".
func (s Cosine) String() string {
	text := "cosine"
	if s.Floor != 0 {
		text += fmt.Sprintf(" to %g", s.Floor)
	}
	if s.Warmup != 0 {
		text += fmt.Sprintf(" after %g epochs of warm-up", s.Warmup)
	}
	return text
}

func (s Cosine) validate() error {
	return checkAll(s, check{"Warmup", s.Warmup, 0, math.Inf(1)}, check{"Floor", s.Floor, 0, 1})
}

// OneCycle lets the learning rate rise from 1/Div of itself along half a
// cosine, for a share Rise of all steps, and fall along another to
// 1/(Div*FinalDiv) (Smith and Topin, "Super-convergence", 2018). It is
// PyTorch's OneCycleLR without the cycle of the momentum.
type OneCycle struct {
	Rise     float64 // 0 means 0.3
	Div      float64 // 0 means 25
	FinalDiv float64 // 0 means 1e4
}

// Factor rises to 1, and then falls.
func (s OneCycle) Factor(at, steps, _ int) float64 {
	start := 1 / orElse(s.Div, 25)
	top := orElse(s.Rise, 0.3)*float64(steps) - 1
	if float64(at) <= top {
		return between(start, 1, float64(at)/top)
	}
	return between(1, start/orElse(s.FinalDiv, 1e4), (float64(at)-top)/math.Max(1, float64(steps)-1-top))
}

// String returns "one cycle, rising for 0.3, from 1/25, to 1/250000".
func (s OneCycle) String() string {
	div := orElse(s.Div, 25)
	return fmt.Sprintf("one cycle, rising for %g, from 1/%g, to 1/%g", orElse(s.Rise, 0.3), div, div*orElse(s.FinalDiv, 1e4))
}

func (s OneCycle) validate() error {
	return checkAll(s, check{"Rise", s.Rise, 0, 1}, check{"Div", s.Div, 0, math.Inf(1)}, check{"FinalDiv", s.FinalDiv, 0, math.Inf(1)})
}

// Plateau multiplies the learning rate by Gamma when the loss has not become
// better for more than Patience epochs in a row: the test loss if there is a
// Validation set, else the train loss. It is PyTorch's ReduceLROnPlateau.
type Plateau struct {
	Patience int     // 0 means 2
	Gamma    float64 // 0 means 0.1
	// Threshold is the share by which a loss must be below the best one to be
	// better; 0 means 0.0001.
	Threshold float64
}

// Factor is 1: what matters is the history of the run.
func (s Plateau) Factor(int, int, int) float64 { return 1 }

// after is the factor after the epochs of h.
func (s Plateau) after(h *History) float64 {
	factor, best, bad := 1.0, math.Inf(1), 0
	for _, e := range h.Epochs {
		loss := e.TestLoss
		if math.IsNaN(loss) {
			loss = e.TrainLoss
		}
		bad++
		if loss < best*(1-orElse(s.Threshold, 1e-4)) || math.IsInf(best, 1) {
			best, bad = loss, 0
		}
		if bad > int(orElse(float64(s.Patience), 2)) {
			factor, bad = factor*orElse(s.Gamma, 0.1), 0
		}
	}
	return factor
}

// String returns "times 0.1 after 2 epochs without a loss lower by 0.0001".
func (s Plateau) String() string {
	return fmt.Sprintf("times %g after %g epochs without a loss lower by %g", orElse(s.Gamma, 0.1), orElse(float64(s.Patience), 2), orElse(s.Threshold, 1e-4))
}

func (s Plateau) validate() error {
	return checkAll(s, check{"Patience", float64(s.Patience), 0, math.MaxInt32}, check{"Gamma", s.Gamma, 0, 1}, check{"Threshold", s.Threshold, 0, 1})
}

// between goes from a to b along half a cosine as x goes from 0 to 1.
func between(a, b, x float64) float64 {
	return b + (a-b)/2*(1+math.Cos(math.Pi*math.Min(x, 1)))
}

func orElse(v, preset float64) float64 {
	if v == 0 {
		return preset
	}
	return v
}

// A check is a setting and its bounds.
type check struct {
	name   string
	v      float64
	lo, hi float64
}

func checkAll(of any, checks ...check) error {
	for _, c := range checks {
		if !(c.v >= c.lo && c.v <= c.hi) || math.IsInf(c.v, 0) {
			return fmt.Errorf("%w: %T: %s of %g", ErrConfig, of, c.name, c.v)
		}
	}
	return nil
}

// The schedules by name, with their usual settings.
var schedules = map[string]Schedule{
	"constant": Constant{}, "step": StepDecay{}, "cosine": Cosine{Warmup: 1}, "onecycle": OneCycle{}, "plateau": Plateau{},
}

// NewSchedule returns a schedule by name: "constant" or empty, "step" (a tenth
// after each third of the run), "cosine" (after an epoch of warm-up), "onecycle"
// or "plateau".
func NewSchedule(name string) (Schedule, error) {
	if name == "" {
		return Constant{}, nil
	}
	if s, ok := schedules[name]; ok {
		return s, nil
	}
	return nil, fmt.Errorf("%w: schedule %q; there are %s", ErrConfig, name, names(schedules))
}
