package train

import (
	_ "embed"
	"encoding/json"
	"math"
	"testing"
)

// schedulesJSON are PyTorch's learning rates; testdata/schedules.py made it.
//
//go:embed testdata/schedules.json
var schedulesJSON []byte

func TestSchedulesPyTorch(t *testing.T) {
	var want map[string][]float64
	if err := json.Unmarshal(schedulesJSON, &want); err != nil {
		t.Fatal(err)
	}
	const steps, perEpoch = 60, 10
	for name, s := range map[string]Schedule{
		"step":              StepDecay{Epochs: 2},
		"cosine":            Cosine{},
		"cosine, floor":     Cosine{Floor: 0.1},
		"onecycle":          OneCycle{},
		"onecycle, changed": OneCycle{Rise: 0.2, Div: 10, FinalDiv: 100},
	} {
		if len(want[name]) != steps {
			t.Fatalf("%s: %d rates recorded", name, len(want[name]))
		}
		for at, w := range want[name] {
			if got := s.Factor(at, steps, perEpoch); math.Abs(got-w) > 1e-9 {
				t.Errorf("%s: step %d: %v, PyTorch has %v", name, at, got, w)
				break
			}
		}
	}
}

func TestPlateauPyTorch(t *testing.T) {
	var want map[string][]float64
	if err := json.Unmarshal(schedulesJSON, &want); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]Plateau{
		"plateau": {}, "plateau, changed": {Patience: 1, Gamma: 0.5, Threshold: 0.1},
	} {
		h := &History{}
		for i, loss := range want["losses"] {
			e := Epoch{Epoch: i + 1, TrainLoss: 9, TestLoss: loss}
			if name == "plateau" { // without a validation set
				e.TrainLoss, e.TestLoss = loss, math.NaN()
			}
			h.Epochs = append(h.Epochs, e)
			if got, w := s.after(h), want[name][i]; math.Abs(got-w) > 1e-9*w {
				t.Errorf("%s: after epoch %d: %v, PyTorch has %v", name, i+1, got, w)
			}
		}
	}
}

// TestSchedules: whatever the length of the run, factors are in (0, 1], the
// warm-up rises, and names are known.
func TestSchedules(t *testing.T) {
	for _, name := range ScheduleNames() {
		s, err := NewSchedule(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range [][2]int{{1, 1}, {2, 1}, {3, 3}, {10, 5}, {1000, 100}} {
			for at := range c[0] {
				if f := s.Factor(at, c[0], c[1]); !(f >= 0 && f <= 1) {
					t.Errorf("%s: step %d of %d: factor %v", name, at, c[0], f)
				}
			}
		}
	}
	warm := Cosine{Warmup: 2}
	for at := 1; at < 20; at++ {
		if warm.Factor(at, 100, 10) <= warm.Factor(at-1, 100, 10) {
			t.Errorf("the warm-up does not rise at step %d", at)
		}
	}
	if f := (Constant{}).Factor(5, 10, 2); f != 1 {
		t.Errorf("constant: %v", f)
	}
	if _, err := NewSchedule("sawtooth"); err == nil {
		t.Error("an unknown name: no error")
	}
	for _, s := range []Schedule{StepDecay{Epochs: -1}, StepDecay{Gamma: 2}, Cosine{Floor: -1}, Cosine{Warmup: math.NaN()}, OneCycle{Rise: 2}, OneCycle{Div: math.Inf(1)}} {
		if s.validate() == nil {
			t.Errorf("%T %+v: no error", s, s)
		}
	}
}
