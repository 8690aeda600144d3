package lenet

import (
	_ "embed"
	"encoding/json"
	"math"
	"slices"
	"testing"

	"example.com/lenet5/internal/engine"
	"example.com/lenet5/internal/op"
)

// pytorchJSON is what PyTorch computes; testdata/pytorch.py made it, and tells
// the format.
//
//go:embed testdata/pytorch.json
var pytorchJSON []byte

type recorded struct {
	Variant               string
	Scales                []float64
	Labels                []byte
	Logits, Probabilities []float32
	Loss                  float64
	Gradients             []struct {
		Stride int
		Norm   float64
		Values []float32
	}
}

// fraction is element i of tensor t, in [0, 1).
func fraction(t, i int) float64 {
	x := uint32(i)*2654435761 + uint32(t)*40503 + 12345
	x ^= x >> 16
	x *= 0x45d9f3b
	x ^= x >> 16
	return float64(x>>8) / (1 << 24)
}

// TestPyTorch compares logits, probabilities, loss and gradients with those
// that PyTorch computed, on Gorgonia's TapeMachine and on the CPU engine.
func TestPyTorch(t *testing.T) {
	var file struct{ Variants []recorded }
	if err := json.Unmarshal(pytorchJSON, &file); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, want := range file.Variants {
		names = append(names, want.Variant)
		t.Run(want.Variant, func(t *testing.T) {
			cfg, err := Variant(want.Variant)
			if err != nil {
				t.Fatal(err)
			}
			n, err := New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			layerOf := map[string]layer{}
			for _, l := range n.layers {
				layerOf[l.name+".weight"] = l
			}
			for k, p := range n.params {
				table := layerOf[p.Name].connections()
				per := len(p.Data) / p.Shape[0]
				for i := range p.Data {
					p.Data[i] = float32((fraction(k, i) - 0.5) * want.Scales[k])
					if area := cfg.Blocks[0].Kernel * cfg.Blocks[0].Kernel; !table.Connected(i/per, i%per/area) {
						p.Data[i] = 0
					}
				}
			}
			b := Batch{Images: make([]byte, len(want.Labels)*cfg.Input.Size()), Labels: want.Labels}
			for i := range b.Images {
				b.Images[i] = byte(fraction(len(n.params), i) * 256)
			}
			for _, e := range []string{"tape", "cpu"} {
				run := func(why purpose) engine.Engine {
					g, err := n.graph(len(b.Labels), why, 0)
					if err != nil {
						t.Fatal(err)
					}
					make := n.newEngine
					if e == "tape" {
						make = func(p *engine.Program) (engine.Engine, error) { return engine.NewTape(p) }
					}
					m, err := make(n.program(g))
					if err != nil {
						t.Fatal(err)
					}
					eb := engine.Batch{Images: b.Images}
					if why == forTraining {
						eb.Labels = b.Labels
					}
					if err := m.Load(eb); err != nil {
						t.Fatal(err)
					}
					if err := m.RunAll(); err != nil {
						t.Fatal(err)
					}
					logits := g.Logits.Value().Data().([]float32)
					if rel := relL2(logits, want.Logits); !(rel < 2e-6) {
						t.Errorf("%s: relative error %.2g of the logits", e, rel)
					}
					return m
				}
				p := run(forPrediction)
				if rel := relL2(p.Probabilities(), want.Probabilities); !(rel < 1e-5) {
					t.Errorf("%s: relative error %.2g of the probabilities", e, rel)
				}
				m := run(forTraining)
				loss, hits := m.Loss()
				wantHits := 0
				for i, l := range want.Labels {
					if op.ArgMax(want.Logits[i*10:][:10]) == int(l) {
						wantHits++
					}
				}
				if math.Abs(float64(loss)-want.Loss) > 2e-6*want.Loss || hits != wantHits {
					t.Errorf("%s: loss %v and %d hits, want %v and %d", e, loss, hits, want.Loss, wantHits)
				}
				for k, g := range gradients(m) {
					w := want.Gradients[k]
					norm := 0.0
					var sample []float32
					for i, v := range g {
						norm += float64(v) * float64(v)
						if i%w.Stride == 0 {
							sample = append(sample, v)
						}
					}
					if rel := relL2(sample, w.Values); !(rel < 1e-5) || math.Abs(math.Sqrt(norm)-w.Norm) > 1e-5*w.Norm {
						t.Errorf("%s: %s: relative error %.2g of the gradient; norm %v, want %v", e, n.params[k].Name, rel, math.Sqrt(norm), w.Norm)
					}
				}
				p.Close()
				m.Close()
			}
		})
	}
	slices.Sort(names)
	if !slices.Equal(names, Variants()) {
		t.Errorf("the file has %v, there are %v", names, Variants())
	}
}
