package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// correlateTiles are the register tiles {M, P} of correlate: M weights by P
// vectors.
func correlateTiles() [][2]int {
	var ts [][2]int
	add := func(p int, ms ...int) {
		for _, m := range ms {
			ts = append(ts, [2]int{m, p})
		}
	}
	if wide {
		add(1, 1, 2, 4, 5, 6, 7, 8, 10, 12, 14, 16, 24)
		add(2, 1, 2, 4, 5, 6, 8, 10, 12)
		add(3, 1, 2, 4, 6, 8)
		add(4, 1, 2, 3, 4, 5, 6)
		add(5, 1, 2, 3, 4, 5)
		add(8, 1, 2)
	} else {
		add(1, 1, 2, 3, 4, 5, 6) // both halves of the block at once
		add(2, 1, 2, 4, 5, 6)
		add(3, 1, 2, 3, 4)
		add(4, 1, 2)
		add(5, 1, 2)
	}
	return ts
}

// The words of the arguments of correlate.
const (
	cX = iota
	cW
	cBias
	cOut
	cChannels
	cRows
	cCols
	cXTap
	cXRow
	cXChan
	cWTap
	cWRow
	cWChan
	cOutStride
	cTiles
	cMode
)

// correlate makes the kernel that everything linear but the gradients of a
// convolution goes through: for m < M, p < P, in each of Tiles tiles,
//
//	out[m][p] = start + sum over c, i, j of w[c][i][j][m] x[c][i][j + p]
//
// where w is broadcast and x a vector.
func correlate(M, P int) {
	name := fmt.Sprintf("correlate%dx%d", M, P)
	a := begin(name)
	// The registers of a row of the tile are apart bytes from each other. A
	// single vector is two registers of AVX2, which share the weights.
	apart, width, loop := 64, P*64, halves
	if !wide && P == 1 {
		P, apart = 2, 32
		loop = func(_ string, _ []Register, body func()) { body() }
	}
	var v vecs
	acc := make([][]VecPhysical, M)
	for m := range acc {
		acc[m] = v.many(P)
	}
	xs := v.many(P)
	var wr VecPhysical
	if !wide || P > 1 {
		wr = v.one()
	}
	// Registers are short: what the inner loops do not need lies in memory.
	// shift is the displacement of the half that AVX2 is at.
	tiles, shift := AllocLocal(8), AllocLocal(8)
	MOVQ(I32(0), shift)
	loop(name, nil, func() {
		xt, ot, t := arg(a, cX), arg(a, cOut), GP64()
		if !wide {
			ADDQ(shift, xt)
			ADDQ(shift, ot)
		}
		MOVQ(word(a, cTiles), t)
		MOVQ(t, tiles)
		Label(name + "_tile")
		bias := arg(a, cBias)

		// How the sums begin.
		at := func(o Register) {
			for m := range acc {
				for p := range acc[m] {
					VMOVUPS(Mem{Base: o, Disp: p * apart}, acc[m][p])
				}
				if m < M-1 {
					ADDQ(word(a, cOutStride), o)
				}
			}
		}
		CMPQ(word(a, cMode), Imm(1))
		JL(LabelRef(name + "_scalarbias"))
		JE(LabelRef(name + "_accumulate"))
		CMPQ(word(a, cMode), Imm(2))
		JE(LabelRef(name + "_zero"))
		if !wide {
			ADDQ(shift, bias)
		}
		for p := range P { // a vector of biases for each p
			VMOVUPS(Mem{Base: bias, Disp: p * apart}, acc[0][p])
			for m := 1; m < M; m++ {
				VMOVAPS(acc[0][p], acc[m][p])
			}
		}
		JMP(LabelRef(name + "_begin"))
		Label(name + "_zero")
		for m := range acc {
			for p := range acc[m] {
				VPXORD_or_VXORPS(acc[m][p])
			}
		}
		JMP(LabelRef(name + "_begin"))
		Label(name + "_accumulate")
		o := GP64()
		MOVQ(ot, o)
		at(o)
		JMP(LabelRef(name + "_begin"))
		Label(name + "_scalarbias")
		for m := range acc {
			VBROADCASTSS(Mem{Base: bias, Disp: 4 * m}, acc[m][0])
			for p := 1; p < P; p++ {
				VMOVAPS(acc[m][0], acc[m][p])
			}
		}
		Label(name + "_begin")

		xc, wc, c := GP64(), GP64(), GP64()
		MOVQ(xt, xc)
		MOVQ(word(a, cW), wc)
		MOVQ(word(a, cChannels), c)
		xTap, wTap := arg(a, cXTap), arg(a, cWTap)
		Label(name + "_channel")
		{
			xr, wrow, i := GP64(), GP64(), GP64()
			MOVQ(xc, xr)
			MOVQ(wc, wrow)
			MOVQ(word(a, cRows), i)
			Label(name + "_row")
			{
				xp, wp, j := GP64(), GP64(), GP64()
				MOVQ(xr, xp)
				MOVQ(wrow, wp)
				MOVQ(word(a, cCols), j)
				Label(name + "_tap")
				for p := range xs {
					VMOVUPS(Mem{Base: xp, Disp: p * apart}, xs[p])
				}
				for m := range acc {
					weight := Mem{Base: wp, Disp: 4 * m}
					if wr == nil {
						VFMADD231PS_BCST(weight, xs[0], acc[m][0])
						continue
					}
					VBROADCASTSS(weight, wr)
					for p := range xs {
						VFMADD231PS(wr, xs[p], acc[m][p])
					}
				}
				ADDQ(xTap, xp)
				ADDQ(wTap, wp)
				DECQ(j)
				JNZ(LabelRef(name + "_tap"))
			}
			ADDQ(word(a, cXRow), xr)
			ADDQ(word(a, cWRow), wrow)
			DECQ(i)
			JNZ(LabelRef(name + "_row"))
		}
		ADDQ(word(a, cXChan), xc)
		ADDQ(word(a, cWChan), wc)
		DECQ(c)
		JNZ(LabelRef(name + "_channel"))

		o = GP64()
		MOVQ(ot, o)
		for m := range acc {
			for p := range acc[m] {
				VMOVUPS(acc[m][p], Mem{Base: o, Disp: p * apart})
			}
			if m < M-1 {
				ADDQ(word(a, cOutStride), o)
			}
		}
		ADDQ(U32(width), xt)
		ADDQ(U32(width), ot)
		DECQ(tiles)
		JNZ(LabelRef(name + "_tile"))
		if !wide {
			ADDQ(Imm(32), shift)
		}
	})
	end()
}

// VPXORD_or_VXORPS clears a register.
func VPXORD_or_VXORPS(r VecPhysical) {
	if wide {
		VPXORD(r, r, r)
	} else {
		VXORPS(r, r, r)
	}
}

// scatterTiles are the tiles {S, K, planes} of scatter: S columns by K taps, in
// one or two input channels.
func scatterTiles() [][3]int {
	var ts [][3]int
	for k := 1; k <= 5; k++ {
		for _, s := range []int{1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 13} {
			for planes := 1; planes <= 2; planes++ {
				if planes*(s+k-1)+s+1 <= len(set.regs) {
					ts = append(ts, [3]int{s, k, planes})
				}
			}
		}
	}
	return ts
}

// The words of the arguments of scatter.
const (
	sDY = iota
	sW
	sOut
	sChannels
	sRows
	sDYChan
	sDYRow
	sWChan
	sWRow
	sMode
	sWPlane
	sOutPlane
)

// scatter makes the kernel of a convolution's data gradient: for s < S, k < K,
// and in each plane,
//
//	out[s+k] = start + sum over c, i of w[c][i][k] dy[c][i][s]
//
// over a stretch of one row of the input; no work is done on padding. With few
// columns the additions to one sum follow each other too closely: then two
// planes hide their latency.
func scatter(S, K, planes int) {
	name := fmt.Sprintf("scatter%dx%dx%d", S, K, planes)
	a := begin(name)
	var v vecs
	acc := make([][]VecPhysical, planes)
	for p := range acc {
		acc[p] = v.many(S + K - 1)
	}
	dys, wr := v.many(S), v.one()
	dy, out := arg(a, sDY), arg(a, sOut)
	halves(name, []Register{dy, out}, func() {
		CMPQ(word(a, sMode), Imm(1))
		JE(LabelRef(name + "_accumulate"))
		for _, rs := range acc {
			for _, r := range rs {
				VPXORD_or_VXORPS(r)
			}
		}
		JMP(LabelRef(name + "_begin"))
		Label(name + "_accumulate")
		o := GP64()
		MOVQ(out, o)
		for p, rs := range acc {
			for i, r := range rs {
				VMOVUPS(Mem{Base: o, Disp: 64 * i}, r)
			}
			if p < planes-1 {
				ADDQ(word(a, sOutPlane), o)
			}
		}
		Label(name + "_begin")
		dc, wc, c := GP64(), arg(a, sW), arg(a, sChannels)
		MOVQ(dy, dc)
		dyRow, wRow, wPlane := arg(a, sDYRow), arg(a, sWRow), arg(a, sWPlane)
		Label(name + "_channel")
		{
			d, wp, i := GP64(), GP64(), GP64()
			MOVQ(dc, d)
			MOVQ(wc, wp)
			MOVQ(word(a, sRows), i)
			Label(name + "_row")
			for s, r := range dys {
				VMOVUPS(Mem{Base: d, Disp: 64 * s}, r)
			}
			for k := range K {
				for p := range planes {
					weight := Mem{Base: wp, Disp: 4 * k}
					if p == 1 {
						weight.Index, weight.Scale = wPlane, 1
					}
					VBROADCASTSS(weight, wr)
					for s, r := range dys {
						VFMADD231PS(wr, r, acc[p][s+k])
					}
				}
			}
			ADDQ(dyRow, d)
			ADDQ(wRow, wp)
			DECQ(i)
			JNZ(LabelRef(name + "_row"))
		}
		ADDQ(word(a, sDYChan), dc)
		ADDQ(word(a, sWChan), wc)
		DECQ(c)
		JNZ(LabelRef(name + "_channel"))
		o = GP64()
		MOVQ(out, o)
		for p, rs := range acc {
			for i, r := range rs {
				VMOVUPS(r, Mem{Base: o, Disp: 64 * i})
			}
			if p < planes-1 {
				ADDQ(word(a, sOutPlane), o)
			}
		}
	})
	end()
}

// weightTiles are the tiles {M, K} of weights: M output channels by K taps.
func weightTiles() [][2]int {
	var ts [][2]int
	for k := 1; k <= 5; k++ {
		for _, m := range []int{1, 2, 3, 4, 5, 6, 7} {
			if m*k+m+1 <= len(set.regs) {
				ts = append(ts, [2]int{m, k})
			}
		}
	}
	return ts
}

// The words of the arguments of weights.
const (
	wDY = iota
	wX
	wAcc
	wRows
	wCols
	wDYChan
	wDYRow
	wXRow
	wAccStride
)

// weights makes the kernel of a convolution's weight gradient: for m < M,
// k < K, lane by lane,
//
//	acc[m][k] += sum over i, j of dy[m][i][j] x[i][j+k].
func weights(M, K int) {
	name := fmt.Sprintf("weights%dx%d", M, K)
	a := begin(name)
	var v vecs
	acc := make([][]VecPhysical, M)
	for m := range acc {
		acc[m] = v.many(K)
	}
	dys, xr := v.many(M), v.one()
	dy, x, out := arg(a, wDY), arg(a, wX), arg(a, wAcc)
	chanStride := arg(a, wDYChan)
	halves(name, []Register{dy, x, out}, func() {
		o := GP64()
		MOVQ(out, o)
		for m := range acc {
			for k, r := range acc[m] {
				VMOVUPS(Mem{Base: o, Disp: 64 * k}, r)
			}
			if m < M-1 {
				ADDQ(word(a, wAccStride), o)
			}
		}
		dr, xrow, i := GP64(), GP64(), arg(a, wRows)
		MOVQ(dy, dr)
		MOVQ(x, xrow)
		chan3 := GP64()
		LEAQ(Mem{Base: chanStride, Index: chanStride, Scale: 2}, chan3)
		Label(name + "_row")
		{
			d, d3, xp, j := GP64(), GP64(), GP64(), GP64()
			MOVQ(dr, d)
			LEAQ(Mem{Base: dr, Index: chan3, Scale: 1}, d3)
			MOVQ(xrow, xp)
			MOVQ(word(a, wCols), j)
			d6 := GP64()
			if M > 6 {
				LEAQ(Mem{Base: d3, Index: chan3, Scale: 1}, d6)
			}
			Label(name + "_col")
			for m, r := range dys {
				base := []Register{d, d3, d6}[m/3]
				switch m % 3 {
				case 0:
					VMOVUPS(Mem{Base: base}, r)
				case 1:
					VMOVUPS(Mem{Base: base, Index: chanStride, Scale: 1}, r)
				case 2:
					VMOVUPS(Mem{Base: base, Index: chanStride, Scale: 2}, r)
				}
			}
			for k := range K {
				VMOVUPS(Mem{Base: xp, Disp: 64 * k}, xr)
				for m := range acc {
					VFMADD231PS(xr, dys[m], acc[m][k])
				}
			}
			ADDQ(Imm(64), d)
			ADDQ(Imm(64), d3)
			if M > 6 {
				ADDQ(Imm(64), d6)
			}
			ADDQ(Imm(64), xp)
			DECQ(j)
			JNZ(LabelRef(name + "_col"))
		}
		ADDQ(word(a, wDYRow), dr)
		ADDQ(word(a, wXRow), xrow)
		DECQ(i)
		JNZ(LabelRef(name + "_row"))
		o = GP64()
		MOVQ(out, o)
		for m := range acc {
			for k, r := range acc[m] {
				VMOVUPS(r, Mem{Base: o, Disp: 64 * k})
			}
			if m < M-1 {
				ADDQ(word(a, wAccStride), o)
			}
		}
	})
	end()
}
