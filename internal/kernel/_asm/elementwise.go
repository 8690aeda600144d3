package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// The words of the arguments of the element-wise kernels. N counts blocks of
// 16 floats; the parameters are float32, one to a word.
const (
	eDst = iota
	eSrc
	eAux
	eN
	eP0
	eP1
	eP2
)

// constant broadcasts a float32 into a new register.
func constant(v *vecs, f float64) VecPhysical {
	r, g := v.one(), GP32()
	MOVL(U32(math.Float32bits(float32(f))), g)
	x := asX(r)
	VMOVD(g, x)
	VBROADCASTSS(x, r)
	return r
}

// asX is the lowest quarter of a register.
func asX(r VecPhysical) VecPhysical { return r.AsX().(VecPhysical) }

// each passes over the registers of N blocks: body sees the displacement 0,
// and the pointers advance.
func each(name string, n Register, pointers []Register, body func()) {
	if !wide {
		ADDQ(n, n)
	}
	Label(name + "_loop")
	body()
	for _, p := range pointers {
		ADDQ(Imm(uint64(set.width)), p)
	}
	DECQ(n)
	JNZ(LabelRef(name + "_loop"))
}

// exponential holds the constants of 2^x, a minimax polynomial of degree
// 5 on [-1/2, 1/2] times a power of two. Its relative error is about 2e-7.
type exponential struct {
	lo, hi, magic VecPhysical
	coeffs        []VecPhysical
	t, f          VecPhysical
}

func newExponential(v *vecs) *exponential {
	e := &exponential{lo: constant(v, -126), hi: constant(v, 126)}
	for _, c := range []float64{1.3264727094066363e-3, 9.67151268246929e-3, 5.550733743927358e-2, 0.24022242084661014, 0.6931469775985435, 1} {
		e.coeffs = append(e.coeffs, constant(v, c))
	}
	if !wide {
		e.magic = v.one()
		g := GP32()
		MOVL(U32(127), g)
		VMOVD(g, asX(e.magic))
		VPBROADCASTD(asX(e.magic), e.magic)
	}
	e.t, e.f = v.one(), v.one()
	return e
}

// of replaces x by 2^x; a NaN stays one.
func (e *exponential) of(x VecPhysical) {
	VMINPS(x, e.hi, x) // the second source, x, is what comes of a NaN
	VMAXPS(x, e.lo, x)
	if wide {
		VRNDSCALEPS(Imm(0), x, e.t)
	} else {
		VROUNDPS(Imm(0), x, e.t)
	}
	VSUBPS(e.t, x, e.f)
	VMOVAPS(e.coeffs[0], x)
	for _, c := range e.coeffs[1:] {
		VFMADD213PS(c, e.f, x)
	}
	if wide {
		VSCALEFPS(e.t, x, x)
		return
	}
	VCVTPS2DQ(e.t, e.t)
	VPADDD(e.magic, e.t, e.t)
	VPSLLD(Imm(23), e.t, e.t)
	VMULPS(e.t, x, x)
}

func elementwise() {
	// dst = p0 * sigmoid(p1 * src) + p2
	{
		const name = "sigmoid"
		a := begin(name)
		var v vecs
		e := newExponential(&v)
		one := e.coeffs[len(e.coeffs)-1]
		amp, slope, shift, x := v.one(), v.one(), v.one(), v.one()
		VBROADCASTSS(word(a, eP0), amp)
		VBROADCASTSS(word(a, eP1), slope)
		VBROADCASTSS(word(a, eP2), shift)
		VMULPS(constant(&v, -math.Log2E), slope, slope)
		dst, src, n := arg(a, eDst), arg(a, eSrc), arg(a, eN)
		each(name, n, []Register{dst, src}, func() {
			VMULPS(Mem{Base: src}, slope, x)
			e.of(x)
			VADDPS(one, x, x)
			// 1/x by an estimate and a step of Newton's.
			r := e.f
			if wide {
				VRCP14PS(x, r)
			} else {
				VRCPPS(x, r)
			}
			VFNMADD213PS(one, r, x)
			VFMADD213PS(r, r, x)
			VFMADD213PS(shift, amp, x)
			VMOVUPS(x, Mem{Base: dst})
		})
		end()
	}
	// dst = max(src, 0)
	{
		const name = "relu"
		a := begin(name)
		var v vecs
		zero, x := v.one(), v.one()
		VPXORD_or_VXORPS(zero)
		dst, src, n := arg(a, eDst), arg(a, eSrc), arg(a, eN)
		each(name, n, []Register{dst, src}, func() {
			VMOVUPS(Mem{Base: src}, x)
			VMAXPS(x, zero, x)
			VMOVUPS(x, Mem{Base: dst})
		})
		end()
	}
	// dst *= p0 + src (p1 + src p2); aux[0:16] += sum of dst
	slope := func(name string, factor func(v *vecs, a Register) func(y, d VecPhysical)) {
		a := begin(name)
		var v vecs
		apply := factor(&v, a)
		sum, y, d := v.one(), v.one(), v.one()
		dst, src, aux, n := arg(a, eDst), arg(a, eSrc), arg(a, eAux), GP64()
		halves(name, []Register{dst, src, aux}, func() {
			dp, sp := GP64(), GP64()
			MOVQ(dst, dp)
			MOVQ(src, sp)
			MOVQ(word(a, eN), n)
			VMOVUPS(Mem{Base: aux}, sum)
			Label(name + "_loop")
			VMOVUPS(Mem{Base: sp}, y)
			VMOVUPS(Mem{Base: dp}, d)
			apply(y, d)
			VADDPS(d, sum, sum)
			VMOVUPS(d, Mem{Base: dp})
			ADDQ(Imm(64), dp)
			ADDQ(Imm(64), sp)
			DECQ(n)
			JNZ(LabelRef(name + "_loop"))
			VMOVUPS(sum, Mem{Base: aux})
		})
		end()
	}
	slope("slope", func(v *vecs, a Register) func(y, d VecPhysical) {
		p0, p1, p2, t := v.one(), v.one(), v.one(), v.one()
		VBROADCASTSS(word(a, eP0), p0)
		VBROADCASTSS(word(a, eP1), p1)
		VBROADCASTSS(word(a, eP2), p2)
		return func(y, d VecPhysical) {
			VMOVAPS(p2, t)
			VFMADD213PS(p1, y, t)
			VFMADD213PS(p0, y, t)
			VMULPS(t, d, d)
		}
	})
	slope("reluslope", func(v *vecs, a Register) func(y, d VecPhysical) {
		zero, t := v.one(), v.one()
		VPXORD_or_VXORPS(zero)
		return func(y, d VecPhysical) {
			if wide {
				VCMPPS(Imm(14), zero, y, K1) // y > 0
				VMOVAPS_Z(d, K1, d)
				return
			}
			VCMPPS(Imm(14), zero, y, t)
			VANDPS(t, d, d)
		}
	})
	// dst = p0 * src + p1
	{
		const name = "affine"
		a := begin(name)
		var v vecs
		p0, p1, x := v.one(), v.one(), v.one()
		VBROADCASTSS(word(a, eP0), p0)
		VBROADCASTSS(word(a, eP1), p1)
		dst, src, n := arg(a, eDst), arg(a, eSrc), arg(a, eN)
		each(name, n, []Register{dst, src}, func() {
			VMOVUPS(Mem{Base: src}, x)
			VFMADD213PS(p1, p0, x)
			VMOVUPS(x, Mem{Base: dst})
		})
		end()
	}
	// aux[0:16] += sum of dst * src
	{
		const name = "dot"
		a := begin(name)
		var v vecs
		sum, x := v.one(), v.one()
		dst, src, aux, n := arg(a, eDst), arg(a, eSrc), arg(a, eAux), GP64()
		halves(name, []Register{dst, src, aux}, func() {
			dp, sp := GP64(), GP64()
			MOVQ(dst, dp)
			MOVQ(src, sp)
			MOVQ(word(a, eN), n)
			VMOVUPS(Mem{Base: aux}, sum)
			Label(name + "_loop")
			VMOVUPS(Mem{Base: sp}, x)
			VFMADD231PS(Mem{Base: dp}, x, sum)
			ADDQ(Imm(64), dp)
			ADDQ(Imm(64), sp)
			DECQ(n)
			JNZ(LabelRef(name + "_loop"))
			VMOVUPS(sum, Mem{Base: aux})
		})
		end()
	}
	// aux[0:16] += sum of src
	sum()
	fingerprint()
	// dst = p1 * dst - p0 * src over N blocks
	{
		const name = "descend"
		a := begin(name)
		var v vecs
		rate, keep, x := v.one(), v.one(), v.one()
		VBROADCASTSS(word(a, eP0), rate)
		VBROADCASTSS(word(a, eP1), keep)
		dst, src, n := arg(a, eDst), arg(a, eSrc), arg(a, eN)
		each(name, n, []Register{dst, src}, func() {
			VMULPS(Mem{Base: dst}, keep, x)
			VFNMADD231PS(Mem{Base: src}, rate, x)
			VMOVUPS(x, Mem{Base: dst})
		})
		end()
	}
}

// fingerprint, of src as integers, in four streams that the blocks take turns
// in: sum += src, second sum += sum. aux holds the four sums, then the four
// second sums. N is a multiple of 4.
func fingerprint() {
	const name = "fingerprint"
	a := begin(name)
	var v vecs
	first, second := v.many(4), v.many(4)
	src, aux, n := arg(a, eSrc), arg(a, eAux), GP64()
	halves(name, []Register{src, aux}, func() {
		sp := GP64()
		MOVQ(src, sp)
		MOVQ(word(a, eN), n)
		for i := range first {
			VMOVUPS(Mem{Base: aux, Disp: 64 * i}, first[i])
			VMOVUPS(Mem{Base: aux, Disp: 64 * (4 + i)}, second[i])
		}
		Label(name + "_loop")
		for i := range first {
			VPADDD(Mem{Base: sp, Disp: 64 * i}, first[i], first[i])
			VPADDD(first[i], second[i], second[i])
		}
		ADDQ(U32(256), sp)
		SUBQ(Imm(4), n)
		JNZ(LabelRef(name + "_loop"))
		for i := range first {
			VMOVUPS(first[i], Mem{Base: aux, Disp: 64 * i})
			VMOVUPS(second[i], Mem{Base: aux, Disp: 64 * (4 + i)})
		}
	})
	end()
}

func sum() {
	const name = "sum"
	a := begin(name)
	var v vecs
	sum := v.one()
	src, aux, n := arg(a, eSrc), arg(a, eAux), GP64()
	halves(name, []Register{src, aux}, func() {
		sp := GP64()
		MOVQ(src, sp)
		MOVQ(word(a, eN), n)
		VMOVUPS(Mem{Base: aux}, sum)
		Label(name + "_loop")
		VADDPS(Mem{Base: sp}, sum, sum)
		ADDQ(Imm(64), sp)
		DECQ(n)
		JNZ(LabelRef(name + "_loop"))
		VMOVUPS(sum, Mem{Base: aux})
	})
	end()
}
