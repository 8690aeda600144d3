package train

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"gorgonia.org/gorgonia"

	"example.com/lenet5/lenet"
)

// An Optimizer decides how gradients change the parameters: [SGD], [Adam],
// [AdamW], or a Solver of Gorgonia by [UseSolver]. The formulas are PyTorch's;
// [lenet.Update] has them.
type Optimizer interface {
	// String says what it is, with its settings.
	String() string
	// resolve fills in the network's defaults.
	resolve(lenet.Defaults) (Optimizer, error)
	// update checks the settings.
	update() (lenet.Update, error)
}

// SGD is stochastic gradient descent. The zero LearningRate means the one that
// the network's Config recommends for it, times 1-Momentum, which makes as
// large steps in the long run.
type SGD struct {
	LearningRate float64
	Momentum     float64
	Nesterov     bool
	WeightDecay  float64 // added to the gradient, times the parameter
}

func (s SGD) resolve(d lenet.Defaults) (Optimizer, error) {
	if s.LearningRate == 0 {
		if d.Optimizer != "" && d.Optimizer != "sgd" {
			return nil, fmt.Errorf("%w: SGD without a learning rate; the network's own is for %s", ErrConfig, d.Optimizer)
		}
		s.LearningRate = d.LearningRate * (1 - s.Momentum)
	}
	return s, nil
}

func (s SGD) update() (lenet.Update, error) {
	if s.Nesterov && s.Momentum == 0 {
		return lenet.Update{}, fmt.Errorf("%w: SGD: Nesterov without Momentum", ErrConfig)
	}
	return lenet.Update{LearningRate: s.LearningRate, Momentum: s.Momentum, Nesterov: s.Nesterov, WeightDecay: s.WeightDecay},
		checkRates(s, s.LearningRate, check{"Momentum", s.Momentum, 0, belowOne}, check{"WeightDecay", s.WeightDecay, 0, math.Inf(1)})
}

// String returns "SGD, learning rate 0.9".
func (s SGD) String() string {
	text := "SGD"
	if s.Momentum != 0 {
		text += fmt.Sprintf(", momentum %g", s.Momentum)
	}
	if s.Nesterov {
		text += " (Nesterov)"
	}
	return text + rateAndDecay(s.LearningRate, s.WeightDecay)
}

func rateAndDecay(rate, decay float64) string {
	text := fmt.Sprintf(", learning rate %g", rate)
	if decay != 0 {
		text += fmt.Sprintf(", weight decay %g", decay)
	}
	return text
}

// Adam is the optimizer of Kingma and Ba, 2015. WeightDecay is added to the
// gradient, times the parameter.
type Adam struct {
	LearningRate float64 // 0 means 0.001
	Beta1        float64 // 0 means 0.9
	Beta2        float64 // 0 means 0.999
	Epsilon      float64 // 0 means 1e-8
	WeightDecay  float64
}

func (a Adam) filled() Adam {
	a.LearningRate, a.Epsilon = orElse(a.LearningRate, 0.001), orElse(a.Epsilon, 1e-8)
	a.Beta1, a.Beta2 = orElse(a.Beta1, 0.9), orElse(a.Beta2, 0.999)
	return a
}

func (a Adam) resolve(lenet.Defaults) (Optimizer, error) { return a.filled(), nil }

func (a Adam) update() (lenet.Update, error) { return a.make(a) }

func (a Adam) make(of any) (lenet.Update, error) {
	return lenet.Update{LearningRate: a.LearningRate, Adam: true, WeightDecay: a.WeightDecay, Beta1: a.Beta1, Beta2: a.Beta2, Epsilon: a.Epsilon},
		checkRates(of, a.LearningRate, check{"Beta1", a.Beta1, 0, belowOne}, check{"Beta2", a.Beta2, 0, belowOne},
			check{"Epsilon", a.Epsilon, 0, math.Inf(1)}, check{"WeightDecay", a.WeightDecay, 0, math.Inf(1)})
}

// String returns "Adam, learning rate 0.001".
func (a Adam) String() string { return "Adam" + a.settings() }

func (a Adam) settings() string {
	a = a.filled()
	text := ""
	if a.Beta1 != 0.9 || a.Beta2 != 0.999 {
		text = fmt.Sprintf(", betas %g and %g", a.Beta1, a.Beta2)
	}
	if a.Epsilon != 1e-8 {
		text += fmt.Sprintf(", epsilon %g", a.Epsilon)
	}
	return text + rateAndDecay(a.LearningRate, a.WeightDecay)
}

// AdamW is [Adam] with the decoupled weight decay of Loshchilov and Hutter,
// 2019: each step takes LearningRate*WeightDecay of each parameter off it.
type AdamW Adam

func (a AdamW) resolve(lenet.Defaults) (Optimizer, error) { return AdamW(Adam(a).filled()), nil }

func (a AdamW) update() (lenet.Update, error) {
	u, err := Adam(a).make(a)
	u.Decoupled = true
	return u, err
}

// String returns "AdamW, learning rate 0.001, weight decay 0.01".
func (a AdamW) String() string { return "AdamW" + Adam(a).settings() }

// belowOne is the upper bound of momenta.
var belowOne = math.Nextafter(1, 0)

// checkRates reports a learning rate or another setting out of its bounds.
func checkRates(of any, rate float64, checks ...check) error {
	if !(rate > 0) || math.IsInf(rate, 0) {
		return fmt.Errorf("%w: %T with a learning rate of %g; it must be a positive number", ErrConfig, of, rate)
	}
	return checkAll(of, checks...)
}

// The optimizers by name, with their usual settings.
var optimizers = map[string]func(rate float64) Optimizer{
	"sgd":      func(rate float64) Optimizer { return SGD{LearningRate: rate} },
	"momentum": func(rate float64) Optimizer { return SGD{LearningRate: rate, Momentum: 0.9} },
	"nesterov": func(rate float64) Optimizer { return SGD{LearningRate: rate, Momentum: 0.9, Nesterov: true} },
	"adam":     func(rate float64) Optimizer { return Adam{LearningRate: rate} },
	"adamw":    func(rate float64) Optimizer { return AdamW{LearningRate: rate, WeightDecay: 0.01} },
}

// NewOptimizer returns an optimizer by name: "sgd" or empty, "momentum" and
// "nesterov" (SGD with a momentum of 0.9), "adam", or "adamw" (with a weight
// decay of 0.01). A rate of 0 means the optimizer's own, as its type says.
func NewOptimizer(name string, rate float64) (Optimizer, error) {
	if name == "" {
		name = "sgd"
	}
	if f, ok := optimizers[name]; ok {
		return f(rate), nil
	}
	return nil, fmt.Errorf("%w: optimizer %q; there are %s", ErrConfig, name, names(optimizers))
}

// OptimizerNames and ScheduleNames list what [NewOptimizer] and [NewSchedule]
// know, sorted.
func OptimizerNames() []string { return slices.Sorted(maps.Keys(optimizers)) }

// ScheduleNames lists what [NewSchedule] knows, sorted.
func ScheduleNames() []string { return slices.Sorted(maps.Keys(schedules)) }

func names[T any](of map[string]T) string {
	return strings.Join(slices.Sorted(maps.Keys(of)), ", ")
}

type solver struct{ s gorgonia.Solver }

// UseSolver trains by any Solver of Gorgonia. Its state lives in the Solver:
// use a new one for each network. Its learning rate is its own: it takes no
// [Schedule] but [Constant], and no clipping.
func UseSolver(s gorgonia.Solver) Optimizer { return solver{s} }

func (s solver) resolve(lenet.Defaults) (Optimizer, error) { return s, nil }

func (s solver) update() (lenet.Update, error) {
	if s.s == nil {
		return lenet.Update{}, fmt.Errorf("%w: a nil Solver", ErrConfig)
	}
	return lenet.Update{Solver: s.s}, nil
}

// String returns the type of the Solver.
func (s solver) String() string { return fmt.Sprintf("%T", s.s) }
