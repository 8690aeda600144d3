package train

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"example.com/lenet5/data"
	"example.com/lenet5/internal/op"
	"example.com/lenet5/lenet"
)

// A Report is what a network makes of the images of a data set.
type Report struct {
	// Classes are the names of the classes, those of the set first.
	Classes []string
	// Labels and Predicted hold a class for each image, Certainty the
	// probability of the predicted one, and Truth that of the label.
	Labels, Predicted []int
	Certainty, Truth  []float32
	// Confusion counts the images of each label (row) that were taken for each
	// class (column).
	Confusion [][]int
}

// Classify lets net classify every image of set. The error wraps [ErrConfig]
// if they do not go together.
func Classify(net *lenet.Net, set *data.Dataset) (*Report, error) {
	if net == nil {
		return nil, fmt.Errorf("%w: no network", ErrConfig)
	}
	if err := fits(net, set, "test"); err != nil {
		return nil, err
	}
	probabilities, err := net.Probabilities(nil, set.Images)
	if err != nil {
		return nil, err
	}
	n := net.Config().Classes
	r := &Report{Classes: slices.Clone(set.Classes)}
	for c := len(r.Classes); c < n; c++ {
		r.Classes = append(r.Classes, fmt.Sprint(c))
	}
	for range n {
		r.Confusion = append(r.Confusion, make([]int, n))
	}
	for i, l := range set.Labels {
		row := probabilities[i*n : (i+1)*n]
		label, predicted := int(l), op.ArgMax(row)
		r.Labels, r.Predicted = append(r.Labels, label), append(r.Predicted, predicted)
		r.Certainty, r.Truth = append(r.Certainty, row[predicted]), append(r.Truth, row[label])
		r.Confusion[label][predicted]++
	}
	return r, nil
}

// ClassMetrics are the usual measures for one class. A quotient whose divisor
// is 0 is 0.
type ClassMetrics struct {
	Precision float64 // the share of those taken for it that are of it
	Recall    float64 // the share of those of it that were taken for it
	F1        float64 // the harmonic mean of both
	Support   int     // the number of images of it
}

// Class returns the measures of a class.
func (r *Report) Class(c int) ClassMetrics {
	taken, support := 0, 0
	for k := range r.Confusion {
		taken += r.Confusion[k][c]
		support += r.Confusion[c][k]
	}
	hits := r.Confusion[c][c]
	return ClassMetrics{
		Precision: share(hits, taken), Recall: share(hits, support), F1: share(2*hits, taken+support), Support: support,
	}
}

func share(part, of int) float64 {
	if of == 0 {
		return 0
	}
	return float64(part) / float64(of)
}

// Accuracy is the share of images that were classified correctly.
func (r *Report) Accuracy() float64 {
	hits := 0
	for c := range r.Confusion {
		hits += r.Confusion[c][c]
	}
	return share(hits, len(r.Labels))
}

// Mean returns the unweighted means over the classes, with the number of all
// images.
func (r *Report) Mean() ClassMetrics {
	var m ClassMetrics
	n := float64(len(r.Confusion))
	for c := range r.Confusion {
		k := r.Class(c)
		m.Precision, m.Recall, m.F1 = m.Precision+k.Precision/n, m.Recall+k.Recall/n, m.F1+k.F1/n
		m.Support += k.Support
	}
	return m
}

// Mistakes returns the indices of the images that were classified wrongly, the
// one with the least probability of its label first.
func (r *Report) Mistakes() []int {
	var wrong []int
	for i := range r.Labels {
		if r.Labels[i] != r.Predicted[i] {
			wrong = append(wrong, i)
		}
	}
	slices.SortStableFunc(wrong, func(a, b int) int { return cmp.Compare(r.Truth[a], r.Truth[b]) })
	return wrong
}

// String returns a table of the classes.
func (r *Report) String() string {
	width := len("mean")
	for _, name := range r.Classes {
		width = max(width, len(name))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%-*s  precision  recall      f1  images  most often mistaken for\n", width, "class")
	row := func(name string, m ClassMetrics, mistaken string) {
		line := fmt.Sprintf("%-*s  %9.4f  %6.4f  %6.4f  %6d  %s", width, name, m.Precision, m.Recall, m.F1, m.Support, mistaken)
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	for c, name := range r.Classes {
		row(name, r.Class(c), r.mistaken(c))
	}
	row("mean", r.Mean(), "")
	return b.String()
}

// mistaken names the class that images of class c are most often taken for,
// and how often.
func (r *Report) mistaken(c int) string {
	worst := -1
	for k, n := range r.Confusion[c] {
		if k != c && n > 0 && (worst < 0 || n > r.Confusion[c][worst]) {
			worst = k
		}
	}
	if worst < 0 {
		return ""
	}
	return fmt.Sprintf("%s (%d)", r.Classes[worst], r.Confusion[c][worst])
}
