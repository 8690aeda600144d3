package kernel

import (
	"math"
	"unsafe"
)

// vector is a block's pixel.
type vector = [Lanes]float32

func vec(p Pointer, offset int) *vector    { return (*vector)(unsafe.Add(p, offset)) }
func number(p Pointer, offset int) float32 { return *(*float32)(unsafe.Add(p, offset)) }

// Generic is the kernels in Go: the reference for the others, and what runs
// where there are none.
var Generic = newGeneric()

func newGeneric() *Set {
	s := &Set{
		Name: "generic", Sigmoid: sigmoidGeneric, ReLU: reluGeneric, Slope: slopeGeneric, ReLUSlope: reluSlopeGeneric,
		Sum: sumGeneric, Affine: affineGeneric, Dot: dotGeneric, Fold: fingerprintGeneric, LaneSums: laneSumsGeneric, Descend: descendGeneric, Momentum: momentumGeneric, Adam: adamGeneric,
		AvgPool: avgPoolGeneric, MaxPool: maxPoolGeneric, AvgUnpool: avgUnpoolGeneric, MaxUnpool: maxUnpoolGeneric, AvgSlope: avgSlopeGeneric,
		AvgRow: avgRowGeneric, MaxRow: maxRowGeneric,
		Transpose: transposeGeneric, Pack: packGeneric, registers: 16,
		correlate: map[[2]int]func(*Correlation){}, scatter: map[[3]int]func(*Scatter){}, weights: map[[2]int]func(*Weights){},
	}
	s.correlate[[2]int{1, 1}] = func(a *Correlation) { correlateGeneric(a, 1) }
	s.correlate[[2]int{2, 1}] = func(a *Correlation) { correlateGeneric(a, 2) }
	s.correlate[[2]int{4, 1}] = correlate4Generic
	for k := 1; k <= 5; k++ {
		s.scatter[[3]int{1, k, 1}] = func(a *Scatter) { scatterGeneric(a, k) }
		s.weights[[2]int{1, k}] = func(a *Weights) { weightsGeneric(a, k) }
	}
	return s
}

// start is the value that the sum for m begins with.
func (a *Correlation) start(m, tile int) (v vector) {
	switch a.Mode {
	case FromBias:
		b := number(a.Bias, 4*m)
		for l := range v {
			v[l] = b
		}
	case FromOut:
		v = *vec(a.Out, m*a.OutStride+tile*Block)
	case FromVectorBias:
		v = *vec(a.Bias, 0)
	}
	return v
}

func correlateGeneric(a *Correlation, M int) {
	for tile := range a.tiles {
		for m := range M {
			acc := a.start(m, tile)
			for c := range a.Channels {
				for i := range a.Rows {
					x := unsafe.Add(a.X, c*a.XChan+i*a.XRow+tile*Block)
					w := unsafe.Add(a.W, c*a.WChan+i*a.WRow+4*m)
					for j := range a.Cols {
						madd(&acc, number(w, j*a.WTap), vec(x, j*a.XTap))
					}
				}
			}
			*vec(a.Out, m*a.OutStride+tile*Block) = acc
		}
	}
}

// correlate4Generic handles four sums at once, half a block at a time, so that
// each x that is loaded is used four times.
func correlate4Generic(a *Correlation) {
	for tile := range a.tiles {
		var acc [4]vector
		for m := range acc {
			acc[m] = a.start(m, tile)
		}
		for c := range a.Channels {
			for i := range a.Rows {
				x := unsafe.Add(a.X, c*a.XChan+i*a.XRow+tile*Block)
				w := unsafe.Add(a.W, c*a.WChan+i*a.WRow)
				for j := range a.Cols { // by offsets: no pointer may pass the end
					xs, ws := vec(x, j*a.XTap), (*[4]float32)(unsafe.Add(w, j*a.WTap))
					w0, w1, w2, w3 := ws[0], ws[1], ws[2], ws[3]
					for l, v := range xs {
						acc[0][l] += w0 * v
						acc[1][l] += w1 * v
						acc[2][l] += w2 * v
						acc[3][l] += w3 * v
					}
				}
			}
		}
		for m := range acc {
			*vec(a.Out, m*a.OutStride+tile*Block) = acc[m]
		}
	}
}

// madd adds w*x to acc.
func madd(acc *vector, w float32, x *vector) {
	for l, v := range x {
		acc[l] += w * v
	}
}

func scatterGeneric(a *Scatter, K int) {
	for k := range K {
		if a.Mode == FromZero {
			*vec(a.Out, k*Block) = vector{}
		}
	}
	for c := range a.Channels {
		for i := range a.Rows {
			dy := vec(a.DY, c*a.DYChan+i*a.DYRow)
			w := unsafe.Add(a.W, c*a.WChan+i*a.WRow)
			for k := range K {
				madd(vec(a.Out, k*Block), number(w, 4*k), dy)
			}
		}
	}
}

func weightsGeneric(a *Weights, K int) {
	for k := range K {
		acc := *vec(a.Acc, k*Block)
		for i := range a.Rows {
			dy, x := unsafe.Add(a.DY, i*a.DYRow), unsafe.Add(a.X, i*a.XRow+k*Block)
			for j := range a.Cols {
				ds, xs := vec(dy, j*Block), vec(x, j*Block)
				for l, v := range xs {
					acc[l] += ds[l] * v
				}
			}
		}
		*vec(a.Acc, k*Block) = acc
	}
}

// blocks returns the N blocks at p.
func blocks(p Pointer, n int) []vector { return unsafe.Slice((*vector)(p), n) }

func sigmoidGeneric(a *Elements) {
	dst, src := blocks(a.Dst, a.N), blocks(a.Src, a.N)
	p0, p1, p2 := a.P[0].V, a.P[1].V, a.P[2].V
	for i := range src {
		for l, v := range src[i] {
			dst[i][l] = p0/(1+Exp(-p1*v)) + p2
		}
	}
}

// Exp is e^x in float32, by 2^n times a minimax polynomial of degree 5; its
// relative error is about 2e-7. A NaN stays one.
func Exp(x float32) float32 {
	t := x * math.Log2E
	if t != t {
		return t
	}
	t = min(max(t, -126), 126)
	n := float32(math.RoundToEven(float64(t)))
	f := t - n
	p := float32(1.3264727094066363e-3)
	p = p*f + 9.67151268246929e-3
	p = p*f + 5.550733743927358e-2
	p = p*f + 0.24022242084661014
	p = p*f + 0.6931469775985435
	p = p*f + 1
	return p * math.Float32frombits(uint32(int32(n)+127)<<23)
}

func reluGeneric(a *Elements) {
	dst, src := blocks(a.Dst, a.N), blocks(a.Src, a.N)
	for i := range src {
		for l, v := range src[i] {
			dst[i][l] = max(v, 0) // a NaN stays one
		}
	}
}

func slopeGeneric(a *Elements) {
	dst, src, sum := blocks(a.Dst, a.N), blocks(a.Src, a.N), vec(a.Aux, 0)
	p0, p1, p2 := a.P[0].V, a.P[1].V, a.P[2].V
	for i := range src {
		for l, v := range src[i] {
			d := dst[i][l] * (p0 + v*(p1+v*p2))
			dst[i][l] = d
			sum[l] += d
		}
	}
}

func reluSlopeGeneric(a *Elements) {
	dst, src, sum := blocks(a.Dst, a.N), blocks(a.Src, a.N), vec(a.Aux, 0)
	for i := range src {
		for l, v := range src[i] {
			if v > 0 {
				sum[l] += dst[i][l]
			} else {
				dst[i][l] = 0
			}
		}
	}
}

func sumGeneric(a *Elements) {
	sum := vec(a.Aux, 0)
	for _, s := range blocks(a.Src, a.N) {
		for l, v := range s {
			sum[l] += v
		}
	}
}

func affineGeneric(a *Elements) {
	dst := blocks(a.Dst, a.N)
	for i, s := range blocks(a.Src, a.N) {
		for l, v := range s {
			dst[i][l] = a.P[0].V*v + a.P[1].V
		}
	}
}

func dotGeneric(a *Elements) {
	dst, sum := blocks(a.Dst, a.N), vec(a.Aux, 0)
	for i, s := range blocks(a.Src, a.N) {
		for l, v := range s {
			sum[l] += dst[i][l] * v
		}
	}
}

func fingerprintGeneric(a *Elements) {
	aux := (*Fingerprint)(a.Aux)
	for i, s := range unsafe.Slice((*[Lanes]uint32)(a.Src), a.N) {
		first, second := &aux[i%4], &aux[4+i%4]
		for l, v := range s {
			first[l] += v
			second[l] += first[l]
		}
	}
}

func laneSumsGeneric(a *Elements) {
	n := (a.N + 3) &^ 3
	dst := unsafe.Slice((*float32)(a.Dst), n)
	for i, s := range blocks(a.Src, n) {
		var total float32
		for _, v := range s {
			total += v
		}
		dst[i] += total
	}
}

func descendGeneric(a *Elements) {
	dst, src := blocks(a.Dst, a.N), blocks(a.Src, a.N)
	for i := range src {
		for l, v := range src[i] {
			dst[i][l] = a.P[1].V*dst[i][l] - a.P[0].V*v
		}
	}
}

func momentumGeneric(a *Optimization) {
	p, g, m := blocks(a.P, a.N), blocks(a.G, a.N), blocks(a.M, a.N)
	for i := range p {
		for l, x := range p[i] {
			d := a.Scale.V*g[i][l] + a.Decay.V*x
			m[i][l] = a.Beta1.V*m[i][l] + d
			p[i][l] = x - a.Rate.V*d - a.Keep.V*m[i][l]
		}
	}
}

func adamGeneric(a *Optimization) {
	p, g, m, v := blocks(a.P, a.N), blocks(a.G, a.N), blocks(a.M, a.N), blocks(a.V, a.N)
	for i := range p {
		for l, x := range p[i] {
			d := a.Scale.V*g[i][l] + a.Decay.V*x
			m[i][l] = a.Beta1.V*m[i][l] + a.Alpha1.V*d
			v[i][l] = a.Beta2.V*v[i][l] + a.Alpha2.V*d*d
			root := float32(math.Sqrt(float64(v[i][l])))
			p[i][l] = a.Keep.V*x - a.Rate.V*m[i][l]/(a.Correction.V*root+a.Epsilon.V)
		}
	}
}

func avgPoolGeneric(a *Pooling) {
	for n := range a.N {
		s, t, y := blocks(unsafe.Add(a.X, 2*n*Block), 2), blocks(unsafe.Add(a.X, a.XRow+2*n*Block), 2), vec(a.Y, n*Block)
		for l := range y {
			y[l] = ((s[0][l] + s[1][l]) + (t[0][l] + t[1][l])) * 0.25
		}
	}
}

func maxPoolGeneric(a *Pooling) {
	for n := range a.N {
		s, t, y := blocks(unsafe.Add(a.X, 2*n*Block), 2), blocks(unsafe.Add(a.X, a.XRow+2*n*Block), 2), vec(a.Y, n*Block)
		for l := range y {
			y[l] = max(s[0][l], s[1][l], t[0][l], t[1][l])
		}
	}
}

func avgUnpoolGeneric(a *Pooling) {
	for n := range a.N {
		s, t, dy := blocks(unsafe.Add(a.DX, 2*n*Block), 2), blocks(unsafe.Add(a.DX, a.DXRow+2*n*Block), 2), vec(a.DY, n*Block)
		for l, v := range dy {
			v *= 0.25
			s[0][l], s[1][l], t[0][l], t[1][l] = v, v, v, v
		}
	}
}

func avgSlopeGeneric(a *Pooling) {
	sum := vec(a.Aux, 0)
	p0, p1, p2 := a.P[0].V, a.P[1].V, a.P[2].V
	for n := range a.N {
		s, t, dy := blocks(unsafe.Add(a.X, 2*n*Block), 2), blocks(unsafe.Add(a.X, a.XRow+2*n*Block), 2), vec(a.DY, n*Block)
		for l, v := range dy {
			v *= 0.25
			for _, x := range []*float32{&s[0][l], &s[1][l], &t[0][l], &t[1][l]} {
				*x = v * (p0 + *x*(p1+*x*p2))
				sum[l] += *x
			}
		}
	}
}

func maxUnpoolGeneric(a *Pooling) {
	for n := range a.N {
		xs, xt := blocks(unsafe.Add(a.X, 2*n*Block), 2), blocks(unsafe.Add(a.X, a.XRow+2*n*Block), 2)
		s, t := blocks(unsafe.Add(a.DX, 2*n*Block), 2), blocks(unsafe.Add(a.DX, a.DXRow+2*n*Block), 2)
		y, dy := vec(a.Y, n*Block), vec(a.DY, n*Block)
		for l, top := range y {
			var d [4]float32 // dx may be x
			switch top {
			case xs[0][l]:
				d[0] = dy[l]
			case xs[1][l]:
				d[1] = dy[l]
			case xt[0][l]:
				d[2] = dy[l]
			case xt[1][l]:
				d[3] = dy[l]
			}
			s[0][l], s[1][l], t[0][l], t[1][l] = d[0], d[1], d[2], d[3]
		}
	}
}

func avgRowGeneric(a *Pooling) {
	s, t := unsafe.Slice((*float32)(a.X), 16*a.N), unsafe.Slice((*float32)(unsafe.Add(a.X, a.XRow)), 16*a.N)
	for i := range 8 * a.N {
		*(*float32)(unsafe.Add(a.Y, 4*i)) = ((s[2*i] + t[2*i]) + (s[2*i+1] + t[2*i+1])) * 0.25
	}
}

func maxRowGeneric(a *Pooling) {
	s, t := unsafe.Slice((*float32)(a.X), 16*a.N), unsafe.Slice((*float32)(unsafe.Add(a.X, a.XRow)), 16*a.N)
	for i := range 8 * a.N {
		*(*float32)(unsafe.Add(a.Y, 4*i)) = max(s[2*i], t[2*i], s[2*i+1], t[2*i+1])
	}
}

func transposeGeneric(a *Transposition) {
	for n := range a.N {
		src, dst := unsafe.Add(a.Src, n*a.SrcNext), unsafe.Add(a.Dst, n*a.DstNext)
		for i := range Lanes {
			for j, v := range vec(src, i*a.SrcStride) {
				vec(dst, j*a.DstStride)[i] = v
			}
		}
	}
}

func packGeneric(a *Packing) {
	for l, image := range a.Images {
		for i, b := range (*[Lanes]byte)(unsafe.Add(Pointer(image), a.At)) {
			vec(a.Dst, i*Block)[l] = a.Scale.V*float32(b) + a.Offset.V
		}
	}
}
