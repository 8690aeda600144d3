package lenet

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"example.com/lenet5/internal/engine"
	"example.com/lenet5/internal/engine/cpu"
	"example.com/lenet5/internal/engine/cuda"
)

// ErrDevice is wrapped by the errors about a device that cannot be had.
var ErrDevice = errors.New("lenet: device not available")

// A Device is where a network runs.
type Device struct {
	Name   string // "cpu" or "cuda"
	Detail string // the instruction set and the threads, or the name of the GPU
	// Kernels is what the last bits of a result depend on besides the name: the
	// instruction set.
	Kernels string
	Reason  string // why it was chosen
	gpu     int    // its number
}

// String returns "cpu (detail)".
func (d Device) String() string { return fmt.Sprintf("%s (%s)", d.Name, d.Detail) }

// option is what [OnDevice] takes for the device.
func (d Device) option() string {
	if d.Name == "cuda" {
		return fmt.Sprintf("cuda:%d", d.gpu)
	}
	return d.Name
}

// Device returns where the network runs.
func (n *Net) Device() Device {
	d := n.device
	if d.Name == "cpu" {
		d.Detail, d.Kernels = cpu.Describe(n.threads), cpu.Kernels()
	}
	return d
}

// CheckDevice reports whether name is one that [OnDevice] knows: "auto", "cpu",
// "cuda", or "cuda:1" and so on. It does not look for the device. The error
// wraps [ErrDevice].
func CheckDevice(name string) error {
	_, err := parseDevice(name)
	return err
}

// parseDevice returns the number of a GPU, -1 for the others.
func parseDevice(name string) (int, error) {
	kind, number, numbered := strings.Cut(name, ":")
	switch {
	case name == "" || name == "auto" || name == "cpu":
		return -1, nil
	case kind == "cuda" && !numbered:
		return 0, nil
	case kind == "cuda":
		if n, err := strconv.Atoi(number); err == nil && n >= 0 {
			return n, nil
		}
	}
	return 0, fmt.Errorf("%w: %q; there are auto, cpu, cuda and cuda:N, N from 0", ErrDevice, name)
}

func chooseDevice(name string) (Device, error) {
	n, err := parseDevice(name)
	if err != nil {
		return Device{}, err
	}
	switch {
	case name == "cpu":
		return Device{Name: "cpu", Reason: "it was asked for"}, nil
	case n < 0:
		return automatic(), nil
	}
	d, err := openGPU(n)
	if err != nil {
		return Device{}, fmt.Errorf("%w: %w", ErrDevice, err)
	}
	d.Reason = "it was asked for"
	return d, nil
}

// openGPU makes sure that GPU n can be used.
func openGPU(n int) (Device, error) {
	name, err := cuda.Open(n)
	if n > 0 {
		name = fmt.Sprintf("number %d, %s", n, name)
	}
	return Device{Name: "cuda", Detail: name, Kernels: "float32", gpu: n}, err
}

// automatic is a GPU if this build can use one and there is one, else the CPU.
func automatic() Device {
	d := Device{Name: "cpu"}
	switch b := cuda.Build(); {
	case b.Simulated:
		d.Reason = "the simulator of a GPU is only used if it is asked for"
	case b.Built:
		gpu, err := openGPU(0)
		if err == nil {
			gpu.Reason = "it is there"
			return gpu
		}
		d.Reason = err.Error()
	case b.Driver:
		d.Reason = "there is a driver of NVIDIA's, but " + cuda.ErrNotBuilt.Error() + ": " + b.Hint
	default:
		d.Reason = "it is the only device of this build"
	}
	return d
}

// newEngine compiles a program for the network's device. One image at a time
// is for the CPU in any case: it is done before a GPU has begun.
func (n *Net) newEngine(p *engine.Program) (engine.Engine, error) {
	if n.device.Name != "cuda" || p.Loss == nil && p.BatchSize() == 1 {
		return cpu.New(p, n.threads)
	}
	e, err := cuda.New(p, n.device.gpu)
	if errors.Is(err, cuda.ErrNoDevice) || errors.Is(err, cuda.ErrMemory) || errors.Is(err, cuda.ErrUnsuitable) {
		err = fmt.Errorf("%w: %w", ErrDevice, err)
	}
	return e, err
}
