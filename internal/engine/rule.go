package engine

import (
	"fmt"
	"math"
)

// A Rule is one step of an optimizer, in numbers. With d = g + Decay*p, it is
//
//	SGD:   m = Momentum m + d;  p -= Rate m, or with Nesterov Rate (d + Momentum m)
//	Adam:  m = Beta1 m + (1-Beta1) d;  v = Beta2 v + (1-Beta2) d d
//	       p -= Rate mhat / (sqrt(vhat) + Epsilon), with the corrections for Step
//
// after g was scaled down to a norm of Clip, taken over all parameters. With
// Decoupled, d = g, and p loses Rate*Decay*p instead.
type Rule struct {
	Adam                  bool
	Rate, Decay           float64
	Momentum              float64
	Nesterov, Decoupled   bool
	Beta1, Beta2, Epsilon float64
	Step                  int     // of Adam, from 1
	Clip                  float64 // 0: none
}

// Vectors is how many vectors the rule keeps between steps.
func (r Rule) Vectors() int {
	switch {
	case r.Adam:
		return 2
	case r.Momentum != 0:
		return 1
	}
	return 0
}

// Scale is the factor on a gradient whose squares add up to square.
func (r Rule) Scale(square float64) float64 {
	if norm := math.Sqrt(square); r.Clip > 0 && norm > r.Clip {
		return r.Clip / norm
	}
	return 1
}

// A Step is a Rule as constants of its formula:
//
//	d = Scale g + Decay p
//	SGD:   m = Beta1 m + d;  p = p - Rate d - Keep m;  without m: p = Keep p - Rate g
//	Adam:  m = Beta1 m + Alpha1 d;  v = Beta2 v + Alpha2 d d
//	       p = Keep p - Rate m / (Correction sqrt(v) + Epsilon)
type Step struct {
	Scale, Decay, Beta1, Alpha1, Beta2, Alpha2, Correction, Epsilon, Rate, Keep float32
}

// Constants works the rule out, for gradients that are to be scaled.
func (r Rule) Constants(scale float64) Step {
	s := Step{Scale: float32(scale), Decay: float32(r.Decay), Beta1: float32(r.Momentum)}
	switch {
	case r.Adam:
		s.Beta1, s.Alpha1, s.Beta2, s.Alpha2 = float32(r.Beta1), float32(1-r.Beta1), float32(r.Beta2), float32(1-r.Beta2)
		s.Correction = float32(1 / math.Sqrt(1-math.Pow(r.Beta2, float64(r.Step))))
		s.Epsilon = float32(r.Epsilon)
		s.Rate = float32(r.Rate / (1 - math.Pow(r.Beta1, float64(r.Step))))
		s.Keep = 1
		if r.Decoupled {
			s.Decay, s.Keep = 0, float32(1-r.Rate*r.Decay)
		}
	case r.Momentum == 0:
		s.Rate, s.Keep = float32(r.Rate*scale), float32(1-r.Rate*r.Decay)
	case r.Nesterov:
		s.Rate, s.Keep = float32(r.Rate), float32(r.Rate*r.Momentum)
	default:
		s.Keep = float32(r.Rate)
	}
	return s
}

// CheckState reports vectors that are not as many or as long as they should.
func CheckState(vectors [][]float32, parameters int) error {
	if len(vectors) > 2 {
		return fmt.Errorf("engine: %d vectors of optimizer state; there can be 2", len(vectors))
	}
	for i, v := range vectors {
		if len(v) != parameters {
			return fmt.Errorf("engine: vector %d of the optimizer's state has %d numbers, for %d parameters", i, len(v), parameters)
		}
	}
	return nil
}
