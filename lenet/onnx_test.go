package lenet

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// fields decodes a message: the contents of its fields of bytes, by number.
func fields(t *testing.T, b []byte) map[protowire.Number][][]byte {
	t.Helper()
	out := map[protowire.Number][][]byte{}
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			t.Fatal(protowire.ParseError(n))
		}
		b = b[n:]
		if kind == protowire.BytesType {
			v, n := protowire.ConsumeBytes(b)
			if n < 0 {
				t.Fatal(protowire.ParseError(n))
			}
			out[number] = append(out[number], v)
		}
		n = protowire.ConsumeFieldValue(number, kind, b)
		if n < 0 {
			t.Fatal(protowire.ParseError(n))
		}
		if kind != protowire.BytesType {
			out[number] = append(out[number], b[:n])
		}
		b = b[n:]
	}
	return out
}

// The graph is a chain in the order that ONNX demands: every input of a node is
// an input of the graph, an initial value, or the output of a node before it.
func TestONNX(t *testing.T) {
	for name, want := range map[string]string{
		"sigmoid": "Cast Mul Add Conv Sigmoid AveragePool Conv Sigmoid AveragePool Flatten Gemm Sigmoid Gemm Sigmoid Gemm Softmax",
		"relu":    "Cast Mul Add Conv MaxPool Relu Conv MaxPool Relu Flatten Gemm Relu Gemm Relu Gemm Softmax",
		"lecun98": "Cast Mul Add Pad " + strings.Repeat("Conv Mul Tanh Mul AveragePool Mul Reshape Mul Reshape Add Mul Tanh Mul ", 2) +
			"Conv Mul Tanh Mul Flatten Gemm Mul Tanh Mul Unsqueeze Sub Mul ReduceSum Neg Softmax",
	} {
		cfg, err := Variant(name)
		if err != nil {
			t.Fatal(err)
		}
		n, err := New(cfg, ClassNames(strings.Split("abcdefghij", "")...))
		if err != nil {
			t.Fatal(err)
		}
		n.SetNote("trained_on", "noise")
		var b bytes.Buffer
		if err := n.WriteONNX(&b); err != nil {
			t.Fatal(err)
		}
		model := fields(t, b.Bytes())
		graph := fields(t, model[7][0])
		known := map[string]bool{"images": true}
		for _, init := range graph[5] {
			known[string(fields(t, init)[8][0])] = true
		}
		var ops []string
		for _, node := range graph[1] {
			f := fields(t, node)
			ops = append(ops, string(f[4][0]))
			for _, in := range f[1] {
				if !known[string(in)] {
					t.Errorf("%s: %s comes from nowhere", name, in)
				}
			}
			if out := string(f[2][0]); known[out] {
				t.Errorf("%s: %s is there twice", name, out)
			} else {
				known[out] = true
			}
		}
		if got := strings.Join(ops, " "); got != want {
			t.Errorf("%s: %s\nwant %s", name, got, want)
		}
		if !known["logits"] || !known["probabilities"] || len(graph[12]) != 2 || len(model[14]) != 2 {
			t.Errorf("%s: %d outputs, %d properties", name, len(graph[12]), len(model[14]))
		}
	}
}

// TestONNXRuntime compares with onnxruntime, where it is: in a folder that the
// environment variable LENET_ONNXRUNTIME names.
func TestONNXRuntime(t *testing.T) {
	modules := os.Getenv("LENET_ONNXRUNTIME")
	if modules == "" {
		t.Skip("to compare with onnxruntime: npm install --ignore-scripts onnxruntime-node in a folder, and name it by LENET_ONNXRUNTIME")
	}
	script, err := filepath.Abs("testdata/onnx.js")
	if err != nil {
		t.Fatal(err)
	}
	odd := small()
	odd.Input.Padding = 1
	odd.Blocks[0].Pool, odd.Blocks[0].PoolFirst, odd.Blocks[0].PoolActivation = PoolTrainable, false, ActReLU
	for _, cfg := range []Config{Sigmoid(), ReLU(), Modern(), LeCun98(), small(), odd} {
		n, err := New(cfg, Seed(5))
		if err != nil {
			t.Fatal(err)
		}
		randomize(n, 5)
		const count = 37
		images := randomBatch(cfg, count, 6).Images[:count*cfg.Input.Size()]
		var outputs []float32
		for i := range count {
			layers, err := n.Activations(images[i*cfg.Input.Size():][:cfg.Input.Size()])
			if err != nil {
				t.Fatal(err)
			}
			outputs = append(outputs, layers[len(layers)-1].Values...)
		}
		if outputs, err = n.Probabilities(outputs, images); err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		var raw []byte
		for _, v := range outputs {
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
		}
		file := func(name string) string { return filepath.Join(dir, name) }
		for name, b := range map[string][]byte{"images.bin": images, "outputs.bin": raw} {
			if err := os.WriteFile(file(name), b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := n.SaveONNX(file("model.onnx")); err != nil {
			t.Fatal(err)
		}
		in := cfg.Input
		c := exec.Command("node", script, file("model.onnx"), file("images.bin"), file("outputs.bin"),
			fmt.Sprint(in.Channels), fmt.Sprint(in.Height), fmt.Sprint(in.Width), fmt.Sprint(cfg.Classes))
		c.Dir = modules
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", cfg.Name, err, out)
		}
		var d struct{ Logits, Probabilities float64 }
		if err := json.Unmarshal(out, &d); err != nil {
			t.Fatalf("%s: %v: %s", cfg.Name, err, out)
		}
		largest := 0.0
		for _, v := range outputs[:count*cfg.Classes] {
			largest = max(largest, math.Abs(float64(v)))
		}
		t.Logf("%s: largest difference of logits %.2g (they go up to %.3g), of probabilities %.2g", cfg.Name, d.Logits, largest, d.Probabilities)
		if !(d.Logits <= 1e-5*max(largest, 1)) || !(d.Probabilities <= 1e-4) {
			t.Errorf("%s: %+v", cfg.Name, d)
		}
	}
}
