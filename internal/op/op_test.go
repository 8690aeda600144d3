package op

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// random fills a tensor with distinct-looking normal numbers.
func random(rng *rand.Rand, shape ...int) *tensor.Dense {
	data := make([]float32, tensor.Shape(shape).TotalSize())
	for i := range data {
		data[i] = float32(rng.NormFloat64())
	}
	return newDense(data, shape...)
}

func node(g *gorgonia.ExprGraph, name string, v *tensor.Dense) *gorgonia.Node {
	return gorgonia.NewTensor(g, v.Dtype(), v.Dims(), gorgonia.WithShape(v.Shape()...),
		gorgonia.WithName(name), gorgonia.WithValue(v))
}

// checkGradients builds cost = sum(r * op(inputs...)) with random r (just
// op(inputs...) if that is a scalar), and compares the symbolic gradient of
// every differentiable input, run on a TapeMachine, with central differences
// of op.Do.
func checkGradients(t *testing.T, op gorgonia.SDOp, step float64, inputs ...*tensor.Dense) {
	t.Helper()
	rng := rand.New(rand.NewPCG(7, 7))
	g := gorgonia.NewGraph()
	var ins gorgonia.Nodes
	for i, v := range inputs {
		ins = append(ins, node(g, fmt.Sprintf("in%d", i), v))
	}
	y, err := gorgonia.ApplyOp(op, ins...)
	if err != nil {
		t.Fatal(err)
	}
	cost, r := y, (*tensor.Dense)(nil)
	if !y.IsScalar() {
		r = random(rng, y.Shape()...)
		cost = gorgonia.Must(gorgonia.Sum(gorgonia.Must(gorgonia.HadamardProd(y, node(g, "r", r)))))
	}
	var wrt gorgonia.Nodes
	var which []int
	for i, d := range op.DiffWRT(len(inputs)) {
		if d {
			wrt, which = append(wrt, ins[i]), append(which, i)
		}
	}
	grads, err := gorgonia.Grad(cost, wrt...)
	if err != nil {
		t.Fatal(err)
	}
	m := gorgonia.NewTapeMachine(g)
	defer m.Close()
	if err := m.RunAll(); err != nil {
		t.Fatal(err)
	}
	value := func() float64 {
		vs := make([]gorgonia.Value, len(inputs))
		for i, v := range inputs {
			vs[i] = v
		}
		out, err := op.Do(vs...)
		if err != nil {
			t.Fatal(err)
		}
		if r == nil {
			f, _ := scalar(out)
			return float64(f)
		}
		total := 0.0
		for i, v := range out.Data().([]float32) {
			total += float64(v) * float64(r.Float32s()[i])
		}
		return total
	}
	for k, i := range which {
		x, got := inputs[i].Float32s(), grads[k].Value().Data().([]float32)
		var diff, norm float64
		for j := range x {
			old := x[j]
			hi, lo := old+float32(step), old-float32(step)
			x[j] = hi
			a := value()
			x[j] = lo
			b := value()
			x[j] = old
			want := (a - b) / (float64(hi) - float64(lo))
			diff += (want - float64(got[j])) * (want - float64(got[j]))
			norm += want * want
		}
		if norm == 0 {
			t.Errorf("input %d: all differences are zero: the test shows nothing", i)
		}
		if rel := math.Sqrt(diff / norm); rel > 2e-3 {
			t.Errorf("input %d: relative error %.2g of the symbolic gradient against differences", i, rel)
		}
	}
}

func TestConvGradients(t *testing.T) {
	for _, c := range []struct{ n, c, h, w, m, k, p int }{
		{2, 1, 6, 7, 3, 3, 0},
		{3, 2, 5, 5, 4, 5, 2},
		{1, 3, 7, 4, 1, 1, 0},
		{2, 2, 4, 6, 2, 4, 3},
		{1, 1, 2, 2, 2, 5, 4},
	} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, uint64(c.k)))
			checkGradients(t, Conv{Padding: c.p}, 0.1, random(rng, c.n, c.c, c.h, c.w), random(rng, c.m, c.c, c.k, c.k), random(rng, c.m))
		})
	}
}

func TestDenseGradients(t *testing.T) {
	for _, c := range [][3]int{{3, 5, 4}, {1, 7, 2}, {4, 1, 3}} {
		rng := rand.New(rand.NewPCG(2, uint64(c[0])))
		checkGradients(t, Dense{}, 0.1, random(rng, c[0], c[1]), random(rng, c[2], c[1]), random(rng, c[2]))
	}
}

func TestActivationGradients(t *testing.T) {
	for _, f := range []Function{Sigmoid, Tanh, ScaledTanh, ReLU} {
		t.Run(string(f), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(3, 3))
			for _, shape := range [][]int{{3, 4}, {2, 3, 2, 2}} {
				x := random(rng, shape...)
				for i, v := range x.Float32s() { // away from the kink of ReLU
					if v > -0.05 && v < 0.05 {
						x.Float32s()[i] = 0.5
					}
				}
				checkGradients(t, Activation{F: f, Rank: len(shape)}, 0.01, x)
			}
		})
	}
}

func TestPoolGradients(t *testing.T) {
	for _, r := range []Reduction{Average, Max} {
		for _, shape := range [][]int{{2, 3, 4, 6}, {1, 2, 5, 7}, {3, 1, 2, 2}} {
			t.Run(fmt.Sprint(r, shape), func(t *testing.T) {
				rng := rand.New(rand.NewPCG(4, 4))
				x := random(rng, shape...)
				for i, j := range rng.Perm(x.Size()) { // distinct by more than the step
					x.Float32s()[i] = float32(j) * 0.1
				}
				checkGradients(t, Pool{R: r}, 0.01, x)
			})
		}
	}
}

func TestSubsampleGradients(t *testing.T) {
	for _, shape := range [][]int{{2, 3, 4, 6}, {3, 1, 5, 3}} {
		rng := rand.New(rand.NewPCG(12, 4))
		checkGradients(t, Subsample{}, 0.1, random(rng, shape...), random(rng, shape[1]), random(rng, shape[1]))
	}
}

func TestRBFGradients(t *testing.T) {
	rng := rand.New(rand.NewPCG(13, 4))
	codes := make([]int8, 3*7)
	for i := range codes {
		codes[i] = int8(2*rng.IntN(2) - 1)
	}
	checkGradients(t, RBF{Codes: NewCodes(3, 7, codes)}, 0.05, random(rng, 4, 7))
}

// TestTable: weights that are not connected have no gradient; those that are,
// the usual one.
func TestTable(t *testing.T) {
	rng := rand.New(rand.NewPCG(14, 4))
	table := &Table{Rows: []string{"X.", ".X", "XX"}}
	x, w, dy := random(rng, 2, 2, 5, 5), random(rng, 3, 2, 3, 3), random(rng, 2, 3, 3, 3)
	full, err := ConvGrad{WRT: Weight}.Do(x, w, dy)
	if err != nil {
		t.Fatal(err)
	}
	part, err := ConvGrad{Conv: Conv{Table: table}, WRT: Weight}.Do(x, w, dy)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range part.Data().([]float32) {
		want := full.Data().([]float32)[i]
		if !table.Connected(i/18, i/9%2) {
			want = 0
		}
		if v != want {
			t.Errorf("weight %d: gradient %v, want %v", i, v, want)
		}
	}
}

func TestFlattenGradients(t *testing.T) {
	checkGradients(t, Flatten{}, 0.1, random(rand.New(rand.NewPCG(5, 5)), 2, 3, 4, 2))
}

func TestCrossEntropyGradients(t *testing.T) {
	for name, labels := range map[string][]int32{
		"full":    {0, 3, 1, 4},
		"partial": {2, -1, 0, -1},
		"one":     {4},
	} {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(6, 6))
			l := tensor.New(tensor.WithShape(len(labels)), tensor.WithBacking(labels))
			for _, loss := range []CrossEntropy{{}, {Rubbish: true, Background: -0.5}, {Rubbish: true, Background: 30}, {Smoothing: 0.2}, {Smoothing: 0.1, Rubbish: true, Background: -0.5}} {
				checkGradients(t, loss, 0.05, random(rng, len(labels), 5), l)
			}
		})
	}
}

func TestCrossEntropyWithoutLabels(t *testing.T) {
	logits := random(rand.New(rand.NewPCG(8, 8)), 2, 3)
	labels := tensor.New(tensor.WithShape(2), tensor.WithBacking([]int32{-1, -1}))
	loss, err := CrossEntropy{}.Do(logits, labels)
	if err != nil {
		t.Fatal(err)
	}
	if f, _ := scalar(loss); f != 0 {
		t.Errorf("loss %v without labels, want 0", f)
	}
	dx, err := CrossEntropyGrad{}.Do(logits, labels, gorgonia.NewF32(1))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range dx.Data().([]float32) {
		if v != 0 {
			t.Errorf("gradient %v without labels, want zeros", dx)
		}
	}
}

func TestCrossEntropyLargeLogits(t *testing.T) {
	logits := newDense([]float32{1000, -1000, 0}, 1, 3)
	labels := tensor.New(tensor.WithShape(1), tensor.WithBacking([]int32{1}))
	loss, err := CrossEntropy{}.Do(logits, labels)
	if err != nil {
		t.Fatal(err)
	}
	if f, _ := scalar(loss); f != 2000 {
		t.Errorf("loss %v, want 2000", f)
	}
}

func TestHits(t *testing.T) {
	logits := newDense([]float32{1, 2, 3, 3, 2, 1, 5, 5, 1, 0, 9, 0}, 4, 3)
	labels := tensor.New(tensor.WithShape(4), tensor.WithBacking([]int32{2, 1, 0, -1}))
	hits, err := Hits{}.Do(logits, labels)
	if err != nil {
		t.Fatal(err)
	}
	if f, _ := scalar(hits); f != 2 {
		t.Errorf("%v hits, want 2 (the empty row does not count, the first of equals does)", f)
	}
}

func TestMaxPoolKeepsNaN(t *testing.T) {
	nan := float32(math.NaN())
	y, err := Pool{R: Max}.Do(newDense([]float32{1, nan, 3, 2}, 1, 1, 2, 2))
	if err != nil {
		t.Fatal(err)
	}
	if v := y.Data().([]float32)[0]; v == v {
		t.Errorf("max of a window with NaN is %v, want NaN", v)
	}
}

// TestHashesDiffer guards against two operations being merged by Gorgonia.
func TestHashesDiffer(t *testing.T) {
	ops := []gorgonia.Op{
		Conv{}, Conv{Padding: 1}, Conv{FirstLayer: true}, Dense{}, Dense{FirstLayer: true},
		Activation{F: Sigmoid, Rank: 2}, Activation{F: Sigmoid, Rank: 4}, Activation{F: Tanh, Rank: 2},
		Pool{R: Max}, Pool{R: Average}, Flatten{}, FlattenGrad{}, CrossEntropy{}, CrossEntropyGrad{}, Hits{}, Softmax{},
		Subsample{}, Conv{Table: &Table{Rows: []string{"X."}}}, Conv{Table: &Table{Rows: []string{".X"}}},
		CrossEntropy{Rubbish: true}, CrossEntropy{Smoothing: 0.1}, CrossEntropy{Rubbish: true, Background: 1}, CrossEntropyGrad{Loss: CrossEntropy{Rubbish: true}},
		RBF{Codes: NewCodes(1, 2, []int8{1, 1})}, RBF{Codes: NewCodes(1, 2, []int8{1, -1})}, RBFGrad{RBF: RBF{Codes: NewCodes(1, 2, []int8{1, -1})}},
		PoolGrad{Pool: Pool{R: Max}}, PoolGrad{Pool: Pool{R: Average}},
		ActivationGrad{Activation: Activation{F: Sigmoid, Rank: 2}},
	}
	for _, wrt := range []Operand{Input, Weight, Bias} {
		ops = append(ops, SubsampleGrad{WRT: wrt}, ConvGrad{WRT: wrt}, DenseGrad{WRT: wrt}, ConvGrad{WRT: wrt, Conv: Conv{Padding: 1}})
	}
	seen := map[uint32]gorgonia.Op{}
	for _, o := range ops {
		if other, ok := seen[o.Hashcode()]; ok {
			t.Errorf("%v and %v have the same hash", o, other)
		}
		seen[o.Hashcode()] = o
	}
}

func TestShapeErrors(t *testing.T) {
	s := func(d ...int) gorgonia.DimSizer { return tensor.Shape(d) }
	for name, c := range map[string]struct {
		op gorgonia.Op
		in []gorgonia.DimSizer
	}{
		"kernel larger than the image": {Conv{}, []gorgonia.DimSizer{s(1, 1, 4, 4), s(2, 1, 5, 5), s(2)}},
		"channels differ":              {Conv{}, []gorgonia.DimSizer{s(1, 3, 8, 8), s(2, 1, 5, 5), s(2)}},
		"kernel not square":            {Conv{}, []gorgonia.DimSizer{s(1, 1, 8, 8), s(2, 1, 5, 3), s(2)}},
		"biases differ":                {Conv{}, []gorgonia.DimSizer{s(1, 1, 8, 8), s(2, 1, 5, 5), s(3)}},
		"widths differ":                {Dense{}, []gorgonia.DimSizer{s(1, 4), s(3, 5), s(3)}},
		"nothing to pool":              {Pool{R: Max}, []gorgonia.DimSizer{s(1, 1, 1, 4)}},
		"unknown pooling":              {Pool{R: "median"}, []gorgonia.DimSizer{s(1, 1, 4, 4)}},
		"unknown activation":           {Activation{F: "cube", Rank: 2}, []gorgonia.DimSizer{s(1, 4)}},
		"labels and rows differ":       {CrossEntropy{}, []gorgonia.DimSizer{s(2, 4), s(3)}},
		"rank":                         {Flatten{}, []gorgonia.DimSizer{s(2, 4)}},
	} {
		if shape, err := c.op.InferShape(c.in...); err == nil {
			t.Errorf("%s: no error, shape %v", name, shape)
		}
	}
	labels := tensor.New(tensor.WithShape(1), tensor.WithBacking([]int32{3}))
	if _, err := (CrossEntropy{}).Do(newDense(make([]float32, 3), 1, 3), labels); err == nil {
		t.Error("a label out of range: no error")
	}
}
