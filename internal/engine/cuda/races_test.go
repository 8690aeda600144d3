//go:build cudasim && cgo

package cuda_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.com/lenet5/internal/engine"
	"example.com/lenet5/internal/engine/cuda"
	"example.com/lenet5/internal/engine/enginetest"
	"example.com/lenet5/lenet"
)

// everything trains networks that together pass through all of the kernels, and
// returns the bits of what came of it.
func everything(t *testing.T) (bits []float32, err error) {
	t.Helper()
	many := lenet.ReLU() // more classes than threads in a warp
	many.Classes = 40
	wide := lenet.Sigmoid() // needs memory beyond the shared
	wide.Blocks = slices.Clone(wide.Blocks)
	wide.Blocks[0].Channels = 24
	broad := lenet.Config{Input: lenet.Sigmoid().Input, Dense: []int{300}, Classes: 10}
	for i, cfg := range []lenet.Config{lenet.Sigmoid(), lenet.LeCun98(), many, wide, broad} {
		size := 3
		if i == 4 {
			size = 70 // a slice of the weight gradient takes more than one tile
		}
		p := enginetest.Program(t, cfg, size, 1)
		e, err := cuda.New(p, 0)
		if err != nil {
			return nil, err
		}
		q := e.(engine.Queue)
		for step := range 2 {
			rule := engine.Rule{Rate: 0.01}
			if i == 1 {
				rule.Clip = 0.01
			}
			if err := q.Enqueue(enginetest.Batch(cfg, size-step, 1), rule); err != nil {
				return nil, err
			}
		}
		rs, err := q.Flush()
		if err != nil {
			e.Close()
			return nil, err
		}
		for _, r := range rs {
			bits = append(bits, r.Loss, float32(r.Hits))
		}
		bits = append(bits, parameters(p)...)
		if err := e.Close(); err != nil {
			return nil, err
		}
	}
	return bits, nil
}

// TestBarriers: the bits do not depend on which threads come first; and each
// barrier, if it is left out, is missed: then they do, or the simulator says
// what is wrong.
func TestBarriers(t *testing.T) {
	defer cuda.Simulate(0, "", 0)
	const orders = 3
	want, err := everything(t)
	if err != nil {
		t.Fatal(err)
	}
	for order := 1; order < orders; order++ {
		cuda.Simulate(order, "", 0)
		if got, err := everything(t); err != nil || !slices.Equal(got, want) {
			t.Fatalf("order %d gives other bits: %v", order, err)
		}
	}
	cuda.Simulate(0, "", 0)
	cuda.WideFrom(1)
	got, err := everything(t)
	cuda.WideFrom(1024)
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("more examples to a block give other bits: %v", err)
	}
	files, err := filepath.Glob("*.hpp")
	if err != nil {
		t.Fatal(err)
	}
	barriers := 0
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(source), "\n") {
			if !strings.Contains(line, "SYNC();") {
				continue
			}
			barriers++
			missed := ""
			for order := 0; order < orders && missed == ""; order++ {
				cuda.Simulate(order, file, i+1)
				if got, err := everything(t); err != nil {
					missed = err.Error()
				} else if !slices.Equal(got, want) {
					missed = "other bits"
				}
			}
			t.Logf("%s:%d without its barrier: %s", file, i+1, missed)
			if missed == "" {
				t.Errorf("%s:%d: nobody misses the barrier: %s", file, i+1, strings.TrimSpace(line))
			}
		}
	}
	if barriers < 10 {
		t.Errorf("found %d barriers", barriers)
	}
}
