// Package pretrained holds a network for handwritten digits, so that programs
// have something to show at once. It is lenet.Modern, trained on MNIST by
//
//	go run ./examples/mnist -recipe best -out DIR
//
// and is DIR/model.safetensors; its notes say how well it does.
package pretrained

import (
	"bytes"
	_ "embed"

	"example.com/lenet5/lenet"
)

//go:embed digits.safetensors
var digits []byte

// Digits returns the network. Its input is 28x28 bytes, 0 for the ground.
func Digits(opts ...lenet.Option) (*lenet.Net, error) {
	return lenet.Read(bytes.NewReader(digits), opts...)
}
