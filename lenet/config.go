package lenet

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"example.com/lenet5/internal/op"
)

// ErrConfig is wrapped by every error about a [Config] that cannot work.
var ErrConfig = errors.New("lenet: bad config")

// A Config describes a network of the LeNet family: images pass through
// convolutional blocks, are flattened in the order (C, H, W), and pass through
// dense layers to one logit per class. The variants ([Sigmoid], [ReLU],
// [Modern]) are values of Config; change one, or write your own.
type Config struct {
	// Name is for people: it heads the summary.
	Name  string `json:"name,omitempty"`
	Input Input  `json:"input"`
	// Blocks may be empty: then the network is a multilayer perceptron.
	Blocks []Block `json:"blocks"`
	// Dense holds the widths of the hidden dense layers, each followed by
	// DenseActivation. The output layer comes after them.
	Dense           []int      `json:"dense"`
	DenseActivation Activation `json:"dense_activation,omitempty"`
	Classes         int        `json:"classes"`
	// Output is the output layer; the empty one is a dense layer of Classes
	// units without activation, a logit each.
	Output Output `json:"output,omitempty"`
	// Init says how the weights begin; the zero value is Xavier uniform.
	// Biases begin at zero.
	Init Init `json:"init,omitempty"`
	// Defaults are what the network trains well with.
	Defaults Defaults `json:"defaults"`
}

// Input describes the images: their shape, and how a byte becomes a pixel,
// Scale*byte + Offset.
type Input struct {
	Channels int     `json:"channels"`
	Height   int     `json:"height"`
	Width    int     `json:"width"`
	Scale    float32 `json:"scale"`
	Offset   float32 `json:"offset"`
	// Padding is the number of rows and columns of background, a byte of 0,
	// around the image: Height and Width are those before it.
	Padding int `json:"padding,omitempty"`
}

// Size is the number of bytes in an image, Channels*Height*Width.
func (in Input) Size() int { return in.Channels * in.Height * in.Width }

// A Block is a convolution of stride 1 with bias, an activation and a pooling
// of 2x2 windows with stride 2 (odd sizes are rounded down).
type Block struct {
	// Channels is the number of output channels, Kernel the side of the
	// square kernel, Padding the rows and columns of zeros around the input.
	Channels int `json:"channels"`
	Kernel   int `json:"kernel"`
	Padding  int `json:"padding"`
	// Activation and Pool may be empty: then there is none.
	Activation Activation `json:"activation,omitempty"`
	Pool       Pool       `json:"pool,omitempty"`
	// PoolFirst puts the pooling before the activation.
	PoolFirst bool `json:"pool_first,omitempty"`
	// PoolActivation is one more activation, after the pooling; it cannot go
	// with PoolFirst.
	PoolActivation Activation `json:"pool_activation,omitempty"`
	// Connections, if not empty, has a row for each output channel, and in it
	// an X for each input channel that it sees. The other kernels are zero,
	// are never updated, and do not count as parameters.
	Connections []string `json:"connections,omitempty"`
}

// An Activation is a scalar non-linearity; the empty one is none.
type Activation string

// The activations.
const (
	ActNone       Activation = ""
	ActSigmoid    Activation = Activation(op.Sigmoid)
	ActTanh       Activation = Activation(op.Tanh)
	ActScaledTanh Activation = Activation(op.ScaledTanh) // 1.7159 tanh(2x/3), the squash of LeCun et al. 1998
	ActReLU       Activation = Activation(op.ReLU)
)

// A Pool says how a 2x2 window becomes one number; the empty one is no pooling.
type Pool string

// The poolings.
const (
	PoolNone    Pool = ""
	PoolAverage Pool = Pool(op.Average)
	PoolMax     Pool = Pool(op.Max)
	// PoolTrainable is the sum of the window times a coefficient, plus a bias,
	// one pair per map: subsampling as LeCun et al. 1998 did it.
	PoolTrainable Pool = "trainable"
)

// An Output is the form of the output layer.
type Output string

// The output layers.
const (
	OutputDense Output = "" // logits, trained by softmax cross-entropy
	// OutputRBF is that of LeCun et al. 1998: Euclidean radial basis functions
	// whose fixed centres are 7x12 bitmaps of the digits. It needs a last
	// hidden layer of 84 and at most 10 classes. Its outputs are the negated
	// penalties; it is trained by the MAP criterion, equation 9 there.
	OutputRBF Output = "rbf"
)

// An Init is a distribution of the initial weights. With fans counted as for a
// convolution (kernel area times channels):
type Init string

// The initialisations.
const (
	InitXavierUniform Init = "xavier_uniform" // uniform in ±sqrt(6/(fan in + fan out)); the zero value means this one
	InitXavierNormal  Init = "xavier_normal"  // normal of variance 2/(fan in + fan out)
	InitKaiming       Init = "kaiming"        // uniform in ±sqrt(6/fan in), for ReLU
	InitLeCun         Init = "lecun98"        // uniform in ±2.4/fan in, LeCun et al. 1998
)

// Defaults are the training settings that a network comes with.
type Defaults struct {
	BatchSize int `json:"batch_size,omitempty"`
	// LearningRate is that of Optimizer, which is a name that
	// train.NewOptimizer knows; empty means plain gradient descent.
	LearningRate float64 `json:"learning_rate,omitempty"`
	Optimizer    string  `json:"optimizer,omitempty"`
	// Schedule is a name that train.NewSchedule knows; empty means a constant
	// learning rate.
	Schedule string `json:"schedule,omitempty"`
	Epochs   int    `json:"epochs,omitempty"`
}

// maxElements bounds every tensor of a network, so that a mistyped size is an
// error and not an exhausted machine.
const maxElements = 1 << 28

// clone returns a copy that shares nothing with c.
func (c Config) clone() Config {
	c.Dense = slices.Clone(c.Dense)
	c.Blocks = slices.Clone(c.Blocks)
	for i := range c.Blocks {
		c.Blocks[i].Connections = slices.Clone(c.Blocks[i].Connections)
	}
	return c
}

// Validate returns nil, or an error wrapping [ErrConfig] that says which layer
// cannot work and why.
func (c Config) Validate() error {
	_, err := c.layers()
	return err
}

func bad(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrConfig, fmt.Sprintf(format, args...))
}

func (a Activation) valid() bool {
	switch a {
	case ActNone, ActSigmoid, ActTanh, ActScaledTanh, ActReLU:
		return true
	}
	return false
}

func (p Pool) valid() bool {
	return p == PoolNone || p == PoolAverage || p == PoolMax || p == PoolTrainable
}

func (i Init) valid() bool {
	switch i {
	case "", InitXavierUniform, InitXavierNormal, InitKaiming, InitLeCun:
		return true
	}
	return false
}

// A layer is one row of the network's description, with the shapes worked out.
type layer struct {
	name   string // conv1, pool1, ..., flatten, fc1, ...
	kind   layerKind
	block  Block // for conv and pool
	act    Activation
	in     [3]int // C, H, W; (units, 1, 1) for dense
	out    [3]int
	weight []int // shape of the weights, nil if there are none
	first  bool  // its input is the data
}

type layerKind int

const (
	layerConv layerKind = iota
	layerPool
	layerFlatten
	layerDense
	layerRBF
)

// fans counts the inputs and outputs that a weight connects; of a channel with
// a table, all inputs.
func (l layer) fans() (in, out int) {
	if l.kind == layerPool {
		return 4, 1
	}
	area := 1
	for _, d := range l.weight[2:] {
		area *= d
	}
	return l.weight[1] * area, l.weight[0] * area
}

// elements is the number of numbers that are stored for the layer.
func (l layer) elements() int {
	if l.weight == nil {
		return 0
	}
	return product(l.weight) + l.weight[0]
}

// params is the number of trainable ones.
func (l layer) params() int {
	if l.weight == nil {
		return 0
	}
	if len(l.block.Connections) > 0 && l.kind == layerConv {
		kernels := 0
		for _, row := range l.block.Connections {
			kernels += strings.Count(row, "X")
		}
		return kernels*l.block.Kernel*l.block.Kernel + l.weight[0]
	}
	return product(l.weight) + l.weight[0]
}

// connections is the table of a convolution, nil if everything is connected.
func (l layer) connections() *op.Table {
	if l.kind != layerConv || len(l.block.Connections) == 0 {
		return nil
	}
	return &op.Table{Rows: l.block.Connections}
}

// absent reports whether the i-th weight is of a kernel that is not there.
func (l layer) absent(i int) bool {
	t := l.connections()
	if t == nil {
		return false
	}
	kernel, maps := l.block.Kernel*l.block.Kernel, l.weight[1]
	return !t.Connected(i/(maps*kernel), i/kernel%maps)
}

func product(xs []int) int {
	p := 1
	for _, x := range xs {
		p *= x
	}
	return p
}

// layers works the description out into layers, or says why it cannot work.
func (c Config) layers() ([]layer, error) {
	in := c.Input
	switch {
	case in.Channels < 1 || in.Height < 1 || in.Width < 1:
		return nil, bad("input: %d channels of %dx%d; every size must be at least 1", in.Channels, in.Height, in.Width)
	case in.Channels > maxElements/in.Height/in.Width:
		return nil, bad("input: %d channels of %dx%d are too large", in.Channels, in.Height, in.Width)
	case in.Padding < 0 || in.Padding > 1<<14:
		return nil, bad("input: padding of %d; it must not be negative", in.Padding)
	case c.Output != OutputDense && c.Output != OutputRBF:
		return nil, bad("unknown output layer %q", c.Output)
	case in.Scale == 0 || in.Scale != in.Scale || in.Offset != in.Offset:
		return nil, bad("input: scale %g, offset %g: the scale must not be 0, and both must be numbers", in.Scale, in.Offset)
	case c.Classes < 2 || c.Classes > 256:
		return nil, bad("%d classes; labels are bytes, so there can be 2 to 256", c.Classes)
	case !c.DenseActivation.valid():
		return nil, bad("unknown dense activation %q", c.DenseActivation)
	case !c.Init.valid():
		return nil, bad("unknown initialisation %q", c.Init)
	}
	var ls []layer
	at := [3]int{in.Channels, in.Height + 2*in.Padding, in.Width + 2*in.Padding}
	for i, b := range c.Blocks {
		var err error
		if ls, at, err = b.layers(ls, at, i+1); err != nil {
			return nil, err
		}
	}
	units := at[0] * at[1] * at[2]
	ls = append(ls, layer{name: "flatten", kind: layerFlatten, in: at, out: [3]int{units, 1, 1}})
	widths := append([]int(nil), c.Dense...)
	if c.Output == OutputDense {
		widths = append(widths, c.Classes)
	}
	for i, width := range widths {
		l := layer{
			name: fmt.Sprintf("fc%d", i+1), kind: layerDense, act: c.DenseActivation,
			in: [3]int{units, 1, 1}, out: [3]int{width, 1, 1},
			weight: []int{width, units}, first: len(c.Blocks) == 0 && i == 0,
		}
		if i == len(c.Dense) {
			l.act = ActNone
		}
		if width < 1 {
			return nil, bad("%s: %d units; it must have at least 1", l.name, width)
		}
		if width > maxElements/units {
			return nil, bad("%s: %d x %d weights are too many", l.name, width, units)
		}
		ls = append(ls, l)
		units = width
	}
	if c.Output == OutputRBF {
		if len(c.Dense) == 0 || units != codeWidth || c.Classes > codeDigits {
			return nil, bad("output: the bitmaps are of %d digits, 7x12; they need a last hidden layer of %d units and at most %d classes, and there are %d and %d",
				codeDigits, codeWidth, codeDigits, units, c.Classes)
		}
		ls = append(ls, layer{name: "rbf", kind: layerRBF, in: [3]int{units, 1, 1}, out: [3]int{c.Classes, 1, 1}})
	}
	return ls, nil
}

// layers appends the i-th block, which starts at a shape (C, H, W), and
// returns the shape it ends at.
func (b Block) layers(ls []layer, at [3]int, i int) ([]layer, [3]int, error) {
	conv := layer{
		name: fmt.Sprintf("conv%d", i), kind: layerConv, block: b, in: at, first: i == 1,
		weight: []int{b.Channels, at[0], b.Kernel, b.Kernel},
		out:    [3]int{b.Channels, at[1] + 2*b.Padding - b.Kernel + 1, at[2] + 2*b.Padding - b.Kernel + 1},
	}
	fail := func(format string, args ...any) ([]layer, [3]int, error) {
		return nil, at, bad("block %d: %s", i, fmt.Sprintf(format, args...))
	}
	const side = 1 << 14 // keeps products of sizes far from overflow
	switch {
	case b.Channels < 1 || b.Channels > side:
		return fail("%d channels; there must be at least 1", b.Channels)
	case b.Kernel < 1 || b.Kernel > side:
		return fail("a kernel of %dx%d; it must be at least 1x1", b.Kernel, b.Kernel)
	case b.Padding < 0 || b.Padding >= b.Kernel:
		return fail("padding %d; with a %dx%d kernel it can be 0 to %d", b.Padding, b.Kernel, b.Kernel, b.Kernel-1)
	case conv.out[1] < 1 || conv.out[2] < 1:
		return fail("a %dx%d kernel does not fit an input of %dx%d with padding %d", b.Kernel, b.Kernel, at[1], at[2], b.Padding)
	case product(conv.weight) > maxElements || product(conv.out[:]) > maxElements || product(conv.in[:]) > maxElements:
		return fail("%d channels of %dx%d with %dx%d kernels are too large", b.Channels, conv.out[1], conv.out[2], b.Kernel, b.Kernel)
	case !b.Activation.valid():
		return fail("unknown activation %q", b.Activation)
	case !b.Pool.valid():
		return fail("unknown pooling %q", b.Pool)
	case b.Pool != PoolNone && (conv.out[1] < 2 || conv.out[2] < 2):
		return fail("2x2 pooling does not fit the %dx%d output of the convolution", conv.out[1], conv.out[2])
	}
	if len(b.Connections) > 0 {
		if len(b.Connections) != b.Channels {
			return fail("%d rows of connections for %d channels", len(b.Connections), b.Channels)
		}
		for m, row := range b.Connections {
			if len(row) != at[0] || strings.Trim(row, "X.") != "" || !strings.Contains(row, "X") {
				return fail("connections of channel %d: want %d of X or ., at least one X; found %q", m, at[0], row)
			}
		}
	}
	if !b.PoolActivation.valid() || b.PoolActivation != ActNone && (b.Pool == PoolNone || b.PoolFirst) {
		return fail("activation %q after the pooling, with pooling %q and PoolFirst %t", b.PoolActivation, b.Pool, b.PoolFirst)
	}
	if b.Pool == PoolNone {
		conv.act = b.Activation
		return append(ls, conv), conv.out, nil
	}
	pool := layer{
		name: fmt.Sprintf("pool%d", i), kind: layerPool, block: b, in: conv.out,
		out: [3]int{b.Channels, conv.out[1] / 2, conv.out[2] / 2},
	}
	if b.Pool == PoolTrainable {
		pool.weight = []int{b.Channels}
	}
	if b.PoolFirst {
		pool.act = b.Activation
	} else {
		conv.act, pool.act = b.Activation, b.PoolActivation
	}
	return append(ls, conv, pool), pool.out, nil
}
