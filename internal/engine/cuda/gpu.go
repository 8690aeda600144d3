//go:build gpu && cgo && !cudasim

package cuda

/*
#cgo LDFLAGS: -lcuda

// What gorgonia.org/cu does not bind. The prototypes are here, not taken from
// cuda.h, since they are the same in every version of it.
int cuStreamBeginCapture_v2(void *stream, int mode);
int cuStreamEndCapture(void *stream, void **graph);
int cuGraphInstantiateWithFlags(void **exec, void *graph, unsigned long long flags);
int cuGraphDestroy(void *graph);
int cuGraphExecDestroy(void *exec);
int cuGraphLaunch(void *exec, void *stream);
int cuGetErrorName(int error, const char **name);
int cuGetErrorString(int error, const char **text);

static int launch_graph(void *exec, void *stream, int times) {
	for (int i = 0; i < times; i++) {
		int error = cuGraphLaunch(exec, stream);
		if (error) return error;
	}
	return 0;
}
*/
import "C"

import (
	_ "embed"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"unsafe"

	"gorgonia.org/cu"
)

// ptx is what clang makes of kernels.hpp: see generate.go.
//
//go:embed kernels.ptx
var ptx string

// The kernels use instructions of compute capability 8.0, Ampere, and later.
const needMajor = 8

// Build says what this build can do.
func Build() Status { return Status{Built: true, Driver: true} }

// A card is a device with the kernels loaded, shared by all engines on it.
type card struct {
	name      string
	context   cu.CUContext
	functions map[string]cu.Function
}

var cards struct {
	sync.Mutex
	open map[int]*card
}

// do calls f on a thread of the operating system that has the card's context.
func (c *card) do(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cu.SetCurrentContext(c.context); err != nil {
		return fmt.Errorf("%s: %w", c.name, explain(err))
	}
	if err := f(); err != nil {
		return fmt.Errorf("%s: %w", c.name, explain(err))
	}
	return nil
}

// unavailable ends what cu says of CUDA_ERROR_DEVICE_UNAVAILABLE, which it has
// no name for: a device in exclusive mode that another process has.
const unavailable = "UnknownErrorCode:46"

// explain wraps what has a name of ours.
func explain(err error) error {
	switch {
	case errors.Is(err, cu.OutOfMemory):
		return fmt.Errorf("%w (%w)", ErrMemory, err)
	case errors.Is(err, cu.ContextAlreadyInUse), strings.HasSuffix(err.Error(), unavailable):
		return fmt.Errorf("%w: it is in use by another process that does not share it (%w)", ErrUnsuitable, err)
	case errors.Is(err, cu.InvalidPtx), errors.Is(err, cu.NoBinaryForGpu), errors.Is(err, cu.JitCompilerNotFound):
		return fmt.Errorf("%w: the driver cannot compile the kernels; one of CUDA 12 or later can (%w)", ErrUnsuitable, err)
	}
	return err
}

// check makes an error of what a function above returned.
func check(code C.int) error {
	if code == 0 {
		return nil
	}
	var name, text *C.char
	C.cuGetErrorName(code, &name)
	C.cuGetErrorString(code, &text)
	return fmt.Errorf("%s: %s", C.GoString(name), C.GoString(text))
}

// load opens card n, or returns the one that is open.
func load(n int) (*card, error) {
	cards.Lock()
	defer cards.Unlock()
	if c, ok := cards.open[n]; ok {
		return c, nil
	}
	count, err := cu.NumDevices()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoDevice, err)
	}
	if n < 0 || n >= count {
		var names []string
		for i := range count {
			name, _ := cu.Device(i).Name()
			names = append(names, fmt.Sprintf("cuda:%d %s", i, name))
		}
		return nil, fmt.Errorf("%w: cuda:%d; there are %d: %s", ErrNoDevice, n, count, strings.Join(names, ", "))
	}
	d, err := cu.GetDevice(n)
	if err != nil {
		return nil, fmt.Errorf("%w: cuda:%d: %w", ErrNoDevice, n, err)
	}
	c := &card{functions: map[string]cu.Function{}}
	if c.name, err = d.Name(); err != nil {
		return nil, fmt.Errorf("%w: cuda:%d: %w", ErrUnsuitable, n, err)
	}
	major, minor, err := d.ComputeCapability()
	if err != nil || major < needMajor {
		return nil, fmt.Errorf("%w: cuda:%d, %s, is of compute capability %d.%d; %d.0 is needed (Ampere or later)", ErrUnsuitable, n, c.name, major, minor, needMajor)
	}
	if c.context, err = d.RetainPrimaryCtx(); err != nil {
		return nil, fmt.Errorf("cuda:%d, %s: %w", n, c.name, explain(err))
	}
	err = c.do(func() error {
		m, err := cu.LoadData(ptx)
		if err != nil {
			return err
		}
		for _, name := range []string{"forward", "dense", "dense_wide", "conv_gradient", "dense_gradient", "reduce", "update", "pack", "tally"} {
			if c.functions[name], err = m.Function(name); err != nil {
				return fmt.Errorf("kernel %s: %w", name, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, d.ReleasePrimaryCtx())
	}
	if cards.open == nil {
		cards.open = map[int]*card{}
	}
	cards.open[n] = c
	return c, nil
}

// gpu is a device: a card, and a stream of its own on it.
type gpu struct {
	*card
	stream, side  cu.Stream
	forked, ended cu.Event
	blocks        []address
	graphs        []unsafe.Pointer
}

func open(n int) (device, error) {
	c, err := load(n)
	if err != nil {
		return nil, err
	}
	g := &gpu{card: c}
	err = c.do(func() (err error) {
		if g.stream, err = cu.MakeStream(cu.NonBlocking); err != nil {
			return err
		}
		if g.side, err = cu.MakeStream(cu.NonBlocking); err != nil {
			return err
		}
		if g.forked, err = cu.MakeEvent(cu.DisableTiming); err != nil {
			return err
		}
		g.ended, err = cu.MakeEvent(cu.DisableTiming)
		return err
	})
	return g, err
}

func (g *gpu) describe() string { return g.name }

func (g *gpu) alloc(bytes int) (a address, err error) {
	err = g.do(func() error {
		p, err := cu.MemAlloc(int64(bytes))
		a = address(p)
		return err
	})
	if err == nil {
		g.blocks = append(g.blocks, a)
	}
	return a, err
}

func (g *gpu) free(a address) {
	i := slices.Index(g.blocks, a)
	if i < 0 {
		return
	}
	g.blocks = slices.Delete(g.blocks, i, i+1)
	// What a broken device says to this, it says to the next call too.
	_ = g.do(func() error { return errors.Join(g.stream.Synchronize(), cu.MemFree(cu.DevicePtr(a))) })
}

func (g *gpu) clear(dst address, bytes int) error {
	return g.do(func() error { return cu.MemsetD8Async(cu.DevicePtr(dst), 0, int64(bytes), g.stream) })
}

// write copies from memory that is not locked: the driver has read it when the
// call returns.
func (g *gpu) write(dst address, src unsafe.Pointer, bytes int) error {
	return g.do(func() error { return cu.MemcpyHtoDAsync(cu.DevicePtr(dst), src, int64(bytes), g.stream) })
}

func (g *gpu) read(dst unsafe.Pointer, src address, bytes int) error {
	return g.do(func() error {
		if err := cu.MemcpyDtoHAsync(dst, cu.DevicePtr(src), int64(bytes), g.stream); err != nil {
			return err
		}
		return g.stream.Synchronize()
	})
}

// pointer is the stream as C takes it.
func pointer(s cu.Stream) unsafe.Pointer { return unsafe.Pointer(s.C()) }

func (g *gpu) build(program address, launches []launch) (n graph, err error) {
	err = g.do(func() error {
		const relaxed = 2 // other threads may allocate meanwhile
		if err := check(C.cuStreamBeginCapture_v2(pointer(g.stream), relaxed)); err != nil {
			return err
		}
		err := g.capture(program, launches)
		var captured, exec unsafe.Pointer
		if e := check(C.cuStreamEndCapture(pointer(g.stream), &captured)); e != nil || err != nil {
			return errors.Join(err, e)
		}
		defer C.cuGraphDestroy(captured)
		if err := check(C.cuGraphInstantiateWithFlags(&exec, captured, 0)); err != nil {
			return err
		}
		g.graphs = append(g.graphs, exec)
		return nil
	})
	return graph(len(g.graphs) - 1), err
}

// capture launches on the stream, and beside it what may run beside.
func (g *gpu) capture(program address, launches []launch) error {
	beside := false
	join := func() error {
		if !beside {
			return nil
		}
		beside = false
		return errors.Join(g.ended.Record(g.side), g.stream.Wait(g.ended, 0))
	}
	for _, l := range launches {
		stream := g.stream
		if l.beside {
			if !beside {
				if err := errors.Join(g.forked.Record(g.stream), g.side.Wait(g.forked, 0)); err != nil {
					return err
				}
				beside = true
			}
			stream = g.side
		}
		if l.join {
			if err := join(); err != nil {
				return err
			}
		}
		err := g.functions[l.kernel].Launch(l.grid, 1, 1, l.threads, 1, 1, 0, stream,
			[]unsafe.Pointer{unsafe.Pointer(&program), unsafe.Pointer(&l.argument)})
		if err != nil {
			return fmt.Errorf("kernel %s: %w", l.kernel, err)
		}
	}
	return join()
}

func (g *gpu) run(n graph, times int) error {
	return g.do(func() error { return check(C.launch_graph(g.graphs[n], pointer(g.stream), C.int(times))) })
}

func (g *gpu) close() error {
	return g.do(func() error {
		errs := []error{g.stream.Synchronize()}
		for _, exec := range g.graphs {
			errs = append(errs, check(C.cuGraphExecDestroy(exec)))
		}
		for _, a := range g.blocks {
			errs = append(errs, cu.MemFree(cu.DevicePtr(a)))
		}
		g.graphs, g.blocks = nil, nil
		errs = append(errs, cu.DestroyEvent(&g.forked), cu.DestroyEvent(&g.ended), g.side.Destroy(), g.stream.Destroy())
		return errors.Join(errs...)
	})
}
