// Package lenet is LeNet-5 as a Gorgonia computation graph.
//
// A [Config] describes a network of the family; [New] makes a [Net] of it:
// parameters, and graphs over them for training and for prediction. The graph
// is public ([Net.Graph]) and runs on Gorgonia's own TapeMachine; the methods
// of Net run it on the fastest engine at hand.
//
// Sources: LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to
// document recognition", Proceedings of the IEEE, 1998; Zhang, Lipton, Li,
// Smola, "Dive into Deep Learning", section 7.6, for [Sigmoid].
//
// # Concurrency
//
// The methods of a Net that only read it (Config, Shapes, Summary, Clone,
// Save, Activations, Pixels, and those that predict) may be called from several goroutines at
// once. A [Trainer] changes the parameters in Step, and from Enqueue to Flush:
// nothing else may use the Net meanwhile. A Trainer or an [Evaluator] is used by one goroutine at
// a time.
package lenet

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"

	"gorgonia.org/tensor"

	"example.com/lenet5/internal/engine"
)

// A Net is a network with parameters. Make one with [New] or [Load].
type Net struct {
	cfg    Config
	layers []layer
	device Device
	// threads bounds the threads of an engine; 0 means GOMAXPROCS.
	threads int
	// flat holds all parameters, one after the other; params and values are
	// views of it.
	flat   []float32
	params []Param
	values []*tensor.Dense

	classes []string          // names, or nil
	notes   map[string]string // what a model file says besides

	mu         sync.Mutex // guards what follows
	predictors map[int]engine.Engine
	tapped     *tapped
}

// A Param is a named parameter tensor. Data aliases the live parameter: what
// is written there is what the network computes with.
type Param struct {
	// Name is "conv1.weight", "conv1.bias", ..., "fc3.bias".
	Name string
	// Shape is (out, in, kernel, kernel), (out, in) or (out), row-major.
	Shape []int
	Data  []float32
}

// An Option adjusts [New] and [Load].
type Option func(*options)

type options struct {
	seed    uint64
	device  string
	threads int
	classes []string
	weights *Config // of a file that does not say what network it is
}

// Seed sets the seed of the initial weights; the same seed gives the same
// bits everywhere. The default is 1.
func Seed(seed uint64) Option { return func(o *options) { o.seed = seed } }

// OnDevice chooses where the network runs: "cpu"; "cuda", or "cuda:1" and so on
// for one of several GPUs; or "auto", the default, which is a GPU if the program
// was built to use one and there is one, and else the CPU. [Net.Device] says
// what was chosen and why. What a network has computed on another device
// differs in the last bits.
func OnDevice(name string) Option { return func(o *options) { o.device = name } }

// Threads bounds the threads that the network runs on; 0, the default, means
// GOMAXPROCS. The results do not depend on it.
func Threads(n int) Option { return func(o *options) { o.threads = max(n, 0) } }

// ClassNames gives the classes names, one each, which predictions and model
// files then have. Without it, [Load] takes those of the file, and train.Fit
// those of the training set.
func ClassNames(names ...string) Option { return func(o *options) { o.classes = names } }

// New makes a network and draws its weights. The error wraps [ErrConfig] if
// cfg cannot work, [ErrDevice] if the device cannot be had.
func New(cfg Config, opts ...Option) (*Net, error) {
	o := options{seed: 1, device: "auto"}
	for _, f := range opts {
		f(&o)
	}
	n, err := build(cfg, o)
	if err != nil {
		return nil, err
	}
	n.initialize(o.seed)
	return n, nil
}

// build makes a network whose parameters are zero.
func build(cfg Config, o options) (*Net, error) {
	layers, err := cfg.layers()
	if err != nil {
		return nil, err
	}
	device, err := chooseDevice(o.device)
	if err != nil {
		return nil, err
	}
	n := &Net{cfg: cfg.clone(), layers: layers, device: device, threads: o.threads, predictors: map[int]engine.Engine{}}
	total := 0
	for _, l := range layers {
		total += l.elements()
	}
	if err := n.SetClassNames(o.classes); err != nil {
		return nil, err
	}
	n.flat = make([]float32, total)
	rest := n.flat
	add := func(name string, shape []int) {
		size := product(shape)
		data := rest[:size:size]
		rest = rest[size:]
		n.params = append(n.params, Param{Name: name, Shape: shape, Data: data})
		n.values = append(n.values, tensor.New(tensor.WithShape(shape...), tensor.WithBacking(data)))
	}
	for _, l := range layers {
		if l.weight != nil {
			add(l.name+".weight", l.weight)
			add(l.name+".bias", l.weight[:1:1])
		}
	}
	return n, nil
}

// Config returns the description that the network was made from.
func (n *Net) Config() Config {
	return n.cfg.clone()
}

// ClassNames returns the names of the classes, nil if they have none.
func (n *Net) ClassNames() []string { return slices.Clone(n.classes) }

// SetClassNames names the classes; nil takes the names away. The error wraps
// [ErrConfig] if there are not as many as classes.
func (n *Net) SetClassNames(names []string) error {
	if len(names) > 0 && len(names) != n.cfg.Classes {
		return bad("%d names for %d classes", len(names), n.cfg.Classes)
	}
	n.classes = slices.Clone(names)
	return nil
}

// className is the name of a class, or its number.
func (n *Net) className(class int) string {
	if n.classes == nil {
		return strconv.Itoa(class)
	}
	return n.classes[class]
}

// Notes returns what a model file says about the network besides what it is:
// how it was trained, and how well, say.
func (n *Net) Notes() map[string]string { return maps.Clone(n.notes) }

// SetNote adds a note, which [Net.Save] writes and [Load] reads; an empty text
// takes it away.
func (n *Net) SetNote(key, text string) {
	if n.notes == nil {
		n.notes = map[string]string{}
	}
	n.notes[key] = text
	if text == "" {
		delete(n.notes, key)
	}
}

// Params returns the parameters, layer by layer, weights before biases.
func (n *Net) Params() []Param {
	ps := make([]Param, len(n.params))
	for i, p := range n.params {
		ps[i] = Param{Name: p.Name, Shape: append([]int(nil), p.Shape...), Data: p.Data}
	}
	return ps
}

// param returns a parameter that is known to exist.
func (n *Net) param(name string) Param {
	for _, p := range n.params {
		if p.Name == name {
			return p
		}
	}
	panic(fmt.Sprintf("lenet: no parameter %q", name)) // a fault of this package
}

// Clone returns an independent network with the same parameters.
func (n *Net) Clone() (*Net, error) {
	c, err := build(n.cfg, options{device: n.device.option(), threads: n.threads})
	if err != nil {
		return nil, err
	}
	c.device, c.classes, c.notes = n.device, slices.Clone(n.classes), maps.Clone(n.notes)
	copy(c.flat, n.flat)
	return c, nil
}
