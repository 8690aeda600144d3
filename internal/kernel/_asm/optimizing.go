package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// The words of the arguments of the optimizers, in the order of the Go type
// Optimization.
const (
	oP = iota
	oG
	oM
	oV
	oN
	oScale
	oDecay
	oBeta1
	oAlpha1
	oBeta2
	oAlpha2
	oCorrection
	oEpsilon
	oRate
	oKeep
)

func optimizing() {
	broadcast := func(v *vecs, a Register, words ...int) []VecPhysical {
		rs := v.many(len(words))
		for i, w := range words {
			VBROADCASTSS(word(a, w), rs[i])
		}
		return rs
	}
	// g = scale g + decay p; m = beta1 m + g; p -= rate g + keep m
	{
		const name = "momentum"
		a := begin(name)
		var v vecs
		k := broadcast(&v, a, oScale, oDecay, oBeta1, oRate, oKeep)
		scale, decay, beta1, rate, keep := k[0], k[1], k[2], k[3], k[4]
		p, g, m := v.one(), v.one(), v.one()
		pp, gp, mp, n := arg(a, oP), arg(a, oG), arg(a, oM), arg(a, oN)
		each(name, n, []Register{pp, gp, mp}, func() {
			VMOVUPS(Mem{Base: pp}, p)
			VMULPS(Mem{Base: gp}, scale, g)
			VFMADD231PS(p, decay, g)
			VMOVAPS(g, m)
			VFMADD231PS(Mem{Base: mp}, beta1, m)
			VMOVUPS(m, Mem{Base: mp})
			VFNMADD231PS(g, rate, p)
			VFNMADD231PS(m, keep, p)
			VMOVUPS(p, Mem{Base: pp})
		})
		end()
	}
	// g = scale g + decay p; m = beta1 m + alpha1 g; v = beta2 v + alpha2 g g;
	// p = keep p - rate m / (correction sqrt(v) + epsilon)
	{
		const name = "adam"
		a := begin(name)
		var vs vecs
		k := broadcast(&vs, a, oScale, oDecay, oBeta1, oAlpha1, oBeta2, oAlpha2, oCorrection, oEpsilon, oRate, oKeep)
		scale, decay, beta1, alpha1, beta2, alpha2, correction, epsilon, rate, keep := k[0], k[1], k[2], k[3], k[4], k[5], k[6], k[7], k[8], k[9]
		p, g, m, v := vs.one(), vs.one(), vs.one(), vs.one()
		pp, gp, mp, vp, n := arg(a, oP), arg(a, oG), arg(a, oM), arg(a, oV), arg(a, oN)
		each(name, n, []Register{pp, gp, mp, vp}, func() {
			VMOVUPS(Mem{Base: pp}, p)
			VMULPS(Mem{Base: gp}, scale, g)
			VFMADD231PS(p, decay, g)
			VMULPS(g, alpha1, m)
			VFMADD231PS(Mem{Base: mp}, beta1, m)
			VMOVUPS(m, Mem{Base: mp})
			VMULPS(g, g, g)
			VMULPS(g, alpha2, v)
			VFMADD231PS(Mem{Base: vp}, beta2, v)
			VMOVUPS(v, Mem{Base: vp})
			VSQRTPS(v, v)
			VFMADD213PS(epsilon, correction, v)
			VMULPS(m, rate, m)
			VDIVPS(v, m, m)
			VMULPS(p, keep, p)
			VSUBPS(m, p, p)
			VMOVUPS(p, Mem{Base: pp})
		})
		end()
	}
}
