package train

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"gorgonia.org/gorgonia"

	"example.com/lenet5/data"
	"example.com/lenet5/lenet"
)

// tiny is a network that trains in milliseconds.
func tiny() lenet.Config {
	return lenet.Config{
		Name:  "tiny",
		Input: lenet.Input{Channels: 1, Height: 28, Width: 28, Scale: 1.0 / 255},
		Blocks: []lenet.Block{
			{Channels: 2, Kernel: 5, Activation: lenet.ActReLU, Pool: lenet.PoolAverage},
		},
		Dense: []int{12}, DenseActivation: lenet.ActReLU, Classes: 10,
		Defaults: lenet.Defaults{BatchSize: 16, LearningRate: 0.05, Epochs: 2},
	}
}

func newTiny(t testing.TB) *lenet.Net {
	t.Helper()
	net, err := lenet.New(tiny(), lenet.Seed(2))
	if err != nil {
		t.Fatal(err)
	}
	return net
}

func parameters(net *lenet.Net) []float32 {
	var all []float32
	for _, p := range net.Params() {
		all = append(all, p.Data...)
	}
	return all
}

var ignoreTime = cmp.Options{cmpopts.IgnoreFields(Epoch{}, "TrainTime"), cmpopts.EquateNaNs()}

func TestFit(t *testing.T) {
	set := data.SyntheticDigits(150, 60, 1)
	net := newTiny(t)
	var events []string
	var out bytes.Buffer
	h, err := Fit(context.Background(), net, set.Train, Config{
		Epochs: 12, Validation: set.Test, Seed: 3, Progress: &out,
		Hooks: Hooks{
			EpochBegin: func(n int) error { events = append(events, fmt.Sprint("begin ", n)); return nil },
			Step: func(s Step) error {
				if s.Epoch == 2 {
					events = append(events, fmt.Sprintf("step %d/%d, %d in all, %d images", s.Step, s.Steps, s.Total, s.Count))
				}
				return nil
			},
			EpochEnd: func(h *History) error { events = append(events, fmt.Sprint("end ", h.Last().Epoch)); return nil },
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(h.Epochs) != 12 {
		t.Fatalf("%d epochs", len(h.Epochs))
	}
	first, last := h.Epochs[0], h.Last()
	if !(last.TrainLoss < first.TrainLoss*0.6 && last.TestAccuracy > 0.4) || last.Examples != 150 || last.ExamplesPerSec() <= 0 {
		t.Errorf("it did not learn: %+v, then %+v", first, last)
	}
	m, err := Evaluate(net, set.Test)
	if err != nil || m.Count != 60 || m.Accuracy != last.TestAccuracy || m.Loss != last.TestLoss {
		t.Errorf("Evaluate: %+v, %v; the last epoch has %+v", m, err, last)
	}
	for _, want := range []string{"begin 1", "end 12", "step 1/10, 11 in all, 16 images", "step 10/10, 20 in all, 6 images"} {
		if !slices.Contains(events, want) {
			t.Errorf("no event %q", want)
		}
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 12 || !strings.HasPrefix(lines[2], "epoch  3/12: loss ") || strings.Contains(out.String(), "\r") {
		t.Errorf("progress: %q", out.String())
	}
}

// TestContinue: three epochs at once, and one and then two, are the same.
func TestContinue(t *testing.T) {
	set := data.SyntheticDigits(70, 20, 1)
	whole, parts := newTiny(t), newTiny(t)
	want, err := Fit(context.Background(), whole, set.Train, Config{Epochs: 3, Seed: 5, Validation: set.Test})
	if err != nil {
		t.Fatal(err)
	}
	h, err := Fit(context.Background(), parts, set.Train, Config{Epochs: 1, Seed: 5, Validation: set.Test})
	if err != nil {
		t.Fatal(err)
	}
	h, err = Fit(context.Background(), parts, set.Train, Config{Epochs: 2, Seed: 5, Validation: set.Test, History: h})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(parameters(whole), parameters(parts)) {
		t.Error("the parameters differ")
	}
	if diff := cmp.Diff(want, h, ignoreTime); diff != "" {
		t.Error(diff)
	}
	other := newTiny(t)
	if _, err := Fit(context.Background(), other, set.Train, Config{Epochs: 3, Seed: 6}); err != nil {
		t.Fatal(err)
	}
	if slices.Equal(parameters(whole), parameters(other)) {
		t.Error("the seed does not matter")
	}
}

func TestSolverOfGorgonia(t *testing.T) {
	set := data.SyntheticDigits(100, 0, 1)
	net := newTiny(t)
	h, err := Fit(context.Background(), net, set.Train, Config{Epochs: 8, Optimizer: UseSolver(gorgonia.NewAdamSolver(gorgonia.WithLearnRate(0.01)))})
	if err != nil {
		t.Fatal(err)
	}
	if !(h.Last().TrainLoss < 0.7*h.Epochs[0].TrainLoss) {
		t.Errorf("Adam did not learn: %v, then %v", h.Epochs[0].TrainLoss, h.Last().TrainLoss)
	}
}

func TestCancel(t *testing.T) {
	set := data.SyntheticDigits(100, 0, 1)
	ctx, cancel := context.WithCancel(context.Background())
	steps := 0
	h, err := Fit(ctx, newTiny(t), set.Train, Config{Epochs: 5, Hooks: Hooks{Step: func(s Step) error {
		if steps++; s.Epoch == 2 && s.Step == 3 {
			cancel()
		}
		return nil
	}}})
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "step 4 of 7 in epoch 2") {
		t.Errorf("%v", err)
	}
	if len(h.Epochs) != 1 || steps != 7+3 {
		t.Errorf("%d epochs, %d steps", len(h.Epochs), steps)
	}
}

func TestHookErrors(t *testing.T) {
	set := data.SyntheticDigits(40, 0, 1)
	stop := errors.New("stop")
	for name, hooks := range map[string]Hooks{
		"begin": {EpochBegin: func(int) error { return stop }},
		"step":  {Step: func(Step) error { return stop }},
		"end":   {EpochEnd: func(*History) error { return stop }},
	} {
		if _, err := Fit(context.Background(), newTiny(t), set.Train, Config{Hooks: hooks}); !errors.Is(err, stop) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDiverged(t *testing.T) {
	set := data.SyntheticDigits(200, 0, 1)
	net := newTiny(t)
	_, err := Fit(context.Background(), net, set.Train, Config{Epochs: 20, Optimizer: SGD{LearningRate: 1e12}})
	var d *DivergedError
	if !errors.As(err, &d) || !errors.Is(err, ErrDiverged) || d.Epoch < 1 || d.Step < 1 || !strings.Contains(err.Error(), "learning rate") {
		t.Errorf("%v", err)
	}
}

func TestConfigErrors(t *testing.T) {
	set := data.SyntheticDigits(40, 10, 1)
	small := *set.Train
	small.Height, small.Width = 14, 56
	classes := *set.Train
	classes.Classes = make([]string, 11)
	for name, c := range map[string]struct {
		set *data.Dataset
		cfg Config
	}{
		"no set":           {nil, Config{}},
		"empty set":        {set.Train.Slice(0, 0), Config{}},
		"image size":       {&small, Config{}},
		"classes":          {&classes, Config{}},
		"batch":            {set.Train, Config{BatchSize: -1}},
		"epochs":           {set.Train, Config{Epochs: -1}},
		"rate":             {set.Train, Config{Optimizer: SGD{LearningRate: -1}}},
		"rate NaN":         {set.Train, Config{Optimizer: SGD{LearningRate: math.NaN()}}},
		"nil solver":       {set.Train, Config{Optimizer: UseSolver(nil)}},
		"validation size":  {set.Train, Config{Validation: &small}},
		"momentum of 1":    {set.Train, Config{Optimizer: SGD{LearningRate: 1, Momentum: 1}}},
		"Nesterov alone":   {set.Train, Config{Optimizer: SGD{LearningRate: 1, Nesterov: true}}},
		"negative decay":   {set.Train, Config{Optimizer: AdamW{WeightDecay: -1}}},
		"beta of 1":        {set.Train, Config{Optimizer: Adam{Beta2: 1}}},
		"clipping":         {set.Train, Config{ClipNorm: -1}},
		"smoothing of 1":   {set.Train, Config{LabelSmoothing: 1}},
		"rising steps":     {set.Train, Config{Schedule: StepDecay{Gamma: 2}}},
		"solver, schedule": {set.Train, Config{Optimizer: UseSolver(gorgonia.NewVanillaSolver()), Schedule: OneCycle{}}},
		"solver, clipping": {set.Train, Config{Optimizer: UseSolver(gorgonia.NewVanillaSolver()), ClipNorm: 1}},
		"augmentation":     {set.Train, Config{Augment: data.Augmentation{Shift: 28}}},
		"empty validation": {set.Train, Config{Validation: set.Train.Slice(1, 1)}},
	} {
		if _, err := Fit(context.Background(), newTiny(t), c.set, c.cfg); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Fit(context.Background(), nil, set.Train, Config{}); !errors.Is(err, ErrConfig) {
		t.Errorf("no network: %v", err)
	}
	if _, err := Evaluate(newTiny(t), &small); !errors.Is(err, ErrConfig) {
		t.Errorf("Evaluate: %v", err)
	}
}

func TestHistoryCSV(t *testing.T) {
	h := &History{Epochs: []Epoch{
		{1, 2.3, 0.1, math.NaN(), math.NaN(), 60000, 1234567890},
		{2, math.Pi, 1.0 / 3, 0.7, 0.9, 60000, time.Second},
	}}
	var b bytes.Buffer
	if err := h.WriteCSV(&b); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	got, err := ReadCSV(&b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(h, got, cmpopts.EquateNaNs()); diff != "" {
		t.Error(diff)
	}
	for name, s := range map[string]string{
		"empty":   "",
		"columns": strings.Replace(text, "train_loss", "loss", 1),
		"number":  strings.Replace(text, "2.3", "two", 1),
		"short":   text[:len(text)-10] + "\n3,4\n",
		"no loss": strings.Replace(text, "2.3", "", 1),
	} {
		if _, err := ReadCSV(strings.NewReader(s)); !errors.Is(err, ErrHistory) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if (&History{}).Last().Epoch != 0 || (&History{}).ExamplesPerSec() != 0 {
		t.Error("the empty history is not zero")
	}
}

// The network sees what the Augmenter makes of the images: on a copy of the set
// that was augmented beforehand, one epoch gives the same bits.
func TestAugment(t *testing.T) {
	set := data.SyntheticGarments(70, 10, 1)
	a := data.Augmentation{Shift: 2, Rotation: 8, Flip: true}
	cfg := Config{Epochs: 1, Seed: 5, Augment: a}
	net := newTiny(t)
	if _, err := Fit(context.Background(), net, set.Train, cfg); err != nil {
		t.Fatal(err)
	}
	m, err := data.NewAugmenter(a, set.Train)
	if err != nil {
		t.Fatal(err)
	}
	before := *set.Train
	before.Images = slices.Clone(before.Images)
	for i := range before.Len() {
		m.Apply(before.Image(i), set.Train.Image(i), cfg.Seed, 1, i)
	}
	cfg.Augment = data.Augmentation{}
	plain, beforehand := newTiny(t), newTiny(t)
	if _, err := Fit(context.Background(), plain, set.Train, cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := Fit(context.Background(), beforehand, &before, cfg); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(parameters(net), parameters(beforehand)) || slices.Equal(parameters(net), parameters(plain)) {
		t.Error("the images that the network saw are not the augmented ones")
	}
	cfg.Augment.Flip = true
	if _, err := Fit(context.Background(), net, data.SyntheticDigits(20, 2, 1).Train, cfg); !errors.Is(err, ErrConfig) || !errors.Is(err, data.ErrDataset) {
		t.Errorf("digits that are to be flipped: %v", err)
	}
}

// A run that gets no better ends, and leaves the best parameters if asked.
func TestStopping(t *testing.T) {
	set := data.SyntheticDigits(64, 40, 1)
	var after [][]float32 // the parameters after each epoch
	net := newTiny(t)
	var out bytes.Buffer
	cfg := Config{
		Epochs: 60, Validation: set.Test, Optimizer: SGD{LearningRate: 0.3, Momentum: 0.5}, KeepBest: true, Stop: EarlyStopping{Patience: 4},
		Progress: &out, Hooks: Hooks{EpochEnd: func(*History) error { after = append(after, parameters(net)); return nil }},
	}
	h, err := Fit(context.Background(), net, set.Train, cfg)
	if err != nil {
		t.Fatal(err)
	}
	best := h.Best()
	for _, e := range h.Epochs {
		if e.TestAccuracy > best.TestAccuracy || e.TestAccuracy == best.TestAccuracy && e.Epoch < best.Epoch {
			t.Errorf("epoch %d is better than %d", e.Epoch, best.Epoch)
		}
	}
	if n := len(h.Epochs); n == 60 || n != best.Epoch+4 {
		t.Errorf("%d epochs, the best of them %d", n, best.Epoch)
	}
	want := fmt.Sprintf("stopped after epoch %d: for 4 epochs the test accuracy was not better than the %.4f of epoch %d", len(h.Epochs), best.TestAccuracy, best.Epoch)
	if h.Stopped != want || !strings.Contains(out.String(), want+"\n") {
		t.Errorf("%q, want %q; printed: %s", h.Stopped, want, out.String())
	}
	if !slices.Equal(parameters(net), after[best.Epoch-1]) {
		t.Error("the parameters are not those of the best epoch")
	}
	if slices.Equal(after[best.Epoch-1], after[len(after)-1]) {
		t.Error("the test shows nothing: the best epoch is the last")
	}
	// A run that continues it begins to judge anew.
	before := len(h.Epochs)
	cfg.History, cfg.Epochs, cfg.Stop.Patience = h, 3, 3
	again, err := Fit(context.Background(), net, set.Train, cfg)
	if err != nil || len(again.Epochs) != before+3 {
		t.Errorf("continued: %d epochs after %d, %v", len(again.Epochs), before, err)
	}
	own := &History{Epochs: again.Epochs[before:]}
	if !slices.Equal(parameters(net), after[own.Best().Epoch-1]) {
		t.Error("the parameters are not those of the best epoch of the second run")
	}
	for _, bad := range []Config{{Stop: EarlyStopping{Patience: 1}}, {KeepBest: true}, {Validation: set.Test, Stop: EarlyStopping{Patience: -1}}, {Validation: set.Test, Stop: EarlyStopping{MinDelta: 2}}} {
		if _, err := Fit(context.Background(), net, set.Train, bad); !errors.Is(err, ErrConfig) {
			t.Errorf("%+v: %v", bad.Stop, err)
		}
	}
}

// Every recipe trains, and says what it is.
func TestRecipes(t *testing.T) {
	set := data.SyntheticGarments(200, 50, 1)
	for _, name := range RecipeNames() {
		r, err := NewRecipe(name, set.Train)
		if err != nil || r.Name != name {
			t.Fatalf("%+v, %v", r, err)
		}
		net, err := lenet.New(r.Network)
		if err != nil {
			t.Fatal(err)
		}
		r.Config.Epochs, r.Config.Validation = 2, set.Test
		h, err := Fit(context.Background(), net, set.Train, r.Config)
		if err != nil || len(h.Epochs) != 2 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if c, err := Textbook().Config.Resolve(mustNew(t, Textbook().Network), set.Train); err != nil || c.Epochs != 10 || c.Optimizer != (SGD{LearningRate: 0.9}) || c.Schedule != (Constant{}) {
		t.Errorf("%+v, %v", c, err)
	}
	if !Best(set.Train).Config.Augment.Flip || Best(nil).Config.Augment.Flip {
		t.Error("garments may be mirrored, other images not")
	}
	if _, err := NewRecipe("soup", nil); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "best, fast, textbook") {
		t.Error(err)
	}
}

func mustNew(t *testing.T, c lenet.Config) *lenet.Net {
	t.Helper()
	n, err := lenet.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Optimizers and schedules go by name, with their usual settings.
func TestNames(t *testing.T) {
	for name, want := range map[string]Optimizer{
		"": SGD{LearningRate: 0.5}, "sgd": SGD{LearningRate: 0.5}, "momentum": SGD{LearningRate: 0.5, Momentum: 0.9},
		"nesterov": SGD{LearningRate: 0.5, Momentum: 0.9, Nesterov: true}, "adam": Adam{LearningRate: 0.5}, "adamw": AdamW{LearningRate: 0.5, WeightDecay: 0.01},
	} {
		if o, err := NewOptimizer(name, 0.5); err != nil || o != want {
			t.Errorf("%q: %v, %v", name, o, err)
		}
	}
	if _, err := NewOptimizer("adan", 1); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "adam, adamw, momentum, nesterov, sgd") {
		t.Error(err)
	}
	for _, name := range append(ScheduleNames(), "") {
		if s, err := NewSchedule(name); err != nil || s.String() == "" {
			t.Errorf("%q: %v, %v", name, s, err)
		}
	}
	if _, err := NewSchedule("square"); !errors.Is(err, ErrConfig) {
		t.Error(err)
	}
	for want, o := range map[string]Optimizer{
		"SGD, momentum 0.9 (Nesterov), learning rate 0.1, weight decay 0.001": SGD{LearningRate: 0.1, Momentum: 0.9, Nesterov: true, WeightDecay: 0.001},
		"Adam, learning rate 0.001":                                    Adam{},
		"AdamW, betas 0.8 and 0.99, epsilon 1e-06, learning rate 0.01": AdamW{LearningRate: 0.01, Beta1: 0.8, Beta2: 0.99, Epsilon: 1e-6},
		"*gorgonia.VanillaSolver":                                      UseSolver(gorgonia.NewVanillaSolver()),
	} {
		if o.String() != want {
			t.Errorf("%q, want %q", o, want)
		}
	}
	// Without a rate, the network's own, or that of the formula.
	net := newTiny(t)
	set := data.SyntheticDigits(20, 2, 1).Train
	for _, c := range []struct{ o, want Optimizer }{
		{nil, SGD{LearningRate: 0.05}}, {SGD{}, SGD{LearningRate: 0.05}}, {SGD{Momentum: 0.75}, SGD{LearningRate: 0.0125, Momentum: 0.75}},
		{Adam{}, Adam{LearningRate: 0.001, Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8}},
	} {
		if r, err := (Config{Optimizer: c.o}).Resolve(net, set); err != nil || r.Optimizer != c.want {
			t.Errorf("%v: %v, %v; want %v", c.o, r.Optimizer, err, c.want)
		}
	}
	// An optimizer of one's own comes without the network's schedule.
	lecun := mustNew(t, lenet.LeCun98())
	if r, err := (Config{}).Resolve(lecun, set); err != nil || r.Schedule != (OneCycle{}) {
		t.Errorf("%v, %v", r.Schedule, err)
	}
	if r, err := (Config{Optimizer: Adam{}}).Resolve(lecun, set); err != nil || r.Schedule != (Constant{}) {
		t.Errorf("%v, %v", r.Schedule, err)
	}
	if _, err := (Config{Optimizer: SGD{}}).Resolve(lecun, set); !errors.Is(err, ErrConfig) {
		t.Errorf("SGD with the learning rate of AdamW: %v", err)
	}
}

func TestHistoryJSONLines(t *testing.T) {
	h := &History{Epochs: []Epoch{
		{1, 2.3, 0.1, math.NaN(), math.NaN(), 60000, 2 * time.Second},
		{2, math.Pi, 1.0 / 3, 0.7, 0.9, 60000, time.Second},
	}}
	path := filepath.Join(t.TempDir(), "history.jsonl")
	if err := h.Save(path); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"epoch":1,"train_loss":2.3,"train_accuracy":0.1,"test_loss":null,"test_accuracy":null,"examples":60000,"train_seconds":2,"examples_per_sec":30000}
{"epoch":2,"train_loss":3.141592653589793,"train_accuracy":0.3333333333333333,"test_loss":0.7,"test_accuracy":0.9,"examples":60000,"train_seconds":1,"examples_per_sec":60000}
`
	if string(b) != want {
		t.Errorf("%s", b)
	}
}

func TestChart(t *testing.T) {
	h := &History{}
	if c := h.Chart(10, 1); !strings.Contains(c, "no epochs") {
		t.Errorf("%q", c)
	}
	for i := range 4 {
		h.Epochs = append(h.Epochs, Epoch{Epoch: i + 1, TrainLoss: 2 - 0.5*float64(i), TrainAccuracy: 0.2 * float64(i), TestAccuracy: math.NaN()})
		c := h.Chart(30, 8)
		body, _, _ := strings.Cut(c, "+")
		if !strings.Contains(body, "*") || !strings.Contains(body, "o") || strings.Contains(body, "x") {
			t.Errorf("%d epochs: %s", i+1, c)
		}
	}
}

func ExampleFit() {
	set := data.SyntheticDigits(200, 50, 1)
	net, err := lenet.New(tiny())
	if err != nil {
		panic(err)
	}
	h, err := Fit(context.Background(), net, set.Train, Config{Epochs: 2, BatchSize: 20, Optimizer: SGD{LearningRate: 0.05}, Validation: set.Test})
	if err != nil {
		panic(err)
	}
	fmt.Println(len(h.Epochs), h.Last().Examples)
	// Output: 2 200
}
