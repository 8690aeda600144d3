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
	pAux
	pP0
	pP1
	pP2
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
	avgslope()
	rowpool("avgrow", func(a, b, dst Op) { VADDPS(a, b, dst) }, true)
	rowpool("maxrow", func(a, b, dst Op) { VMAXPS(a, b, dst) }, false)
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

// avgslope goes back through average pooling and the activation before it, in
// place: x becomes dy/4 (p0 + x (p1 + x p2)), and aux[0:16] += the sum of it.
func avgslope() {
	const name = "avgslope"
	a := begin(name)
	var v vecs
	quarter := constant(&v, 0.25)
	p0, p1, p2, sum, d := v.one(), v.one(), v.one(), v.one(), v.one()
	xs, ts := v.many(4), v.many(4)
	VBROADCASTSS(word(a, pP0), p0)
	VBROADCASTSS(word(a, pP1), p1)
	VBROADCASTSS(word(a, pP2), p2)
	x, dy, aux := arg(a, pX), arg(a, pDY), arg(a, pAux)
	halves(name, []Register{x, dy, aux}, func() {
		xp, below, dyp, n := GP64(), GP64(), GP64(), arg(a, pN)
		MOVQ(x, xp)
		MOVQ(x, below)
		ADDQ(word(a, pXRow), below)
		MOVQ(dy, dyp)
		VMOVUPS(Mem{Base: aux}, sum)
		Label(name + "_loop")
		VMULPS(Mem{Base: dyp}, quarter, d)
		ms := []Mem{{Base: xp}, {Base: xp, Disp: 64}, {Base: below}, {Base: below, Disp: 64}}
		for i, m := range ms {
			VMOVUPS(m, xs[i])
			VMOVAPS(p2, ts[i])
			VFMADD213PS(p1, xs[i], ts[i])
			VFMADD213PS(p0, xs[i], ts[i])
			VMULPS(d, ts[i], ts[i])
			VMOVUPS(ts[i], m)
		}
		VADDPS(ts[1], ts[0], ts[0])
		VADDPS(ts[3], ts[2], ts[2])
		VADDPS(ts[2], ts[0], ts[0])
		VADDPS(ts[0], sum, sum)
		ADDQ(U32(128), xp)
		ADDQ(U32(128), below)
		ADDQ(Imm(64), dyp)
		DECQ(n)
		JNZ(LabelRef(name + "_loop"))
		VMOVUPS(sum, Mem{Base: aux})
	})
	end()
}

// rowpool pools 2x2 windows of an image that lies in rows of pixels, 16 pixels
// of each of the two rows becoming 8: N groups of them.
func rowpool(name string, join func(a, b, dst Op), scale bool) {
	a := begin(name)
	x, y, n, row := arg(a, pX), arg(a, pY), arg(a, pN), arg(a, pXRow)
	below := GP64()
	LEAQ(Mem{Base: x, Index: row, Scale: 1}, below)
	if scale {
		g := GP32()
		MOVL(U32(0x3e800000), g) // 1/4
		VMOVD(g, X7)
		VBROADCASTSS(X7, Y7)
	}
	Label(name + "_loop")
	VMOVUPS(Mem{Base: x}, Y0)
	VMOVUPS(Mem{Base: x, Disp: 32}, Y1)
	join(Mem{Base: below}, Y0, Y0)
	join(Mem{Base: below, Disp: 32}, Y1, Y1)
	VSHUFPS(Imm(0x88), Y1, Y0, Y2) // the even pixels
	VSHUFPS(Imm(0xdd), Y1, Y0, Y3) // the odd ones
	join(Y3, Y2, Y2)
	if scale {
		VMULPS(Y7, Y2, Y2)
	}
	VPERMQ(Imm(0xd8), Y2, Y2)
	VMOVUPS(Y2, Mem{Base: y})
	ADDQ(Imm(64), x)
	ADDQ(Imm(64), below)
	ADDQ(Imm(32), y)
	DECQ(n)
	JNZ(LabelRef(name + "_loop"))
	end()
}
