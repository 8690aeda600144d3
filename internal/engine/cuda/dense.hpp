// The dense layers and the loss, forwards and backwards.
#pragma once

#include "machine.hpp"

// ROWS are the outputs that a warp computes at once.
#define ROWS 4

// Rows are the examples of a block: EXAMPLES from the first, as far as there are
// so many. Those beyond the last are computed as the last once more, and not
// stored.
template <int EXAMPLES>
struct Rows {
	int first, count;
	METHOD int operator[](int e) const { return minimum(first + e, count - 1); }
	METHOD bool there(int e) const { return first + e < count; }
};

// dense_forward computes z. A warp takes ROWS outputs; its threads share the
// inputs out, and then finish an output of an example each.
template <int EXAMPLES>
DEVICE void dense_forward(const Dense &d, const float *params, const Rows<EXAMPLES> &n) {
	static_assert(ROWS * EXAMPLES <= 32, "a thread for each sum");
	int lane = THREAD % 32;
#pragma unroll 1
	for (int o = THREAD / 32 * ROWS; o < d.out; o += DENSE_THREADS / 32 * ROWS) {
		float acc[ROWS][EXAMPLES] = {};
		const float *w[ROWS];
#pragma unroll
		for (int r = 0; r < ROWS; r++) w[r] = params + d.weight + Long(minimum(o + r, d.out - 1)) * d.in;
		const float *x = d.x + Long(n.first) * d.x_pitch;
		if (d.vector) {
#pragma unroll 1
			for (int i = 4 * lane; i < d.in; i += 128) {
				Float4 u[ROWS];
#pragma unroll
				for (int r = 0; r < ROWS; r++) u[r] = load4(w[r] + i);
#pragma unroll
				for (int e = 0; e < EXAMPLES; e++) {
					Float4 v = load4(x + (n[e] - n.first) * d.x_pitch + i);
#pragma unroll
					for (int r = 0; r < ROWS; r++)
						acc[r][e] = FMA(u[r].a, v.a, FMA(u[r].b, v.b, FMA(u[r].c, v.c, FMA(u[r].d, v.d, acc[r][e]))));
				}
			}
		} else {
#pragma unroll 1
			for (int i = lane; i < d.in; i += 32) {
#pragma unroll
				for (int e = 0; e < EXAMPLES; e++) {
					float v = x[(n[e] - n.first) * d.x_pitch + i];
#pragma unroll
					for (int r = 0; r < ROWS; r++) acc[r][e] = FMA(w[r][i], v, acc[r][e]);
				}
			}
		}
		float mine = 0;
#pragma unroll
		for (int r = 0; r < ROWS; r++) {
#pragma unroll
			for (int e = 0; e < EXAMPLES; e++) {
				float v = warp_sum(acc[r][e]);
				if (lane == r * EXAMPLES + e) mine = v;
			}
		}
		int to = o + lane / EXAMPLES, e = lane % EXAMPLES;
		if (lane < ROWS * EXAMPLES && to < d.out && n.there(e))
			d.z[Long(n[e]) * d.z_pitch + to] = activate(d.activation, mine + params[d.bias + to]);
	}
}

// dense_input_gradient computes dx, times the slope of what x is the output
// of. Groups of threads take every so-manieth output each.
template <int EXAMPLES>
DEVICE void dense_input_gradient(const Dense &d, const float *params, const Rows<EXAMPLES> &n, float *arena) {
	int width = (d.in + 31) / 32 * 32;
	int groups = width <= DENSE_THREADS ? DENSE_THREADS / width : 1;
	int group = groups > 1 ? THREAD / width : 0;
	const float *dy = d.dy + Long(n.first) * d.dy_pitch;
	for (int i = groups > 1 ? THREAD % width : THREAD; i < d.in; i += DENSE_THREADS) {
		if (group >= groups) break;
		float acc[EXAMPLES] = {};
		const float *w = params + d.weight + i;
#pragma unroll 4
		for (int o = group; o < d.out; o += groups) {
			float u = w[Long(o) * d.in];
#pragma unroll
			for (int e = 0; e < EXAMPLES; e++) acc[e] = FMA(u, dy[(n[e] - n.first) * d.dy_pitch + o], acc[e]);
		}
#pragma unroll
		for (int e = 0; e < EXAMPLES; e++) {
			if (groups > 1)
				arena[(e * groups + group) * width + i] = acc[e];
			else if (n.there(e))
				d.dx[Long(n[e]) * d.x_pitch + i] = acc[e] * slope(d.input_activation, d.x[Long(n[e]) * d.x_pitch + i]);
		}
	}
	if (groups == 1) return;
	SYNC(); // the sums of the groups are there
	for (int t = THREAD; t < EXAMPLES * d.in; t += DENSE_THREADS) {
		int e = t / d.in, i = t % d.in;
		float v = 0;
#pragma unroll 1
		for (int g = 0; g < groups; g++) v += arena[(e * groups + g) * width + i];
		if (n.there(e)) d.dx[Long(n[e]) * d.x_pitch + i] = v * slope(d.input_activation, d.x[Long(n[e]) * d.x_pitch + i]);
	}
}

// distances are the negated squared distances of the last layer's output from
// the codes: a warp takes a class of an example.
DEVICE void distances(const Program &p, const Dense &last, int n) {
	int lane = THREAD % 32;
	for (int k = THREAD / 32; k < p.classes; k += DENSE_THREADS / 32) {
		float sum = 0;
#pragma unroll 1
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
#pragma unroll 1
		for (int k = 0; k < p.classes; k++)
			sum = FMA(-2 * p.dlogits[Long(n) * p.classes + k], z - p.codes[k * p.code_width + i], sum);
		last.dy[Long(n) * last.dy_pitch + i] = sum * slope(last.activation, z);
	}
}

// loss computes, with a warp, the loss of example n, whether it is a hit, the
// probabilities, and the gradient of the logits.
DEVICE void loss(const Program &p, int n) {
	int step = p.counters->step;
	const Step &s = p.steps[step];
	int lane = THREAD % 32, k = p.classes;
	const float *row = p.logits + Long(n) * k;
	float top = row[minimum(lane, k - 1)];
	int best = minimum(lane, k - 1);
#pragma unroll 1
	for (int c = lane + 32; c < k; c += 32)
		if (row[c] > top) top = row[c], best = c;
	for (int mask = 16; mask > 0; mask >>= 1) { // the first of equal ones
		float other = SHUFFLE(top, mask);
		int place = ASBITS(SHUFFLE(BITS(best), mask));
		if (other > top || (other == top && place < best)) top = other, best = place;
	}
	float sum = 0, total = 0;
#pragma unroll 1
	for (int c = lane; c < k; c += 32) {
		sum += exponential(row[c] - top);
		total += row[c];
	}
	sum = warp_sum(sum);
	if (p.probabilities)
#pragma unroll 1
		for (int c = lane; c < k; c += 32) p.probabilities[Long(n) * k + c] = exponential(row[c] - top) / sum;
	if (!s.labels) return;
	int label = s.labels[p.index[Long(step) * p.batch + n]];
	bool hit = best == label;
	if (p.rubbish) {
		if (p.background > top) {
			top = p.background;
			sum = 0;
#pragma unroll 1
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
#pragma unroll 1
	for (int c = lane; c < k; c += 32) {
		float g = exponential(row[c] - top) / sum - p.smoothing / float(k);
		if (c == label) g -= 1 - p.smoothing;
		p.dlogits[Long(n) * k + c] = g * scale;
	}
}

// layers takes EXAMPLES examples to a block.
template <int EXAMPLES>
DEVICE void layers(const Program &p, float *arena) {
	int count = p.steps[p.counters->step].count;
	for (int first = BLOCK * EXAMPLES; first < count; first += BLOCKS * EXAMPLES) {
		Rows<EXAMPLES> n = {first, count};
		int there = minimum(EXAMPLES, count - first);
		for (int i = 0; i < p.denses; i++) {
			dense_forward(p.dense[i], p.params, n);
			SYNC(); // the input of the next layer is there
		}
		const Dense &last = p.dense[p.denses - 1];
		if (p.codes) {
			for (int e = 0; e < there; e++) distances(p, last, first + e);
			SYNC(); // the scores are there
		}
		if (THREAD / 32 < there) loss(p, first + THREAD / 32);
		if (!p.backward) continue;
		SYNC(); // the gradient of the scores is there
		if (p.codes) {
			for (int e = 0; e < there; e++) distances_gradient(p, last, first + e);
			SYNC(); // the gradient of the last layer is there
		}
		for (int i = p.denses - 1; i >= 0; i--) {
			if (!p.dense[i].dx) break;
			dense_input_gradient(p.dense[i], p.params, n, arena);
			SYNC(); // the gradient of the layer before is there, and the arena is free
		}
	}
}

KERNEL(DENSE_THREADS) dense(const Program *program, Long) {
	SHARED(arena, DENSE_EXAMPLES * DENSE_THREADS);
	layers<DENSE_EXAMPLES>(*program, arena);
}

// dense_wide is for batches that are large enough to fill a device with so many
// examples to a block: the weights are read less often.
KERNEL(DENSE_THREADS) dense_wide(const Program *program, Long) {
	SHARED(arena, WIDE_EXAMPLES * DENSE_THREADS);
	layers<WIDE_EXAMPLES>(*program, arena);
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
