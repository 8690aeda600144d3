package plan_test

import (
	"errors"
	"strings"
	"testing"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"example.com/lenet5/internal/plan"
	"example.com/lenet5/lenet"
)

// configs are networks of every form.
func configs() map[string]lenet.Config {
	odd := lenet.ReLU()
	odd.Blocks = []lenet.Block{
		{Channels: 3, Kernel: 4, Padding: 2, Activation: lenet.ActTanh},
		{Channels: 5, Kernel: 3, Pool: lenet.PoolAverage},
		{Channels: 4, Kernel: 1, Activation: lenet.ActScaledTanh, Pool: lenet.PoolMax, PoolFirst: true},
		{Channels: 2, Kernel: 2},
	}
	flat := lenet.Sigmoid()
	flat.Blocks = nil
	linear := flat
	linear.Dense = nil
	return map[string]lenet.Config{
		"sigmoid": lenet.Sigmoid(), "relu": lenet.ReLU(), "modern": lenet.Modern(), "lecun98": lenet.LeCun98(),
		"odd": odd, "multilayer perceptron": flat, "softmax regression": linear,
	}
}

// TestEveryNodeHasOneStage is the invariant of a plan.
func TestEveryNodeHasOneStage(t *testing.T) {
	for name, cfg := range configs() {
		t.Run(name, func(t *testing.T) {
			net, err := lenet.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			graphs := map[string]func(int) (*lenet.Graph, error){"training": net.Graph, "prediction": net.PredictionGraph}
			for what, f := range graphs {
				g, err := f(3)
				if err != nil {
					t.Fatal(err)
				}
				p, err := plan.Compile(g.Graph)
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				count := map[*gorgonia.Node]int{}
				for _, s := range p.Stages {
					for _, n := range s.Nodes {
						count[n]++
					}
				}
				for _, n := range g.Graph.AllNodes() {
					want := 1
					if n.Op() == nil {
						want = 0
					}
					if count[n] != want {
						t.Errorf("%s: %v (%v) is in %d stages, want %d", what, n, n.Op(), count[n], want)
					}
				}
				if p.Images != g.Images || p.Labels != g.Labels || p.Backward != (what == "training") {
					t.Errorf("%s: the inputs are not those of the graph", what)
				}
				if want := len(cfg.Blocks) + len(cfg.Dense) + 2; cfg.Output == lenet.OutputDense && len(p.Stages) != want {
					t.Errorf("%s: %d stages, want %d", what, len(p.Stages), want)
				}
				if what == "training" {
					for i, s := range p.Stages[:len(p.Stages)-1] {
						if s.GradWeight == nil || s.GradBias == nil || (s.GradX == nil) != (i == 0) {
							t.Errorf("stage %d lacks a gradient, or has one too many", i)
						}
					}
				}
			}
		})
	}
}

func TestPrint(t *testing.T) {
	net, err := lenet.New(lenet.Sigmoid())
	if err != nil {
		t.Fatal(err)
	}
	g, err := net.Graph(256)
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.Compile(g.Graph)
	if err != nil {
		t.Fatal(err)
	}
	text := p.String()
	for _, want := range []string{"conv 5x5 pad 2, sigmoid, average, and back", "flatten, dense, sigmoid", "loss, hits", "(256, 16, 5, 5)"} {
		if !strings.Contains(text, want) {
			t.Errorf("the plan lacks %q:\n%s", want, text)
		}
	}
}

func TestUnsupported(t *testing.T) {
	net, err := lenet.New(lenet.Sigmoid())
	if err != nil {
		t.Fatal(err)
	}
	g, err := net.PredictionGraph(2)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gorgonia.Exp(g.Logits); err != nil {
		t.Fatal(err)
	}
	if _, err := plan.Compile(g.Graph); !errors.Is(err, plan.ErrUnsupported) || !strings.Contains(err.Error(), "exp") {
		t.Errorf("an unknown operation: %v; want its name", err)
	}
	empty := gorgonia.NewGraph()
	gorgonia.NewTensor(empty, tensor.Float32, 2, gorgonia.WithShape(2, 3), gorgonia.WithName("x"))
	if _, err := plan.Compile(empty); !errors.Is(err, plan.ErrUnsupported) {
		t.Errorf("a graph without output: %v", err)
	}
}
