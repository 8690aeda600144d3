package lenet

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// randomBatch makes images and labels for a network.
func randomBatch(cfg Config, n int, seed uint64) Batch {
	rng := rand.New(rand.NewPCG(seed, 1))
	b := Batch{Images: make([]byte, n*cfg.Input.Size()), Labels: make([]byte, n)}
	for i := range b.Images {
		b.Images[i] = byte(rng.UintN(256))
	}
	for i := range b.Labels {
		b.Labels[i] = byte(rng.IntN(cfg.Classes))
	}
	return b
}

// randomize replaces every parameter, biases included.
func randomize(n *Net, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 2))
	for i := range n.flat {
		n.flat[i] = float32(rng.NormFloat64() * 0.2)
	}
	for _, l := range n.layers {
		if l.kind != layerConv {
			continue
		}
		w := n.param(l.name + ".weight").Data
		for i := range w {
			if l.absent(i) {
				w[i] = 0
			}
		}
	}
}

// small is a network of a few hundred parameters, for tests that count them.
func small() Config {
	return Config{
		Name:  "small",
		Input: Input{Channels: 2, Height: 9, Width: 8, Scale: 1.0 / 255, Offset: -0.5},
		Blocks: []Block{
			{Channels: 3, Kernel: 3, Padding: 1, Activation: ActTanh, Pool: PoolAverage, PoolFirst: true},
			{Channels: 4, Kernel: 2, Activation: ActScaledTanh},
		},
		Dense: []int{7}, DenseActivation: ActSigmoid, Classes: 5,
	}
}

func relL2(got, want []float32) float64 {
	var d, n float64
	for i := range want {
		e := float64(got[i]) - float64(want[i])
		d += e * e
		n += float64(want[i]) * float64(want[i])
	}
	return math.Sqrt(d / n)
}

// TestStockGorgonia compares loss, hits and every gradient with the same
// network built of Gorgonia's stock operations. Average pooling, which is
// broken there, is written as a convolution of stride 2.
func TestStockGorgonia(t *testing.T) {
	for _, cfg := range []Config{Sigmoid(), Modern(), ReLU()} {
		t.Run(cfg.Name, func(t *testing.T) {
			const batch = 3
			n, err := New(cfg, Seed(3))
			if err != nil {
				t.Fatal(err)
			}
			randomize(n, 4)
			b := randomBatch(cfg, batch, 5)
			tr, err := n.NewTrainer(batch)
			if err != nil {
				t.Fatal(err)
			}
			defer tr.Close()
			stats, err := tr.Step(b, Update{}) // a rate of 0 leaves the parameters
			if err != nil {
				t.Fatal(err)
			}
			loss, grads := stockNetwork(t, n, b, batch)
			if math.Abs(stats.Loss-loss) > 1e-5*math.Abs(loss) {
				t.Errorf("loss %v, stock operations %v", stats.Loss, loss)
			}
			for i, g := range tr.Gradients() {
				if rel := relL2(g, grads[i]); !(rel < 1e-5) {
					t.Errorf("%s: relative error %.2g against stock operations", n.params[i].Name, rel)
				}
			}
		})
	}
}

func stockNetwork(t *testing.T, n *Net, b Batch, batch int) (float64, [][]float32) {
	t.Helper()
	must := func(x *gorgonia.Node, err error) *gorgonia.Node {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	g, in := gorgonia.NewGraph(), n.cfg.Input
	pixels := make([]float32, len(b.Images))
	for i, v := range b.Images {
		pixels[i] = in.Scale*float32(v) + in.Offset
	}
	onehot := make([]float32, batch*n.cfg.Classes)
	for i, l := range b.Labels {
		onehot[i*n.cfg.Classes+int(l)] = 1
	}
	constant := func(name string, data []float32, shape ...int) *gorgonia.Node {
		return gorgonia.NewTensor(g, tensor.Float32, len(shape), gorgonia.WithShape(shape...), gorgonia.WithName(name),
			gorgonia.WithValue(tensor.New(tensor.WithShape(shape...), tensor.WithBacking(data))))
	}
	var params gorgonia.Nodes
	param := func(name string, shape ...int) *gorgonia.Node {
		p := constant(name, append([]float32(nil), n.param(name).Data...), shape...)
		params = append(params, p)
		return p
	}
	activate := func(x *gorgonia.Node, a Activation) *gorgonia.Node {
		switch a {
		case ActSigmoid:
			return must(gorgonia.Sigmoid(x))
		case ActReLU:
			return must(gorgonia.Rectify(x))
		}
		return x
	}
	x := constant("x", pixels, batch, in.Channels, in.Height, in.Width)
	for _, l := range n.layers {
		switch l.kind {
		case layerConv:
			w := param(l.name+".weight", l.weight...)
			bias := param(l.name+".bias", 1, l.weight[0], 1, 1)
			k, p := l.block.Kernel, l.block.Padding
			x = must(gorgonia.Conv2d(x, w, tensor.Shape{k, k}, []int{p, p}, []int{1, 1}, []int{1, 1}))
			x = must(gorgonia.BroadcastAdd(x, bias, nil, []byte{0, 2, 3}))
		case layerPool:
			if l.block.Pool == PoolMax {
				x = must(gorgonia.MaxPool2D(x, tensor.Shape{2, 2}, []int{0, 0}, []int{2, 2}))
			} else {
				c := l.in[0]
				mean := make([]float32, c*c*4)
				for ch := range c {
					for k := range 4 {
						mean[(ch*c+ch)*4+k] = 0.25
					}
				}
				x = must(gorgonia.Conv2d(x, constant(l.name, mean, c, c, 2, 2), tensor.Shape{2, 2}, []int{0, 0}, []int{2, 2}, []int{1, 1}))
			}
		case layerFlatten:
			x = must(gorgonia.Reshape(x, tensor.Shape{batch, l.out[0]}))
		case layerDense:
			w := param(l.name+".weight", l.weight...)
			bias := param(l.name+".bias", 1, l.weight[0])
			x = must(gorgonia.Mul(x, must(gorgonia.Transpose(w))))
			x = must(gorgonia.BroadcastAdd(x, bias, nil, []byte{0}))
		}
		x = activate(x, l.act)
	}
	// log-sum-exp by stock operations; the logits here are small.
	y := constant("y", onehot, batch, n.cfg.Classes)
	lse := must(gorgonia.Log(must(gorgonia.Sum(must(gorgonia.Exp(x)), 1))))
	hit := must(gorgonia.Sum(must(gorgonia.HadamardProd(x, y)), 1))
	loss := must(gorgonia.Mean(must(gorgonia.Sub(lse, hit))))
	grads, err := gorgonia.Grad(loss, params...)
	if err != nil {
		t.Fatal(err)
	}
	m := gorgonia.NewTapeMachine(g)
	defer m.Close()
	if err := m.RunAll(); err != nil {
		t.Fatal(err)
	}
	var out [][]float32
	for _, gr := range grads {
		out = append(out, gr.Value().Data().([]float32))
	}
	return float64(loss.Value().Data().(float32)), out
}

// TestFiniteDifferences moves parameters of a whole network and watches the
// loss.
func TestFiniteDifferences(t *testing.T) {
	cfg := small()
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	randomize(n, 6)
	b := randomBatch(cfg, 4, 7)
	tr, err := n.NewTrainer(6) // a partial batch: two empty rows
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	loss := func() float64 {
		s, err := tr.Step(b, Update{})
		if err != nil {
			t.Fatal(err)
		}
		return s.Loss
	}
	loss()
	var want, got []float32
	for _, g := range tr.Gradients() {
		got = append(got, g...)
	}
	for i := range n.flat {
		const h = 0.02
		old := n.flat[i]
		n.flat[i] = old + h
		hi := loss()
		n.flat[i] = old - h
		lo := loss()
		n.flat[i] = old
		want = append(want, float32((hi-lo)/(2*h)))
	}
	if rel := relL2(got, want); !(rel < 2e-3) {
		t.Errorf("relative error %.2g of the gradients against differences of the loss", rel)
	}
}

// TestVariantDifferences moves each parameter tensor of every variant along a
// direction and watches the loss.
func TestVariantDifferences(t *testing.T) {
	for _, name := range Variants() {
		t.Run(name, func(t *testing.T) {
			cfg, _ := Variant(name)
			n, err := New(cfg, Seed(4))
			if err != nil {
				t.Fatal(err)
			}
			b := randomBatch(cfg, 5, 3)
			tr, err := n.NewTrainer(6)
			if err != nil {
				t.Fatal(err)
			}
			defer tr.Close()
			loss := func() float64 {
				s, err := tr.Step(b, Update{})
				if err != nil {
					t.Fatal(err)
				}
				return s.Loss
			}
			start := loss()
			var grads [][]float32
			for _, g := range tr.Gradients() {
				grads = append(grads, slices.Clone(g))
			}
			rng := rand.New(rand.NewPCG(1, 2))
			for k, g := range grads {
				// Half along the gradient, so that the slope stands out from
				// the rounding of the loss, and half anywhere. The steps cross
				// kinks of ReLU and of max pooling, hence the tolerance.
				p, direction := n.params[k], make([]float64, len(g))
				var norm, length float64
				for i, v := range g {
					direction[i] = rng.NormFloat64()
					norm += float64(v) * float64(v)
					length += direction[i] * direction[i]
				}
				norm, length = math.Sqrt(norm), math.Sqrt(length)
				want := 0.0
				for i, v := range g {
					direction[i] = direction[i]/length + float64(v)/norm
					if !n.layerOf(k).connections().Connected(i/(len(g)/p.Shape[0]), i%(len(g)/p.Shape[0])/25) {
						direction[i] = 0
					}
					want += direction[i] * float64(v)
				}
				old := slices.Clone(p.Data)
				move := func(h float64) float64 {
					for i := range old {
						p.Data[i] = old[i] + float32(h*direction[i])
					}
					return loss()
				}
				h := min(2e-4*max(1, start/4)/norm, 1e-2)
				got := (move(h) - move(-h)) / (2 * h)
				copy(p.Data, old)
				if math.Abs(got-want) > 0.05*math.Abs(want) {
					t.Errorf("%s: slope %.6g, gradient says %.6g", p.Name, got, want)
				}
			}
		})
	}
}

// layerOf is the layer of the k-th parameter, if that is a weight.
func (n *Net) layerOf(k int) layer {
	for _, l := range n.layers {
		if l.name+".weight" == n.params[k].Name {
			return l
		}
	}
	return layer{}
}

// TestPartialBatch: the empty rows of a padded batch change nothing.
func TestPartialBatch(t *testing.T) {
	cfg := small()
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b := randomBatch(cfg, 3, 8)
	var want Stats
	var grads [][]float32
	for i, size := range []int{3, 5, 17} {
		tr, err := n.NewTrainer(size)
		if err != nil {
			t.Fatal(err)
		}
		s, err := tr.Step(b, Update{})
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			want, grads = s, tr.Gradients()
			continue
		}
		if s.Count != 3 || s.Correct != want.Correct || math.Abs(s.Loss-want.Loss) > 1e-6 {
			t.Errorf("size %d: %+v, want %+v", size, s, want)
		}
		for j, g := range tr.Gradients() {
			if rel := relL2(g, grads[j]); rel > 1e-5 {
				t.Errorf("size %d: %s differs by %.2g", size, n.params[j].Name, rel)
			}
		}
	}
}

// TestTrainingAndPredictionShareParameters: what is trained is what predicts.
func TestTrainingAndPredictionShareParameters(t *testing.T) {
	cfg := small()
	n, err := New(cfg, Seed(9))
	if err != nil {
		t.Fatal(err)
	}
	b := randomBatch(cfg, 5, 9)
	before, err := n.Probabilities(nil, b.Images)
	if err != nil {
		t.Fatal(err)
	}
	tr, err := n.NewTrainer(5)
	if err != nil {
		t.Fatal(err)
	}
	first, last := 0.0, 0.0
	for i := range 60 {
		s, err := tr.Step(b, Update{LearningRate: 0.5})
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = s.Loss
		}
		last = s.Loss
	}
	if !(last < first/2) {
		t.Errorf("five images are not learnt: loss %.3f, then %.3f", first, last)
	}
	after, err := n.Probabilities(nil, b.Images)
	if err != nil {
		t.Fatal(err)
	}
	if relL2(after, before) < 0.05 {
		t.Error("training did not change the predictions")
	}
	one, err := n.Probabilities(nil, b.Images[:cfg.Input.Size()])
	if err != nil {
		t.Fatal(err)
	}
	if rel := relL2(one, after[:cfg.Classes]); rel > 1e-5 {
		t.Errorf("one image and a batch disagree by %.2g", rel)
	}
	ev, err := n.NewEvaluator(8)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ev.Eval(b)
	if err != nil {
		t.Fatal(err)
	}
	loss, hits := 0.0, 0
	preds, err := n.PredictBytes(b.Images)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range preds {
		loss -= math.Log(float64(p.Probabilities[b.Labels[i]])) / 5
		if p.Class == int(b.Labels[i]) {
			hits++
		}
	}
	if math.Abs(loss-s.Loss) > 1e-5 || hits != s.Correct {
		t.Errorf("evaluator: loss %v, %d correct; predictions: %v, %d", s.Loss, s.Correct, loss, hits)
	}
}

// TestSolver: Gorgonia's plain gradient descent and ours take the same steps.
func TestSolver(t *testing.T) {
	cfg := small()
	a, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b, err := a.Clone()
	if err != nil {
		t.Fatal(err)
	}
	batch := randomBatch(cfg, 6, 10)
	ta, _ := a.NewTrainer(6)
	tb, _ := b.NewTrainer(6)
	solver := gorgonia.NewVanillaSolver(gorgonia.WithLearnRate(0.3))
	for range 4 {
		if _, err := ta.Step(batch, Update{LearningRate: 0.3}); err != nil {
			t.Fatal(err)
		}
		if _, err := tb.Step(batch, Update{Solver: solver}); err != nil {
			t.Fatal(err)
		}
	}
	if rel := relL2(b.flat, a.flat); rel > 1e-6 {
		t.Errorf("parameters differ by %.2g", rel)
	}
	fresh, _ := New(cfg)
	if relL2(a.flat, fresh.flat) == 0 {
		t.Error("nothing was trained")
	}
}

func TestBatchErrors(t *testing.T) {
	cfg := small()
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	tr, err := n.NewTrainer(2)
	if err != nil {
		t.Fatal(err)
	}
	good := randomBatch(cfg, 2, 1)
	for name, b := range map[string]Batch{
		"no labels":          {Images: good.Images},
		"cut image":          {Images: good.Images[1:], Labels: good.Labels},
		"empty":              {Images: good.Images, Labels: good.Labels, Index: []int32{}},
		"too many":           {Images: good.Images, Labels: good.Labels, Index: []int32{0, 1, 0}},
		"index out of range": {Images: good.Images, Labels: good.Labels, Index: []int32{2}},
		"negative index":     {Images: good.Images, Labels: good.Labels, Index: []int32{-1}},
		"label out of range": {Images: good.Images, Labels: []byte{0, 9}},
		"labels missing":     {Images: good.Images, Labels: []byte{0}},
	} {
		if _, err := tr.Step(b, Update{}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := tr.Step(good, Update{}); err != nil {
		t.Errorf("after errors: %v", err)
	}
	for _, size := range []int{0, -1, math.MaxInt} {
		if _, err := n.NewTrainer(size); err == nil {
			t.Errorf("batch size %d: no error", size)
		}
	}
	if _, err := n.Probabilities(nil, []byte{1, 2, 3}); err == nil {
		t.Error("three bytes: no error")
	}
}

func ExampleNet_Graph() {
	net, err := New(Sigmoid())
	if err != nil {
		panic(err)
	}
	g, err := net.Graph(2)
	if err != nil {
		panic(err)
	}
	images := tensor.New(tensor.WithShape(2, 1, 28, 28), tensor.WithBacking(make([]float32, 2*28*28)))
	labels := tensor.New(tensor.WithShape(2), tensor.WithBacking([]int32{3, -1})) // -1: an empty row
	if err := gorgonia.Let(g.Images, images); err != nil {
		panic(err)
	}
	if err := gorgonia.Let(g.Labels, labels); err != nil {
		panic(err)
	}
	m := gorgonia.NewTapeMachine(g.Graph, gorgonia.BindDualValues(g.Params...))
	defer m.Close()
	if err := m.RunAll(); err != nil {
		panic(err)
	}
	grad, err := g.Params[0].Grad()
	if err != nil {
		panic(err)
	}
	fmt.Println(g.Loss.Shape(), g.Params[0].Name(), grad.Shape())
	// Output: () conv1.weight (6, 1, 5, 5)
}
