//go:build (gpu || cudasim) && cgo

package train_test

import (
	"context"
	"errors"
	"math"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"gorgonia.org/gorgonia"

	"example.com/lenet5/data"
	"example.com/lenet5/lenet"
	"example.com/lenet5/train"
)

// small is a network that the simulator of a GPU trains in seconds.
func small() lenet.Config {
	cfg := lenet.Modern()
	cfg.Blocks = []lenet.Block{
		{Channels: 2, Kernel: 5, Activation: lenet.ActReLU, Pool: lenet.PoolMax},
		{Channels: 3, Kernel: 3, Activation: lenet.ActReLU, Pool: lenet.PoolMax},
	}
	cfg.Dense = []int{20}
	return cfg
}

// fit trains a new network on a device.
func fit(t *testing.T, ctx context.Context, device string, change func(*train.Config)) (*lenet.Net, *train.History, error) {
	t.Helper()
	set := data.SyntheticDigits(96, 32, 1)
	net, err := lenet.New(small(), lenet.Seed(3), lenet.OnDevice(device))
	if err != nil {
		t.Fatal(err)
	}
	cfg := train.Config{
		Epochs: 3, BatchSize: 10, Optimizer: train.AdamW{LearningRate: 0.01}, Schedule: train.OneCycle{}, ClipNorm: 1, LabelSmoothing: 0.1,
		Augment: data.Augmentation{Shift: 2}, Validation: set.Test, Seed: 4,
	}
	change(&cfg)
	h, err := train.Fit(ctx, net, set.Train, cfg)
	return net, h, err
}

func flat(net *lenet.Net) (all []float32) {
	for _, p := range net.Params() {
		all = append(all, p.Data...)
	}
	return all
}

// TestCUDAFit trains on a GPU and on the CPU, with all that a step can have;
// the losses agree, and on the GPU the bits do from run to run.
func TestCUDAFit(t *testing.T) {
	steps := 0
	hook := func(c *train.Config) {
		c.Hooks.Step = func(s train.Step) error {
			if steps++; s.Total != steps {
				t.Errorf("step %d came as number %d", s.Total, steps)
			}
			return nil
		}
	}
	one, h, err := fit(t, context.Background(), "cuda", hook)
	if err != nil || steps != 30 {
		t.Fatalf("%d steps, want 30: %v", steps, err)
	}
	if d := one.Device(); d.Name != "cuda" || d.Detail == "" || d.Reason == "" {
		t.Errorf("the device is %+v", d)
	}
	two, _, err := fit(t, context.Background(), "cuda", func(*train.Config) {})
	if err != nil || !slices.Equal(flat(one), flat(two)) {
		t.Errorf("the same seed gives other bits: %v", err)
	}
	_, want, err := fit(t, context.Background(), "cpu", func(*train.Config) {})
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range h.Epochs {
		if w := want.Epochs[i]; math.Abs(e.TrainLoss-w.TrainLoss) > 1e-3*w.TrainLoss || math.Abs(e.TestLoss-w.TestLoss) > 1e-2*w.TestLoss {
			t.Errorf("epoch %d: %+v on the GPU, %+v on the CPU", e.Epoch, e, w)
		}
	}
}

// TestCUDAResume stops a run in the middle of an epoch, while steps are in the
// queue; resumed, it ends with the bits of one that was never stopped.
func TestCUDAResume(t *testing.T) {
	whole, _, err := fit(t, context.Background(), "cuda", func(*train.Config) {})
	if err != nil {
		t.Fatal(err)
	}
	for _, every := range []time.Duration{1, time.Hour} { // after every step, or never in time
		file := filepath.Join(t.TempDir(), "checkpoint")
		stop := errors.New("stop")
		_, _, err = fit(t, context.Background(), "cuda", func(c *train.Config) {
			c.Checkpoint, c.CheckpointEvery = file, every
			c.Hooks.Step = func(s train.Step) error {
				if s.Total == 14 {
					return stop
				}
				return nil
			}
		})
		if !errors.Is(err, stop) {
			t.Fatalf("stopped with %v", err)
		}
		c, err := train.ReadCheckpoint(file)
		if err != nil {
			t.Fatal(err)
		}
		resumed, _, err := fit(t, context.Background(), "cuda", func(cfg *train.Config) { cfg.Resume = c })
		if err != nil || !slices.Equal(flat(whole), flat(resumed)) {
			t.Errorf("checkpoints every %v: the resumed run ends with other bits: %v", every, err)
		}
	}
}

// TestCUDASolver trains with a Solver of Gorgonia, which reads the gradients
// and writes the parameters on the host.
func TestCUDASolver(t *testing.T) {
	on := map[string]*train.History{}
	for _, device := range []string{"cuda", "cpu"} {
		_, h, err := fit(t, context.Background(), device, func(c *train.Config) {
			c.Optimizer, c.Schedule, c.ClipNorm = train.UseSolver(gorgonia.NewVanillaSolver(gorgonia.WithLearnRate(0.1))), nil, 0
		})
		if err != nil {
			t.Fatal(err)
		}
		on[device] = h
	}
	for i, e := range on["cuda"].Epochs {
		if w := on["cpu"].Epochs[i]; math.Abs(e.TrainLoss-w.TrainLoss) > 1e-3*w.TrainLoss {
			t.Errorf("epoch %d: loss %v on the GPU, %v on the CPU", e.Epoch, e.TrainLoss, w.TrainLoss)
		}
	}
}

// TestCUDADiverges names the step, and leaves finite parameters.
func TestCUDADiverges(t *testing.T) {
	net, _, err := fit(t, context.Background(), "cuda", func(c *train.Config) {
		c.Optimizer, c.Schedule, c.ClipNorm = train.SGD{LearningRate: 1e30}, train.Constant{}, 0
	})
	var d *train.DivergedError
	if !errors.As(err, &d) || d.Epoch != 1 || d.Step < 2 || d.Step > 10 {
		t.Fatalf("%v; want a step of the first epoch", err)
	}
	if slices.ContainsFunc(flat(net), func(v float32) bool { return v != v }) {
		t.Error("a parameter is not a number")
	}
}
