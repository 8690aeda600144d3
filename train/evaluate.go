package train

import (
	"fmt"

	"example.com/lenet5/data"
	"example.com/lenet5/lenet"
)

// Metrics are what [Evaluate] finds.
type Metrics struct {
	Loss     float64 // mean cross-entropy
	Accuracy float64 // Correct / Count
	Correct  int
	Count    int
}

// Evaluate computes loss and accuracy of net on set.
func Evaluate(net *lenet.Net, set *data.Dataset) (Metrics, error) {
	if net == nil {
		return Metrics{}, fmt.Errorf("%w: no network", ErrConfig)
	}
	if err := fits(net, set, "evaluation"); err != nil {
		return Metrics{}, err
	}
	e, err := newEvaluator(net, set)
	if err != nil {
		return Metrics{}, err
	}
	defer e.close()
	return e.run()
}

// evaluator evaluates one set again and again.
type evaluator struct {
	e     *lenet.Evaluator
	set   *data.Dataset
	batch int
	index []int32
}

func newEvaluator(net *lenet.Net, set *data.Dataset) (*evaluator, error) {
	batch := min(256, set.Len())
	e, err := net.NewEvaluator(batch)
	if err != nil {
		return nil, err
	}
	index := make([]int32, set.Len())
	for i := range index {
		index[i] = int32(i)
	}
	return &evaluator{e, set, batch, index}, nil
}

func (e *evaluator) close() { e.e.Close() }

func (e *evaluator) run() (Metrics, error) {
	var m Metrics
	for lo := 0; lo < len(e.index); lo += e.batch {
		hi := min(lo+e.batch, len(e.index))
		s, err := e.e.Eval(lenet.Batch{Images: e.set.Images, Labels: e.set.Labels, Index: e.index[lo:hi]})
		if err != nil {
			return Metrics{}, err
		}
		m.Loss += s.Loss * float64(s.Count)
		m.Correct += s.Correct
		m.Count += s.Count
	}
	m.Loss /= float64(m.Count)
	m.Accuracy = float64(m.Correct) / float64(m.Count)
	return m, nil
}
