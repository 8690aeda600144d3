package kernel

import (
	"math"
	"unsafe"
)

// A Tiling runs a [Correlation] over M numbers by P vectors as register tiles.
type Tiling struct {
	tiles []tile
}

type tile struct {
	m, p, count int // where it begins, and how many stand side by side
	run         func(*Correlation)
}

// cost estimates the cycles of one tap of an M by P tile: multiply-adds
// against loads, and the latency of the additions.
func (s *Set) cost(M, P int) float64 {
	macs, loads := float64(M*P), float64(P+M)
	if s.registers == 16 { // two halves, each with two operations a cycle
		if P == 1 { // the halves share the weights
			return max(macs, 1+loads/2, 4) + 1
		}
		return max(macs, loads, 8) + 2
	}
	return max(macs, loads, 6) + 1
}

// Tile splits M x P into the tiles of the set. The vectors of one m are passed
// over first, or, with vectorsOuter, the numbers of one p: what stays still
// should fit the first-level cache. FromVectorBias needs vectorsOuter.
func (s *Set) Tile(M, P int, vectorsOuter bool) Tiling {
	sizes := map[int][]int{} // the M of each P
	for k := range s.correlate {
		sizes[k[1]] = append(sizes[k[1]], k[0])
	}
	// The best way to split M for each width of tile, then to split P.
	bestM, splitM := map[int]float64{}, map[int][]int{}
	for p, ms := range sizes {
		bestM[p], splitM[p] = split(M, ms, func(m int) float64 { return s.cost(m, p) })
	}
	var ps []int
	for p := range sizes {
		ps = append(ps, p)
	}
	_, widths := split(P, ps, func(p int) float64 { return bestM[p] })
	var t Tiling
	if vectorsOuter {
		p := 0
		for _, width := range widths {
			m := 0
			for _, height := range splitM[width] {
				t.tiles = append(t.tiles, tile{m, p, 1, s.correlate[[2]int{height, width}]})
				m += height
			}
			p += width
		}
		return t
	}
	// Stretches of the same width go together.
	p := 0
	for i := 0; i < len(widths); {
		n := i
		for n < len(widths) && widths[n] == widths[i] {
			n++
		}
		m := 0
		for _, height := range splitM[widths[i]] {
			t.tiles = append(t.tiles, tile{m, p, n - i, s.correlate[[2]int{height, widths[i]}]})
			m += height
		}
		p += (n - i) * widths[i]
		i = n
	}
	return t
}

// split writes n as a sum of sizes (1 among them) at the least total cost,
// the larger ones first.
func split(n int, sizes []int, cost func(int) float64) (float64, []int) {
	best, last := make([]float64, n+1), make([]int, n+1)
	for i := 1; i <= n; i++ {
		best[i] = math.Inf(1)
		for _, size := range sizes {
			if size > i {
				continue
			}
			// Ties go to the larger size, whatever the order of sizes.
			if c := best[i-size] + cost(size); c < best[i] || c == best[i] && size > last[i] {
				best[i], last[i] = c, size
			}
		}
	}
	var parts []int
	for i := n; i > 0; i -= last[i] {
		parts = append(parts, last[i])
	}
	// Large first, so that equal sizes stand side by side.
	for i := 1; i < len(parts); i++ {
		for j := i; j > 0 && parts[j] > parts[j-1]; j-- {
			parts[j], parts[j-1] = parts[j-1], parts[j]
		}
	}
	return best[n], parts
}

// Run computes a, over all tiles. It changes fields of a and restores them.
func (t Tiling) Run(a *Correlation) { t.RunPart(a, 0, 1) }

// RunPart computes one of parts about equal parts.
func (t Tiling) RunPart(a *Correlation, part, parts int) {
	x, w, bias, out := a.X, a.W, a.Bias, a.Out
	n := len(t.tiles)
	for _, k := range t.tiles[part*n/parts : (part+1)*n/parts] {
		a.X, a.W = unsafe.Add(x, k.p*Block), unsafe.Add(w, 4*k.m)
		a.Out = unsafe.Add(out, k.m*a.OutStride+k.p*Block)
		switch a.Mode {
		case FromBias:
			a.Bias = unsafe.Add(bias, 4*k.m)
		case FromVectorBias:
			a.Bias = unsafe.Add(bias, k.p*Block)
		}
		a.tiles = k.count
		k.run(a)
	}
	a.X, a.W, a.Bias, a.Out = x, w, bias, out
}

// Len is the number of tiles.
func (t Tiling) Len() int { return len(t.tiles) }

// A RowGradient runs a [Scatter] along a row of any width, in any number of
// planes.
type RowGradient struct {
	planes int
	// parts are those for one plane, pairs those for two at once; there may be
	// none.
	parts, pairs []scatterPart
}

type scatterPart struct {
	col, tap int // where it begins
	fresh    int // the first column of the output that no part before has written
	end      int // and the column after its last
	run      func(*Scatter)
}

// Scatter plans the gradient of a row of cols columns under kernels of taps
// columns, in a number of planes. The row of the output has cols + taps - 1.
func (s *Set) Scatter(cols, taps, planes int) RowGradient {
	r := RowGradient{planes: planes}
	var one, two float64
	one, r.parts = s.scatterRow(cols, taps, 1)
	if planes > 1 {
		if two, r.pairs = s.scatterRow(cols, taps, 2); two > 2*one {
			r.pairs = nil
		}
	}
	return r
}

// scatterRow plans a row for one plane or two, and estimates its cost.
func (s *Set) scatterRow(cols, taps, planes int) (cost float64, parts []scatterPart) {
	covered := 0
	for tap, k := 0, 0; tap < taps; tap += k {
		k = min(taps-tap, 5)
		var sizes []int
		for key := range s.scatter {
			if key[1] == k && key[2] == planes {
				sizes = append(sizes, key[0])
			}
		}
		if sizes == nil {
			return math.Inf(1), nil
		}
		c, widths := split(cols, sizes, func(n int) float64 {
			// Multiply-adds, or the latency of those that go to one sum, or
			// the loads; and the passage of the sums.
			macs, latency, loads := float64(planes*n*k), 4*float64(min(n, k)), float64(n+planes*k)
			if s.registers == 16 {
				latency *= 2 // in half cycles, with two operations in each
			}
			return max(macs, latency, loads) + 2 + 0.1*float64(planes*(n+k))
		})
		cost += c
		col := 0
		for _, n := range widths {
			begin, end := col+tap, col+tap+n+k-1
			parts = append(parts, scatterPart{col, tap, max(covered, begin), end, s.scatter[[3]int{n, k, planes}]})
			covered = max(covered, end)
			col += n
		}
	}
	return cost, parts
}

// Run computes a over the whole row in all planes; with Mode FromZero, Out is
// overwritten.
func (r RowGradient) Run(a *Scatter) {
	w, out := a.W, a.Out
	for plane := 0; plane < r.planes; {
		a.W, a.Out = unsafe.Add(w, plane*a.WPlane), unsafe.Add(out, plane*a.OutPlane)
		if r.pairs != nil && plane+1 < r.planes {
			a.row(r.pairs, 2)
			plane += 2
		} else {
			a.row(r.parts, 1)
			plane++
		}
	}
	a.W, a.Out = w, out
}

// row computes the parts of a row.
func (a *Scatter) row(parts []scatterPart, planes int) {
	dy, w, out, mode := a.DY, a.W, a.Out, a.Mode
	for i := range parts {
		p := &parts[i]
		begin := p.col + p.tap
		a.DY, a.W, a.Out = unsafe.Add(dy, p.col*Block), unsafe.Add(w, 4*p.tap), unsafe.Add(out, begin*Block)
		if mode == FromZero && p.fresh > begin {
			// It adds to what the parts before it left, and begins the rest.
			for plane := range planes {
				if p.end > p.fresh {
					clear(blocks(unsafe.Add(out, plane*a.OutPlane+p.fresh*Block), p.end-p.fresh))
				}
			}
			a.Mode = FromOut
		}
		p.run(a)
		a.Mode = mode
	}
	a.DY, a.W, a.Out = dy, w, out
}

// A WeightGradient runs a [Weights] over M output channels and K taps.
type WeightGradient struct{ parts []weightPart }

type weightPart struct {
	m, k int
	run  func(*Weights)
}

// Weights plans the gradient of M kernels of taps columns.
func (s *Set) Weights(M, taps int) WeightGradient {
	var g WeightGradient
	for tap, k := 0, 0; tap < taps; tap += k {
		k = min(taps-tap, 5)
		var sizes []int
		for key := range s.weights {
			if key[1] == k {
				sizes = append(sizes, key[0])
			}
		}
		_, parts := split(M, sizes, func(m int) float64 { return float64(max(m*k, 12) + 3) })
		at := 0
		for _, m := range parts {
			g.parts = append(g.parts, weightPart{at, tap, s.weights[[2]int{m, k}]})
			at += m
		}
	}
	return g
}

// Run computes a for all channels and taps.
func (g WeightGradient) Run(a *Weights) {
	dy, x, acc := a.DY, a.X, a.Acc
	for _, p := range g.parts {
		a.DY, a.X = unsafe.Add(dy, p.m*a.DYChan), unsafe.Add(x, p.k*Block)
		a.Acc = unsafe.Add(acc, p.m*a.AccStride+p.k*Block)
		p.run(a)
	}
	a.DY, a.X, a.Acc = dy, x, acc
}
