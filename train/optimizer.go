package train

import (
	"fmt"
	"math"

	"gorgonia.org/gorgonia"

	"example.com/lenet5/lenet"
)

// An Optimizer decides how gradients change the parameters: [SGD], or a
// Solver of Gorgonia by [UseSolver].
type Optimizer interface {
	// update checks the settings and fills in the network's defaults.
	update(lenet.Defaults) (lenet.Update, error)
}

// SGD is stochastic gradient descent: each parameter loses LearningRate times
// its gradient. The zero LearningRate means the one that the network's Config
// recommends.
type SGD struct {
	LearningRate float64
}

func (s SGD) update(d lenet.Defaults) (lenet.Update, error) {
	if s.LearningRate == 0 {
		s.LearningRate = d.LearningRate
	}
	if !(s.LearningRate > 0) || math.IsInf(s.LearningRate, 0) {
		return lenet.Update{}, fmt.Errorf("%w: SGD with a learning rate of %g; it must be a positive number", ErrConfig, s.LearningRate)
	}
	return lenet.Update{LearningRate: s.LearningRate}, nil
}

type solver struct{ s gorgonia.Solver }

// UseSolver trains by any Solver of Gorgonia. Its state lives in the Solver:
// use a new one for each network.
func UseSolver(s gorgonia.Solver) Optimizer { return solver{s} }

func (s solver) update(lenet.Defaults) (lenet.Update, error) {
	if s.s == nil {
		return lenet.Update{}, fmt.Errorf("%w: a nil Solver", ErrConfig)
	}
	return lenet.Update{Solver: s.s}, nil
}
