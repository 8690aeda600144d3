package lenet

import (
	"errors"
	"fmt"

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
	// DenseActivation. The output layer of Classes units comes after them and
	// has no activation.
	Dense           []int      `json:"dense"`
	DenseActivation Activation `json:"dense_activation,omitempty"`
	Classes         int        `json:"classes"`
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
	BatchSize    int     `json:"batch_size,omitempty"`
	LearningRate float64 `json:"learning_rate,omitempty"`
	Epochs       int     `json:"epochs,omitempty"`
}

// maxElements bounds every tensor of a network, so that a mistyped size is an
// error and not an exhausted machine.
const maxElements = 1 << 28

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

func (p Pool) valid() bool { return p == PoolNone || p == PoolAverage || p == PoolMax }

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
)

func (l layer) fans() (in, out int) {
	area := 1
	for _, d := range l.weight[2:] {
		area *= d
	}
	return l.weight[1] * area, l.weight[0] * area
}

func (l layer) params() int {
	if l.weight == nil {
		return 0
	}
	return product(l.weight) + l.weight[0]
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
	at := [3]int{in.Channels, in.Height, in.Width}
	for i, b := range c.Blocks {
		var err error
		if ls, at, err = b.layers(ls, at, i+1); err != nil {
			return nil, err
		}
	}
	units := at[0] * at[1] * at[2]
	ls = append(ls, layer{name: "flatten", kind: layerFlatten, in: at, out: [3]int{units, 1, 1}})
	for i, width := range append(append([]int(nil), c.Dense...), c.Classes) {
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
	case product(conv.weight) > maxElements || product(conv.out[:]) > maxElements:
		return fail("%d channels of %dx%d with %dx%d kernels are too large", b.Channels, conv.out[1], conv.out[2], b.Kernel, b.Kernel)
	case !b.Activation.valid():
		return fail("unknown activation %q", b.Activation)
	case !b.Pool.valid():
		return fail("unknown pooling %q", b.Pool)
	case b.Pool != PoolNone && (conv.out[1] < 2 || conv.out[2] < 2):
		return fail("2x2 pooling does not fit the %dx%d output of the convolution", conv.out[1], conv.out[2])
	}
	if b.Pool == PoolNone {
		conv.act = b.Activation
		return append(ls, conv), conv.out, nil
	}
	pool := layer{
		name: fmt.Sprintf("pool%d", i), kind: layerPool, block: b, in: conv.out,
		out: [3]int{b.Channels, conv.out[1] / 2, conv.out[2] / 2},
	}
	if b.PoolFirst {
		pool.act = b.Activation
	} else {
		conv.act = b.Activation
	}
	return append(ls, conv, pool), pool.out, nil
}
