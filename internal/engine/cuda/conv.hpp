// The convolutional stages, forwards and backwards.
#pragma once

#include "machine.hpp"

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
				store2(keep + i * c.y_pitch, two);
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
			for (int k = 4 * THREAD; k < c.dy_size; k += 4 * THREADS) store4(dy + k, zero4());
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
