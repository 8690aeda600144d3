package train

import (
	"fmt"
	"math"
)

// EarlyStopping ends a run that does not get better. The zero value never does.
type EarlyStopping struct {
	// Patience is the number of epochs in a row that may pass without a better
	// test accuracy; 0 means any.
	Patience int
	// MinDelta is by how much an accuracy must be better to count.
	MinDelta float64
}

// String returns "after 3 epochs without improvement", or "none".
func (s EarlyStopping) String() string {
	if s.Patience == 0 {
		return "none"
	}
	return fmt.Sprintf("after %d epochs without an improvement of more than %g", s.Patience, s.MinDelta)
}

func (s EarlyStopping) validate(validation bool) error {
	if s.Patience > 0 && !validation {
		return fmt.Errorf("%w: early stopping without a Validation set", ErrConfig)
	}
	return checkAll(s, check{"Patience", float64(s.Patience), 0, math.MaxInt32}, check{"MinDelta", s.MinDelta, 0, 1})
}

// reason says why a run of this history is to end, or nothing.
func (s EarlyStopping) reason(h *History) string {
	if s.Patience == 0 || len(h.Epochs) == 0 {
		return ""
	}
	best := h.Epochs[0]
	for _, e := range h.Epochs {
		if e.TestAccuracy > best.TestAccuracy+s.MinDelta {
			best = e
		}
	}
	if h.Last().Epoch-best.Epoch < s.Patience {
		return ""
	}
	return fmt.Sprintf("stopped after epoch %d: for %d epochs the test accuracy was not better than the %.4f of epoch %d",
		h.Last().Epoch, h.Last().Epoch-best.Epoch, best.TestAccuracy, best.Epoch)
}

// Best returns the epoch with the highest test accuracy, the first of equals;
// the zero Epoch if none was evaluated.
func (h *History) Best() Epoch {
	var best Epoch
	for _, e := range h.Epochs {
		if e.TestAccuracy > best.TestAccuracy || best.Epoch == 0 && !math.IsNaN(e.TestAccuracy) {
			best = e
		}
	}
	return best
}
