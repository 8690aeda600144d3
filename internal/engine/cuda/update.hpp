// Sums over the blocks, the update, and the count of steps.
#pragma once

#include "machine.hpp"

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
