package data

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"strings"
	"sync"
)

// An Augmentation says how images are changed each time that they are trained
// on, so that a network sees no image twice. The zero value changes nothing.
type Augmentation struct {
	// Shift moves the image by -Shift to Shift pixels each way, all equally
	// likely. What comes in is background, a byte of 0.
	Shift int
	// Rotation turns it by -Rotation to Rotation degrees about its centre, in
	// steps of at most a third of a degree.
	Rotation float64
	// Flip mirrors every second image, left to right. The data set must allow
	// it; see [Dataset].Flippable.
	Flip bool
	// Elastic bends it: points of a grid, four pixels apart, are moved at random, with this standard deviation in pixels, and
	// what lies between them with them. It is in the spirit of Simard,
	// Steinkraus and Platt, "Best practices for convolutional neural networks",
	// 2003, who smooth a displacement of every pixel.
	Elastic float64
}

// String returns "shift 2, rotation 10, flip", or "none".
func (a Augmentation) String() string {
	var parts []string
	if a.Shift != 0 {
		parts = append(parts, fmt.Sprintf("shift %d", a.Shift))
	}
	if a.Rotation != 0 {
		parts = append(parts, fmt.Sprintf("rotation %g", a.Rotation))
	}
	if a.Elastic != 0 {
		parts = append(parts, fmt.Sprintf("elastic %g", a.Elastic))
	}
	if a.Flip {
		parts = append(parts, "flip")
	}
	if parts == nil {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// An Augmenter changes images of one size. It may be used by several
// goroutines at once.
type Augmenter struct {
	a                       Augmentation
	channels, height, width int
	// A rotation reads from a copy of the image with a margin of background,
	// wide enough for whatever angle, shift and bending are drawn.
	margin, stride int
	scratch        sync.Pool // of *scratch
	// turns are the angles that there are, from -Rotation on, and steps their
	// number on each side of 0.
	turns []turn
	steps int
}

// A turn is a rotation by one angle: the place in the source of the first
// pixel, and how far it is from there to the next to the right; the next below
// is at a right angle to that. All are in 1/one pixels.
type turn struct {
	u, v, du, dv int
	// places has for each pixel where in the source it begins, in pixels, and
	// in the lowest 8 bits which of the weights are its own; nil if that would
	// take too much memory.
	places []uint32
}

// maxPlaces bounds the numbers in the places of all turns.
const maxPlaces = 1 << 22

// scratch is the memory that a rotation takes.
type scratch struct {
	pairs []uint32 // the image, with the margin clear
	// nodes are the displacements of the grid, right and down, in 1/one pixels;
	// across are those on the row that is drawn.
	nodes, across [][2]int
}

// NewAugmenter returns an Augmenter for the images of d. The error wraps
// [ErrDataset] if a is not for them.
func NewAugmenter(a Augmentation, d *Dataset) (*Augmenter, error) {
	bad := func(format string, args ...any) (*Augmenter, error) {
		return nil, fmt.Errorf("%w: %s: augmentation: %s", ErrDataset, d.Name, fmt.Sprintf(format, args...))
	}
	switch {
	case a.Shift < 0 || a.Shift >= min(d.Height, d.Width):
		return bad("want a shift of 0 to %d pixels, found %d", min(d.Height, d.Width)-1, a.Shift)
	case !(a.Rotation >= 0 && a.Rotation <= 180):
		return bad("want a rotation of 0 to 180 degrees, found %g", a.Rotation)
	case !(a.Elastic >= 0 && a.Elastic <= 8):
		return bad("want an elastic displacement of 0 to 8 pixels, found %g", a.Elastic)
	case a.Flip && !d.Flippable:
		return bad("a mirrored image of it may be of another class; if it is not, set Flippable of the data set")
	}
	m := &Augmenter{a: a, channels: d.Channels, height: d.Height, width: d.Width}
	radius := math.Hypot(float64(d.Height), float64(d.Width))/2 + 1.5*float64(a.Shift)
	furthest := 2 * radius * math.Sin(a.Rotation/2*math.Pi/180)
	m.margin = int(furthest+furthestNode*a.Elastic) + a.Shift + 2
	m.stride = d.Width + 2*m.margin
	size := m.stride * (d.Height + 2*m.margin) * d.Channels
	m.plan()
	m.scratch.New = func() any {
		s := &scratch{pairs: make([]uint32, size)}
		if a.Elastic > 0 {
			s.across = make([][2]int, d.Width/spacing+2)
			s.nodes = make([][2]int, len(s.across)*(d.Height/spacing+2))
		}
		return s
	}
	return m, nil
}

// Apply writes to dst what src becomes when the i-th image of its set is
// trained on in an epoch: it depends on nothing else but the seed. Both are
// (channels, height, width), and must not overlap.
func (m *Augmenter) Apply(dst, src []byte, seed uint64, epoch, i int) {
	random := mix(mix(mix(seed)^uint64(epoch)) ^ uint64(i))
	dx, dy := m.shift(random&0xffff), m.shift(random>>16&0xffff)
	flip := m.a.Flip && random>>32&1 == 1
	if m.a.Rotation > 0 || m.a.Elastic > 0 {
		m.rotate(dst, src, dx, dy, random>>33)
	} else {
		m.move(dst, src, dx, dy)
	}
	if flip {
		for row := range m.channels * m.height {
			mirror(dst[row*m.width:][:m.width])
		}
	}
}

// mix is the finaliser of SplitMix64 (Steele, Lea, Flood, 2014), after adding
// its increment: a change of one bit changes half of the others.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// shift makes 16 random bits a number of pixels.
func (m *Augmenter) shift(random uint64) int {
	return int(random*uint64(2*m.a.Shift+1)>>16) - m.a.Shift
}

// move shifts the image by whole pixels.
func (m *Augmenter) move(dst, src []byte, dx, dy int) {
	if dx == 0 && dy == 0 {
		copy(dst, src)
		return
	}
	clear(dst)
	lo, hi := max(dx, 0), min(m.width, m.width+dx)
	for c := range m.channels {
		for y := max(dy, 0); y < min(m.height, m.height+dy); y++ {
			row := (c*m.height + y) * m.width
			copy(dst[row+lo:row+hi], src[row-dy*m.width+lo-dx:])
		}
	}
}

// The coordinates of a rotation have 16 bits after the point, and the upper
// four of them weigh the pixels.
const one = 1 << 16

// plan works out the turns.
func (m *Augmenter) plan() {
	m.steps = int(math.Ceil(3 * m.a.Rotation))
	m.turns = make([]turn, 2*m.steps+1)
	fixed := func(x float64) int { return int(math.Round(x * one)) }
	for i := range m.turns {
		angle := 0.0
		if m.steps > 0 {
			angle = m.a.Rotation * float64(i-m.steps) / float64(m.steps) * math.Pi / 180
		}
		sin, cos := math.Sincos(angle)
		// The place in the source of a pixel is the centre plus its rotated
		// distance from there.
		cx, cy := float64(m.width-1)/2, float64(m.height-1)/2
		t := &m.turns[i]
		t.u, t.v = fixed(cx-cos*cx+sin*cy)+m.margin*one, fixed(cy-sin*cx-cos*cy)+m.margin*one
		t.du, t.dv = fixed(cos), fixed(sin)
		if m.height*m.width*len(m.turns) > maxPlaces || m.a.Elastic > 0 {
			continue
		}
		for y := range m.height {
			u, v := t.u-y*t.dv, t.v+y*t.du
			for range m.width {
				t.places = append(t.places, uint32((v>>16)*m.stride+u>>16)<<8|uint32(weigh(u, v)))
				u, v = u+t.du, v+t.dv
			}
		}
	}
}

// rotate turns the image about its centre by an angle from 31 random bits,
// after shifting it, interpolating between the four pixels around each place.
func (m *Augmenter) rotate(dst, src []byte, dx, dy int, random uint64) {
	s, _ := m.scratch.Get().(*scratch)
	defer m.scratch.Put(s)
	plane := m.stride * (m.height + 2*m.margin)
	for c := range m.channels {
		for y := range m.height {
			at := c*plane + (y+m.margin)*m.stride + m.margin - 1
			pair(s.pairs[at:at+m.width+1], src[(c*m.height+y)*m.width:][:m.width])
		}
	}
	t := &m.turns[random*uint64(len(m.turns))>>31]
	if t.places != nil {
		size := m.height * m.width
		for c := range m.channels {
			gather(dst[c*size:][:size], s.pairs[c*plane:][:plane], t.places, m.stride, -dy*m.stride-dx)
		}
		return
	}
	if m.a.Elastic > 0 {
		m.drawNodes(s, random)
	}
	for y := range m.height {
		u, v := t.u-y*t.dv-dx*one, t.v+y*t.du-dy*one
		if m.a.Elastic > 0 {
			s.cross(y)
		}
		for c := range m.channels {
			row, source := dst[(c*m.height+y)*m.width:][:m.width], s.pairs[c*plane:][:plane]
			if m.a.Elastic > 0 {
				bend(row, source, s.across, m.stride, u, v, t.du, t.dv)
			} else {
				sample(row, source, m.stride, u, v, t.du, t.dv)
			}
		}
	}
}

// pair puts each pixel of a row, with its right neighbour, into the halves of a
// word; before the row and after it is background.
func pair(dst []uint32, row []byte) {
	left := uint32(0)
	for len(row) >= 4 && len(dst) > 4 {
		w := binary.LittleEndian.Uint32(row)
		dst[0] = left | w&0xff<<16
		dst[1] = w&0xff | w&0xff00<<8
		dst[2] = w>>8&0xff | w&0xff0000
		dst[3] = w>>16&0xff | w>>24<<16
		left, row, dst = w>>24, row[4:], dst[4:]
	}
	for _, p := range row {
		dst[0] = left | uint32(p)<<16
		left, dst = uint32(p), dst[1:]
	}
	dst[0] = left
}

// weights are those of four pixels, in the order of the lower right, lower
// left, upper right and upper left one, for each sixteenth down and each
// sixteenth to the right; they add up to 256.
var weights = func() (w [256]uint64) {
	for i := range w {
		down, right := uint64(i/16), uint64(i%16)
		w[i] = down*right | down*(16-right)<<16 | (16-down)*right<<32 | (16-down)*(16-right)<<48
	}
	return w
}()

// weigh says which weights are those of a place.
func weigh(u, v int) byte { return byte(v>>8&0xf0 | u>>12&0xf) }

// interpolate weighs the four pixels that begin in one row of pairs and in the
// next. With the pixels in one word and the weights, in the opposite order, in
// another, the highest 16 bits of the product are the sum of products, and
// nothing below carries into them.
func interpolate(above, below uint32, w byte) byte {
	pixels := uint64(above) | uint64(below)<<32
	return byte((pixels*weights[w] + 128<<48) >> 56)
}

// gather fills a plane with what lies at places of the source, moved by an
// offset.
func gather(dst []byte, pairs, places []uint32, stride, offset int) {
	below := pairs[stride:]
	pairs = pairs[:len(below)]
	places = places[:len(dst)]
	for i, p := range places {
		at := int(p>>8) + offset
		dst[i] = interpolate(pairs[at], below[at], byte(p))
	}
}

// sample fills a row with what lies on a line through the source, from (u, v)
// in steps of (du, dv).
func sample(row []byte, pairs []uint32, stride, u, v, du, dv int) {
	below := pairs[stride:]
	pairs = pairs[:len(below)]
	for x := range row {
		at := (v>>16)*stride + u>>16
		row[x] = interpolate(pairs[at], below[at], weigh(u, v))
		u, v = u+du, v+dv
	}
}

// The grid of an elastic distortion has a node every few pixels. Its random
// numbers are sums of four uniform ones: nearly normal, and bounded, by this
// many standard deviations.
const (
	spacing      = 4
	furthestNode = 2 * 1.7320508
)

// drawNodes draws the displacements of the nodes.
func (m *Augmenter) drawNodes(s *scratch, seed uint64) {
	// The sum of four numbers of 16 bits has a standard deviation of
	// 65536/sqrt(3), about their mean of twice 65536.
	scale := m.a.Elastic * math.Sqrt(3)
	draw := func(r uint64) int {
		sum := int(r&0xffff+r>>16&0xffff+r>>32&0xffff+r>>48) - 2*65535
		return int(scale * float64(sum))
	}
	for i := range s.nodes {
		seed = mix(seed)
		s.nodes[i] = [2]int{draw(seed), draw(mix(^seed))}
	}
}

// cross works out the displacements on row y, between two rows of nodes.
func (s *scratch) cross(y int) {
	n := len(s.across)
	above, below := s.nodes[y/spacing*n:][:n], s.nodes[(y/spacing+1)*n:][:n]
	down := y % spacing
	for i := range s.across {
		for k := range s.across[i] {
			s.across[i][k] = (above[i][k]*(spacing-down) + below[i][k]*down) / spacing
		}
	}
}

// bend is sample along a line whose points are displaced.
func bend(row []byte, pairs []uint32, across [][2]int, stride, u, v, du, dv int) {
	below := pairs[stride:]
	pairs = pairs[:len(below)]
	for x := range row {
		a, b, f := &across[x/spacing], &across[x/spacing+1], x%spacing
		pu := u + (a[0]*(spacing-f)+b[0]*f)/spacing
		pv := v + (a[1]*(spacing-f)+b[1]*f)/spacing
		at := (pv>>16)*stride + pu>>16
		row[x] = interpolate(pairs[at], below[at], weigh(pu, pv))
		u, v = u+du, v+dv
	}
}

// mirror reverses a row.
func mirror(row []byte) {
	for len(row) >= 16 {
		head, tail := row[:8], row[len(row)-8:]
		a, b := binary.LittleEndian.Uint64(head), binary.LittleEndian.Uint64(tail)
		binary.LittleEndian.PutUint64(head, bits.ReverseBytes64(b))
		binary.LittleEndian.PutUint64(tail, bits.ReverseBytes64(a))
		row = row[8 : len(row)-8]
	}
	for i, j := 0, len(row)-1; i < j; i, j = i+1, j-1 {
		row[i], row[j] = row[j], row[i]
	}
}
