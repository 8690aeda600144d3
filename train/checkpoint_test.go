package train

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gorgonia.org/gorgonia"

	"example.com/lenet5/data"
	"example.com/lenet5/lenet"
)

var errPulled = errors.New("the plug was pulled")

// resumable is a run that uses whatever a checkpoint has to keep.
func resumable(set *data.Set, path string) Config {
	return Config{
		Epochs: 3, BatchSize: 16, Seed: 3, Validation: set.Test, Checkpoint: path,
		Optimizer: AdamW{LearningRate: 0.003, WeightDecay: 0.02}, Schedule: OneCycle{}, ClipNorm: 1, LabelSmoothing: 0.1,
		Augment: data.Augmentation{Shift: 2, Rotation: 12}, KeepBest: true, Stop: EarlyStopping{Patience: 2},
		Notes: map[string]string{"note": "a \"note\""},
	}
}

// A run that is stopped again and again ends as one that never was.
func TestResume(t *testing.T) {
	set := data.SyntheticDigits(150, 60, 1) // 10 steps an epoch, the last of 6
	for name, change := range map[string]func(*Config){
		"AdamW, one cycle": func(*Config) {},
		"SGD":              func(c *Config) { c.Optimizer, c.Schedule = SGD{LearningRate: 0.1}, Constant{} },
		"momentum, cosine": func(c *Config) {
			c.Optimizer, c.Schedule = SGD{LearningRate: 0.02, Momentum: 0.9, Nesterov: true}, Cosine{Warmup: 0.5}
		},
		"Adam, steps": func(c *Config) { c.Optimizer, c.Schedule = Adam{}, StepDecay{Epochs: 1, Gamma: 0.5} },
	} {
		whole := newTiny(t)
		cfg := resumable(set, "")
		change(&cfg)
		want, err := Fit(context.Background(), whole, set.Train, cfg)
		if err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(1, uint64(len(name))))
		for trial := range 4 {
			path := filepath.Join(t.TempDir(), "checkpoint")
			cfg := resumable(set, path)
			change(&cfg)
			cfg.CheckpointEvery = 1 // a nanosecond: after every step
			var got *History
			var net *lenet.Net
			stops := 0
			for {
				net = newTiny(t)
				ctx, cancel := context.WithCancel(context.Background())
				left := 1 + rng.IntN(12)
				cfg.Hooks.Step = func(Step) error {
					if left--; left > 0 {
						return nil
					}
					if trial%2 == 0 {
						return errPulled
					}
					cancel()
					return nil
				}
				got, err = Fit(ctx, net, set.Train, cfg)
				cancel()
				if err == nil {
					break
				}
				if !errors.Is(err, errPulled) && !errors.Is(err, context.Canceled) {
					t.Fatal(err)
				}
				if cfg.Resume, err = ReadCheckpoint(path); err != nil {
					t.Fatal(err)
				}
				stops++
			}
			if stops < 2 {
				t.Errorf("%s: only %d stops", name, stops)
			}
			if !slices.Equal(parameters(net), parameters(whole)) {
				t.Errorf("%s: other parameters after %d stops", name, stops)
			}
			if d := cmp.Diff(want, got, ignoreTime); d != "" {
				t.Errorf("%s: history: %s", name, d)
			}
		}
	}
}

// Whatever moment a process is killed at, the file that it leaves can be gone
// on from: every version of it is tried, and of the one before it.
func TestEveryCheckpoint(t *testing.T) {
	set := data.SyntheticDigits(64, 20, 1) // 4 steps an epoch
	dir := t.TempDir()
	path := filepath.Join(dir, "checkpoint")
	cfg := resumable(set, path)
	cfg.CheckpointEvery = 1
	var versions [][]byte
	keep := func() error {
		for _, p := range []string{path, path + Previous} {
			b, err := os.ReadFile(p)
			if err == nil && !slices.ContainsFunc(versions, func(v []byte) bool { return bytes.Equal(v, b) }) {
				versions = append(versions, b)
			}
		}
		return nil
	}
	cfg.Hooks.Step = func(Step) error { return keep() }
	cfg.Hooks.EpochEnd = func(*History) error { return keep() }
	whole := newTiny(t)
	want, err := Fit(context.Background(), whole, set.Train, cfg)
	if err != nil {
		t.Fatal(err)
	}
	keep()
	// One before the first step, one after each, one after each epoch.
	if len(versions) != 1+12+3 {
		t.Errorf("%d versions of the checkpoint, want 16", len(versions))
	}
	for _, v := range versions {
		if err := os.WriteFile(path, v, 0o644); err != nil {
			t.Fatal(err)
		}
		c, err := ReadCheckpoint(path)
		if err != nil {
			t.Fatal(err)
		}
		if c.Notes["note"] != `a "note"` || c.Steps != 4 || c.Epochs != 3 {
			t.Errorf("%+v", c)
		}
		cfg := resumable(set, "")
		cfg.Resume = c
		net, err := lenet.New(c.Config, lenet.Seed(99))
		if err != nil {
			t.Fatal(err)
		}
		got, err := Fit(context.Background(), net, set.Train, cfg)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got, ignoreTime); d != "" || !slices.Equal(parameters(net), parameters(whole)) {
			t.Errorf("from step %d of epoch %d: %s", c.Step, c.Epoch, d)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// checkpointed returns the file of a run that was stopped in its second epoch.
func checkpointed(t *testing.T, set *data.Set) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "checkpoint")
	cfg := resumable(set, path)
	cfg.Hooks.Step = func(s Step) error {
		if s.Epoch == 2 {
			return errPulled
		}
		return nil
	}
	if _, err := Fit(context.Background(), newTiny(t), set.Train, cfg); !errors.Is(err, errPulled) {
		t.Fatal(err)
	}
	return path
}

func TestResumeRefused(t *testing.T) {
	set := data.SyntheticDigits(64, 20, 1)
	c, err := ReadCheckpoint(checkpointed(t, set))
	if err != nil {
		t.Fatal(err)
	}
	other := data.SyntheticDigits(64, 20, 2)
	wide := tiny()
	wide.Dense = []int{13}
	for what, change := range map[string]func(*Config, **lenet.Net, **data.Dataset){
		"the training set":         func(_ *Config, _ **lenet.Net, d **data.Dataset) { *d = other.Train },
		"the validation set":       func(c *Config, _ **lenet.Net, _ **data.Dataset) { c.Validation = other.Test },
		"without a Validation set": func(c *Config, _ **lenet.Net, _ **data.Dataset) { c.Validation = nil },
		"the number of epochs":     func(c *Config, _ **lenet.Net, _ **data.Dataset) { c.Epochs = 9 },
		"the batch size":           func(c *Config, _ **lenet.Net, _ **data.Dataset) { c.BatchSize = 15 },
		"the seed":                 func(c *Config, _ **lenet.Net, _ **data.Dataset) { c.Seed = 4 },
		"the optimizer was AdamW":  func(c *Config, _ **lenet.Net, _ **data.Dataset) { c.Optimizer = Adam{} },
		"learning rate 0.004": func(c *Config, _ **lenet.Net, _ **data.Dataset) {
			c.Optimizer = AdamW{LearningRate: 0.004, WeightDecay: 0.02}
		},
		"the schedule":            func(c *Config, _ **lenet.Net, _ **data.Dataset) { c.Schedule = OneCycle{Rise: 0.2} },
		"the clipping norm":       func(c *Config, _ **lenet.Net, _ **data.Dataset) { c.ClipNorm = 2 },
		"early stopping":          func(c *Config, _ **lenet.Net, _ **data.Dataset) { c.Stop.Patience = 3 },
		"KeepBest":                func(c *Config, _ **lenet.Net, _ **data.Dataset) { c.KeepBest = false },
		"the augmentation":        func(c *Config, _ **lenet.Net, _ **data.Dataset) { c.Augment.Shift = 1 },
		"the label smoothing":     func(c *Config, _ **lenet.Net, _ **data.Dataset) { c.LabelSmoothing = 0 },
		"the network":             func(_ *Config, n **lenet.Net, _ **data.Dataset) { *n, _ = lenet.New(wide) },
		"Resume brings a History": func(c *Config, _ **lenet.Net, _ **data.Dataset) { c.History = &History{} },
		"keeps its state to itself": func(c *Config, _ **lenet.Net, _ **data.Dataset) {
			c.Optimizer, c.Schedule, c.ClipNorm = UseSolver(gorgonia.NewVanillaSolver()), Constant{}, 0
		},
	} {
		net, train := newTiny(t), set.Train
		cfg := resumable(set, "")
		cfg.Resume = c
		change(&cfg, &net, &train)
		before := parameters(net)
		_, err := Fit(context.Background(), net, train, cfg)
		if !errors.Is(err, ErrCheckpoint) && !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
		if !slices.Equal(before, parameters(net)) {
			t.Errorf("%s: the parameters were changed", what)
		}
	}
}

// With a schedule that does not look ahead, a run can be made longer.
func TestResumeLonger(t *testing.T) {
	set := data.SyntheticDigits(64, 20, 1)
	cfg := Config{Epochs: 5, BatchSize: 16, Validation: set.Test, Optimizer: Adam{}}
	whole := newTiny(t)
	want, err := Fit(context.Background(), whole, set.Train, cfg)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Checkpoint, cfg.Epochs = filepath.Join(t.TempDir(), "checkpoint"), 2
	if _, err := Fit(context.Background(), newTiny(t), set.Train, cfg); err != nil {
		t.Fatal(err)
	}
	if cfg.Resume, err = ReadCheckpoint(cfg.Checkpoint); err != nil {
		t.Fatal(err)
	}
	cfg.Epochs = 1
	if _, err := Fit(context.Background(), newTiny(t), set.Train, cfg); !errors.Is(err, ErrCheckpoint) {
		t.Errorf("shorter than what is done: %v", err)
	}
	cfg.Epochs = 5
	net := newTiny(t)
	got, err := Fit(context.Background(), net, set.Train, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got, ignoreTime); d != "" || !slices.Equal(parameters(net), parameters(whole)) {
		t.Error(d)
	}
}

func TestOtherDevice(t *testing.T) {
	set := data.SyntheticDigits(64, 20, 1)
	c, err := ReadCheckpoint(checkpointed(t, set))
	if err != nil {
		t.Fatal(err)
	}
	c.Device = "cpu (abacus)"
	cfg := resumable(set, "")
	var out bytes.Buffer
	cfg.Resume, cfg.Progress = c, &out
	if _, err := Fit(context.Background(), newTiny(t), set.Train, cfg); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "warning: the checkpoint was made on cpu (abacus)") {
		t.Errorf("%q", out.String())
	}
}

func TestDamagedCheckpoint(t *testing.T) {
	set := data.SyntheticDigits(64, 20, 1)
	path := checkpointed(t, set)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(good); i += 1 + i/300 { // every byte of what matters most
		b := slices.Clone(good)
		b[i] ^= 0xff
		if _, err := readCheckpoint(bytes.NewReader(b)); err == nil {
			t.Errorf("byte %d is damaged: no error", i)
		}
	}
	for _, n := range []int{0, 7, 100, len(good) / 2, len(good) - 1} {
		if err := os.WriteFile(path, good[:n], 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := ReadCheckpoint(path)
		if !errors.Is(err, ErrCheckpoint) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "the one before it is "+path+Previous) {
			t.Errorf("cut off after %d bytes: %v", n, err)
		}
	}
	model := filepath.Join(t.TempDir(), "model.safetensors")
	if err := newTiny(t).Save(model); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadCheckpoint(model); !errors.Is(err, ErrCheckpoint) || !strings.Contains(err.Error(), "no checkpoint") {
		t.Errorf("a model: %v", err)
	}
	if _, err := ReadCheckpoint(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	// Without the newest, the one before it.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if c, err := ReadCheckpoint(path); err != nil || c.Epoch != 2 || c.Step != 0 {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestCheckpointCannotBeWritten(t *testing.T) {
	set := data.SyntheticDigits(64, 20, 1)
	cfg := resumable(set, filepath.Join(t.TempDir(), "no", "folder", "checkpoint"))
	if _, err := Fit(context.Background(), newTiny(t), set.Train, cfg); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), cfg.Checkpoint) {
		t.Errorf("%v", err)
	}
}
