package plan

import (
	"fmt"
	"strings"

	"gorgonia.org/tensor"
)

// Costs are estimates for a stage and a batch.
type Costs struct {
	Forward, Backward int // floating-point operations of the layer itself
	Bytes             int // of the layer's output and its steps', in float32
	Nodes             int
}

// Costs estimates what a stage costs.
func (s *Stage) Costs() Costs {
	c := Costs{Nodes: len(s.Nodes)}
	if s.Kind == Output {
		return c
	}
	w, y := s.Weight.Shape(), s.Y.Shape()
	macs := y.TotalSize() * w.TotalSize() / w[0]
	c.Forward = 2 * macs
	if s.GradWeight != nil {
		c.Backward += 2 * macs
	}
	if s.GradX != nil {
		c.Backward += 2 * macs
	}
	c.Bytes = 4 * y.TotalSize()
	for _, st := range s.Steps {
		c.Bytes += 4 * st.Out.Shape().TotalSize()
	}
	return c
}

// String prints the stages for a reader: what each fuses, the shape it ends
// with, its estimated work and the memory of its values.
func (p *Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-8s %-42s %-17s %6s %10s %10s %10s\n", "stage", "what", "output", "nodes", "fwd MFLOP", "bwd MFLOP", "KB")
	for _, s := range p.Stages {
		var what []string
		var out tensor.Shape
		switch s.Kind {
		case Conv:
			k := s.Weight.Shape()[2]
			what = append(what, fmt.Sprintf("conv %dx%d pad %d", k, k, s.Padding))
			if s.Table != nil {
				what = append(what, "partly connected")
			}
		case Dense:
			if s.Flatten {
				what = append(what, "flatten")
			}
			what = append(what, "dense")
		case Output:
			for _, o := range []struct {
				name string
				has  bool
			}{{"distances", s.Codes != nil}, {"loss", s.Loss != nil}, {"hits", s.Hits != nil}, {"probabilities", s.Probabilities != nil}} {
				if o.has {
					what = append(what, o.name)
				}
			}
			out = s.Logits().Shape()
		}
		for _, st := range s.Steps {
			what = append(what, string(st.Activation)+string(st.Pool))
		}
		text := strings.Join(what, ", ")
		if s.GradWeight != nil || s.GradLogits != nil {
			text += ", and back"
		}
		if s.Kind != Output {
			out = s.Out().Shape()
		}
		c := s.Costs()
		fmt.Fprintf(&b, "%-8s %-42s %-17s %6d %10.2f %10.2f %10.1f\n", s.Kind, text, fmt.Sprint(out), c.Nodes,
			float64(c.Forward)/1e6, float64(c.Backward)/1e6, float64(c.Bytes)/1e3)
	}
	return b.String()
}
