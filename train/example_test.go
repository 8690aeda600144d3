package train_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"

	"example.com/lenet5/data"
	"example.com/lenet5/lenet"
	"example.com/lenet5/train"
)

// A recipe is a network and its settings; any of them can be changed.
func ExampleBest() {
	set := data.SyntheticGarments(256, 64, 1)
	r := train.Best(set.Train)
	net, err := lenet.New(r.Network)
	if err != nil {
		log.Fatal(err)
	}
	r.Config.Validation = set.Test
	r.Config.Epochs = 1 // of its 40
	history, err := train.Fit(context.Background(), net, set.Train, r.Config)
	if err != nil {
		log.Fatal(err)
	}
	resolved, err := r.Config.Resolve(net, set.Train)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(history.Epochs), resolved.Optimizer)
	fmt.Println(resolved.Augment)
	// Output:
	// 1 AdamW, learning rate 0.003, weight decay 0.01
	// shift 1, flip
}

// A run that saves itself, is stopped, and goes on as if it had not been.
func ExampleReadCheckpoint() {
	dir, err := os.MkdirTemp("", "lenet5")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	set := data.SyntheticDigits(128, 32, 1)
	cfg := train.Config{Epochs: 3, BatchSize: 32, Optimizer: train.Adam{}, Validation: set.Test, Checkpoint: filepath.Join(dir, "checkpoint")}

	fit := func(ctx context.Context) (*train.History, error) {
		net, err := lenet.New(lenet.Modern())
		if err != nil {
			return nil, err
		}
		cfg.Resume, err = train.ReadCheckpoint(cfg.Checkpoint)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if cfg.Resume != nil {
			fmt.Println("resuming in epoch", cfg.Resume.Epoch, "after step", cfg.Resume.Step)
		}
		return train.Fit(ctx, net, set.Train, cfg)
	}

	ctx, cancel := context.WithCancel(context.Background())
	cfg.Hooks.Step = func(s train.Step) error {
		if s.Epoch == 2 && s.Step == 3 {
			cancel() // as Ctrl-C would
		}
		return nil
	}
	_, err = fit(ctx)
	fmt.Println(errors.Is(err, context.Canceled))
	cfg.Hooks.Step = nil
	history, err := fit(context.Background())
	fmt.Println(len(history.Epochs), err)
	// Output:
	// true
	// resuming in epoch 2 after step 3
	// 3 <nil>
}

// Precision, recall and F1 by class, and what was taken for what.
func ExampleClassify() {
	set := data.SyntheticDigits(2000, 200, 1)
	net, err := lenet.New(lenet.Modern())
	if err != nil {
		log.Fatal(err)
	}
	if _, err := train.Fit(context.Background(), net, set.Train, train.Config{Epochs: 3, Optimizer: train.Adam{LearningRate: 0.003}}); err != nil {
		log.Fatal(err)
	}
	report, err := train.Classify(net, set.Test)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(report.Accuracy() > 0.5, report.Class(3).Support > 0, len(report.Confusion), len(report.Mistakes()) < 100)
	// Output: true true 10 true
}
