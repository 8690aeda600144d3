// Mnist trains the 3x3 variant of LeNet-5 on MNIST: pixels in [-1, 1], batches
// of 64, learning rate 0.01, ten epochs, with a line every 200 steps. The
// recipe that it follows does not shuffle the images; this program does. Run
// it with -h for its flags.
package main

import (
	"example.com/lenet5/data"
	"example.com/lenet5/internal/cli"
)

var program = cli.Program{
	Name: "mnist",
	Purpose: `Mnist trains LeNet-5 on MNIST, by default the variant with 3x3 convolutions,
max pooling and ReLU on pixels in [-1, 1]: batches of 64, learning rate 0.01,
ten epochs, the images shuffled, with a line every 200 steps.`,
	DataName:  "MNIST",
	Load:      data.MNIST,
	Synthetic: data.SyntheticDigits,
	Variant:   "relu",
	StepLines: 200,
}

func main() { cli.Main(&program) }
