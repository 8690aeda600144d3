package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// The words of the arguments of the pooling kernels, which handle one row of N
// windows: the two rows of X are XRow bytes apart, those of DX too.
const (
	pX = iota
	pY
	pDX
	pDY
	pN
	pXRow
	pDXRow
)

func pooling() {
	pool := func(name string, body func(v *vecs) func(x, below, y, dx, dbelow, dy Register)) {
		a := begin(name)
		var v vecs
		f := body(&v)
		x, y, dx, dy := arg(a, pX), arg(a, pY), arg(a, pDX), arg(a, pDY)
		halves(name, []Register{x, y, dx, dy}, func() {
			xp, below, yp, dxp, dbelow, dyp, n := GP64(), GP64(), GP64(), GP64(), GP64(), GP64(), GP64()
			MOVQ(x, xp)
			MOVQ(x, below)
			ADDQ(word(a, pXRow), below)
			MOVQ(y, yp)
			MOVQ(dx, dxp)
			MOVQ(dx, dbelow)
			ADDQ(word(a, pDXRow), dbelow)
			MOVQ(dy, dyp)
			MOVQ(word(a, pN), n)
			Label(name + "_loop")
			f(xp, below, yp, dxp, dbelow, dyp)
			for _, p := range []Register{xp, below, dxp, dbelow} {
				ADDQ(U32(128), p)
			}
			ADDQ(Imm(64), yp)
			ADDQ(Imm(64), dyp)
			DECQ(n)
			JNZ(LabelRef(name + "_loop"))
		})
		end()
	}
	at := func(r Register, disp int) Mem { return Mem{Base: r, Disp: disp} }
	pool("avgpool", func(v *vecs) func(x, below, y, dx, dbelow, dy Register) {
		quarter, s, t := constant(v, 0.25), v.one(), v.one()
		return func(x, below, y, _, _, _ Register) {
			VMOVUPS(at(x, 0), s)
			VMOVUPS(at(below, 0), t)
			VADDPS(at(x, 64), s, s)
			VADDPS(at(below, 64), t, t)
			VADDPS(t, s, s)
			VMULPS(quarter, s, s)
			VMOVUPS(s, at(y, 0))
		}
	})
	pool("maxpool", func(v *vecs) func(x, below, y, dx, dbelow, dy Register) {
		s, t := v.one(), v.one()
		return func(x, below, y, _, _, _ Register) {
			VMOVUPS(at(x, 0), s)
			VMOVUPS(at(below, 0), t)
			VMAXPS(at(x, 64), s, s)
			VMAXPS(at(below, 64), t, t)
			VMAXPS(t, s, s)
			VMOVUPS(s, at(y, 0))
		}
	})
	pool("avgunpool", func(v *vecs) func(x, below, y, dx, dbelow, dy Register) {
		quarter, s := constant(v, 0.25), v.one()
		return func(_, _, _, dx, dbelow, dy Register) {
			VMULPS(at(dy, 0), quarter, s)
			for _, m := range []Mem{at(dx, 0), at(dx, 64), at(dbelow, 0), at(dbelow, 64)} {
				VMOVUPS(s, m)
			}
		}
	})
	// The first of the four that equals the maximum takes the gradient.
	pool("maxunpool", func(v *vecs) func(x, below, y, dx, dbelow, dy Register) {
		top, d, out, hit := v.one(), v.one(), v.one(), v.one()
		return func(x, below, y, dx, dbelow, dy Register) {
			VMOVUPS(at(y, 0), top)
			VMOVUPS(at(dy, 0), d)
			xs := []Mem{at(x, 0), at(x, 64), at(below, 0), at(below, 64)}
			ds := []Mem{at(dx, 0), at(dx, 64), at(dbelow, 0), at(dbelow, 64)}
			for i := range xs {
				if wide {
					VCMPPS(Imm(0), xs[i], top, K1)
					VMOVAPS_Z(d, K1, out)
					VMOVUPS(out, ds[i])
					if i < 3 { // what is taken is gone
						VPXORD(hit, hit, hit)
						VMOVAPS(hit, K1, d)
					}
					continue
				}
				VCMPPS(Imm(0), xs[i], top, hit)
				VANDPS(hit, d, out)
				VMOVUPS(out, ds[i])
				if i < 3 {
					VANDNPS(d, hit, d)
				}
			}
		}
	})
}
