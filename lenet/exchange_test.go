package lenet

import (
	"encoding/binary"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestExchange loads a network's file into PyTorch, and PyTorch's weights here,
// where there is PyTorch: the environment variable LENET_PYTORCH names the
// Python that has it.
func TestExchange(t *testing.T) {
	python := os.Getenv("LENET_PYTORCH")
	if python == "" {
		t.Skip("to exchange weights with PyTorch, name a Python that has it by LENET_PYTORCH")
	}
	n, err := New(Sigmoid(), Seed(9))
	if err != nil {
		t.Fatal(err)
	}
	randomize(n, 9)
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	images := randomBatch(n.cfg, 50, 9).Images
	if err := os.WriteFile(file("images"), images, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := n.Save(file("model")); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(python, "testdata/exchange.py", file("model"), file("images"), file("outputs"), file("new"), file("newoutputs"))
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	theirs, err := Load(file("new"), WeightsFor(Sigmoid()))
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		net     *Net
		outputs string
	}{"ours in PyTorch": {n, "outputs"}, "PyTorch's here": {theirs, "newoutputs"}} {
		raw, err := os.ReadFile(file(c.outputs))
		if err != nil {
			t.Fatal(err)
		}
		largest := 0.0
		for i := range len(images) / 784 {
			layers, err := c.net.Activations(images[i*784:][:784])
			if err != nil {
				t.Fatal(err)
			}
			for k, v := range layers[len(layers)-1].Values {
				want := math.Float32frombits(binary.LittleEndian.Uint32(raw[4*(10*i+k):]))
				largest = max(largest, math.Abs(float64(v-want)))
			}
		}
		t.Logf("%s: largest difference of logits %.2g", what, largest)
		if !(largest < 1e-5) {
			t.Errorf("%s: the logits differ by %g", what, largest)
		}
	}
}
