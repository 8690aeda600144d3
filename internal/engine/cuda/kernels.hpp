// The kernels: a training step of a network of the LeNet family, in five
// launches. They are compiled three ways from this one source: to PTX by clang
// or nvcc, and to host code for the simulator.
//
//	forward         an example to a block: pixels, and all convolutional stages
//	dense           two examples to a block: the dense layers, the loss, and
//	                the gradients back to the last convolution's output
//	conv_gradient   an example to a block: the convolutional stages backwards,
//	                and the gradients of their weights, summed per block
//	dense_gradient  a square of a weight gradient to a block, over a slice of
//	                the batch
//	reduce          the sums of the blocks and slices, and the update
//
// Besides: tally adds up the losses, update is the update alone, and pack
// brings weights that the host changed into the order of the convolutions.
//
// There are no atomic additions: every sum has its order, which depends on the
// network and the batch alone, so that the same seed gives the same bits on
// every device.
#pragma once

#include "program.h"

// ---- The machine -----------------------------------------------------------

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
DEVICE Float2 load2(const float *p) { return *(const Float2 *)p; }
DEVICE Float4 load4(const float *p) { return *(const Float4 *)p; }

typedef long long Long;

DEVICE int minimum(int a, int b) { return a < b ? a : b; }

// ---- Functions -------------------------------------------------------------

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
	for (int i = 4 * THREAD; i < n; i += 4 * THREADS) *(Float4 *)(dst + i) = load4(src + i);
}

// ---- Convolution -----------------------------------------------------------

// Window is what a thread computes at once: 2x2 outputs, of two maps.
struct Window {
	float v[2][2][2]; // [map][row][column]
};

// accumulate adds to a window the products with one channel, whose top left
// input is x. Weights are in the order (row, column, map), maps apart by
// stride floats each column. K is the kernel if that is known at compile time,
// else 0. EVEN promises that x and every row of it is aligned to 8 bytes.
template <int K, bool EVEN>
DEVICE void accumulate(Window &acc, int kernel, const float *x, int pitch, const float *w, int stride) {
	if constexpr (K > 0) {
		float in[K + 1][K + 1];
#pragma unroll
		for (int r = 0; r <= K; r++) {
#pragma unroll
			for (int q = 0; q <= K; q += EVEN ? 2 : 1) {
				if constexpr (EVEN) {
					Float2 two = load2(x + r * pitch + q);
					in[r][q] = two.a;
					in[r][q + 1] = two.b;
				} else {
					in[r][q] = x[r * pitch + q];
				}
			}
		}
#pragma unroll
		for (int p = 0; p < K; p++) {
#pragma unroll
			for (int q = 0; q < K; q++) {
				Float2 two = load2(w + (p * K + q) * stride);
#pragma unroll
				for (int i = 0; i < 2; i++) {
#pragma unroll
					for (int j = 0; j < 2; j++) {
						acc.v[0][i][j] = FMA(two.a, in[p + i][q + j], acc.v[0][i][j]);
						acc.v[1][i][j] = FMA(two.b, in[p + i][q + j], acc.v[1][i][j]);
					}
				}
			}
		}
	} else {
		for (int p = 0; p < kernel; p++) {
			for (int q = 0; q < kernel; q++) {
				Float2 two = load2(w + (p * kernel + q) * stride);
				const float *at = x + p * pitch + q;
				for (int i = 0; i < 2; i++) {
					for (int j = 0; j < 2; j++) {
						acc.v[0][i][j] = FMA(two.a, at[i * pitch + j], acc.v[0][i][j]);
						acc.v[1][i][j] = FMA(two.b, at[i * pitch + j], acc.v[1][i][j]);
					}
				}
			}
		}
	}
}

// convolve computes rows x cols outputs of all maps, from channels inputs, and
// hands each window to store(map, row, column, 2x2 values): also those values
// that lie beyond the last row or column, which store must leave out.
template <int K, bool EVEN, class Store>
DEVICE void convolve(int kernel, int channels, int maps, int rows, int cols, const float *x, int plane, int pitch, const float *w,
                     const Store &store) {
	int stride = (maps + 1) / 2 * 2;
	int across = (cols + 1) / 2, windows = (rows + 1) / 2 * across;
	for (int t = THREAD; t < windows * (stride / 2); t += THREADS) {
		int map = t / windows * 2, at = t % windows;
		int row = at / across * 2, col = at % across * 2;
		Window acc = {};
		const float *in = x + row * pitch + col;
		const float *weights = w + map;
		for (int c = 0; c < channels; c++) {
			accumulate<K, EVEN>(acc, kernel, in, pitch, weights, stride);
			in += plane;
			weights += kernel * kernel * stride;
		}
		store(map, row, col, acc.v[0]);
		if (map + 1 < maps) store(map + 1, row, col, acc.v[1]);
	}
}

// Forward finishes a window of a stage: bias, activation, pooling, activation.
struct Forward {
	const Conv &c;
	const float *params;
	float *y, *z; // of the example
	METHOD Forward(const Conv &c, const float *params, int n)
	    : c(c), params(params), y(c.y + Long(n) * c.y_stride), z(c.z + Long(n) * c.out.stride + c.out.at) {}
	METHOD void operator()(int map, int row, int col, const float (&v)[2][2]) const {
		float b = params[c.bias + map];
		float *out = z + map * c.out.plane;
		if (c.pool == NO_POOL) {
			for (int i = 0; i < 2; i++)
				for (int j = 0; j < 2; j++)
					if (row + i < c.rows && col + j < c.cols) out[(row + i) * c.out.pitch + col + j] = activate(c.after, v[i][j] + b);
			return;
		}
		float a[2][2];
		for (int i = 0; i < 2; i++)
			for (int j = 0; j < 2; j++) a[i][j] = activate(c.before, v[i][j] + b);
		if (c.y) {
			float *keep = y + map * c.y_plane + row * c.y_pitch + col;
			for (int i = 0; i < 2; i++) {
				Float2 two = {a[i][0], a[i][1]};
				*(Float2 *)(keep + i * c.y_pitch) = two;
			}
		}
		float r;
		if (c.pool == MAX) {
			r = a[0][0];
			for (int k = 1; k < 4; k++) { // a NaN counts as larger, so that it is not lost
				float u = a[k / 2][k % 2];
				if (u > r || u != u) r = u;
			}
		} else {
			r = a[0][0] + a[0][1] + a[1][0] + a[1][1];
			r = c.pool == AVERAGE ? r / 4 : FMA(r, params[c.pool_weight + map], params[c.pool_bias + map]);
		}
		out[row / 2 * c.out.pitch + col / 2] = activate(c.after, r);
	}
};

// gather makes pixels of the bytes of example n.
DEVICE void gather(const Program &p, const Step &s, const int *index, int n) {
	int area = p.image_height * p.image_width, size = p.image_channels * area;
	const unsigned char *image = s.images + Long(s.gathered ? n : index[n]) * size;
	float *out = p.pixels + Long(n) * p.in.stride + p.in.at;
	for (int i = THREAD; i < size; i += THREADS) {
		int c = i / area, rest = i % area, row = rest / p.image_width, col = rest % p.image_width;
		out[c * p.in.plane + row * p.in.pitch + col] = FMA(p.scale, float(image[i]), p.offset);
	}
}

KERNEL(THREADS) forward(const Program *program, Long) {
	SHARED(arena, ARENA);
	const Program &p = *program;
	int step = p.counters->next;
	if (BLOCK == 0 && THREAD == 0) p.counters->step = step;
	const Step &s = p.steps[step];
	const int *index = p.index + Long(step) * p.batch;
	for (int i = 0; i < p.convs; i++) {
		const Conv &c = p.conv[i];
		if (c.shared_weights >= 0)
			copy(arena + c.shared_weights, p.packed + c.forward, (c.channels * c.kernel * c.kernel * ((c.maps + 1) / 2 * 2) + 3) / 4 * 4);
	}
	for (int n = BLOCK; n < s.count; n += BLOCKS) {
		gather(p, s, index, n);
		for (int i = 0; i < p.convs; i++) {
			const Conv &c = p.conv[i];
			const float *x = c.x + Long(n) * c.in.stride;
			SYNC(); // the input is there, and nobody reads the stage before's any more
			if (c.shared_x >= 0) {
				copy(arena + c.shared_x, x, c.in.stride);
				SYNC();
			}
			Forward store(c, p.params, n);
			if (c.shared_x >= 0 && c.shared_weights >= 0 && c.kernel == 5)
				convolve<5, true>(5, c.channels, c.maps, c.rows, c.cols, arena + c.shared_x, c.in.plane, c.in.pitch, arena + c.shared_weights, store);
			else if (c.shared_x >= 0 && c.shared_weights >= 0 && c.kernel == 3)
				convolve<3, true>(3, c.channels, c.maps, c.rows, c.cols, arena + c.shared_x, c.in.plane, c.in.pitch, arena + c.shared_weights, store);
			else
				convolve<0, false>(c.kernel, c.channels, c.maps, c.rows, c.cols, c.shared_x >= 0 ? arena + c.shared_x : x, c.in.plane, c.in.pitch,
				                   c.shared_weights >= 0 ? arena + c.shared_weights : p.packed + c.forward, store);
		}
	}
}

// spread computes the gradient dy of the convolution of example n, inside its
// border of zeros, from that of the stage's output.
DEVICE void spread(const Program &p, const Conv &c, int n, float *dy) {
	const float *z = c.z + Long(n) * c.out.stride + c.out.at, *dz = c.dz + Long(n) * c.out.stride + c.out.at;
	const float *kept = c.y + Long(n) * c.y_stride;
	int down = c.pool == NO_POOL ? c.rows : c.rows / 2, across = c.pool == NO_POOL ? c.cols : c.cols / 2;
	for (int t = THREAD; t < c.maps * down * across; t += THREADS) {
		int map = t / (down * across), at = t % (down * across), row = at / across, col = at % across;
		int place = map * c.out.plane + row * c.out.pitch + col;
		float g = dz[place];
		if (c.after != NONE) g *= slope(c.after, z[place]);
		float *out = dy + map * c.dy_plane + c.border * c.dy_pitch + c.left;
		if (c.pool == NO_POOL) {
			out[row * c.dy_pitch + col] = g;
			continue;
		}
		out += 2 * row * c.dy_pitch + 2 * col;
		float a[4] = {0, 0, 0, 0};
		if (c.y) {
			const float *y = kept + map * c.y_plane + 2 * row * c.y_pitch + 2 * col;
			a[0] = y[0], a[1] = y[1], a[2] = y[c.y_pitch], a[3] = y[c.y_pitch + 1];
		}
		int best = 0;
		if (c.pool == MAX) {
			float r = a[0];
			for (int k = 1; k < 4; k++)
				if (a[k] > r || a[k] != a[k]) best = k, r = a[k];
		} else {
			g *= c.pool == AVERAGE ? 0.25f : p.params[c.pool_weight + map];
		}
		for (int k = 0; k < 4; k++) {
			float d = c.pool == MAX && k != best ? 0 : g;
			if (c.before != NONE) d *= slope(c.before, a[k]);
			out[k / 2 * c.dy_pitch + k % 2] = d;
		}
	}
}

// put adds v to what earlier examples of the block left.
DEVICE void put(float *out, float v, bool first) { *out = first ? v : *out + v; }

// map_sums computes the gradients that there is one of for each map: of the
// bias, and of a trainable pooling. A warp takes a map.
DEVICE void map_sums(const Conv &c, int n, const float *dy, float *out, bool first) {
	int lane = THREAD % 32;
	for (int map = THREAD / 32; map < c.maps; map += THREADS / 32) {
		const float *d = dy + map * c.dy_plane + c.border * c.dy_pitch + c.left;
		float sum = 0;
		for (int k = lane; k < c.rows * c.cols; k += 32) sum += d[k / c.cols * c.dy_pitch + k % c.cols];
		sum = warp_sum(sum);
		if (lane == 0) put(out + c.bias + map, sum, first);
		if (c.pool != TRAINABLE) continue;
		const float *z = c.z + Long(n) * c.out.stride + c.out.at + map * c.out.plane;
		const float *dz = c.dz + Long(n) * c.out.stride + c.out.at + map * c.out.plane;
		const float *kept = c.y + Long(n) * c.y_stride + map * c.y_plane;
		float weight = 0, bias = 0;
		int across = c.cols / 2;
		for (int k = lane; k < c.rows / 2 * across; k += 32) {
			int row = k / across, col = k % across, place = row * c.out.pitch + col;
			float g = dz[place] * slope(c.after, z[place]);
			const float *y = kept + 2 * row * c.y_pitch + 2 * col;
			bias += g;
			weight = FMA(g, y[0] + y[1] + y[c.y_pitch] + y[c.y_pitch + 1], weight);
		}
		weight = warp_sum(weight);
		bias = warp_sum(bias);
		if (lane == 0) {
			put(out + c.pool_weight + map, weight, first);
			put(out + c.pool_bias + map, bias, first);
		}
	}
}

// weight_gradient correlates the input with dy. A thread computes a row of the
// kernels of two maps, over every parts-th row of dy.
template <int K>
DEVICE void weight_gradient(const Conv &c, const float *x, const float *dy, float *sums, float *out, bool first) {
	int pairs = (c.maps + 1) / 2, kernels = c.channels * K;
	for (int t = THREAD; t < c.parts * pairs * kernels; t += THREADS) {
		int p = t % K, channel = t / K % c.channels, pair = t / kernels % pairs, part = t / kernels / pairs;
		int map = 2 * pair;
		bool two = map + 1 < c.maps;
		float acc[2][K] = {};
		for (int row = part; row < c.rows; row += c.parts) {
			const float *in = x + channel * c.in.plane + (row + p) * c.in.pitch;
			const float *d0 = dy + map * c.dy_plane + (row + c.border) * c.dy_pitch + c.left;
			const float *d1 = d0 + (two ? c.dy_plane : 0);
			float v[K + 1];
#pragma unroll
			for (int q = 0; q < K - 1; q += 2) {
				Float2 next = load2(in + q);
				v[q] = next.a;
				v[q + 1] = next.b;
			}
			for (int col = 0; col < c.cols; col += 2) {
				Float2 next = load2(in + col + K - 1), a = load2(d0 + col), b = load2(d1 + col);
				v[K - 1] = next.a;
				v[K] = next.b;
#pragma unroll
				for (int q = 0; q < K; q++) {
					acc[0][q] = FMA(a.b, v[q + 1], FMA(a.a, v[q], acc[0][q]));
					acc[1][q] = FMA(b.b, v[q + 1], FMA(b.a, v[q], acc[1][q]));
				}
#pragma unroll
				for (int q = 0; q < K - 1; q++) v[q] = v[q + 2];
			}
		}
		int size = kernels * K, place = (map * c.channels + channel) * K * K + p * K;
#pragma unroll
		for (int q = 0; q < K; q++) {
			if (c.parts > 1) {
				sums[part * c.maps * size + place + q] = acc[0][q];
				if (two) sums[part * c.maps * size + place + size + q] = acc[1][q];
			} else {
				put(out + c.weight + place + q, acc[0][q], first);
				if (two) put(out + c.weight + place + size + q, acc[1][q], first);
			}
		}
	}
}

// weight_gradient_plain does so for any kernel, a weight to a thread.
DEVICE void weight_gradient_plain(const Conv &c, const float *x, const float *dy, float *out, bool first) {
	int area = c.kernel * c.kernel;
	for (int t = THREAD; t < c.maps * c.channels * area; t += THREADS) {
		int q = t % c.kernel, p = t / c.kernel % c.kernel, channel = t / area % c.channels, map = t / area / c.channels;
		const float *in = x + channel * c.in.plane + p * c.in.pitch + q;
		const float *d = dy + map * c.dy_plane + c.border * c.dy_pitch + c.left;
		float acc = 0;
		for (int row = 0; row < c.rows; row++)
			for (int col = 0; col < c.cols; col++) acc = FMA(d[row * c.dy_pitch + col], in[row * c.in.pitch + col], acc);
		put(out + c.weight + t, acc, first);
	}
}

// Backward stores the gradient of the input of a stage.
struct Backward {
	const Conv &c;
	float *dx;
	METHOD Backward(const Conv &c, int n) : c(c), dx(c.dx + Long(n) * c.in.stride + c.padding * c.in.pitch + c.padding) {}
	METHOD void operator()(int channel, int row, int col, const float (&v)[2][2]) const {
		for (int i = 0; i < 2; i++)
			for (int j = 0; j < 2; j++)
				if (row + i < c.height && col + j < c.width) dx[channel * c.in.plane + (row + i) * c.in.pitch + col + j] = v[i][j];
	}
};

// input_gradient is the full convolution of dy with the turned kernels: each
// map of dy is a channel, each channel of the input a map.
template <int K, bool EVEN>
DEVICE void input_gradient(const Conv &c, int n, const float *dy, const float *w) {
	const float *at = dy + c.padding * c.dy_pitch + c.padding + c.left - (c.kernel - 1);
	convolve<K, EVEN>(c.kernel, c.maps, c.channels, c.height, c.width, at, c.dy_plane, c.dy_pitch, w, Backward(c, n));
}

KERNEL(THREADS) conv_gradient(const Program *program, Long) {
	SHARED(arena, ARENA);
	const Program &p = *program;
	const Step &s = p.steps[p.counters->step];
	float *out = p.conv_partials + Long(BLOCK) * p.conv_params;
	for (int n = BLOCK; n < s.count; n += BLOCKS) {
		bool first = n == BLOCK;
		for (int i = p.convs - 1; i >= 0; i--) {
			const Conv &c = p.conv[i];
			const float *x = c.x + Long(n) * c.in.stride;
			float *dy = c.grad_dy >= 0 ? arena + c.grad_dy : c.scratch + Long(BLOCK) * c.dy_size;
			SYNC(); // the gradient of the output is there, and the arena is free
			for (int k = 4 * THREAD; k < c.dy_size; k += 4 * THREADS) *(Float4 *)(dy + k) = zero4();
			if (c.grad_x >= 0) copy(arena + c.grad_x, x, c.in.stride);
			if (c.dx && c.grad_weights >= 0)
				copy(arena + c.grad_weights, p.packed + c.backward, (c.maps * c.kernel * c.kernel * ((c.channels + 1) / 2 * 2) + 3) / 4 * 4);
			SYNC();
			spread(p, c, n, dy);
			SYNC();
			map_sums(c, n, dy, out, first);
			bool fast = c.grad_dy >= 0 && c.grad_x >= 0 && c.left % 2 == 0;
			if (fast && c.kernel == 5)
				weight_gradient<5>(c, arena + c.grad_x, arena + c.grad_dy, arena + c.grad_sums, out, first);
			else if (fast && c.kernel == 3)
				weight_gradient<3>(c, arena + c.grad_x, arena + c.grad_dy, arena + c.grad_sums, out, first);
			else
				weight_gradient_plain(c, c.grad_x >= 0 ? arena + c.grad_x : x, dy, out, first);
			if (c.dx) {
				bool fast = c.grad_dy >= 0 && c.grad_weights >= 0, even = (c.padding + c.left - (c.kernel - 1)) % 2 == 0;
				if (fast && c.kernel == 5 && even)
					input_gradient<5, true>(c, n, arena + c.grad_dy, arena + c.grad_weights);
				else if (fast && c.kernel == 3 && even)
					input_gradient<3, true>(c, n, arena + c.grad_dy, arena + c.grad_weights);
				else if (fast && c.kernel == 3)
					input_gradient<3, false>(c, n, arena + c.grad_dy, arena + c.grad_weights);
				else
					input_gradient<0, false>(c, n, dy, c.grad_weights >= 0 ? arena + c.grad_weights : p.packed + c.backward);
			}
			if (c.parts > 1) {
				SYNC(); // the sums of the parts are there
				int size = c.maps * c.channels * c.kernel * c.kernel;
				for (int t = THREAD; t < size; t += THREADS) {
					float v = 0;
					for (int part = 0; part < c.parts; part++) v += arena[c.grad_sums + part * size + t];
					put(out + c.weight + t, v, first);
				}
			}
		}
	}
}

// ---- Dense layers ----------------------------------------------------------

// ROWS are the outputs that a warp computes at once.
#define ROWS 4

// dense_forward computes z of the examples n[...]. A warp takes ROWS outputs;
// its threads share the inputs out.
DEVICE void dense_forward(const Dense &d, const float *params, const int (&n)[DENSE_EXAMPLES], int count) {
	int lane = THREAD % 32;
	for (int o = THREAD / 32 * ROWS; o < d.out; o += DENSE_THREADS / 32 * ROWS) {
		float acc[ROWS][DENSE_EXAMPLES] = {};
		const float *w[ROWS], *x[DENSE_EXAMPLES];
#pragma unroll
		for (int r = 0; r < ROWS; r++) w[r] = params + d.weight + Long(minimum(o + r, d.out - 1)) * d.in;
#pragma unroll
		for (int e = 0; e < DENSE_EXAMPLES; e++) x[e] = d.x + Long(n[e]) * d.x_pitch;
		if (d.vector) {
			for (int i = 4 * lane; i < d.in; i += 128) {
				Float4 v[DENSE_EXAMPLES];
#pragma unroll
				for (int e = 0; e < DENSE_EXAMPLES; e++) v[e] = load4(x[e] + i);
#pragma unroll
				for (int r = 0; r < ROWS; r++) {
					Float4 u = load4(w[r] + i);
#pragma unroll
					for (int e = 0; e < DENSE_EXAMPLES; e++)
						acc[r][e] = FMA(u.a, v[e].a, FMA(u.b, v[e].b, FMA(u.c, v[e].c, FMA(u.d, v[e].d, acc[r][e]))));
				}
			}
		} else {
			for (int i = lane; i < d.in; i += 32) {
#pragma unroll
				for (int r = 0; r < ROWS; r++) {
					float u = w[r][i];
#pragma unroll
					for (int e = 0; e < DENSE_EXAMPLES; e++) acc[r][e] = FMA(u, x[e][i], acc[r][e]);
				}
			}
		}
#pragma unroll
		for (int r = 0; r < ROWS; r++) {
#pragma unroll
			for (int e = 0; e < DENSE_EXAMPLES; e++) {
				float v = warp_sum(acc[r][e]);
				if (lane == r * DENSE_EXAMPLES + e && o + r < d.out && (e == 0 || n[e] != n[0]))
					d.z[Long(n[e]) * d.z_pitch + o + r] = activate(d.activation, v + params[d.bias + o + r]);
			}
		}
	}
}

// dense_input_gradient computes dx of the examples, times the slope of what x
// is the output of. Groups of threads take every so-manieth output each.
DEVICE void dense_input_gradient(const Dense &d, const float *params, const int (&n)[DENSE_EXAMPLES], float *arena) {
	int width = (d.in + 31) / 32 * 32;
	int groups = width <= DENSE_THREADS ? DENSE_THREADS / width : 1;
	int group = groups > 1 ? THREAD / width : 0;
	for (int i = groups > 1 ? THREAD % width : THREAD; i < d.in; i += DENSE_THREADS) {
		if (group >= groups) break;
		float acc[DENSE_EXAMPLES] = {};
		const float *w = params + d.weight + i;
#pragma unroll 8
		for (int o = group; o < d.out; o += groups) {
			float u = w[Long(o) * d.in];
#pragma unroll
			for (int e = 0; e < DENSE_EXAMPLES; e++) acc[e] = FMA(u, d.dy[Long(n[e]) * d.dy_pitch + o], acc[e]);
		}
#pragma unroll
		for (int e = 0; e < DENSE_EXAMPLES; e++) {
			if (groups > 1)
				arena[(e * groups + group) * width + i] = acc[e];
			else
				d.dx[Long(n[e]) * d.x_pitch + i] = acc[e] * slope(d.input_activation, d.x[Long(n[e]) * d.x_pitch + i]);
		}
	}
	if (groups == 1) return;
	SYNC(); // the sums of the groups are there
	for (int t = THREAD; t < DENSE_EXAMPLES * d.in; t += DENSE_THREADS) {
		int e = t / d.in, i = t % d.in, row = n[0];
#pragma unroll
		for (int k = 1; k < DENSE_EXAMPLES; k++)
			if (e == k) row = n[k];
		float v = 0;
		for (int g = 0; g < groups; g++) v += arena[(e * groups + g) * width + i];
		if (e == 0 || row != n[0]) d.dx[Long(row) * d.x_pitch + i] = v * slope(d.input_activation, d.x[Long(row) * d.x_pitch + i]);
	}
}

// distances are the negated squared distances of the last layer's output from
// the codes: a warp takes a class of an example.
DEVICE void distances(const Program &p, const Dense &last, int n) {
	int lane = THREAD % 32;
	for (int k = THREAD / 32; k < p.classes; k += DENSE_THREADS / 32) {
		float sum = 0;
		for (int i = lane; i < p.code_width; i += 32) {
			float d = last.z[Long(n) * last.z_pitch + i] - p.codes[k * p.code_width + i];
			sum = FMA(-d, d, sum);
		}
		sum = warp_sum(sum);
		if (lane == 0) p.logits[Long(n) * p.classes + k] = sum;
	}
}

DEVICE void distances_gradient(const Program &p, const Dense &last, int n) {
	for (int i = THREAD; i < p.code_width; i += DENSE_THREADS) {
		float z = last.z[Long(n) * last.z_pitch + i], sum = 0;
		for (int k = 0; k < p.classes; k++)
			sum = FMA(-2 * p.dlogits[Long(n) * p.classes + k], z - p.codes[k * p.code_width + i], sum);
		last.dy[Long(n) * last.dy_pitch + i] = sum * slope(last.activation, z);
	}
}

// loss computes, with a warp, the loss of example n, whether it is a hit, the
// probabilities, and the gradient of the logits.
DEVICE void loss(const Program &p, const Step &s, const int *index, int n) {
	int lane = THREAD % 32, k = p.classes;
	const float *row = p.logits + Long(n) * k;
	float top = row[minimum(lane, k - 1)];
	int best = minimum(lane, k - 1);
	for (int c = lane + 32; c < k; c += 32)
		if (row[c] > top) top = row[c], best = c;
	for (int mask = 16; mask > 0; mask >>= 1) { // the first of equal ones
		float other = SHUFFLE(top, mask);
		int place = ASBITS(SHUFFLE(BITS(best), mask));
		if (other > top || (other == top && place < best)) top = other, best = place;
	}
	float sum = 0, total = 0;
	for (int c = lane; c < k; c += 32) {
		sum += exponential(row[c] - top);
		total += row[c];
	}
	sum = warp_sum(sum);
	if (p.probabilities)
		for (int c = lane; c < k; c += 32) p.probabilities[Long(n) * k + c] = exponential(row[c] - top) / sum;
	if (!s.labels) return;
	int label = s.labels[index[n]];
	bool hit = best == label;
	if (p.rubbish) {
		if (p.background > top) {
			top = p.background;
			sum = 0;
			for (int c = lane; c < k; c += 32) sum += exponential(row[c] - top);
			sum = warp_sum(sum);
		}
		sum += exponential(p.background - top);
	}
	total = warp_sum(total);
	if (lane == 0) {
		float aim = row[label];
		if (p.smoothing != 0) aim = FMA(1 - p.smoothing, aim, p.smoothing * total / float(k));
		p.losses[n] = logarithm(sum) + (top - aim);
		p.hits[n] = hit;
	}
	if (!p.backward) return;
	float scale = 1 / float(s.count);
	for (int c = lane; c < k; c += 32) {
		float g = exponential(row[c] - top) / sum - p.smoothing / float(k);
		if (c == label) g -= 1 - p.smoothing;
		p.dlogits[Long(n) * k + c] = g * scale;
	}
}

KERNEL(DENSE_THREADS) dense(const Program *program, Long) {
	SHARED(arena, DENSE_EXAMPLES * DENSE_THREADS);
	const Program &p = *program;
	int step = p.counters->step;
	const Step &s = p.steps[step];
	const int *index = p.index + Long(step) * p.batch;
	for (int from = BLOCK * DENSE_EXAMPLES; from < s.count; from += BLOCKS * DENSE_EXAMPLES) {
		int n[DENSE_EXAMPLES]; // past the last one, the first again, which is not stored
#pragma unroll
		for (int e = 0; e < DENSE_EXAMPLES; e++) n[e] = from + e < s.count ? from + e : from;
		for (int i = 0; i < p.denses; i++) {
			dense_forward(p.dense[i], p.params, n, s.count);
			SYNC(); // the input of the next layer is there
		}
		const Dense &last = p.dense[p.denses - 1];
		if (p.codes) {
#pragma unroll
			for (int e = 0; e < DENSE_EXAMPLES; e++)
				if (e == 0 || n[e] != n[0]) distances(p, last, n[e]);
			SYNC(); // the scores are there
		}
#pragma unroll
		for (int e = 0; e < DENSE_EXAMPLES; e++)
			if (THREAD / 32 == e && (e == 0 || n[e] != n[0])) loss(p, s, index, n[e]);
		if (!p.backward) continue;
		SYNC(); // the gradient of the scores is there
		if (p.codes) {
#pragma unroll
			for (int e = 0; e < DENSE_EXAMPLES; e++)
				if (e == 0 || n[e] != n[0]) distances_gradient(p, last, n[e]);
			SYNC(); // the gradient of the last layer is there
		}
		for (int i = p.denses - 1; i >= 0; i--) {
			if (!p.dense[i].dx) break;
			dense_input_gradient(p.dense[i], p.params, n, arena);
			SYNC(); // the gradient of the layer before is there, and the arena is free
		}
	}
}

KERNEL(THREADS) dense_gradient(const Program *program, Long) {
	SHARED(arena, 2 * TILE * TILE);
	const Program &p = *program;
	const Step &s = p.steps[p.counters->step];
	int i = 0, tile = BLOCK / p.dense_parts, part = BLOCK % p.dense_parts;
	while (tile >= p.dense[i].tiles) tile -= p.dense[i++].tiles;
	const Dense &d = p.dense[i];
	int o = tile / d.tile_columns * TILE, in = tile % d.tile_columns * TILE;
	float *dys = arena, *xs = arena + TILE * TILE;
	int per = ((p.batch + p.dense_parts - 1) / p.dense_parts + TILE - 1) / TILE * TILE;
	int end = minimum(s.count, (part + 1) * per);
	int col = THREAD % 16, row = THREAD / 16;
	float acc[2][2] = {};
	for (int from = part * per; from < end; from += TILE) {
		for (int k = THREAD; k < TILE * TILE; k += THREADS) {
			int n = from + k / TILE, at = k % TILE;
			bool there = n < end;
			dys[k] = there && o + at < d.out ? d.dy[Long(n) * d.dy_pitch + o + at] : 0;
			// The column after the last is of ones: it gives the bias.
			xs[k] = there && in + at < d.in ? d.x[Long(n) * d.x_pitch + in + at] : there && in + at == d.in ? 1 : 0;
		}
		SYNC(); // the tiles are there
#pragma unroll 8
		for (int k = 0; k < TILE; k++) {
			float a0 = dys[k * TILE + row], a1 = dys[k * TILE + row + 16], b0 = xs[k * TILE + col], b1 = xs[k * TILE + col + 16];
			acc[0][0] = FMA(a0, b0, acc[0][0]);
			acc[0][1] = FMA(a0, b1, acc[0][1]);
			acc[1][0] = FMA(a1, b0, acc[1][0]);
			acc[1][1] = FMA(a1, b1, acc[1][1]);
		}
		SYNC(); // nobody reads the tiles any more
	}
	float *out = p.dense_partials + Long(part) * (p.parameters - p.conv_params) - p.conv_params;
	for (int a = 0; a < 2; a++) {
		for (int b = 0; b < 2; b++) {
			int to = o + row + 16 * a, at = in + col + 16 * b;
			if (to >= d.out) continue;
			if (at < d.in) out[d.weight + Long(to) * d.in + at] = acc[a][b];
			if (at == d.in) out[d.bias + to] = acc[a][b];
		}
	}
}

// ---- Sums and the update ---------------------------------------------------

// pack_one enters parameter j of a convolution into both packed copies.
DEVICE void pack_one(const Program &p, int j, float v) {
	if (j >= p.conv_params) return;
	int f = p.pack[j], b = p.pack[p.conv_params + j];
	if (f >= 0) p.packed[f] = v;
	if (b >= 0) p.packed[b] = v;
}

KERNEL(THREADS) pack(const Program *program, Long) {
	const Program &p = *program;
	for (int j = BLOCK * THREADS + THREAD; j < p.conv_params; j += BLOCKS * THREADS) pack_one(p, j, p.params[j]);
}

// update_one takes a step on parameter j, whose gradient is g.
DEVICE void update_one(const Program &p, const Step &s, int j, float g) {
	float w = p.params[j];
	if (s.vectors == 0) {
		w = FMA(s.keep, w, -s.rate * g);
	} else {
		float *m = p.state + j, *v = m + p.parameters, d = FMA(s.decay, w, g);
		if (s.vectors == 1) {
			*m = FMA(s.beta1, *m, d);
			w = w - s.rate * d - s.keep * *m;
		} else {
			*m = FMA(s.beta1, *m, s.alpha1 * d);
			*v = FMA(s.beta2, *v, s.alpha2 * d * d);
			w = FMA(s.keep, w, -s.rate * *m / FMA(s.correction, SQRT(*v), s.epsilon));
		}
	}
	p.params[j] = w;
	pack_one(p, j, w);
}

// What the kernel reduce is asked for.
#define FROM_PARTIALS 1 // else the gradients are there
#define AND_UPDATE 2

KERNEL(THREADS) reduce(const Program *program, Long what) {
	SHARED(arena, THREADS);
	const Program &p = *program;
	const Step &s = p.steps[p.counters->step];
	int column = THREAD % COLUMNS, group = THREAD / COLUMNS, groups = THREADS / COLUMNS;
	int j = BLOCK * COLUMNS + column;
	float g = 0;
	if (what & FROM_PARTIALS) {
		bool conv = j < p.conv_params;
		int parts = conv ? minimum(s.count, p.grad_blocks) : p.dense_parts, width = conv ? p.conv_params : p.parameters - p.conv_params;
		const float *from = conv ? p.conv_partials + j : p.dense_partials + (j - p.conv_params);
		if (j < p.parameters) {
#pragma unroll 8
			for (int k = group; k < parts; k += groups) g += from[Long(k) * width];
		}
		arena[THREAD] = g;
		SYNC(); // the sums of the groups are there
	}
	if (group > 0) return;
	if (j < p.parameters) {
		if (what & FROM_PARTIALS) {
			g = 0;
			for (int k = 0; k < groups; k++) g += arena[k * COLUMNS + column];
			if (j < p.conv_params && p.mask && !p.mask[j]) g = 0;
			p.grads[j] = g;
		} else {
			g = p.grads[j];
		}
		if ((what & AND_UPDATE) && !p.counters->halted) update_one(p, s, j, g);
	}
	float square = warp_sum(g * g);
	if (THREAD == 0) p.squares[BLOCK] = square;
}

KERNEL(THREADS) update(const Program *program, Long) {
	SHARED(arena, THREADS / 32);
	const Program &p = *program;
	const Step &s = p.steps[p.counters->step];
	float scale = 1;
	if (s.clip > 0) {
		float sum = 0;
		for (int k = THREAD; k < p.reduce_blocks; k += THREADS) sum += p.squares[k];
		sum = warp_sum(sum);
		if (THREAD % 32 == 0) arena[THREAD / 32] = sum;
		SYNC(); // the sums of the warps are there
		sum = 0;
		for (int k = 0; k < THREADS / 32; k++) sum += arena[k];
		float norm = SQRT(sum);
		if (norm > s.clip) scale = s.clip / norm;
	}
	if (p.counters->halted) return;
	for (int j = BLOCK * THREADS + THREAD; j < p.parameters; j += BLOCKS * THREADS) update_one(p, s, j, scale * p.grads[j]);
}

// tally adds up the losses and the hits of the step, with one block, and lets
// the next step begin.
KERNEL(THREADS) tally(const Program *program, Long) {
	SHARED(arena, 4 * THREADS);
	const Program &p = *program;
	int step = p.counters->step, count = p.steps[step].count;
	double *sums = (double *)arena;
	double sum = 0;
	int hits = 0;
	for (int n = THREAD; n < count; n += THREADS) {
		sum += p.losses[n];
		hits += p.hits[n];
	}
	sums[THREAD] = sum;
	sums[THREADS + THREAD] = hits;
	for (int half = THREADS / 2; half > 0; half /= 2) {
		SYNC(); // the sums of twice as many are there
		if (THREAD < half) {
			sums[THREAD] += sums[THREAD + half];
			sums[THREADS + THREAD] += sums[THREADS + THREAD + half];
		}
	}
	if (THREAD > 0) return;
	float loss = float(sums[0] / count);
	p.results[step].loss = loss;
	p.results[step].hits = int(sums[THREADS]);
	if (loss - loss != 0) p.counters->halted = 1;
	p.counters->next = step + 1;
}
