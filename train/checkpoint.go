package train

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"example.com/lenet5/data"
	"example.com/lenet5/internal/atomicfile"
	"example.com/lenet5/internal/safetensors"
	"example.com/lenet5/lenet"
)

// ErrCheckpoint is wrapped by the errors about a file that is no checkpoint,
// is damaged, or is that of another run.
var ErrCheckpoint = errors.New("train: bad checkpoint")

// Previous is appended to the name of a checkpoint to name the one before it.
const Previous = ".previous"

// A Checkpoint is a run of [Fit] between two steps: all that it takes to go on
// as if it had never been stopped. [ReadCheckpoint] reads one from the file
// that Config.Checkpoint named, and Config.Resume goes on from it.
//
// The file is in the safetensors format: the parameters under their names, the
// optimizer's vectors, and the rest in the metadata with a SHA-256 of it all.
type Checkpoint struct {
	// Config is that of the network: a new one made from it can be resumed.
	Config lenet.Config
	// Step of Steps steps of Epoch (from 1) are done, and the whole run is of
	// Epochs. After the last one, Epoch is Epochs+1.
	Epoch, Step, Steps, Epochs int
	// History holds the epochs that were completed.
	History *History
	// Device is what the run was on. On another one the bits may differ.
	Device string
	// Notes are Config.Notes.
	Notes map[string]string

	began     int // the epoch after which the run began
	sums      sums
	settings  []setting
	params    []safetensors.Tensor
	best      [][]float32
	optimizer lenet.OptimizerState
}

// A setting is something that decides about the bits of a run.
type setting struct{ Name, Value string }

// record is the metadata of a checkpoint.
type record struct {
	Config             lenet.Config
	Epoch, Step, Steps int
	Began, Epochs      int
	History            string // as CSV
	Loss               float64
	Correct, Examples  int
	TrainTime          time.Duration
	OptimizerSteps     int
	Device             string
	Settings           []setting
	Notes              map[string]string `json:",omitempty"`
}

// The keys of the metadata, and how the names of vectors begin that are not
// parameters.
const (
	recordKey       = "lenet5.checkpoint"
	sumKey          = "lenet5.sha256"
	optimizerPrefix = "optimizer."
	bestPrefix      = "best."
)

// ReadCheckpoint reads a checkpoint. If there is none under path but there is
// the one before it, which is possible on a file system without links, it reads
// that. The error wraps [fs.ErrNotExist] if there is none at all, and
// [ErrCheckpoint] if the file is something else or is damaged.
func ReadCheckpoint(path string) (*Checkpoint, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		if before, e := os.Open(path + Previous); e == nil {
			f, err = before, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("train: reading a checkpoint: %w", err)
	}
	defer f.Close()
	c, err := readCheckpoint(f)
	if err != nil {
		advice := ""
		if _, e := os.Stat(path + Previous); e == nil && f.Name() == path {
			advice = fmt.Sprintf("; the one before it is %s: rename it to go on from there", path+Previous)
		}
		return nil, fmt.Errorf("%w: %s: %w%s", ErrCheckpoint, f.Name(), err, advice)
	}
	return c, nil
}

func readCheckpoint(r io.Reader) (*Checkpoint, error) {
	head, err := safetensors.ReadHeader(r)
	if err != nil {
		return nil, err
	}
	text, ok := head.Metadata[recordKey]
	if !ok {
		return nil, fmt.Errorf("it has no %q in its metadata: it is no checkpoint", recordKey)
	}
	if err := head.ReadData(r); err != nil {
		return nil, err
	}
	if found := checksum(text, head.Tensors); found != head.Metadata[sumKey] {
		return nil, fmt.Errorf("it is damaged: want SHA-256 %.80s, found %s", head.Metadata[sumKey], found)
	}
	var rec record
	if err := json.Unmarshal([]byte(text), &rec); err != nil {
		return nil, fmt.Errorf("metadata %q: %w", recordKey, err)
	}
	h, err := ReadCSV(strings.NewReader(rec.History))
	if err != nil {
		return nil, err
	}
	if rec.Epoch != h.Last().Epoch+1 || rec.Step < 0 || rec.Step > rec.Steps || rec.Began < 0 {
		return nil, fmt.Errorf("metadata %q: step %d of %d in epoch %d, after %d epochs", recordKey, rec.Step, rec.Steps, rec.Epoch, h.Last().Epoch)
	}
	c := &Checkpoint{
		Config: rec.Config, Epoch: rec.Epoch, Step: rec.Step, Steps: rec.Steps, Epochs: rec.Epochs,
		History: h, Device: rec.Device, Notes: rec.Notes,
		began: rec.Began, settings: rec.Settings,
		sums: sums{loss: rec.Loss, correct: rec.Correct, examples: rec.Examples, time: rec.TrainTime},
	}
	c.optimizer.Steps = rec.OptimizerSteps
	for _, t := range head.Tensors {
		switch {
		case strings.HasPrefix(t.Name, optimizerPrefix):
			c.optimizer.Vectors = append(c.optimizer.Vectors, t.Data)
		case strings.HasPrefix(t.Name, bestPrefix):
			c.best = append(c.best, t.Data)
		default:
			c.params = append(c.params, t)
		}
	}
	return c, nil
}

// write writes the checkpoint, in the safetensors format.
func (c *Checkpoint) write(w io.Writer) error {
	var history bytes.Buffer
	if err := c.History.WriteCSV(&history); err != nil {
		return err
	}
	text, err := json.Marshal(record{
		Config: c.Config, Epoch: c.Epoch, Step: c.Step, Steps: c.Steps, Began: c.began, Epochs: c.Epochs, History: history.String(),
		Loss: c.sums.loss, Correct: c.sums.correct, Examples: c.sums.examples, TrainTime: c.sums.time,
		OptimizerSteps: c.optimizer.Steps, Device: c.Device, Settings: c.settings, Notes: c.Notes,
	})
	if err != nil {
		return err
	}
	tensors := slices.Clone(c.params)
	for i, v := range c.optimizer.Vectors {
		tensors = append(tensors, safetensors.Tensor{Name: fmt.Sprint(optimizerPrefix, i), Shape: []int{len(v)}, Data: v})
	}
	for i, v := range c.best {
		tensors = append(tensors, safetensors.Tensor{Name: bestPrefix + c.params[i].Name, Shape: c.params[i].Shape, Data: v})
	}
	return safetensors.Write(w, map[string]string{recordKey: string(text), sumKey: checksum(string(text), tensors)}, tensors)
}

// checksum is the SHA-256 of the record and of the tensors with their names.
func checksum(record string, tensors []safetensors.Tensor) string {
	h := sha256.New()
	// What it writes is decided by its arguments, and a hash takes everything.
	_ = safetensors.Write(h, map[string]string{recordKey: record}, tensors)
	return hex.EncodeToString(h.Sum(nil))
}

// save writes the checkpoint to path, and keeps the one that was there. At no
// moment is there none.
func (c *Checkpoint) save(path string) error {
	name, err := atomicfile.Prepare(path, c.write)
	if err != nil {
		return err
	}
	keep := name + Previous
	if err := os.Link(path, keep); err == nil {
		err = os.Rename(keep, path+Previous)
		if err != nil {
			return errors.Join(err, os.Remove(keep), os.Remove(name))
		}
	} else if !errors.Is(err, fs.ErrNotExist) { // a file system without links
		if err := os.Rename(path, path+Previous); err != nil {
			return errors.Join(err, os.Remove(name))
		}
	}
	return os.Rename(name, path)
}

// fingerprint identifies the content of a data set.
func fingerprint(d *data.Dataset) string {
	if d == nil {
		return "none"
	}
	h := sha256.New()
	fmt.Fprintf(h, "%d %d %d %d\n", d.Len(), d.Channels, d.Height, d.Width)
	h.Write(d.Images)
	h.Write(d.Labels)
	return fmt.Sprintf("%s, %d images, SHA-256 %x", d.Name, d.Len(), h.Sum(nil))
}

// settings are what decides about the bits of a run, and about its history.
func (r *run) settings() []setting {
	c := r.cfg
	return []setting{
		{"the training set", fingerprint(r.set)},
		{"the validation set", fingerprint(c.Validation)},
		{"the number of epochs", fmt.Sprint(c.Epochs)},
		{"the batch size", fmt.Sprint(c.BatchSize)},
		{"the seed", fmt.Sprint(c.Seed)},
		{"the optimizer", c.Optimizer.String()},
		{"the schedule", c.Schedule.String()},
		{"the clipping norm", fmt.Sprint(c.ClipNorm)},
		{"the label smoothing", fmt.Sprint(c.LabelSmoothing)},
		{"the augmentation", c.Augment.String()},
		{"early stopping", c.Stop.String()},
		{"KeepBest", fmt.Sprint(c.KeepBest)},
	}
}

// resume puts the run where a checkpoint was taken, or says what of it is not
// that of the checkpoint; then nothing was changed.
func (r *run) resume(net *lenet.Net, c *Checkpoint) error {
	refuse := func(what, was, is string) error {
		return fmt.Errorf("%w: it is of another run: %s was %s, and is %s", ErrCheckpoint, what, was, is)
	}
	was, err := networkOf(c.Config)
	if err != nil {
		return err
	}
	is, err := networkOf(net.Config())
	if err != nil {
		return err
	}
	if was != is {
		return refuse("the network", was, is)
	}
	now := r.settings()
	if len(c.settings) != len(now) {
		return fmt.Errorf("%w: it was made by another version of this package", ErrCheckpoint)
	}
	for i, s := range c.settings {
		longer := s.Name == "the number of epochs" && extends(r.cfg.Schedule) && c.began+r.cfg.Epochs >= c.History.Last().Epoch+min(c.Step, 1)
		if s != now[i] && !longer {
			return refuse(now[i].Name, s.Value, now[i].Value)
		}
	}
	params := net.Params()
	if len(c.params) != len(params) || c.Steps != r.steps {
		return fmt.Errorf("%w: it holds %d tensors for %d parameters, and %d steps in an epoch of %d", ErrCheckpoint, len(c.params), len(params), c.Steps, r.steps)
	}
	for i, p := range params {
		if t := c.params[i]; t.Name != p.Name || !slices.Equal(t.Shape, p.Shape) {
			return fmt.Errorf("%w: want the parameter %s of shape %v, found %s of shape %v", ErrCheckpoint, p.Name, p.Shape, t.Name, t.Shape)
		}
	}
	if kept := r.cfg.KeepBest && c.History.Last().Epoch > c.began; len(c.best) != 0 && len(c.best) != len(params) || kept != (len(c.best) > 0) {
		return fmt.Errorf("%w: it holds %d tensors of the best epoch", ErrCheckpoint, len(c.best))
	}
	for i, b := range c.best {
		if len(b) != len(params[i].Data) {
			return fmt.Errorf("%w: the best epoch's %s has %d numbers", ErrCheckpoint, params[i].Name, len(b))
		}
	}
	if err := r.trainer.SetState(c.optimizer); err != nil {
		return fmt.Errorf("%w: %w", ErrCheckpoint, err)
	}
	for i, p := range params {
		copy(p.Data, c.params[i].Data)
	}
	r.history = &History{Epochs: slices.Clone(c.History.Epochs)}
	r.best = slices.Clone(c.best)
	r.began, r.last = c.began, c.began+r.cfg.Epochs
	r.history.Stopped = r.cfg.Stop.reason(r.own())
	r.step, r.sums = c.Step, c.sums
	if device := arithmetic(net); device != c.Device {
		r.progress.say(fmt.Sprintf("warning: the checkpoint was made on %s; on %s the last bits may differ from those of a run that was never stopped", c.Device, device))
	}
	return nil
}

// extends reports whether a run may go on for longer than it was to: what a
// schedule did so far must not depend on the number of epochs.
func extends(s Schedule) bool {
	switch s := s.(type) {
	case Constant, Plateau:
		return true
	case StepDecay:
		return s.Epochs > 0
	}
	return false
}

// networkOf describes a network, without what is only for people or for
// training anew.
func networkOf(c lenet.Config) (string, error) {
	c.Name, c.Defaults = "", lenet.Defaults{}
	text, err := json.Marshal(c)
	return string(text), err
}

// arithmetic says what the bits of a result depend on.
func arithmetic(net *lenet.Net) string {
	d := net.Device()
	return d.Name + " (" + d.Kernels + ")"
}

// checkpoint saves the run as it is.
func (r *run) checkpoint() error {
	if r.cfg.Checkpoint == "" {
		return nil
	}
	c := &Checkpoint{
		Config: r.net.Config(), Epoch: r.history.Last().Epoch + 1, Step: r.step, Steps: r.steps, Epochs: r.last,
		History: r.history, Device: arithmetic(r.net), Notes: r.cfg.Notes,
		began: r.began, sums: r.sums, settings: r.fixed, optimizer: r.trainer.State(), best: r.best,
	}
	for _, p := range r.net.Params() {
		c.params = append(c.params, safetensors.Tensor(p))
	}
	if err := c.save(r.cfg.Checkpoint); err != nil {
		return fmt.Errorf("train: saving a checkpoint: %w", err)
	}
	r.saved = time.Now()
	return nil
}
