package cpu

import (
	"runtime"
	"unsafe"

	"example.com/lenet5/internal/kernel"
)

// A worker is the memory of one thread: the buffers of a block, and the
// arguments of kernels, which live here because what is passed to a kernel
// through a pointer cannot stay on the stack.
type worker struct {
	correlation   kernel.Correlation
	scatter       kernel.Scatter
	weights       kernel.Weights
	elements      kernel.Elements
	pooling       kernel.Pooling
	transposition kernel.Transposition
	optimization  kernel.Optimization
	tail          [4][kernel.Lanes]float32 // parameters that do not fill a block
	packing       kernel.Packing
	images        [kernel.Lanes]*byte
	transformed   []byte // images, if the batch transforms them
	print         kernel.Fingerprint
	exps          [256]float32
	rows          []float32 // two rows of a gradient
	unused        [kernel.Lanes]float32
	scores        []float32 // (classes, lane), if there are codes
	dscores       []float32
	convs         []*convBuffers
	denses        []*denseBuffers
}

// hire makes as many workers as there may be threads.
func (e *Engine) hire() {
	n := runtime.GOMAXPROCS(0)
	if e.threads > 0 {
		n = min(n, e.threads)
	}
	for len(e.workers) < n {
		e.workers = append(e.workers, e.newWorker())
	}
}

// newWorker lays out the buffers, so that each stage writes where the next one
// reads.
func (e *Engine) newWorker() *worker {
	w := &worker{}
	backward := e.plan.Backward
	if e.codes != nil {
		w.scores, w.dscores = make([]float32, e.classes*kernel.Lanes), make([]float32, e.classes*kernel.Lanes)
	}
	for i, c := range e.convs {
		b := c.buffers(backward)
		if i == 0 && e.prog.Padding > 0 { // the padding of the image is background
			for k := range b.x {
				b.x[k] = e.prog.Offset
			}
			e.clearPadding(c, b)
		}
		w.convs = append(w.convs, b)
	}
	for i, d := range e.denses {
		b := &denseBuffers{y: make([]float32, d.op*kernel.Lanes)}
		if backward {
			b.dy = make([]float32, d.op*kernel.Lanes)
		}
		if i > 0 {
			// Its input is what the layer before puts out.
			b.x, b.dx = w.denses[i-1].y, w.denses[i-1].dy
		} else {
			b.x = make([]float32, d.ip*kernel.Lanes)
			if len(e.convs) == 0 {
				for k := range d.I * kernel.Lanes {
					b.x[k] = e.prog.Offset // the padding of the image
				}
			}
			if backward {
				b.dx = make([]float32, d.ip*kernel.Lanes)
			}
		}
		w.denses = append(w.denses, b)
	}
	for i, c := range e.convs {
		b := w.convs[i]
		if i+1 < len(e.convs) {
			next, nb := e.convs[i+1], w.convs[i+1]
			inner := next.pad*next.wp + next.pad
			b.out = viewOf(nb.x, next.hp, next.wp, inner)
			if backward {
				b.dout = viewOf(nb.dx, next.hp, next.wp, inner)
			}
			continue
		}
		b.out = viewOf(w.denses[0].x, c.ph, c.pw, 0)
		if backward {
			b.dout = viewOf(w.denses[0].dx, c.ph, c.pw, 0)
		}
	}
	return w
}

// clearPadding makes the convolution's own padding zero again.
func (e *Engine) clearPadding(c *convStage, b *convBuffers) {
	for ch := range c.C {
		for y := range c.hp {
			for x := range c.wp {
				if y < c.pad || y >= c.hp-c.pad || x < c.pad || x >= c.wp-c.pad {
					clear(b.x[((ch*c.hp+y)*c.wp+x)*kernel.Lanes:][:kernel.Lanes])
				}
			}
		}
	}
}

// packRow is 16 pixels: where they are in an image, and where they go.
type packRow struct {
	at  int // the offset in the image, in bytes
	dst int // the offset in the input of the first stage, in floats
	n   int // how many pixels, if fewer than 16
}

// planPacking cuts the rows of the image into pieces of 16 pixels; the last
// one of a row overlaps the one before.
func (e *Engine) planPacking() {
	row := func(at, dst, width int) {
		if width < 16 {
			e.packs = append(e.packs, packRow{at, dst, width})
			return
		}
		for x := 0; x < width; x += 16 {
			x := min(x, width-16)
			e.packs = append(e.packs, packRow{at + x, dst + x*kernel.Lanes, 16})
		}
	}
	shape, pad := e.prog.Images.Shape(), e.prog.Padding
	// The geometry of the buffer that the images go to.
	height, width, inner := shape[2], shape[3], pad
	if len(e.convs) > 0 {
		c := e.convs[0]
		height, width, inner = c.hp, c.wp, pad+c.pad
	}
	h, w := shape[2]-2*pad, shape[3]-2*pad
	for ch := range shape[1] {
		for y := range h {
			row((ch*h+y)*w, ((ch*height+y+inner)*width+inner)*kernel.Lanes, w)
		}
	}
}

// packBlock gathers the images of block b, scales them, and puts them side by
// side.
func (e *Engine) packBlock(w *worker, b int) {
	for l := range w.images {
		n := b*kernel.Lanes + l
		if n >= e.count {
			w.images[l] = &e.zeros[0]
			continue
		}
		image := e.batch.Images[e.batch.Row(n)*e.size:][:e.size:e.size]
		if e.batch.Transform != nil {
			if w.transformed == nil {
				w.transformed = make([]byte, kernel.Lanes*e.size)
			}
			transformed := w.transformed[l*e.size:][:e.size:e.size]
			e.batch.Transform(transformed, image, n)
			image = transformed
		}
		w.images[l] = &image[0]
	}
	x := w.denses[0].x
	if len(e.convs) > 0 {
		x = w.convs[0].x
	}
	p := &w.packing
	*p = kernel.Packing{Images: &w.images, Scale: kernel.Number(e.prog.Scale), Offset: kernel.Number(e.prog.Offset)}
	for _, r := range e.packs {
		if r.n < 16 {
			e.packShort(w, x, r)
			continue
		}
		p.At, p.Dst = r.at, kernel.At(x, r.dst)
		e.set.Pack(p)
	}
}

// packShort packs a row of fewer than 16 pixels.
func (e *Engine) packShort(w *worker, x []float32, r packRow) {
	for l := range w.images {
		image := unsafe.Slice(w.images[l], e.size)
		for i, v := range image[r.at:][:r.n] {
			x[r.dst+i*kernel.Lanes+l] = e.prog.Scale*float32(v) + e.prog.Offset
		}
	}
}
