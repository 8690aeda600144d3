package cuda

import (
	"errors"
	"unsafe"
)

// Errors about devices; those that [Open] returns wrap one of them.
var (
	// ErrNotBuilt says that the program was built without a device.
	ErrNotBuilt = errors.New("this build cannot use CUDA")
	// ErrNoDevice says that there is none, or not the one asked for.
	ErrNoDevice = errors.New("no such CUDA device")
	// ErrUnsuitable says that the device is there, but cannot be used.
	ErrUnsuitable = errors.New("the CUDA device cannot be used")
	// ErrMemory says that the device has too little memory left.
	ErrMemory = errors.New("the CUDA device has too little memory")
)

// A launch runs a kernel, with the program and one more number as arguments.
type launch struct {
	kernel        string
	grid, threads int
	argument      int64
	// beside says that this launch may run beside those that follow and are
	// not, up to the next that joins.
	beside, join bool
}

// A device is a GPU, or the simulator in its place. What it is told happens in
// the order of the calls; it is used by one goroutine at a time.
type device interface {
	// describe names the device: "NVIDIA H100 80GB HBM3".
	describe() string
	alloc(bytes int) (address, error)
	free(address)
	// clear fills with zeros.
	clear(dst address, bytes int) error
	// write copies to the device. src may be changed when it returns.
	write(dst address, src unsafe.Pointer, bytes int) error
	// read copies from the device, after all that was asked for before.
	read(dst unsafe.Pointer, src address, bytes int) error
	// build makes one thing of several launches.
	build(program address, launches []launch) (graph, error)
	// run runs it so many times. It does not wait; an error may come later.
	run(g graph, times int) error
	// close frees what is left.
	close() error
}

// A graph is what build returns.
type graph int

// Status is what this build can do.
type Status struct {
	Built     bool   // with a device
	Simulated bool   // which is the simulator
	Driver    bool   // a driver of NVIDIA's seems to be installed
	Hint      string // how to build with a device, if this build has none
}
