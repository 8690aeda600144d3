//go:build cudasim && cgo

package cuda

// #cgo CXXFLAGS: -std=c++17 -O2 -Wall -Wno-unknown-pragmas -U_FORTIFY_SOURCE
// #include <stdlib.h>
// #include <string.h>
// #include "simulator.h"
import "C"

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"unsafe"
)

// Build says what this build can do.
func Build() Status { return Status{Built: true, Simulated: true} }

// simulating guards the simulator, which runs one launch at a time.
var simulating sync.Mutex

// simulation says how it runs.
var simulation struct {
	order int    // which threads come first: 0, 1 or 2
	file  string // where a barrier is left out
	line  int
}

// simulator is a device on the CPU, for tests: see simulator.cpp.
type simulator struct {
	blocks []address
	graphs []built
	fault  error // found in memory that was freed; close returns it
}

type built struct {
	program  address
	launches []launch
}

func open(n int) (device, error) {
	if n != 0 {
		return nil, fmt.Errorf("%w: cuda:%d; the simulator is cuda:0", ErrNoDevice, n)
	}
	return &simulator{}, nil
}

func (s *simulator) describe() string { return "simulator" }

// memoryOfSimulator bounds an allocation.
const memoryOfSimulator = 4 << 30

func (s *simulator) alloc(bytes int) (address, error) {
	if bytes > memoryOfSimulator {
		return 0, fmt.Errorf("%w: %d MB at once", ErrMemory, bytes>>20)
	}
	p := C.simulator_alloc(C.size_t(bytes))
	if p == nil {
		return 0, fmt.Errorf("%w: %d MB", ErrMemory, bytes>>20)
	}
	a := address(uintptr(p))
	s.blocks = append(s.blocks, a)
	return a, nil
}

// pointer makes a pointer of an address, which is one of C's heap.
func pointer(a address) unsafe.Pointer {
	p := uintptr(a)
	return *(*unsafe.Pointer)(unsafe.Pointer(&p))
}

func (s *simulator) free(a address) {
	if i := slices.Index(s.blocks, a); i >= 0 {
		s.blocks = slices.Delete(s.blocks, i, i+1)
		s.release(a)
	}
}

func (s *simulator) clear(dst address, bytes int) error {
	C.memset(pointer(dst), 0, C.size_t(bytes))
	return nil
}

func (s *simulator) write(dst address, src unsafe.Pointer, bytes int) error {
	C.memcpy(pointer(dst), src, C.size_t(bytes))
	return nil
}

func (s *simulator) read(dst unsafe.Pointer, src address, bytes int) error {
	C.memcpy(dst, pointer(src), C.size_t(bytes))
	return nil
}

func (s *simulator) build(program address, launches []launch) (graph, error) {
	s.graphs = append(s.graphs, built{program, launches})
	return graph(len(s.graphs) - 1), nil
}

func (s *simulator) run(g graph, times int) error {
	simulating.Lock()
	defer simulating.Unlock()
	file := C.CString(simulation.file)
	defer C.free(unsafe.Pointer(file))
	C.simulator_set(C.int(simulation.order), file, C.int(simulation.line))
	b := s.graphs[g]
	for range times {
		var later []launch // what may run beside others comes after them in one of the orders
		for _, l := range b.launches {
			if l.beside && simulation.order == 1 {
				later = append(later, l)
				continue
			}
			if l.join {
				if err := s.launch(b.program, later...); err != nil {
					return err
				}
				later = nil
			}
			if err := s.launch(b.program, l); err != nil {
				return err
			}
		}
		if err := s.launch(b.program, later...); err != nil {
			return err
		}
	}
	return nil
}

func (s *simulator) launch(program address, launches ...launch) error {
	for _, l := range launches {
		name := C.CString(l.kernel)
		e := C.simulator_launch(name, C.int(l.grid), C.int(l.threads), pointer(program), C.longlong(l.argument))
		C.free(unsafe.Pointer(name))
		if e != nil {
			return errors.New("cuda: simulator: " + l.kernel + ": " + C.GoString(e))
		}
	}
	return nil
}

func (s *simulator) close() error {
	for _, a := range s.blocks {
		s.release(a)
	}
	s.blocks = nil
	return s.fault
}

// release frees an array, and notes what a kernel wrote around it.
func (s *simulator) release(a address) {
	if e := C.simulator_free(pointer(a)); e != nil {
		s.fault = errors.New("cuda: simulator: " + C.GoString(e))
	}
}

// number is the i-th of those that both languages know: see the test.
func number(i int) int { return int(C.simulator_number(C.int(i))) }
