package lenet

import (
	"fmt"
	"strconv"
	"strings"
)

// A LayerShape is one row of a network's description.
type LayerShape struct {
	Name string // "conv1", "pool1", ..., "flatten", "fc1", ...
	Kind string // for people: "conv 5x5, padding 2, sigmoid"
	// Output is (height, width, channels), or (units) from flatten on.
	Output []int
	Params int // trainable parameters
}

// String returns the output shape as "28x28x6" or "120".
func (s LayerShape) String() string {
	parts := make([]string, len(s.Output))
	for i, d := range s.Output {
		parts[i] = strconv.Itoa(d)
	}
	return strings.Join(parts, "x")
}

// Shapes returns the layers with their output shapes and parameters, in
// order. An activation is part of the layer that it follows.
func (n *Net) Shapes() []LayerShape {
	rows := make([]LayerShape, len(n.layers))
	for i, l := range n.layers {
		rows[i] = LayerShape{Name: l.name, Kind: l.describe(), Output: []int{l.out[1], l.out[2], l.out[0]}, Params: l.params()}
		if l.kind >= layerFlatten {
			rows[i].Output = []int{l.out[0]}
		}
	}
	return rows
}

func (l layer) describe() string {
	var s string
	switch l.kind {
	case layerConv:
		s = fmt.Sprintf("conv %dx%d", l.block.Kernel, l.block.Kernel)
		if l.block.Padding > 0 {
			s += fmt.Sprintf(", padding %d", l.block.Padding)
		}
		if t := l.connections(); t != nil {
			kernels := 0
			for _, row := range t.Rows {
				kernels += strings.Count(row, "X")
			}
			s += fmt.Sprintf(", %d of %d kernels", kernels, l.weight[0]*l.weight[1])
		}
	case layerPool:
		s = fmt.Sprintf("%s pool 2x2", l.block.Pool)
	case layerFlatten:
		s = "flatten"
	case layerDense:
		s = "dense"
	case layerRBF:
		s = "distances from 7x12 codes"
	}
	if l.act != ActNone {
		s += ", " + string(l.act)
	}
	return s
}

// Summary returns a table of the layers, their output shapes and parameters.
func (n *Net) Summary() string {
	in := n.cfg.Input
	rows := [][4]string{{"layer", "", "output shape", "parameters"}}
	rows = append(rows, [4]string{"input", "pixels " + pixels(in), fmt.Sprintf("%dx%dx%d", in.Height+2*in.Padding, in.Width+2*in.Padding, in.Channels), "0"})
	total := 0
	for _, s := range n.Shapes() {
		rows = append(rows, [4]string{s.Name, s.Kind, s.String(), thousands(s.Params)})
		total += s.Params
	}
	var width [4]int
	for _, r := range rows {
		for i, cell := range r {
			width[i] = max(width[i], len(cell))
		}
	}
	name := n.cfg.Name
	if name == "" {
		name = "custom"
	}
	var b strings.Builder
	rule := strings.Repeat("-", width[0]+width[1]+width[2]+width[3]+6)
	fmt.Fprintf(&b, "LeNet-5, variant %s\n%s\n", name, rule)
	for i, r := range rows {
		fmt.Fprintf(&b, "%-*s  %-*s  %*s  %*s\n", width[0], r[0], width[1], r[1], width[2], r[2], width[3], r[3])
		if i == 0 {
			fmt.Fprintln(&b, rule)
		}
	}
	fmt.Fprintf(&b, "%s\ntotal: %s parameters, all trainable (%.1f KB)\n", rule, thousands(total), float64(total)*4/1000)
	return b.String()
}

// pixels describes how a byte becomes a pixel, by its range.
func pixels(in Input) string {
	lo, hi := in.Offset, in.Scale*255+in.Offset
	return fmt.Sprintf("in [%.4g, %.4g]", min(lo, hi), max(lo, hi))
}

// thousands writes n with commas.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
