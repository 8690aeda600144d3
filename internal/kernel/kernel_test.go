package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/cpu"
)

// TestExpectedSet fails if a machine that can do better runs less.
func TestExpectedSet(t *testing.T) {
	want := "generic"
	if assembly {
		switch {
		case cpu.X86.HasAVX512F && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VL:
			want = "avx512"
		case cpu.X86.HasAVX2 && cpu.X86.HasFMA:
			want = "avx2"
		}
	}
	got, err := Choose("")
	if err != nil || got.Name != want {
		t.Errorf("on %s/%s the set is %v, %v; want %s", runtime.GOOS, runtime.GOARCH, got.Name, err, want)
	}
	if g, err := Choose("generic"); err != nil || g != Generic {
		t.Errorf("LENET_ISA=generic: %v, %v", g, err)
	}
	if _, err := Choose("avx1024"); err == nil {
		t.Error("an unknown set: no error")
	}
	if limit := os.Getenv(EnvISA); limit != "" {
		if s, err := Default(); err != nil || assembly && want == "avx512" && s.Name != limit {
			t.Errorf("%s=%s: %v, %v", EnvISA, limit, s, err)
		}
	}
}

// sets calls f for every set but the reference.
func sets(t *testing.T, f func(t *testing.T, s *Set)) {
	for _, s := range Available() {
		if s != Generic {
			t.Run(s.Name, func(t *testing.T) { f(t, s) })
		}
	}
}

var rng = rand.New(rand.NewPCG(1, 2))

func random(n int) []float32 {
	s := make([]float32, n)
	for i := range s {
		s[i] = float32(rng.NormFloat64())
	}
	return s
}

func clone(s []float32) []float32 { return append([]float32(nil), s...) }

// compare checks got against want, relative to the size of want as a whole.
func compare(t *testing.T, what string, got, want []float32, tolerance float64) {
	t.Helper()
	var d, n float64
	for i := range want {
		e := float64(got[i]) - float64(want[i])
		d, n = d+e*e, n+float64(want[i])*float64(want[i])
	}
	if n == 0 {
		t.Errorf("%s: nothing but zeros: the test shows nothing", what)
	}
	if r := math.Sqrt(d / n); !(r <= tolerance) {
		t.Errorf("%s: relative difference %.2g", what, r)
	}
}

// naive computes a correlation by its definition, in float64.
func naive(a Correlation, M, P int, x, w, bias, out []float32, vectorBias bool) []float32 {
	res := clone(out)
	for m := range M {
		for p := range P {
			for l := range Lanes {
				o := m*a.OutStride/4 + p*Lanes + l
				sum := 0.0
				switch a.Mode {
				case FromBias:
					sum = float64(bias[m])
				case FromOut:
					sum = float64(out[o])
				case FromVectorBias:
					sum = float64(bias[p*Lanes+l])
				}
				for c := range a.Channels {
					for i := range a.Rows {
						for j := range a.Cols {
							sum += float64(w[(c*a.WChan+i*a.WRow+j*a.WTap)/4+m]) * float64(x[(c*a.XChan+i*a.XRow+j*a.XTap)/4+p*Lanes+l])
						}
					}
				}
				res[o] = float32(sum)
			}
		}
	}
	return res
}

func TestCorrelate(t *testing.T) {
	for _, s := range Available() {
		t.Run(s.Name, func(t *testing.T) {
			for _, c := range []struct{ M, P, C, R, K int }{
				{6, 28, 1, 5, 5}, {16, 10, 6, 5, 5}, {6, 26, 1, 3, 3}, {16, 11, 6, 3, 3}, // LeNet's
				{120, 1, 40, 1, 1}, {10, 1, 84, 1, 1}, {84, 8, 16, 1, 1}, {1, 1, 1, 1, 1}, {7, 9, 3, 2, 4}, {33, 13, 2, 1, 3}, {3, 5, 2, 7, 7},
			} {
				for _, vectorsOuter := range []bool{false, true} {
					for mode := FromBias; mode <= FromVectorBias; mode++ {
						if mode == FromVectorBias && !vectorsOuter {
							continue
						}
						width := c.P + c.K - 1
						x, w := random(c.C*c.R*width*Lanes), random(c.C*c.R*c.K*c.M)
						bias, out := random(c.M+c.P*Lanes), random(c.M*(c.P+1)*Lanes)
						a := Correlation{
							X: At(x, 0), W: At(w, 0), Bias: At(bias, 0), Out: At(out, 0), Channels: c.C, Rows: c.R, Cols: c.K,
							XTap: Block, XRow: width * Block, XChan: c.R * width * Block,
							WTap: 4 * c.M, WRow: 4 * c.M * c.K, WChan: 4 * c.M * c.K * c.R,
							OutStride: (c.P + 1) * Block, Mode: mode,
						}
						want := naive(a, c.M, c.P, x, w, bias, out, false)
						tiling := s.Tile(c.M, c.P, vectorsOuter)
						before := a
						if vectorsOuter {
							for part := range 3 {
								tiling.RunPart(&a, part, 3)
							}
						} else {
							tiling.Run(&a)
						}
						before.tiles = a.tiles
						if a != before {
							t.Error("the arguments were changed")
						}
						compare(t, fmt.Sprintf("%+v mode %d", c, mode), out, want, 1e-6)
					}
				}
			}
		})
	}
}

func TestScatter(t *testing.T) {
	for _, s := range Available() {
		t.Run(s.Name, func(t *testing.T) {
			for _, c := range []struct{ S, K, C, R, Planes int }{
				{10, 5, 16, 5, 6}, {10, 3, 16, 3, 6}, {11, 3, 4, 2, 3}, {1, 1, 1, 1, 1}, {27, 5, 2, 4, 2}, {9, 7, 3, 3, 5}, {3, 11, 2, 1, 2}, {14, 2, 3, 2, 1}, {6, 4, 2, 3, 7},
			} {
				for _, mode := range []int{FromOut, FromZero} {
					width := c.S + c.K
					dy, w := random(c.C*c.R*c.S*Lanes), random(c.C*c.Planes*c.R*c.K)
					out := random(c.Planes * width * Lanes)
					want := clone(out)
					for plane := range c.Planes {
						for o := range (width - 1) * Lanes {
							sum := float64(out[plane*width*Lanes+o])
							if mode == FromZero {
								sum = 0
							}
							for ch := range c.C {
								for i := range c.R {
									for k := range c.K {
										if j := o/Lanes - k; j >= 0 && j < c.S {
											sum += float64(w[((ch*c.Planes+plane)*c.R+i)*c.K+k]) * float64(dy[((ch*c.R+i)*c.S+j)*Lanes+o%Lanes])
										}
									}
								}
							}
							want[plane*width*Lanes+o] = float32(sum)
						}
					}
					a := Scatter{DY: At(dy, 0), W: At(w, 0), Out: At(out, 0), Channels: c.C, Rows: c.R,
						DYChan: c.R * c.S * Block, DYRow: c.S * Block, WChan: 4 * c.Planes * c.R * c.K, WRow: 4 * c.K, Mode: mode,
						WPlane: 4 * c.R * c.K, OutPlane: width * Block}
					s.Scatter(c.S, c.K, c.Planes).Run(&a)
					compare(t, fmt.Sprintf("%+v mode %d", c, mode), out, want, 1e-6)
				}
			}
		})
	}
}

func TestWeights(t *testing.T) {
	for _, s := range Available() {
		t.Run(s.Name, func(t *testing.T) {
			for _, c := range []struct{ M, K, R, W int }{
				{6, 5, 2, 28}, {16, 5, 10, 10}, {16, 3, 10, 10}, {6, 3, 2, 26}, {1, 1, 1, 1}, {7, 4, 3, 5}, {13, 2, 2, 7}, {5, 9, 2, 4},
			} {
				width := c.W + c.K - 1
				dy, x, acc := random(c.M*c.R*c.W*Lanes), random(c.R*width*Lanes), random(c.M*c.K*Lanes)
				want := clone(acc)
				for m := range c.M {
					for k := range c.K {
						for l := range Lanes {
							sum := 0.0
							for i := range c.R {
								for j := range c.W {
									sum += float64(dy[((m*c.R+i)*c.W+j)*Lanes+l]) * float64(x[(i*width+j+k)*Lanes+l])
								}
							}
							want[(m*c.K+k)*Lanes+l] += float32(sum)
						}
					}
				}
				a := Weights{DY: At(dy, 0), X: At(x, 0), Acc: At(acc, 0), Rows: c.R, Cols: c.W,
					DYChan: c.R * c.W * Block, DYRow: c.W * Block, XRow: width * Block, AccStride: c.K * Block}
				s.Weights(c.M, c.K).Run(&a)
				compare(t, fmt.Sprintf("%+v", c), acc, want, 1e-6)
			}
		})
	}
}

func TestElements(t *testing.T) {
	kernels := map[string]func(s *Set) func(*Elements){
		"sigmoid": func(s *Set) func(*Elements) { return s.Sigmoid }, "relu": func(s *Set) func(*Elements) { return s.ReLU },
		"slope": func(s *Set) func(*Elements) { return s.Slope }, "reluslope": func(s *Set) func(*Elements) { return s.ReLUSlope },
		"sum": func(s *Set) func(*Elements) { return s.Sum }, "lanes": func(s *Set) func(*Elements) { return s.LaneSums },
		"affine": func(s *Set) func(*Elements) { return s.Affine }, "dot": func(s *Set) func(*Elements) { return s.Dot },
		"descend": func(s *Set) func(*Elements) { return s.Descend },
	}
	sets(t, func(t *testing.T, s *Set) {
		for name, kernel := range kernels {
			for _, n := range []int{1, 2, 3, 5, 28, 33} {
				size := (n + 3) * Lanes
				src, dst, aux := random(size), random(size), random(Lanes)
				want, wantAux := clone(dst), clone(aux)
				p := Param(1.7, -0.6, 0.3)
				kernel(Generic)(&Elements{At(want, 0), At(src, 0), At(wantAux, 0), n, p})
				kernel(s)(&Elements{At(dst, 0), At(src, 0), At(aux, 0), n, p})
				compare(t, fmt.Sprintf("%s %d", name, n), dst, want, 1e-6)
				compare(t, fmt.Sprintf("%s %d, sums", name, n), aux, wantAux, 1e-5)
			}
		}
	})
}

func TestOptimizers(t *testing.T) {
	sets(t, func(t *testing.T, s *Set) {
		for _, n := range []int{1, 2, 3, 33} {
			size := (n + 1) * Lanes
			g, start := random(size), [3][]float32{random(size), random(size), random(size)}
			for i, v := range start[2] { // a sum of squares
				start[2][i] = v * v
			}
			run := func(f func(*Optimization)) [3][]float32 {
				r := [3][]float32{clone(start[0]), clone(start[1]), clone(start[2])}
				f(&Optimization{
					P: At(r[0], 0), G: At(g, 0), M: At(r[1], 0), V: At(r[2], 0), N: n,
					Scale: Number(0.7), Decay: Number(0.02), Beta1: Number(0.9), Alpha1: Number(0.1), Beta2: Number(0.99), Alpha2: Number(0.01),
					Correction: Number(1.3), Epsilon: Number(1e-3), Rate: Number(0.05), Keep: Number(0.98),
				})
				return r
			}
			for name, f := range map[string]func(*Set) func(*Optimization){
				"momentum": func(s *Set) func(*Optimization) { return s.Momentum }, "adam": func(s *Set) func(*Optimization) { return s.Adam },
			} {
				got, want := run(f(s)), run(f(Generic))
				for i, what := range []string{"p", "m", "v"} {
					compare(t, fmt.Sprintf("%s %d, %s", name, n, what), got[i], want[i], 1e-6)
				}
			}
		}
	})
}

// TestSigmoidAccuracy compares with float64 over the whole range, and lets NaN
// through.
func TestSigmoidAccuracy(t *testing.T) {
	for _, s := range Available() {
		src := make([]float32, 4096*Lanes)
		for i := range src {
			src[i] = float32(i-len(src)/2) * 0.005
		}
		src[7] = float32(math.Inf(-1))
		src[8] = float32(math.Inf(1))
		src[9] = float32(math.NaN())
		dst := make([]float32, len(src))
		s.Sigmoid(&Elements{Dst: At(dst, 0), Src: At(src, 0), N: 4096, P: Param(1, 1, 0)})
		for i, x := range src {
			want := 1 / (1 + math.Exp(-float64(x)))
			if i == 9 {
				if dst[i] == dst[i] {
					t.Errorf("%s: sigmoid(NaN) = %v", s.Name, dst[i])
				}
				continue
			}
			// The rounding of x log2(e) grows with x.
			if e := math.Abs(float64(dst[i]) - want); e > 4e-7*max(1, math.Abs(float64(x))/4)*want+1e-37 {
				t.Fatalf("%s: sigmoid(%v) = %v, want %v", s.Name, x, dst[i], want)
			}
		}
	}
}

func TestPooling(t *testing.T) {
	kernels := map[string]func(s *Set) func(*Pooling){
		"avgpool": func(s *Set) func(*Pooling) { return s.AvgPool }, "maxpool": func(s *Set) func(*Pooling) { return s.MaxPool },
		"avgunpool": func(s *Set) func(*Pooling) { return s.AvgUnpool }, "maxunpool": func(s *Set) func(*Pooling) { return s.MaxUnpool },
		"avgslope": func(s *Set) func(*Pooling) { return s.AvgSlope },
	}
	sets(t, func(t *testing.T, s *Set) {
		for name, kernel := range kernels {
			for _, n := range []int{1, 2, 5, 14} {
				width := 2*n + 3
				x, dx, dy := random(2*width*Lanes), random(2*width*Lanes), random(n*Lanes)
				for i := range x { // equal maxima are common
					x[i] = float32(math.Round(float64(x[i]) * 2))
				}
				y := random(n * Lanes)
				Generic.MaxPool(&Pooling{X: At(x, 0), Y: At(y, 0), N: n, XRow: width * Block})
				wantX, wantDX, wantY, aux := clone(x), clone(dx), clone(y), random(Lanes)
				wantAux := clone(aux)
				p := Param(0.3, -0.2, 0.7)
				kernel(Generic)(&Pooling{At(wantX, 0), At(wantY, 0), At(wantDX, 0), At(dy, 0), n, width * Block, width * Block, At(wantAux, 0), p})
				kernel(s)(&Pooling{At(x, 0), At(y, 0), At(dx, 0), At(dy, 0), n, width * Block, width * Block, At(aux, 0), p})
				compare(t, fmt.Sprintf("%s %d, x", name, n), x, wantX, 1e-6)
				compare(t, fmt.Sprintf("%s %d", name, n), y, wantY, 1e-6)
				compare(t, fmt.Sprintf("%s %d, gradient", name, n), dx, wantDX, 0)
				compare(t, fmt.Sprintf("%s %d, sums", name, n), aux, wantAux, 1e-5)
				// In place, as the engine goes back through it.
				inPlace, wantInPlace := clone(x), clone(x)
				Generic.MaxUnpool(&Pooling{X: At(wantInPlace, 0), Y: At(y, 0), DX: At(wantInPlace, 0), DY: At(dy, 0), N: n, XRow: width * Block, DXRow: width * Block})
				s.MaxUnpool(&Pooling{X: At(inPlace, 0), Y: At(y, 0), DX: At(inPlace, 0), DY: At(dy, 0), N: n, XRow: width * Block, DXRow: width * Block})
				compare(t, fmt.Sprintf("maxunpool %d in place", n), inPlace, wantInPlace, 0)
			}
		}
	})
}

func TestRowPooling(t *testing.T) {
	sets(t, func(t *testing.T, s *Set) {
		for _, n := range []int{1, 2, 5} {
			x, y := random(2*(16*n+3)), random(8*n)
			want := clone(y)
			for name, k := range map[string][2]func(*Pooling){"avg": {s.AvgRow, Generic.AvgRow}, "max": {s.MaxRow, Generic.MaxRow}} {
				k[0](&Pooling{X: At(x, 0), Y: At(y, 0), N: n, XRow: 4 * (16*n + 3)})
				k[1](&Pooling{X: At(x, 0), Y: At(want, 0), N: n, XRow: 4 * (16*n + 3)})
				compare(t, fmt.Sprintf("%s %d", name, n), y, want, 1e-6)
			}
		}
	})
}

func TestTranspose(t *testing.T) {
	for _, s := range Available() {
		const n, stride = 3, 60
		src, dst := random(16*stride), make([]float32, n*16*20)
		s.Transpose(&Transposition{Dst: At(dst, 0), Src: At(src, 0), N: n, SrcStride: 4 * stride, DstStride: 4 * 20, SrcNext: Block, DstNext: 16 * 20 * 4})
		for k := range n {
			for i := range 16 {
				for j := range 16 {
					if dst[k*320+j*20+i] != src[i*stride+k*16+j] {
						t.Fatalf("%s: square %d (%d, %d)", s.Name, k, i, j)
					}
				}
			}
		}
	}
}

func TestPack(t *testing.T) {
	for _, s := range Available() {
		images := make([]byte, 16*40)
		for i := range images {
			images[i] = byte(rng.UintN(256))
		}
		var ptrs [Lanes]*byte
		for l := range ptrs {
			ptrs[l] = &images[(15-l)*40]
		}
		dst := make([]float32, 16*Lanes)
		s.Pack(&Packing{At(dst, 0), &ptrs, 7, Number(0.5), Number(-3)})
		for i := range 16 {
			for l := range Lanes {
				if want := 0.5*float32(images[(15-l)*40+7+i]) - 3; dst[i*Lanes+l] != want {
					t.Fatalf("%s: pixel %d of image %d is %v, want %v", s.Name, i, l, dst[i*Lanes+l], want)
				}
			}
		}
	}
}

func TestFingerprint(t *testing.T) {
	src := random(36 * Lanes)
	of := func(s *Set) (aux Fingerprint) {
		s.Fold(&Elements{Src: At(src, 0), Aux: Pointer(&aux), N: 36})
		return aux
	}
	want := of(Generic)
	for _, s := range Available() {
		if of(s) != want {
			t.Errorf("%s: the fingerprint differs from the generic one", s.Name)
		}
		for _, i := range []int{0, 5, 35*Lanes + 15} {
			src[i] += 1e-3
			if of(s) == want {
				t.Errorf("%s: a change at %d does not show", s.Name, i)
			}
			src[i] -= 1e-3

			src[i], src[(i+Lanes)%len(src)] = src[(i+Lanes)%len(src)], src[i]
			if of(s) == want {
				t.Errorf("%s: an exchange at %d does not show", s.Name, i)
			}
			src[i], src[(i+Lanes)%len(src)] = src[(i+Lanes)%len(src)], src[i]
			want = of(Generic) // adding and subtracting rounds
		}
	}
}

// TestLayout pins the layout that the assembly knows.
func TestLayout(t *testing.T) {
	for name, ok := range map[string]bool{
		"Correlation": unsafe.Offsetof(Correlation{}.Mode) == 15*8, "Scatter": unsafe.Offsetof(Scatter{}.OutPlane) == 11*8,
		"Weights": unsafe.Offsetof(Weights{}.AccStride) == 8*8, "Elements": unsafe.Offsetof(Elements{}.P) == 4*8,
		"Pooling": unsafe.Offsetof(Pooling{}.P) == 8*8, "Transposition": unsafe.Offsetof(Transposition{}.DstNext) == 6*8,
		"Packing": unsafe.Offsetof(Packing{}.Offset) == 4*8,
	} {
		if assembly && !ok {
			t.Errorf("the layout of %s has changed", name)
		}
	}
}
