package lenet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"example.com/lenet5/internal/safetensors"
)

func TestShapes(t *testing.T) {
	for _, c := range []struct {
		cfg    Config
		want   string
		params int
	}{
		{Sigmoid(), "28x28x6 14x14x6 10x10x16 5x5x16 400 120 84 10", 61706},
		{Modern(), "28x28x6 14x14x6 10x10x16 5x5x16 400 120 84 10", 61706},
		{ReLU(), "26x26x6 13x13x6 11x11x16 5x5x16 400 120 84 10", 60074},
		{LeCun98(), "28x28x6 14x14x6 10x10x16 5x5x16 1x1x120 120 84 10", 60000},
	} {
		n, err := New(c.cfg)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		total := 0
		for _, s := range n.Shapes() {
			got = append(got, s.String())
			total += s.Params
		}
		if g := strings.Join(got, " "); g != c.want || total != c.params {
			t.Errorf("%s: %s, %d parameters; want %s, %d", c.cfg.Name, g, total, c.want, c.params)
		}
	}
}

func TestConfigErrors(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config)
		want   string // part of the message
	}{
		"no classes":         {func(c *Config) { c.Classes = 1 }, "classes"},
		"too many classes":   {func(c *Config) { c.Classes = 257 }, "classes"},
		"no channels":        {func(c *Config) { c.Blocks[1].Channels = 0 }, "block 2"},
		"kernel too large":   {func(c *Config) { c.Blocks[1].Kernel = 15 }, "block 2: a 15x15 kernel does not fit an input of 14x14"},
		"padding too large":  {func(c *Config) { c.Blocks[0].Padding = 5 }, "padding 5"},
		"nothing to pool":    {func(c *Config) { c.Blocks[1].Kernel = 14 }, "2x2 pooling does not fit the 1x1"},
		"unknown activation": {func(c *Config) { c.Blocks[0].Activation = "cube" }, "cube"},
		"unknown pooling":    {func(c *Config) { c.Blocks[0].Pool = "median" }, "median"},
		"unknown init":       {func(c *Config) { c.Init = "ones" }, "ones"},
		"zero scale":         {func(c *Config) { c.Input.Scale = 0 }, "scale"},
		"nan offset":         {func(c *Config) { c.Input.Offset = float32(math.NaN()) }, "offset"},
		"no input":           {func(c *Config) { c.Input.Width = 0 }, "input"},
		"huge input":         {func(c *Config) { c.Input.Width = math.MaxInt }, "input"},
		"huge layer":         {func(c *Config) { c.Dense[0] = math.MaxInt / 2 }, "fc1"},
		"huge channels":      {func(c *Config) { c.Blocks[0].Channels = math.MaxInt }, "block 1"},
		"empty layer":        {func(c *Config) { c.Dense[1] = 0 }, "fc2"},
		"dense activation":   {func(c *Config) { c.DenseActivation = "cube" }, "dense activation"},
		"input padding":      {func(c *Config) { c.Input.Padding = -1 }, "input: padding"},
		"unknown output":     {func(c *Config) { c.Output = "tree" }, "tree"},
		"codes too narrow":   {func(c *Config) { c.Output = OutputRBF; c.Dense = []int{85} }, "hidden layer of 84"},
		"codes, no layer":    {func(c *Config) { c.Output = OutputRBF; c.Dense = nil }, "hidden layer of 84"},
		"too few codes":      {func(c *Config) { c.Output = OutputRBF; c.Classes = 11 }, "10 classes"},
		"short table":        {func(c *Config) { c.Blocks[1].Connections = []string{"XXXXXX"} }, "block 2: 1 rows of connections"},
		"narrow table":       {func(c *Config) { c.Blocks[0].Connections = []string{"X", "X", "X", "XX", "X", "X"} }, "channel 3"},
		"unconnected map":    {func(c *Config) { c.Blocks[0].Connections = []string{"X", ".", "X", "X", "X", "X"} }, "channel 1"},
		"foreign mark":       {func(c *Config) { c.Blocks[0].Connections = []string{"X", "X", "x", "X", "X", "X"} }, "channel 2"},
		"nothing pooled":     {func(c *Config) { c.Blocks[0].Pool = ""; c.Blocks[0].PoolActivation = ActReLU }, "after the pooling"},
		"two activations":    {func(c *Config) { c.Blocks[0].PoolFirst = true; c.Blocks[0].PoolActivation = ActReLU }, "after the pooling"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Sigmoid()
			c.change(&cfg)
			n, err := New(cfg)
			if !errors.Is(err, ErrConfig) || !strings.Contains(fmt.Sprint(err), c.want) {
				t.Errorf("net %v, error %v; want one that mentions %q", n, err, c.want)
			}
		})
	}
}

// TestLeCun98Parameters: the counts of the paper, layer by layer, and the
// absent kernels stay zero through training.
func TestLeCun98Parameters(t *testing.T) {
	n, err := New(LeCun98())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{"conv1": 156, "pool1": 12, "conv2": 1516, "pool2": 32, "conv3": 48120, "flatten": 0, "fc1": 10164, "rbf": 0}
	for _, s := range n.Shapes() {
		if s.Params != want[s.Name] {
			t.Errorf("%s: %d parameters, want %d", s.Name, s.Params, want[s.Name])
		}
	}
	tr, err := n.NewTrainer(8)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	before := slices.Clone(n.param("conv2.weight").Data)
	for range 3 {
		if _, err := tr.Step(randomBatch(n.cfg, 8, 1), Update{LearningRate: 0.01}); err != nil {
			t.Fatal(err)
		}
	}
	c3, absent := n.layers[2], 0
	for i, w := range n.param("conv2.weight").Data {
		switch connected := c3.connections().Connected(i/150, i%150/25); {
		case !connected && (w != 0 || math.Signbit(float64(w))):
			t.Fatalf("weight %d of an absent kernel is %v", i, w)
		case !connected:
			absent++
		case w == before[i]:
			t.Fatalf("weight %d is not trained", i)
		}
	}
	if absent != 36*25 {
		t.Errorf("%d absent weights, want 36 kernels of 25", absent)
	}
}

func TestVariant(t *testing.T) {
	for _, name := range Variants() {
		cfg, err := Variant(name)
		if err != nil || cfg.Name != name || cfg.Validate() != nil || cfg.Defaults.BatchSize == 0 {
			t.Errorf("%s: %+v, %v", name, cfg, err)
		}
	}
	if _, err := Variant("lenet6"); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "sigmoid") {
		t.Errorf("unknown variant: %v", err)
	}
}

func TestSeed(t *testing.T) {
	a, _ := New(Sigmoid(), Seed(5))
	b, _ := New(Sigmoid(), Seed(5))
	c, _ := New(Sigmoid(), Seed(6))
	if !slices.Equal(a.flat, b.flat) {
		t.Error("the same seed gave different weights")
	}
	if slices.Equal(a.flat, c.flat) {
		t.Error("different seeds gave the same weights")
	}
}

// TestInit checks bound and variance of each distribution on a large layer.
func TestInit(t *testing.T) {
	const in, out = 400, 120
	for init, c := range map[Init]struct{ bound, variance float64 }{
		"":                {math.Sqrt(6.0 / (in + out)), 2.0 / (in + out)},
		InitXavierUniform: {math.Sqrt(6.0 / (in + out)), 2.0 / (in + out)},
		InitXavierNormal:  {math.Inf(1), 2.0 / (in + out)},
		InitKaiming:       {math.Sqrt(6.0 / in), 2.0 / in},
		InitLeCun:         {2.4 / in, 2.4 * 2.4 / in / in / 3},
	} {
		cfg := Sigmoid()
		cfg.Init = init
		n, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		var sum, sq, top float64
		w := n.param("fc1.weight").Data
		for _, v := range w {
			sum += float64(v)
			sq += float64(v) * float64(v)
			top = max(top, math.Abs(float64(v)))
		}
		variance := sq / float64(len(w))
		if top > c.bound*1.000001 || math.Abs(variance/c.variance-1) > 0.03 || math.Abs(sum/float64(len(w))) > math.Sqrt(c.variance)*0.03 {
			t.Errorf("%q: largest %g (bound %g), variance %g (want %g), mean %g", init, top, c.bound, variance, c.variance, sum/float64(len(w)))
		}
		for _, v := range n.param("fc1.bias").Data {
			if v != 0 {
				t.Errorf("%q: a bias of %g", init, v)
			}
		}
	}
}

func TestClone(t *testing.T) {
	a, _ := New(small(), Seed(3))
	b, err := a.Clone()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(a.flat, b.flat) {
		t.Error("a clone differs")
	}
	b.Params()[0].Data[0]++
	if a.flat[0] == b.flat[0] {
		t.Error("a clone shares its parameters")
	}
}

func TestDeviceErrors(t *testing.T) {
	if _, err := New(Sigmoid(), OnDevice("tpu")); !errors.Is(err, ErrDevice) {
		t.Errorf("device tpu: %v", err)
	}
}

func TestConcurrentPrediction(t *testing.T) {
	n, _ := New(small(), Seed(2))
	b := randomBatch(n.cfg, 20, 3)
	want, err := n.Probabilities(nil, b.Images)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			got, err := n.Probabilities(nil, b.Images)
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("concurrent prediction differs: %v", err)
			}
		}()
	}
	wg.Wait()
}

// The outputs of the layers are those of a computation by hand: the sums of a
// network whose weights select pixels.
func TestActivations(t *testing.T) {
	cfg := Config{
		Input:  Input{Channels: 1, Height: 4, Width: 6, Scale: 1},
		Blocks: []Block{{Channels: 2, Kernel: 3, Padding: 1, Activation: ActReLU, Pool: PoolMax}},
		Dense:  []int{3}, Classes: 2,
	}
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	clear(n.flat)
	n.param("conv1.weight").Data[4] = 2 // the pixel itself, doubled
	n.param("conv1.weight").Data[13] = -1
	n.param("conv1.bias").Data[1] = 12.5
	n.param("fc1.weight").Data[0] = 1
	n.param("fc1.bias").Data[2] = 7
	n.param("fc2.weight").Data[2] = 3
	image := make([]byte, 24)
	for i := range image {
		image[i] = byte(i)
	}
	for range 2 { // the second run uses the first one's tape
		outs, err := n.Activations(image)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string][]float32{
			"pool1": {14, 18, 22, 38, 42, 46, 12.5, 10.5, 8.5, .5, 0, 0},
			"fc1":   {14, 0, 7},
			"fc2":   {21, 0},
		}
		for i, o := range outs {
			if o.Name != n.Shapes()[i].Name || product(o.Output) != len(o.Values) {
				t.Errorf("%+v", o)
			}
			if w, ok := want[o.Name]; ok && !slices.Equal(o.Values, w) {
				t.Errorf("%s: %v, want %v", o.Name, o.Values, w)
			}
		}
		if first := outs[0].Values; len(first) != 48 || first[7] != 14 || first[24] != 12.5 || first[47] != 0 {
			t.Errorf("conv1: %v", first)
		}
	}
	if _, err := n.Activations(image[1:]); err == nil {
		t.Error("a cut-off image: no error")
	}
	// They are the values that the prediction is made from.
	big, _ := New(LeCun98(), Seed(3))
	pixels := randomBatch(big.cfg, 1, 3).Images
	outs, err := big.Activations(pixels[:784])
	if err != nil {
		t.Fatal(err)
	}
	p, err := big.PredictBytes(pixels[:784])
	if err != nil {
		t.Fatal(err)
	}
	logits := outs[len(outs)-1].Values
	sum := 0.0
	for _, v := range logits {
		sum += math.Exp(float64(v - logits[p[0].Class]))
	}
	if got := 1 / sum; math.Abs(got-float64(p[0].Probabilities[p[0].Class])) > 1e-4*got {
		t.Errorf("probability %g from the outputs, %g from the prediction", got, p[0].Probabilities[p[0].Class])
	}
}

func TestSaveLoad(t *testing.T) {
	for _, cfg := range []Config{small(), Sigmoid(), ReLU(), Modern(), LeCun98()} {
		n, _ := New(cfg, Seed(4))
		randomize(n, 11)
		path := filepath.Join(t.TempDir(), "model.safetensors")
		for range 2 { // the second replaces the first
			if err := n.Save(path); err != nil {
				t.Fatal(err)
			}
		}
		back, err := Load(path)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(n.flat, back.flat) || fmt.Sprint(n.cfg) != fmt.Sprint(back.cfg) {
			t.Errorf("%s: a round trip changes the network", cfg.Name)
		}
		if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
			t.Errorf("%d files left in the folder, want 1", len(left))
		}
	}
	n, _ := New(small())
	if err := n.Save(filepath.Join(t.TempDir(), "no", "such", "folder")); err == nil {
		t.Error("saving into a missing folder: no error")
	}
}

// A network keeps the names of its classes and its notes in its file.
func TestNamesAndNotes(t *testing.T) {
	n, err := New(small(), ClassNames("a", "b", "c", "d", "e"))
	if err != nil {
		t.Fatal(err)
	}
	n.SetNote("trained_on", "the \"noise\"")
	n.SetNote("nothing", "x")
	n.SetNote("nothing", "")
	var buf bytes.Buffer
	if err := n.Write(&buf); err != nil {
		t.Fatal(err)
	}
	file := buf.Bytes()
	back, err := Read(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	if got := back.ClassNames(); !slices.Equal(got, n.classes) || len(back.Notes()) != 1 || back.Notes()["trained_on"] != "the \"noise\"" {
		t.Errorf("%q, %q", got, back.Notes())
	}
	p, err := back.PredictBytes(make([]byte, back.cfg.Input.Size()))
	if err != nil || p[0].Name != n.classes[p[0].Class] {
		t.Errorf("%+v, %v", p, err)
	}
	if other, err := Read(bytes.NewReader(file), ClassNames("1", "2", "3", "4", "5")); err != nil || other.classes[0] != "1" {
		t.Errorf("other names: %v", err)
	}
	if _, err := New(small(), ClassNames("a")); !errors.Is(err, ErrConfig) {
		t.Errorf("one name for five classes: %v", err)
	}
	bad := bytes.Replace(file, []byte(`\"e\"]`), []byte(`\"e\"}`), 1)
	if _, err := Read(bytes.NewReader(bad)); !errors.Is(err, ErrModelFile) {
		t.Errorf("names that are no list: %v", err)
	}
}

// Weights without a Config are read under the network's names, or in the order
// that an nn.Sequential gives them.
func TestWeightsFor(t *testing.T) {
	n, _ := New(small(), Seed(3))
	randomize(n, 3)
	sequential := []string{"0.weight", "0.bias", "3.weight", "3.bias", "10.weight", "10.bias", "12.weight", "12.bias"}
	for name, rename := range map[string]func(i int) string{
		"the network's": func(i int) string { return n.params[i].Name },
		"sequential":    func(i int) string { return sequential[i] },
	} {
		var ts []safetensors.Tensor
		for i, p := range n.params {
			p.Name = rename(i)
			ts = append(ts, safetensors.Tensor(p))
		}
		slices.SortFunc(ts, func(a, b safetensors.Tensor) int { return strings.Compare(a.Name, b.Name) })
		var buf bytes.Buffer
		if err := safetensors.Write(&buf, nil, ts); err != nil {
			t.Fatal(err)
		}
		back, err := Read(bytes.NewReader(buf.Bytes()), WeightsFor(small()))
		if err != nil || !slices.Equal(back.flat, n.flat) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := Read(bytes.NewReader(buf.Bytes())); !errors.Is(err, ErrModelFile) || !strings.Contains(err.Error(), "WeightsFor") {
			t.Errorf("%s: without the Config: %v", name, err)
		}
		if _, err := Read(bytes.NewReader(buf.Bytes()), WeightsFor(Sigmoid())); !errors.Is(err, ErrModelFile) {
			t.Errorf("%s: for another network: %v", name, err)
		}
	}
}

func TestReadErrors(t *testing.T) {
	n, _ := New(small())
	var buf bytes.Buffer
	if err := n.Write(&buf); err != nil {
		t.Fatal(err)
	}
	good := buf.Bytes()
	replace := func(old, new string) []byte {
		b := bytes.Replace(good, []byte(old), []byte(new), 1)
		binary.LittleEndian.PutUint64(b, uint64(int(binary.LittleEndian.Uint64(good))+len(b)-len(good)))
		return b
	}
	for name, b := range map[string][]byte{
		"empty":           nil,
		"truncated":       good[:len(good)-1],
		"overlong":        append(slices.Clone(good), 0),
		"header cut off":  good[:40],
		"huge header":     append(binary.LittleEndian.AppendUint64(nil, 1<<62), good[8:]...),
		"not JSON":        append(binary.LittleEndian.AppendUint64(nil, 8), good...),
		"no config":       replace("lenet5.config", "lenet5.konfig"),
		"missing tensor":  replace(`"conv1.weight"`, `"conv9.weight"`),
		"wrong type":      replace("F32", "F16"),
		"wrong shape":     replace(`[3,2,3,3]`, `[3,2,9]`),
		"absurd offsets":  replace(`"data_offsets":[0,216]`, `"data_offsets":[-8,208]`),
		"offsets too far": replace(`"data_offsets":[0,216]`, `"data_offsets":[99999,100215]`),
	} {
		if _, err := Read(bytes.NewReader(b)); !errors.Is(err, ErrModelFile) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Read(bytes.NewReader(replace(`classes\":5`, `classes\":1`))); !errors.Is(err, ErrConfig) {
		t.Errorf("a config that cannot work: %v", err)
	}
	n, _ = New(LeCun98())
	n.param("conv2.weight").Data[3*25] = 1 // map 0 does not see map 3
	buf.Reset()
	if err := n.Write(&buf); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(&buf); !errors.Is(err, ErrModelFile) || !strings.Contains(err.Error(), "element 75") {
		t.Errorf("a kernel that is not there: %v", err)
	}
}

func ExampleNet_Plan() {
	net, err := New(Sigmoid())
	if err != nil {
		panic(err)
	}
	plan, err := net.Plan(256)
	if err != nil {
		panic(err)
	}
	fmt.Print(plan)
	// Output:
	// stage    what                                       output             nodes  fwd MFLOP  bwd MFLOP         KB
	// conv     conv 5x5 pad 2, sigmoid, average, and back (256, 6, 14, 14)       7      60.21      60.21    10838.0
	// conv     conv 5x5 pad 0, sigmoid, average, and back (256, 16, 5, 5)        8     122.88     245.76     3686.4
	// dense    flatten, dense, sigmoid, and back          (256, 120)             8      24.58      49.15      245.8
	// dense    dense, sigmoid, and back                   (256, 84)              6       5.16      10.32      172.0
	// dense    dense, and back                            (256, 10)              4       0.43       0.86       10.2
	// output   loss, hits, and back                       (256, 10)              4       0.00       0.00        0.0
}

func FuzzRead(f *testing.F) {
	n, _ := New(small())
	var buf bytes.Buffer
	if err := n.Write(&buf); err != nil {
		f.Fatal(err)
	}
	f.Add(buf.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := Read(bytes.NewReader(b))
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := n.Write(&out); err != nil {
			t.Fatal(err)
		}
		back, err := Read(&out)
		if err != nil {
			t.Fatalf("what was read cannot be read again: %v", err)
		}
		for i, v := range n.flat {
			if math.Float32bits(v) != math.Float32bits(back.flat[i]) {
				t.Fatal("a round trip changes the network")
			}
		}
	})
}

func ExampleNet_Summary() {
	net, err := New(Sigmoid())
	if err != nil {
		panic(err)
	}
	fmt.Print(net.Summary())
	// Output:
	// LeNet-5, variant sigmoid
	// ---------------------------------------------------------------
	// layer                                  output shape  parameters
	// ---------------------------------------------------------------
	// input    pixels in [0, 1]                   28x28x1           0
	// conv1    conv 5x5, padding 2, sigmoid       28x28x6         156
	// pool1    average pool 2x2                   14x14x6           0
	// conv2    conv 5x5, sigmoid                 10x10x16       2,416
	// pool2    average pool 2x2                    5x5x16           0
	// flatten  flatten                                400           0
	// fc1      dense, sigmoid                         120      48,120
	// fc2      dense, sigmoid                          84      10,164
	// fc3      dense                                   10         850
	// ---------------------------------------------------------------
	// total: 61,706 parameters, all trainable (246.8 KB)
}
