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

var variants = map[string]func() Config{"sigmoid": Sigmoid, "relu": ReLU, "modern": Modern}

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
