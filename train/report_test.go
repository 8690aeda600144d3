package train

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"example.com/lenet5/data"
)

func TestReport(t *testing.T) {
	// Worked by hand: 10 images of 3 classes, and one class that does not occur.
	r := &Report{
		Classes: []string{"a", "b", "c", "none"},
		Confusion: [][]int{
			{3, 1, 0, 0},
			{0, 2, 2, 0},
			{1, 0, 1, 0},
			{0, 0, 0, 0},
		},
		Labels: make([]int, 10),
	}
	for c, want := range []ClassMetrics{{3. / 4, 3. / 4, 3. / 4, 4}, {2. / 3, 2. / 4, 4. / 7, 4}, {1. / 3, 1. / 2, 2. / 5, 2}, {}} {
		if got := r.Class(c); got != want {
			t.Errorf("class %d: %+v, want %+v", c, got, want)
		}
	}
	if got := r.Accuracy(); got != 0.6 {
		t.Errorf("accuracy %g", got)
	}
	if m := r.Mean(); math.Abs(m.Precision-(3./4+2./3+1./3)/4) > 1e-12 || m.Support != 10 {
		t.Errorf("mean %+v", m)
	}
	want := `class  precision  recall      f1  images  most often mistaken for
a        0.7500  0.7500  0.7500       4  b (1)
b        0.6667  0.5000  0.5714       4  c (2)
c        0.3333  0.5000  0.4000       2  a (1)
none     0.0000  0.0000  0.0000       0
mean     0.4375  0.4375  0.4304      10
`
	if got := r.String(); got != want {
		t.Errorf("\n%s, want\n%s", got, want)
	}
}

func TestClassify(t *testing.T) {
	set := data.SyntheticDigits(10, 333, 1).Test
	net := newTiny(t)
	r, err := Classify(net, set)
	if err != nil {
		t.Fatal(err)
	}
	m, err := Evaluate(net, set)
	if err != nil {
		t.Fatal(err)
	}
	if r.Accuracy() != m.Accuracy || len(r.Predicted) != 333 || !slices.Equal(r.Classes, set.Classes) {
		t.Errorf("accuracy %g, want %g; %d predictions", r.Accuracy(), m.Accuracy, len(r.Predicted))
	}
	for c, n := range set.Counts() {
		if r.Class(c).Support != n {
			t.Errorf("class %d: %d images, want %d", c, r.Class(c).Support, n)
		}
	}
	wrong := r.Mistakes()
	if len(wrong) != m.Count-m.Correct {
		t.Errorf("%d mistakes, want %d", len(wrong), m.Count-m.Correct)
	}
	for k, i := range wrong {
		if r.Predicted[i] == int(set.Labels[i]) || k > 0 && r.Truth[i] < r.Truth[wrong[k-1]] || r.Certainty[i] < r.Truth[i] {
			t.Errorf("mistake %d: image %d, %d for %d, %g and %g", k, i, r.Predicted[i], set.Labels[i], r.Certainty[i], r.Truth[i])
		}
	}
	if _, err := Classify(net, set.Slice(0, 0)); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "empty") {
		t.Errorf("an empty set: %v", err)
	}
	if _, err := Classify(nil, set); !errors.Is(err, ErrConfig) {
		t.Errorf("no network: %v", err)
	}
}
