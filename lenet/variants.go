package lenet

import (
	"fmt"
	"sort"
	"strings"
)

// Sigmoid is the textbook's LeNet-5 (Zhang, Lipton, Li, Smola: Dive into Deep
// Learning, section 7.6): 5x5 convolutions, the first padded by 2, sigmoid,
// average pooling, 120-84-10. 61,706 parameters. Pixels are byte/255.
func Sigmoid() Config {
	return Config{
		Name:  "sigmoid",
		Input: Input{Channels: 1, Height: 28, Width: 28, Scale: 1.0 / 255},
		Blocks: []Block{
			{Channels: 6, Kernel: 5, Padding: 2, Activation: ActSigmoid, Pool: PoolAverage},
			{Channels: 16, Kernel: 5, Activation: ActSigmoid, Pool: PoolAverage},
		},
		Dense:           []int{120, 84},
		DenseActivation: ActSigmoid,
		Classes:         10,
		Init:            InitXavierUniform,
		Defaults:        Defaults{BatchSize: 256, LearningRate: 0.9, Epochs: 10},
	}
}

// ReLU is the later 3x3 variant: 3x3 convolutions without padding, 2x2 max
// pooling before a ReLU, 120-84-10. Odd sizes are rounded down: 26, 13, 11, 5.
// 60,074 parameters. Pixels are 2*byte/255 - 1.
func ReLU() Config {
	return Config{
		Name:  "relu",
		Input: Input{Channels: 1, Height: 28, Width: 28, Scale: 2.0 / 255, Offset: -1},
		Blocks: []Block{
			{Channels: 6, Kernel: 3, Activation: ActReLU, Pool: PoolMax, PoolFirst: true},
			{Channels: 16, Kernel: 3, Activation: ActReLU, Pool: PoolMax, PoolFirst: true},
		},
		Dense:           []int{120, 84},
		DenseActivation: ActReLU,
		Classes:         10,
		Init:            InitXavierUniform,
		Defaults:        Defaults{BatchSize: 64, LearningRate: 0.01, Epochs: 10},
	}
}

// Modern is the textbook's shape with what one would choose today: ReLU and
// max pooling. 61,706 parameters. Pixels are byte/255.
func Modern() Config {
	return Config{
		Name:  "modern",
		Input: Input{Channels: 1, Height: 28, Width: 28, Scale: 1.0 / 255},
		Blocks: []Block{
			{Channels: 6, Kernel: 5, Padding: 2, Activation: ActReLU, Pool: PoolMax},
			{Channels: 16, Kernel: 5, Activation: ActReLU, Pool: PoolMax},
		},
		Dense:           []int{120, 84},
		DenseActivation: ActReLU,
		Classes:         10,
		Init:            InitKaiming,
		Defaults:        Defaults{BatchSize: 64, LearningRate: 0.05, Epochs: 10},
	}
}

// LeCun98 is the original: LeCun, Bottou, Bengio, Haffner, "Gradient-based
// learning applied to document recognition", 1998, section II.B. Images padded
// to 32x32, trainable subsampling, the partial connections of Table I from S2
// to C3, the squash 1.7159 tanh(2x/3) after every layer from C1 to F6, and an
// output layer of Euclidean radial basis functions. 60,000 trainable
// parameters. The background is -0.1 and the ink 1.175.
//
// It is trained by the MAP criterion, equation 9.
func LeCun98() Config {
	squash := func(channels int) Block {
		return Block{Channels: channels, Kernel: 5, Activation: ActScaledTanh, Pool: PoolTrainable, PoolActivation: ActScaledTanh}
	}
	c1, c3 := squash(6), squash(16)
	c3.Connections = []string{ // Table I, a row for each map of C3
		"XXX...", ".XXX..", "..XXX.", "...XXX", "X...XX", "XX...X",
		"XXXX..", ".XXXX.", "..XXXX", "X..XXX", "XX..XX", "XXX..X",
		"XX.XX.", ".XX.XX", "X.XX.X",
		"XXXXXX",
	}
	return Config{
		Name:            "lecun98",
		Input:           Input{Channels: 1, Height: 28, Width: 28, Padding: 2, Scale: 1.275 / 255, Offset: -0.1},
		Blocks:          []Block{c1, c3, {Channels: 120, Kernel: 5, Activation: ActScaledTanh}},
		Dense:           []int{84},
		DenseActivation: ActScaledTanh,
		Classes:         10,
		Output:          OutputRBF,
		Init:            InitLeCun,
		Defaults:        Defaults{BatchSize: 32, Optimizer: "adamw", LearningRate: 0.004, Schedule: "onecycle", Epochs: 20},
	}
}

var variants = map[string]func() Config{"sigmoid": Sigmoid, "relu": ReLU, "modern": Modern, "lecun98": LeCun98}

// Variants returns the names that [Variant] knows, sorted.
func Variants() []string {
	var names []string
	for name := range variants {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// Variant returns the Config of a variant by name. The error for an unknown
// name wraps [ErrConfig] and lists the known ones.
func Variant(name string) (Config, error) {
	if f, ok := variants[name]; ok {
		return f(), nil
	}
	return Config{}, fmt.Errorf("%w: unknown variant %q; there are %s", ErrConfig, name, strings.Join(Variants(), ", "))
}
