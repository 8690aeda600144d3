package lenet

import (
	"errors"
	"fmt"

	"example.com/lenet5/internal/engine"
	"example.com/lenet5/internal/engine/cpu"
)

// ErrDevice is wrapped by the errors about a device that cannot be had.
var ErrDevice = errors.New("lenet: device not available")

// A Device is where a network runs.
type Device struct {
	Name   string // "cpu"
	Detail string // the instruction set and the threads
	// Kernels is the instruction set: on another one the last bits of a result
	// may differ.
	Kernels string
	Reason  string // why it was chosen
}

// String returns "cpu (detail)".
func (d Device) String() string { return fmt.Sprintf("%s (%s)", d.Name, d.Detail) }

// Device returns where the network runs.
func (n *Net) Device() Device {
	d := n.device
	d.Detail, d.Kernels = cpu.Describe(n.threads), cpu.Kernels()
	return d
}

func chooseDevice(name string) (Device, error) {
	switch name {
	case "", "auto":
		return Device{Name: "cpu", Reason: "it is the only device of this build"}, nil
	case "cpu":
		return Device{Name: "cpu", Reason: "it was asked for"}, nil
	default:
		return Device{}, fmt.Errorf("%w: %q; this build has auto and cpu", ErrDevice, name)
	}
}

// newEngine compiles a program for the network's device.
func (n *Net) newEngine(p *engine.Program) (engine.Engine, error) {
	return cpu.New(p, n.threads)
}
