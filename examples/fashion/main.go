// Fashion trains the textbook's LeNet-5 on Fashion-MNIST: batches of 256,
// learning rate 0.9, ten epochs. Run it with -h for its flags.
package main

import (
	"example.com/lenet5/data"
	"example.com/lenet5/internal/cli"
)

var program = cli.Program{
	Name: "fashion",
	Purpose: `Fashion trains LeNet-5 on Fashion-MNIST, by default as Dive into Deep Learning
does: sigmoid, average pooling, batches of 256, learning rate 0.9, ten epochs.`,
	DataName:  "Fashion-MNIST",
	Load:      data.FashionMNIST,
	Synthetic: data.SyntheticGarments,
	Variant:   "sigmoid",
}

func main() { cli.Main(&program) }
