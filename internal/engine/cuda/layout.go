package cuda

import (
	"fmt"
	"unsafe"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"example.com/lenet5/internal/engine"
	"example.com/lenet5/internal/op"
	"example.com/lenet5/internal/plan"
)

// maxBlocks bounds the blocks that share a batch out, and with them the memory
// for their sums. It does not depend on the device, so that the order of the
// sums, and with it their last bits, is the same on all.
const maxBlocks = 512

// maxParameters keeps every place among them in 32 bits.
const maxParameters = 1 << 30

// queued is the number of steps that can wait.
const queued = 64

// A placed is a parameter with its place among those on the device, where each
// begins at a multiple of 4 floats.
type placed struct {
	value []float32
	at    int
}

// builder lays out a program in the memory of a device.
type builder struct {
	dev    device
	prog   *engine.Program
	plan   *plan.Plan
	p      *program
	places map[*gorgonia.Node]int32
	pack   [2][]int32 // see Program.pack
	mask   []byte     // nil: all connected
	packed int32
	memory int // bytes allocated
	err    error
}

// array allocates n elements of the given size, filled with zeros.
func (b *builder) array(n, size int) address {
	if b.err != nil {
		return 0
	}
	bytes := (max(n, 1)*size + 255) &^ 255
	var a address
	if a, b.err = b.dev.alloc(bytes); b.err != nil {
		b.err = fmt.Errorf("%w, after %.1f MB for a batch of %d; a smaller batch needs less", b.err, float64(b.memory)/(1<<20), b.prog.BatchSize())
		return 0
	}
	b.memory += bytes
	b.err = b.dev.clear(a, bytes)
	return a
}

func (b *builder) floats(n int) address { return b.array(n, 4) }

// upload allocates an array for what is in s.
func upload[T any](b *builder, s []T) address {
	if len(s) == 0 {
		return 0
	}
	size := int(unsafe.Sizeof(s[0]))
	a := b.array(len(s), size)
	if b.err == nil {
		b.err = b.dev.write(a, unsafe.Pointer(&s[0]), len(s)*size)
	}
	return a
}

func roundUp(n, multiple int) int { return (n + multiple - 1) / multiple * multiple }

func unsupported(format string, args ...any) error {
	return fmt.Errorf("%w: %s", plan.ErrUnsupported, fmt.Sprintf(format, args...))
}

// split parts the stages.
func (b *builder) split() (convs, denses []*plan.Stage, out *plan.Stage, err error) {
	stages := b.plan.Stages
	out = stages[len(stages)-1]
	for _, s := range stages[:len(stages)-1] {
		switch {
		case s.Kind == plan.Conv && len(denses) == 0:
			convs = append(convs, s)
		case s.Kind == plan.Dense:
			denses = append(denses, s)
		default:
			return nil, nil, nil, unsupported("a %v stage after a dense one", s.Kind)
		}
	}
	switch {
	case out.Kind != plan.Output || len(denses) == 0:
		return nil, nil, nil, unsupported("the output is not that of a dense layer")
	case len(convs) > maxStages || len(denses) > maxStages:
		return nil, nil, nil, unsupported("%d convolutions and %d dense layers; on a GPU there can be %d of each", len(convs), len(denses), maxStages)
	case out.Codes == nil && len(denses[len(denses)-1].Steps) > 0:
		return nil, nil, nil, unsupported("an activation after the last dense layer")
	}
	return convs, denses, out, nil
}

// place gives a parameter its place.
func (b *builder) place(n *gorgonia.Node) int32 {
	at := b.p.parameters
	b.places[n] = at
	b.p.parameters += int32(roundUp(n.Shape().TotalSize(), 4))
	return at
}

// functions and reductions are the numbers of program.h; 0 is none.
var (
	functions  = map[op.Function]int32{op.Sigmoid: 1, op.Tanh: 2, op.ScaledTanh: 3, op.ReLU: 4}
	reductions = map[op.Reduction]int32{op.Average: 1, op.Max: 2, plan.Trainable: 3}
)

// build makes the program; its arrays are on the device.
func (b *builder) build() error {
	convs, denses, out, err := b.split()
	if err != nil {
		return err
	}
	total := 0
	for _, n := range b.prog.Params {
		total += n.Shape().TotalSize()
	}
	if total > maxParameters {
		return unsupported("%d parameters; on a GPU there can be %d", total, maxParameters)
	}
	p, n := b.p, b.prog.BatchSize()
	p.batch, p.convs, p.denses = int32(n), int32(len(convs)), int32(len(denses))
	p.scale, p.offset = b.prog.Scale, b.prog.Offset
	if b.plan.Backward {
		p.backward = 1
	}
	p.gradBlocks = int32(min(n, maxBlocks))
	for i, s := range convs {
		b.conv(&p.conv[i], s)
	}
	p.convParams = p.parameters
	for i, s := range denses {
		b.dense(&p.dense[i], s)
	}
	p.parameters = int32(roundUp(int(p.parameters), columns))
	p.reduceBlocks = p.parameters / columns
	b.output(out, denses)
	b.shareForward(p.conv[:len(convs)])
	b.connect()
	tiles := 0
	for i := range denses {
		tiles += int(p.dense[i].tiles)
	}
	// Enough blocks for a large device, as long as a slice of the batch is not
	// smaller than what a block takes at once.
	p.denseParts = int32(max(1, min((264+tiles-1)/tiles, (n+tile-1)/tile)))

	p.params, p.packed = b.floats(int(p.parameters)), b.floats(int(b.packed))
	if p.convs > 0 {
		p.pack = upload(b, append(b.pack[0], b.pack[1]...))
	}
	p.losses, p.hits = b.floats(n), b.floats(n)
	p.steps = b.array(queued, int(unsafe.Sizeof(step{})))
	p.index = b.array(queued*n, 4)
	p.results = b.array(queued, int(unsafe.Sizeof(result{})))
	p.counters = b.array(1, int(unsafe.Sizeof(counters{})))
	if b.plan.Backward {
		p.grads, p.state, p.squares = b.floats(int(p.parameters)), b.floats(2*int(p.parameters)), b.floats(int(p.reduceBlocks))
		p.convPartials = b.floats(int(p.gradBlocks) * int(p.convParams))
		p.densePartials = b.floats(int(p.denseParts) * int(p.parameters-p.convParams))
		p.mask = upload(b, b.mask)
	}
	return b.err
}

// conv fills in what a convolution is, without its memory.
func (b *builder) conv(c *convStage, s *plan.Stage) {
	x, w, y := s.X.Shape(), s.Weight.Shape(), s.Y.Shape()
	c.channels, c.height, c.width, c.padding = int32(x[1]), int32(x[2]), int32(x[3]), int32(s.Padding)
	c.maps, c.kernel = int32(w[0]), int32(w[2])
	c.rows, c.cols = int32(y[2]), int32(y[3])
	c.weight, c.bias, c.poolWeight, c.poolBias = b.place(s.Weight), b.place(s.Bias), -1, -1
	for _, st := range s.Steps {
		switch {
		case st.Pool != "":
			c.pool = reductions[st.Pool]
			if st.Weight != nil {
				c.poolWeight, c.poolBias = b.place(st.Weight), b.place(st.Bias)
			}
			c.rows, c.cols = c.rows/2*2, c.cols/2*2
			c.before, c.after = c.after, 0
		default:
			c.after = functions[st.Activation]
		}
	}
	// Windows of two rows and columns may reach one beyond the last, and loads
	// of two floats one more. Rows are an odd number of pairs apart, so that
	// threads on neighbouring rows use different banks.
	c.in.pitch = int32(roundUp(x[3]+2*s.Padding+2-2, 4) + 2)
	c.in.plane = int32(x[2]+2*s.Padding+1) * c.in.pitch
	c.in.stride = int32(roundUp(int(c.channels*c.in.plane), 4))
	c.in.at = int32(s.Padding) * (c.in.pitch + 1)

	k := int(c.kernel)
	b.packWeights(c, s.Table, s.GradX != nil)
	if s.GradWeight == nil {
		return
	}
	if s.GradX != nil {
		c.border, c.left, c.dx = c.kernel-1, c.kernel-1, 1 // dx gets its address later
	}
	c.dyPitch = int32(roundUp(int(c.left)+y[3]+k-1+2-2, 4) + 2)
	c.dyPlane = (int32(y[2]) + 2*c.border + 1) * c.dyPitch
	c.dySize = int32(roundUp(int(c.maps*c.dyPlane), 4))
	// The arena, as far as it goes.
	free := int32(arena)
	take := func(size int32) int32 {
		size = int32(roundUp(int(size), 4))
		if size > free {
			return -1
		}
		free -= size
		return arena - free - size
	}
	c.gradDY, c.gradX, c.gradWeights = take(c.dySize), take(c.in.stride), -1
	if c.dx != 0 {
		c.gradWeights = take(c.maps * c.kernel * c.kernel * ((c.channels + 1) / 2 * 2))
	}
	c.nParts, c.gradSums = 1, 0
	if fast := (k == 5 || k == 3) && c.gradDY >= 0 && c.gradX >= 0; fast {
		size := c.maps * c.channels * c.kernel * c.kernel
		tasks := (c.maps + 1) / 2 * c.channels * c.kernel
		if parts := min(threads/tasks, c.rows, free/size); parts > 1 {
			c.nParts, c.gradSums = parts, take(parts*size)
		}
	}
	if c.gradDY < 0 {
		c.scratch = b.floats(int(b.p.gradBlocks) * int(c.dySize))
	}
	if c.pool != 0 && (c.before != 0 || c.pool >= 2) {
		c.yPitch, c.yPlane = c.cols, c.rows*c.cols
		c.yStride = c.maps * c.yPlane
		c.y = b.floats(b.prog.BatchSize() * int(c.yStride))
	}
}

// packWeights lays out the two copies of the weights.
func (b *builder) packWeights(c *convStage, table *op.Table, backward bool) {
	maps, channels, k := int(c.maps), int(c.channels), int(c.kernel)
	even := func(n int) int { return (n + 1) / 2 * 2 }
	c.forward = b.packed
	b.packed += int32(roundUp(channels*k*k*even(maps), 4))
	c.backward = b.packed
	if backward {
		b.packed += int32(roundUp(maps*k*k*even(channels), 4))
	}
	for i := range b.pack {
		for len(b.pack[i]) < int(b.p.parameters) {
			b.pack[i] = append(b.pack[i], -1)
		}
	}
	if table != nil && b.mask == nil {
		b.mask = []byte{}
	}
	if b.mask != nil {
		for len(b.mask) < int(b.p.parameters) {
			b.mask = append(b.mask, 1)
		}
	}
	for m := range maps {
		for ch := range channels {
			for pq := range k * k {
				j := int(c.weight) + (m*channels+ch)*k*k + pq
				b.pack[0][j] = c.forward + int32((ch*k*k+pq)*even(maps)+m)
				if backward { // turned by 180 degrees
					b.pack[1][j] = c.backward + int32((m*k*k+k*k-1-pq)*even(channels)+ch)
				}
				if !table.Connected(m, ch) {
					b.mask[j] = 0
				}
			}
		}
	}
}

// dense fills in what a dense layer is.
func (b *builder) dense(d *denseStage, s *plan.Stage) {
	w := s.Weight.Shape()
	d.out, d.in = int32(w[0]), int32(w.TotalSize()/w[0])
	d.weight, d.bias = b.place(s.Weight), b.place(s.Bias)
	if len(s.Steps) > 0 {
		d.activation = functions[s.Steps[0].Activation]
	}
	d.xPitch = int32(roundUp(int(d.in), 4))
	d.zPitch = int32(roundUp(int(d.out), 4))
	d.dyPitch = d.zPitch
	d.tileColumns = (d.in + 1 + tile - 1) / tile
	d.tiles = d.tileColumns * ((d.out + tile - 1) / tile)
	if d.in%4 == 0 {
		d.vector = 1
	}
	if s.GradX != nil {
		d.dx = 1 // its address comes later
	}
}

// output fills in the criterion.
func (b *builder) output(s *plan.Stage, denses []*plan.Stage) {
	p := b.p
	p.classes = p.dense[len(denses)-1].out
	if s.Codes != nil {
		p.classes, p.codeWidth = int32(s.Codes.Classes), int32(s.Codes.Width)
		codes := make([]float32, len(s.Codes.Values))
		for i, v := range s.Codes.Values {
			codes[i] = float32(v)
		}
		p.codes = upload(b, codes)
	}
	if s.Criterion.Rubbish {
		p.rubbish = 1
	}
	p.background, p.smoothing = s.Criterion.Background, s.Criterion.Smoothing
}

// shareForward deals out the arena of the kernel forward: the largest input
// that fits, and the weights of as many convolutions as fit beside it, which
// stay there.
func (b *builder) shareForward(convs []convStage) {
	x := int32(0)
	for i := range convs {
		if s := convs[i].in.stride; s <= arena*3/4 {
			x = max(x, s)
		}
	}
	at := x
	for i := range convs {
		c := &convs[i]
		c.sharedX, c.sharedWeights = -1, -1
		if c.in.stride <= x {
			c.sharedX = 0
		}
		if w := int32(roundUp(int(c.channels*c.kernel*c.kernel*((c.maps+1)/2*2)), 4)); at+w <= arena {
			c.sharedWeights = at
			at += w
		}
	}
}

// connect allocates what passes between the stages.
func (b *builder) connect() {
	p, n := b.p, b.prog.BatchSize()
	backward := b.plan.Backward
	images := b.prog.Images.Shape()
	pad := b.prog.Padding
	p.imageChannels, p.imageHeight, p.imageWidth = int32(images[1]), int32(images[2]-2*pad), int32(images[3]-2*pad)
	convs, denses := p.conv[:p.convs], p.dense[:p.denses]
	first := &denses[0]

	// The pixels, whose border of background is written once.
	p.in = layout{0, first.xPitch, int32(images[2] * images[3]), int32(images[3])}
	if len(convs) > 0 {
		p.in = convs[0].in
	}
	p.pixels = b.floats(n * int(p.in.stride))
	if pad > 0 && b.err == nil {
		border := make([]float32, n*int(p.in.stride))
		for e := range n {
			for c := range images[1] {
				for y := range images[2] {
					row := border[e*int(p.in.stride)+c*int(p.in.plane)+y*int(p.in.pitch)+int(p.in.at):][:images[3]]
					for x := range row {
						row[x] = b.prog.Offset
					}
				}
			}
		}
		b.err = b.dev.write(p.pixels, unsafe.Pointer(&border[0]), 4*len(border))
	}
	p.in.at += int32(pad) * (p.in.pitch + 1)

	x := p.pixels
	var dx address
	for i := range convs {
		c := &convs[i]
		c.x, c.dx = x, dx
		rows, cols := c.rows, c.cols
		if c.pool != 0 {
			rows, cols = rows/2, cols/2
		}
		if i+1 < len(convs) {
			c.out = convs[i+1].in
		} else {
			c.out = layout{0, first.xPitch, rows * cols, cols}
		}
		c.z = b.floats(n * int(c.out.stride))
		if backward {
			c.dz = b.floats(n * int(c.out.stride))
		}
		x, dx = c.z, c.dz
	}
	for i := range denses {
		d := &denses[i]
		d.x = x
		if d.dx != 0 {
			d.dx = dx
		}
		if i > 0 {
			d.inputActivation = denses[i-1].activation
		}
		last := i == len(denses)-1
		if last && p.codes == 0 {
			d.zPitch, d.dyPitch = p.classes, p.classes
		}
		d.z = b.floats(n * int(d.zPitch))
		if backward {
			d.dy = b.floats(n * int(d.dyPitch))
		}
		x, dx = d.z, d.dy
		if last && p.codes == 0 {
			p.logits, p.dlogits = d.z, d.dy
		}
	}
	if p.codes != 0 {
		p.logits = b.floats(n * int(p.classes))
		if backward {
			p.dlogits = b.floats(n * int(p.classes))
		}
	}
	if b.prog.Probabilities != nil {
		p.probabilities = b.floats(n * int(p.classes))
	}
}

// params are those of the program in its order, with their places.
func (b *builder) params() (ps []placed, err error) {
	for _, n := range b.prog.Params {
		v, ok := n.Value().(*tensor.Dense)
		at, known := b.places[n]
		if !ok || !known {
			return nil, fmt.Errorf("cuda: the parameter %v has no value or no layer", n)
		}
		ps = append(ps, placed{v.Float32s(), int(at)})
	}
	return ps, nil
}
