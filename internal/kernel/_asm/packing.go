package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// The words of the arguments of transpose: N squares of 16 x 16 floats. The
// rows of a square are SrcStride bytes apart in the source and DstStride in
// the destination; the squares SrcNext and DstNext.
const (
	tDst = iota
	tSrc
	tN
	tSrcStride
	tDstStride
	tSrcNext
	tDstNext
)

// The words of the arguments of pack: a row of 16 pixels from each of 16
// images becomes 16 blocks, Scale*byte + Offset.
const (
	kDst    = iota
	kImages // to 16 pointers
	kAt     // the offset of the first pixel in each image
	kScale
	kOffset
)

func packing() {
	transpose()
	pack()
	lanes()
}

// transpose goes by squares of 8 x 8, in YMM registers, which is fast enough
// in either instruction set.
func transpose() {
	const name = "transpose"
	a := begin(name)
	ys := []VecPhysical{Y0, Y1, Y2, Y3, Y4, Y5, Y6, Y7}
	zs := []VecPhysical{Y8, Y9, Y10, Y11, Y12, Y13, Y14, Y15}
	dst, src, n := arg(a, tDst), arg(a, tSrc), arg(a, tN)
	ss, ds := arg(a, tSrcStride), arg(a, tDstStride)
	Label(name + "_loop")
	for q := range 4 {
		bi, bj := q/2, q%2 // the square of 8 x 8
		s, d := GP64(), GP64()
		MOVQ(src, s)
		MOVQ(dst, d)
		if bi == 1 {
			LEAQ(Mem{Base: s, Index: ss, Scale: 8}, s)
			ADDQ(Imm(32), d)
		}
		if bj == 1 {
			ADDQ(Imm(32), s)
			LEAQ(Mem{Base: d, Index: ds, Scale: 8}, d)
		}
		for i := range 8 {
			VMOVUPS(Mem{Base: s}, ys[i])
			if i < 7 {
				ADDQ(ss, s)
			}
		}
		for i := 0; i < 8; i += 2 {
			VUNPCKLPS(ys[i+1], ys[i], zs[i])
			VUNPCKHPS(ys[i+1], ys[i], zs[i+1])
		}
		for i := 0; i < 8; i += 4 {
			VSHUFPS(Imm(0x44), zs[i+2], zs[i], ys[i])
			VSHUFPS(Imm(0xee), zs[i+2], zs[i], ys[i+1])
			VSHUFPS(Imm(0x44), zs[i+3], zs[i+1], ys[i+2])
			VSHUFPS(Imm(0xee), zs[i+3], zs[i+1], ys[i+3])
		}
		for i := range 4 {
			VPERM2F128(Imm(0x20), ys[i+4], ys[i], zs[i])
			VPERM2F128(Imm(0x31), ys[i+4], ys[i], zs[i+4])
		}
		for i := range 8 {
			VMOVUPS(zs[i], Mem{Base: d})
			if i < 7 {
				ADDQ(ds, d)
			}
		}
	}
	ADDQ(word(a, tSrcNext), src)
	ADDQ(word(a, tDstNext), dst)
	DECQ(n)
	JNZ(LabelRef(name + "_loop"))
	end()
}

// pack transposes 16 x 16 bytes and widens them.
func pack() {
	const name = "pack"
	a := begin(name)
	images, at, dst := arg(a, kImages), arg(a, kAt), arg(a, kDst)
	// Four rounds of interleaving rows i and i+8 turn 16 rows into 16 columns.
	r := []VecPhysical{X0, X1, X2, X3, X4, X5, X6, X7, X8, X9, X10, X11, X12, X13, X14, X15}
	scratch := AllocLocal(16 * 16)
	for i := range 16 {
		p := GP64()
		MOVQ(Mem{Base: images, Disp: 8 * i}, p)
		VMOVDQU(Mem{Base: p, Index: at, Scale: 1}, r[i])
	}
	for range 4 {
		// new[2i] = lo(old[i], old[i+8]), new[2i+1] = hi(old[i], old[i+8]);
		// through memory, since there is no register to spare.
		for i := range 8 {
			VMOVDQU(r[i+8], scratch.Offset(16*i))
		}
		// Pairs from the top, so that nothing is overwritten before its use.
		for i := 7; i >= 0; i-- {
			m := scratch.Offset(16 * i)
			VPUNPCKHBW(m, r[i], r[2*i+1])
			VPUNPCKLBW(m, r[i], r[2*i])
		}
	}
	// Now register i holds pixel i of the 16 images, in order.
	for i := range 16 {
		VMOVDQU(r[i], scratch.Offset(16*i))
	}
	scale, offset, x := set.regs[0], set.regs[1], set.regs[2]
	VBROADCASTSS(word(a, kScale), scale)
	VBROADCASTSS(word(a, kOffset), offset)
	for i := range 16 {
		for h := 0; h < 64; h += set.width {
			VPMOVZXBD(scratch.Offset(16*i+h/4), x)
			VCVTDQ2PS(x, x)
			VFMADD213PS(offset, scale, x)
			VMOVUPS(x, Mem{Base: dst, Disp: 64*i + h})
		}
	}
	end()
}

// lanes adds up the 16 lanes of each of N blocks: dst[i] += sum of src[i].
func lanes() {
	const name = "lanes"
	a := begin(name)
	dst, src, n := arg(a, eDst), arg(a, eSrc), arg(a, eN)
	Label(name + "_loop")
	for h := range 4 {
		y := []VecPhysical{Y0, Y1, Y2, Y3}[h]
		VMOVUPS(Mem{Base: src, Disp: 64 * h}, y)
		VADDPS(Mem{Base: src, Disp: 64*h + 32}, y, y)
	}
	// Rows of four pairs of halves: add neighbours twice.
	VHADDPS(Y1, Y0, Y0)
	VHADDPS(Y3, Y2, Y2)
	VHADDPS(Y2, Y0, Y0)
	VEXTRACTF128(Imm(1), Y0, X1)
	VADDPS(X1, X0, X0)
	VADDPS(Mem{Base: dst}, X0, X0)
	VMOVUPS(X0, Mem{Base: dst})
	ADDQ(U32(256), src)
	ADDQ(Imm(16), dst)
	SUBQ(Imm(4), n)
	JG(LabelRef(name + "_loop"))
	end()
}
