package enginetest

import (
	_ "embed"
	"encoding/json"
	"slices"
	"testing"

	"example.com/lenet5/internal/engine"
	"example.com/lenet5/lenet"
)

// optimizersJSON is what PyTorch's optimizers do; testdata/optimizers.py made
// it, and tells the format.
//
//go:embed testdata/optimizers.json
var optimizersJSON []byte

// hash is the i-th number of vector t.
func hash(t, i int) float32 {
	x := uint32(i)*2654435761 + uint32(t)*40503 + 12345
	x ^= x >> 16
	x *= 0x45d9f3b
	x ^= x >> 16
	return float32(x>>8)/(1<<24) - 0.5
}

// Rules are the cases of the recorded optimizers.
func Rules() map[string]engine.Rule {
	return map[string]engine.Rule{
		"sgd":                {Rate: 0.1},
		"sgd, decay":         {Rate: 0.1, Decay: 0.05},
		"sgd, decay, clip":   {Rate: 0.1, Decay: 0.05, Clip: 0.7},
		"momentum":           {Rate: 0.1, Momentum: 0.9},
		"momentum, decay":    {Rate: 0.1, Momentum: 0.9, Decay: 0.05},
		"nesterov, decay":    {Rate: 0.1, Momentum: 0.8, Decay: 0.05, Nesterov: true},
		"nesterov, clip":     {Rate: 0.1, Momentum: 0.8, Nesterov: true, Clip: 0.7},
		"adam":               {Adam: true, Rate: 0.01, Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8},
		"adam, decay":        {Adam: true, Rate: 0.01, Beta1: 0.8, Beta2: 0.95, Epsilon: 1e-3, Decay: 0.05},
		"adamw, decay":       {Adam: true, Rate: 0.01, Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8, Decay: 0.05, Decoupled: true},
		"adamw, decay, clip": {Adam: true, Rate: 0.01, Beta1: 0.8, Beta2: 0.95, Epsilon: 1e-8, Decay: 0.05, Decoupled: true, Clip: 0.7},
	}
}

// OptimizersPyTorch compares the parameters of engines, which compile makes by
// their names, step by step with those that PyTorch's optimizers make.
func OptimizersPyTorch(t *testing.T, engines []string, compile Compiler) {
	t.Helper()
	newEngine := func(p *engine.Program, name string) engine.Engine {
		e, err := compile(p, name)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	var file struct {
		Recorded []int
		Cases    map[string][][]float32
	}
	if err := json.Unmarshal(optimizersJSON, &file); err != nil {
		t.Fatal(err)
	}
	rules := Rules()
	if len(rules) != len(file.Cases) {
		t.Fatalf("%d rules, %d cases", len(rules), len(file.Cases))
	}
	// A perceptron of 143 parameters.
	cfg := lenet.Config{Input: lenet.Input{Channels: 1, Height: 4, Width: 4, Scale: 1}, Dense: []int{7}, Classes: 3}
	batch := Batch(cfg, 4, 1)
	for name, rule := range rules {
		for _, which := range engines {
			p := Program(t, cfg, 4, 1)
			e := newEngine(p, which)
			at := 0
			for _, n := range p.Params {
				for i := range n.Value().Data().([]float32) {
					n.Value().Data().([]float32)[i] = hash(0, at)
					at++
				}
			}
			var moved *engine.Engine // the state moves to another engine half way
			for s := 1; s <= file.Recorded[len(file.Recorded)-1]; s++ {
				if s == 2 {
					q := Program(t, cfg, 4, 1)
					other := newEngine(q, which)
					for i, n := range q.Params {
						copy(n.Value().Data().([]float32), p.Params[i].Value().Data().([]float32))
					}
					if err := other.SetState(e.State()); err != nil {
						t.Fatal(err)
					}
					if err := e.Close(); err != nil {
						t.Error(err)
					}
					p, e, moved = q, other, &other
				}
				Run(t, e, batch)
				at := 0
				for _, pair := range e.Gradients() {
					g, _ := pair.Grad()
					for i := range g.Data().([]float32) {
						g.Data().([]float32)[i] = hash(s, at)
						at++
					}
				}
				rule.Step = s
				e.Descend(rule)
				k := slices.Index(file.Recorded, s)
				if k < 0 {
					continue
				}
				var got []float32
				for _, n := range p.Params {
					got = append(got, n.Value().Data().([]float32)...)
				}
				if r := Difference(got, file.Cases[name][k]); !(r < 1e-6) {
					t.Errorf("%s on %s: after step %d, %.2g from PyTorch", name, which, s, r)
				}
			}
			if moved == nil || len(e.State()) != rule.Vectors() {
				t.Errorf("%s on %s: %d vectors of state", name, which, len(e.State()))
			}
			for _, wrong := range [][][]float32{{{1, 2}}, make([][]float32, 3)} {
				if err := e.SetState(wrong); err == nil {
					t.Errorf("%s: %d vectors that do not fit: no error", which, len(wrong))
				}
			}
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
