package lenet_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"gorgonia.org/gorgonia"

	"example.com/lenet5/data"
	"example.com/lenet5/lenet"
)

// TestQueue: steps that are queued end where the same steps one by one end.
func TestQueue(t *testing.T) {
	set := data.SyntheticDigits(100, 0, 1).Train
	train := func(queued bool) (all []float32, losses []float64, steps int) {
		net, err := lenet.New(lenet.ReLU(), lenet.OnDevice("cpu"))
		if err != nil {
			t.Fatal(err)
		}
		trainer, err := net.NewTrainer(32)
		if err != nil {
			t.Fatal(err)
		}
		defer trainer.Close()
		take := func(stats []lenet.Stats, err error) {
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range stats {
				losses = append(losses, s.Loss)
			}
		}
		for _, index := range data.Batches(data.Permutation(nil, set.Len(), 1, 1), 32) {
			b := lenet.Batch{Images: set.Images, Labels: set.Labels, Index: index}
			u := lenet.Update{LearningRate: 0.01, Momentum: 0.9}
			if !queued {
				s, err := trainer.Step(b, u)
				take([]lenet.Stats{s}, err)
				continue
			}
			if err := trainer.Enqueue(b, u); err != nil {
				t.Fatal(err)
			}
			if trainer.Room() == 0 {
				take(trainer.Flush())
			}
		}
		take(trainer.Flush())
		for _, p := range net.Params() {
			all = append(all, p.Data...)
		}
		return all, losses, trainer.State().Steps
	}
	want, wantLosses, wantSteps := train(false)
	got, losses, steps := train(true)
	if !slices.Equal(got, want) || !slices.Equal(losses, wantLosses) || steps != wantSteps {
		t.Errorf("losses %v after %d steps, want %v after %d", losses, steps, wantLosses, wantSteps)
	}
}

// TestQueueErrors names what cannot be queued.
func TestQueueErrors(t *testing.T) {
	set := data.SyntheticDigits(8, 0, 1).Train
	net, err := lenet.New(lenet.ReLU(), lenet.OnDevice("cpu"))
	if err != nil {
		t.Fatal(err)
	}
	trainer, err := net.NewTrainer(8)
	if err != nil {
		t.Fatal(err)
	}
	defer trainer.Close()
	b := lenet.Batch{Images: set.Images, Labels: set.Labels}
	for want, f := range map[string]func() error{
		"Solver": func() error { return trainer.Enqueue(b, lenet.Update{Solver: gorgonia.NewVanillaSolver()}) },
		"labels": func() error { return trainer.Enqueue(lenet.Batch{Images: set.Images}, lenet.Update{LearningRate: 1}) },
	} {
		if err := f(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want an error about %s", err, want)
		}
	}
	room := trainer.Room()
	for range room {
		if err := trainer.Enqueue(b, lenet.Update{LearningRate: 0.01}); err != nil {
			t.Fatal(err)
		}
	}
	if err := trainer.Enqueue(b, lenet.Update{LearningRate: 0.01}); err == nil || !strings.Contains(err.Error(), "full") {
		t.Errorf("a full queue: %v", err)
	}
	if stats, err := trainer.Flush(); err != nil || len(stats) != room || trainer.Room() != room {
		t.Errorf("%v, %v; want %d results", stats, err, room)
	}
	net.Params()[0].Data[0] = float32(math.NaN())
	if err := trainer.Enqueue(b, lenet.Update{LearningRate: 0.01}); err != nil {
		t.Fatal(err)
	}
	if stats, err := trainer.Flush(); err != nil || len(stats) != 1 || !math.IsNaN(stats[0].Loss) || trainer.State().Steps != room {
		t.Errorf("a loss that is not a number: %v, %v, %d steps", stats, err, trainer.State().Steps)
	}
}
