package cuda

import (
	"bytes"
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"

	"example.com/lenet5/internal/engine"
)

// write copies a slice to the device.
func write[T any](e *Engine, dst address, s []T) error {
	if len(s) == 0 {
		return nil
	}
	return e.dev.write(dst, unsafe.Pointer(&s[0]), len(s)*int(unsafe.Sizeof(s[0])))
}

// read copies from the device into s.
func read[T any](e *Engine, s []T, src address) error {
	if len(s) == 0 {
		return nil
	}
	return e.dev.read(unsafe.Pointer(&s[0]), src, len(s)*int(unsafe.Sizeof(s[0])))
}

// asBytes is the memory of s.
func asBytes(s []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), 4*len(s))
}

// differ copies what is not as in the mirror, and reports whether there was
// any.
func differ(mirror []float32, ps []placed) bool {
	changed := false
	for _, p := range ps {
		m := mirror[p.at:][:len(p.value)]
		if !bytes.Equal(asBytes(m), asBytes(p.value)) {
			copy(m, p.value)
			changed = true
		}
	}
	return changed
}

// push brings parameters that the host has changed to the device.
func (e *Engine) push() error {
	if !differ(e.mirror, e.params) && e.pushed {
		return nil
	}
	e.pushed = true
	if err := write(e, e.p.params, e.mirror); err != nil {
		return err
	}
	if e.p.convs == 0 {
		return nil
	}
	return e.launch(packWeights, 1)
}

// pull brings the parameters back to the host.
func (e *Engine) pull() error {
	if err := read(e, e.mirror, e.p.params); err != nil {
		return err
	}
	for _, p := range e.params {
		copy(p.value, e.mirror[p.at:])
	}
	return nil
}

// pullGradients does so with the gradients.
func (e *Engine) pullGradients() error {
	if !e.stale {
		return nil
	}
	if err := read(e, e.gradMirror, e.p.grads); err != nil {
		return err
	}
	for _, g := range e.grads {
		copy(g.value, e.gradMirror[g.at:])
	}
	e.stale = false
	return nil
}

// images collects the images of a batch for the device.
func (e *Engine) images(b engine.Batch) []byte {
	n := b.Len(e.size)
	if b.Index == nil && b.Transform == nil {
		return b.Images[:n*e.size]
	}
	if len(e.staging) < e.prog.BatchSize()*e.size {
		e.staging = make([]byte, e.prog.BatchSize()*e.size)
	}
	one := func(k int) {
		dst, src := e.staging[k*e.size:][:e.size], b.Images[b.Row(k)*e.size:][:e.size]
		if b.Transform != nil {
			b.Transform(dst, src, k)
		} else {
			copy(dst, src)
		}
	}
	workers := min(runtime.GOMAXPROCS(0), n)
	if b.Transform == nil || workers < 2 {
		for k := range n {
			one(k)
		}
		return e.staging[:n*e.size]
	}
	var next atomic.Int64
	var done sync.WaitGroup
	for range workers {
		done.Add(1)
		go func() {
			defer done.Done()
			for k := int(next.Add(1)) - 1; k < n; k = int(next.Add(1)) - 1 {
				one(k)
			}
		}()
	}
	done.Wait()
	return e.staging[:n*e.size]
}

// stage copies the images of a batch, and its labels, to the device, where the
// slot-th step of the queue has its own.
func (e *Engine) stage(b engine.Batch, slot int) (step, error) {
	n, batch := b.Len(e.size), e.prog.BatchSize()
	s := step{images: e.staged + address(slot*batch*(e.size+1)), count: int32(n), gathered: 1}
	if err := write(e, s.images, e.images(b)); err != nil || e.prog.Labels == nil {
		return s, err
	}
	s.labels = s.images + address(batch*e.size)
	e.stagedLabels = e.stagedLabels[:0]
	for k := range n {
		e.stagedLabels = append(e.stagedLabels, b.Labels[b.Row(k)])
	}
	return s, write(e, s.labels, e.stagedLabels)
}
