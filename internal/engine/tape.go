package engine

import (
	"fmt"
	"math"
	"runtime"
	"slices"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// Tape runs a program on Gorgonia's own TapeMachine, through the reference
// implementations of the operations. It is what the other engines are tested
// against.
type Tape struct {
	gorgonia.VM
	p      *Program
	images []float32
	labels []int32
	loaded int
	grads  []gorgonia.ValueGrad
	state  [][]float32
}

var _ Engine = (*Tape)(nil)

// NewTape compiles p, whose parameters must have values.
func NewTape(p *Program) (*Tape, error) {
	t := &Tape{p: p}
	shape := p.Images.Shape()
	t.images = make([]float32, shape.TotalSize())
	images := tensor.New(tensor.WithShape(shape...), tensor.WithBacking(t.images))
	if err := gorgonia.Let(p.Images, images); err != nil {
		return nil, fmt.Errorf("engine: binding the images: %w", err)
	}
	if p.Labels != nil {
		t.labels = make([]int32, shape[0])
		labels := tensor.New(tensor.WithShape(shape[0]), tensor.WithBacking(t.labels))
		if err := gorgonia.Let(p.Labels, labels); err != nil {
			return nil, fmt.Errorf("engine: binding the labels: %w", err)
		}
	}
	t.VM = gorgonia.NewTapeMachine(p.Graph)
	return t, nil
}

// Load gathers, scales and pads the batch.
func (t *Tape) Load(b Batch) error {
	if err := b.Check(t.p.Limits()); err != nil {
		return err
	}
	size := t.p.ImageSize()
	t.loaded = b.Len(size)
	for i := range t.images { // the padding, and the empty rows
		t.images[i] = t.p.Offset
	}
	s, pad := t.p.Images.Shape(), t.p.Padding
	channels, height, width := s[1], s[2], s[3]
	for k := range t.loaded {
		row := b.Row(k)
		image := b.Images[row*size:][:size]
		if b.Transform != nil {
			transformed := make([]byte, size)
			b.Transform(transformed, image, k)
			image = transformed
		}
		for c := range channels {
			for y := pad; y < height-pad; y++ {
				dst := t.images[((k*channels+c)*height+y)*width+pad:][:width-2*pad]
				for x := range dst {
					dst[x] = t.p.Scale*float32(image[x]) + t.p.Offset
				}
				image = image[len(dst):]
			}
		}
		if t.labels != nil {
			t.labels[k] = int32(b.Labels[row])
		}
	}
	if t.labels != nil {
		for k := t.loaded; k < len(t.labels); k++ {
			t.labels[k] = -1
		}
	}
	return nil
}

// RunAll runs the graph once.
func (t *Tape) RunAll() error {
	t.Reset()
	return t.VM.RunAll()
}

// Loss returns the values of the loss and the hits.
func (t *Tape) Loss() (float32, int) {
	return scalar(t.p.Loss), int(scalar(t.p.Hits))
}

func scalar(n *gorgonia.Node) float32 {
	f, _ := n.Value().Data().(float32)
	return f
}

// Probabilities returns the values of the probabilities.
func (t *Tape) Probabilities() []float32 {
	f, _ := t.p.Probabilities.Value().Data().([]float32)
	return f[:t.loaded*t.p.Probabilities.Shape()[1]]
}

// Gradients pairs the parameters with the values of the gradient nodes.
func (t *Tape) Gradients() []gorgonia.ValueGrad {
	t.grads = t.grads[:0]
	for i, n := range t.p.Params {
		t.grads = append(t.grads, Pair{n.Value(), t.p.Grads[i].Value()})
	}
	return t.grads
}

// Descend takes one step of the rule, as its formula says.
func (t *Tape) Descend(r Rule) {
	total, square := 0, 0.0
	for _, pair := range t.Gradients() {
		g, _ := pair.Grad()
		f, _ := g.Data().([]float32)
		total += len(f)
		for _, x := range f {
			square += float64(x) * float64(x)
		}
	}
	if len(t.state) != r.Vectors() {
		t.state = make([][]float32, r.Vectors())
		for i := range t.state {
			t.state[i] = make([]float32, total)
		}
	}
	scale := r.Scale(square)
	at := 0
	for i, n := range t.p.Params {
		w, _ := n.Value().Data().([]float32)
		g, _ := t.p.Grads[i].Value().Data().([]float32)
		for j := range w {
			p, d := float64(w[j]), scale*float64(g[j])
			if r.Decoupled {
				p -= r.Rate * r.Decay * p
			} else {
				d += r.Decay * p
			}
			switch {
			case r.Adam:
				m, v := &t.state[0][at+j], &t.state[1][at+j]
				*m = float32(r.Beta1*float64(*m) + (1-r.Beta1)*d)
				*v = float32(r.Beta2*float64(*v) + (1-r.Beta2)*d*d)
				mhat := float64(*m) / (1 - math.Pow(r.Beta1, float64(r.Step)))
				vhat := float64(*v) / (1 - math.Pow(r.Beta2, float64(r.Step)))
				p -= r.Rate * mhat / (math.Sqrt(vhat) + r.Epsilon)
			case r.Momentum != 0:
				m := &t.state[0][at+j]
				*m = float32(r.Momentum*float64(*m) + d)
				if r.Nesterov {
					d += r.Momentum * float64(*m)
				} else {
					d = float64(*m)
				}
				p -= r.Rate * d
			default:
				p -= r.Rate * d
			}
			w[j] = float32(p)
		}
		at += len(w)
	}
}

// State returns the vectors that rules keep.
func (t *Tape) State() [][]float32 { return t.state }

// SetState replaces them.
func (t *Tape) SetState(vectors [][]float32) error {
	total := 0
	for _, n := range t.p.Params {
		total += n.Shape().TotalSize()
	}
	if err := CheckState(vectors, total); err != nil {
		return err
	}
	t.state = nil
	for _, v := range vectors {
		t.state = append(t.state, slices.Clone(v))
	}
	return nil
}

// Describe says how it runs.
func (t *Tape) Describe() string { return DescribeTape() }

// DescribeTape is what every Tape answers to Describe.
func DescribeTape() string {
	return fmt.Sprintf("tape, %d threads", runtime.GOMAXPROCS(0))
}
