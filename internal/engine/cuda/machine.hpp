// What the kernels need of a machine, and the functions that all of them use.
#pragma once

#include "program.h"

#if defined(SIMULATOR)
#include "simulator.hpp"
#elif defined(__NVCC__)
#define KERNEL(threads) extern "C" __global__ void __launch_bounds__(threads)
#define METHOD __device__ __forceinline__
#define DEVICE static METHOD
#define SHARED(name, size) __shared__ __align__(16) float name[size]
#define THREAD int(threadIdx.x)
#define BLOCK int(blockIdx.x)
#define BLOCKS int(gridDim.x)
#define SYNC() __syncthreads()
#define ALIGNED(p, bytes) (p)
#define FMA(a, b, c) __fmaf_rn(a, b, c)
#define SQRT(a) __fsqrt_rn(a)
#define SHUFFLE(v, mask) __shfl_xor_sync(0xffffffffu, v, mask)
#define BITS(v) __int_as_float(v)
#define ASBITS(v) __float_as_int(v)
#else // clang, without a toolkit
#define __global__ __attribute__((global))
#define __device__ __attribute__((device))
#define __shared__ __attribute__((shared))
#define KERNEL(threads) extern "C" __global__ __attribute__((launch_bounds(threads))) void
#define METHOD __device__ __attribute__((always_inline)) inline
#define DEVICE static METHOD
#define SHARED(name, size) static __shared__ __attribute__((aligned(16))) float name[size]
#define THREAD int(__nvvm_read_ptx_sreg_tid_x())
#define BLOCK int(__nvvm_read_ptx_sreg_ctaid_x())
#define BLOCKS int(__nvvm_read_ptx_sreg_nctaid_x())
#define SYNC() __syncthreads()
#define ALIGNED(p, bytes) (p)
#define FMA(a, b, c) __builtin_fmaf(a, b, c)
#define SQRT(a) __nvvm_sqrt_rn_f(a)
#define SHUFFLE(v, mask) __nvvm_shfl_sync_bfly_f32(0xffffffffu, v, mask, 31)
#define BITS(v) __builtin_bit_cast(float, v)
#define ASBITS(v) __builtin_bit_cast(int, v)
#endif

// Vectors, which the compilers load in one go. An array in shared memory is
// aligned to 16 bytes, and so is every array of the host.
struct alignas(8) Float2 {
	float a, b;
};
struct alignas(16) Float4 {
	float a, b, c, d;
};
DEVICE Float2 load2(const float *p) { return *(const Float2 *)ALIGNED(p, 8); }
DEVICE Float4 load4(const float *p) { return *(const Float4 *)ALIGNED(p, 16); }
DEVICE void store2(float *p, Float2 v) { *(Float2 *)ALIGNED(p, 8) = v; }
DEVICE void store4(float *p, Float4 v) { *(Float4 *)ALIGNED(p, 16) = v; }

typedef long long Long;

DEVICE int minimum(int a, int b) { return a < b ? a : b; }

// exponential is e^x with a relative error of about 2e-7; a NaN stays one.
DEVICE float exponential(float x) {
	const float log2e = 1.44269502f, rest = 1.92596299e-8f;
	float t = x * log2e;
	if (t != t) return t;
	if (t > 126) return 8.50705917e37f; // 2^126
	if (t < -126) return 1.17549435e-38f;
	const float magic = 12582912; // 1.5 * 2^23: adding it rounds
	float n = (t + magic) - magic;
	float f = FMA(x, rest, FMA(x, log2e, -n));
	float p = 1.3264727094066363e-3f;
	p = FMA(p, f, 9.67151268246929e-3f);
	p = FMA(p, f, 5.550733743927358e-2f);
	p = FMA(p, f, 0.24022242084661014f);
	p = FMA(p, f, 0.6931469775985435f);
	p = FMA(p, f, 1.0f);
	return p * BITS((int(n) + 127) << 23);
}

// logarithm is ln x for a normal number x > 0, by the series of artanh.
DEVICE float logarithm(float x) {
	int bits = ASBITS(x);
	int e = (bits - 0x3f3504f3) >> 23; // so that the mantissa is in [sqrt(1/2), sqrt(2))
	float m = BITS(bits - (e << 23));
	float s = (m - 1) / (m + 1), z = s * s;
	float p = FMA(z, 2.0f / 9, 2.0f / 7);
	p = FMA(p, z, 2.0f / 5);
	p = FMA(p, z, 2.0f / 3);
	return FMA(float(e), 0.693147182f, FMA(p * z, s, 2 * s));
}

#define AMPLITUDE 1.7159f
#define SLOPE 0.666666667f

// activate is the function f of x. They share one exponential, since they are
// expanded where they are used.
DEVICE float activate(int f, float x) {
	if (f == NONE) return x;
	if (f == RELU) return x <= 0 ? 0 : x; // a NaN passes
	float u = f == SCALED_TANH ? SLOPE * x : x, z = u * u;
	float a = u < 0 ? -u : u;
	float q = 1 / (1 + exponential(f == SIGMOID ? -x : 2 * a));
	if (f == SIGMOID) return q;
	float t;
	if (a < 0.625f) { // where the other form of tanh would cancel
		t = -6.096714165128698e-3f;
		t = FMA(t, z, 2.0997178998680675e-2f);
		t = FMA(t, z, -5.385090957852034e-2f);
		t = FMA(t, z, 0.13332769736978245f);
		t = FMA(t, z, -0.33333328944134355f);
		t = FMA(t * z, u, u);
	} else {
		t = 1 - 2 * q;
		if (u < 0) t = -t;
	}
	return f == SCALED_TANH ? AMPLITUDE * t : t;
}

// slope is the derivative at the output y.
DEVICE float slope(int f, float y) {
	switch (f) {
	case SIGMOID: return y * (1 - y);
	case TANH: return 1 - y * y;
	case SCALED_TANH: return SLOPE * AMPLITUDE - (SLOPE / AMPLITUDE) * y * y;
	case RELU: return y > 0 ? 1 : 0;
	}
	return 1;
}

// warp_sum adds up v over the 32 threads of a warp; all of them get the sum.
DEVICE float warp_sum(float v) {
	for (int mask = 16; mask > 0; mask >>= 1) v += SHUFFLE(v, mask);
	return v;
}

DEVICE Float4 zero4() {
	Float4 z = {0, 0, 0, 0};
	return z;
}

// copy moves n floats, a multiple of 4, with all threads of the block.
DEVICE void copy(float *dst, const float *src, int n) {
	for (int i = 4 * THREAD; i < n; i += 4 * THREADS) store4(dst + i, load4(src + i));
}
