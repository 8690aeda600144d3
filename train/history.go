package train

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/lenet5/internal/atomicfile"
)

// An Epoch is a row of a [History].
type Epoch struct {
	Epoch int // from 1
	// TrainLoss and TrainAccuracy are running means over the examples of the
	// epoch, each taken before the update that it led to.
	TrainLoss, TrainAccuracy float64
	// TestLoss and TestAccuracy are those of the validation set after the
	// epoch; NaN without one.
	TestLoss, TestAccuracy float64
	// Examples were trained on in TrainTime: gather, packing, forward and
	// backward pass, and update; evaluation and hooks are not counted.
	Examples  int
	TrainTime time.Duration
}

// ExamplesPerSec is the speed of training, 0 if it is not known.
func (e Epoch) ExamplesPerSec() float64 { return rate(e.Examples, e.TrainTime) }

func rate(n int, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}

// A History is the course of a training run, an epoch a row.
type History struct {
	Epochs []Epoch
	// Stopped says why the run ended before its last epoch; empty if it did
	// not. It is no part of the files.
	Stopped string
}

// Last returns the last epoch, or the zero Epoch.
func (h *History) Last() Epoch {
	if h == nil || len(h.Epochs) == 0 {
		return Epoch{}
	}
	return h.Epochs[len(h.Epochs)-1]
}

// ExamplesPerSec is the speed of training over all epochs.
func (h *History) ExamplesPerSec() float64 {
	var n int
	var d time.Duration
	for _, e := range h.Epochs {
		n, d = n+e.Examples, d+e.TrainTime
	}
	return rate(n, d)
}

var columns = []string{"epoch", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "examples", "train_seconds", "examples_per_sec"}

// WriteCSV writes a header and a row per epoch. Numbers are written so that
// [ReadCSV] gets the same bits back; a NaN is an empty field. The last two
// columns are timings.
func (h *History) WriteCSV(w io.Writer) error {
	c := csv.NewWriter(w)
	if err := c.Write(columns); err != nil {
		return err
	}
	f := func(x float64) string {
		if math.IsNaN(x) {
			return ""
		}
		return strconv.FormatFloat(x, 'g', -1, 64)
	}
	for _, e := range h.Epochs {
		row := []string{strconv.Itoa(e.Epoch), f(e.TrainLoss), f(e.TrainAccuracy), f(e.TestLoss), f(e.TestAccuracy),
			strconv.Itoa(e.Examples), f(e.TrainTime.Seconds()), strconv.FormatFloat(e.ExamplesPerSec(), 'f', 1, 64)}
		if err := c.Write(row); err != nil {
			return err
		}
	}
	c.Flush()
	return c.Error()
}

// jsonEpoch is an Epoch as a line of JSON: the columns of the CSV.
type jsonEpoch struct {
	Epoch          int      `json:"epoch"`
	TrainLoss      float64  `json:"train_loss"`
	TrainAccuracy  float64  `json:"train_accuracy"`
	TestLoss       *float64 `json:"test_loss"` // null without a validation set
	TestAccuracy   *float64 `json:"test_accuracy"`
	Examples       int      `json:"examples"`
	TrainSeconds   float64  `json:"train_seconds"`
	ExamplesPerSec float64  `json:"examples_per_sec"`
}

// WriteJSONLines writes an object per epoch, a line each, with the columns of
// [History.WriteCSV] as keys.
func (h *History) WriteJSONLines(w io.Writer) error {
	enc := json.NewEncoder(w)
	known := func(x float64) *float64 {
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return nil
		}
		return &x
	}
	for _, e := range h.Epochs {
		err := enc.Encode(jsonEpoch{
			e.Epoch, e.TrainLoss, e.TrainAccuracy, known(e.TestLoss), known(e.TestAccuracy), e.Examples, e.TrainTime.Seconds(), e.ExamplesPerSec(),
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// ErrHistory is wrapped by the errors about a CSV file that is no history.
var ErrHistory = errors.New("train: bad history")

// ReadCSV reads what [History.WriteCSV] wrote.
func ReadCSV(r io.Reader) (*History, error) {
	c := csv.NewReader(r)
	c.FieldsPerRecord = len(columns)
	head, err := c.Read()
	if err != nil {
		return nil, fmt.Errorf("%w: header: %w", ErrHistory, err)
	}
	if !slices.Equal(head, columns) {
		return nil, fmt.Errorf("%w: want the columns %v, found %v", ErrHistory, columns, head)
	}
	h := &History{}
	for {
		row, err := c.Read()
		if err == io.EOF {
			return h, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrHistory, err)
		}
		line, _ := c.FieldPos(0)
		var v [8]float64
		for i, s := range row {
			if s == "" && (i == 3 || i == 4) {
				v[i] = math.NaN()
			} else if v[i], err = strconv.ParseFloat(s, 64); err != nil {
				return nil, fmt.Errorf("%w: line %d: %s: %w", ErrHistory, line, columns[i], err)
			}
		}
		h.Epochs = append(h.Epochs, Epoch{int(v[0]), v[1], v[2], v[3], v[4], int(v[5]), time.Duration(math.Round(v[6] * 1e9))})
	}
}

// Save writes the history to a file, as JSON lines if its name ends in
// ".jsonl", and else as CSV. The file appears under its name only when it is
// whole.
func (h *History) Save(path string) error {
	write := h.WriteCSV
	if strings.HasSuffix(path, ".jsonl") {
		write = h.WriteJSONLines
	}
	if err := atomicfile.Write(path, write); err != nil {
		return fmt.Errorf("train: %w", err)
	}
	return nil
}
