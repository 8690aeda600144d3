//go:build cudasim

// The simulator runs the kernels on the CPU, for tests: one block after the
// other, each GPU thread as a fibre with a stack of its own. A fibre runs until
// it waits for the others; then the next one does. So a kernel that reads what
// another thread has yet to write finds an old value, or the NaNs that shared
// memory is filled with, and which threads come first can be chosen: a result
// that depends on it lacks a barrier.
//
// What it reports: threads that wait at different barriers, or for threads that
// have ended; vectors at addresses that are no multiple of their size; writes
// beyond an array, by the pattern around each. What it cannot see: reads a
// little beyond an array but for the NaNs there, races that change nothing.

// Products and sums are fused only where the kernels say so, as on a GPU.
#if defined(__clang__)
#pragma clang fp contract(off)
#else
#pragma GCC optimize("fp-contract=off")
#endif

#define SIMULATOR
#include "kernels.hpp"

#include "simulator.h"

#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <ucontext.h>
#include <vector>

namespace simulator {

int thread, block, blocks;

namespace {

enum State { READY, AT_BARRIER, AT_SHUFFLE, ENDED };

const size_t stack_bytes = 64 << 10;
const unsigned char pattern = 0xFF; // of untouched memory: as a float, a NaN

struct Fibre {
	ucontext_t first; // to begin with
	jmp_buf rest;     // to go on
	bool begun;
	State state;
	const char *file; // where it waits
	int line;
	float sent[2]; // by the last two shuffles
	int shuffles;  // so far
	char *stack;
};

std::vector<Fibre> fibres;
jmp_buf scheduler;
alignas(16) float arena[ARENA + 256]; // with a margin that nobody may write to
int arena_used;
int order, skipped_line;
std::string skipped_file;
char error[256];

void (*kernel)(const Program *, Long);
const Program *program;
Long argument;

// name is the file without its folders.
const char *name(const char *file) {
	const char *slash = strrchr(file, '/');
	return slash ? slash + 1 : file;
}

void fail(const char *what, const Fibre &f) {
	if (!error[0]) snprintf(error, sizeof error, "%s (block %d, %s:%d)", what, block, name(f.file), f.line);
}

// wait leaves the fibre that runs, for the scheduler.
void wait(State state, const char *file, int line) {
	Fibre &f = fibres[thread];
	f.state = state;
	f.file = file;
	f.line = line;
	if (!_setjmp(f.rest)) _longjmp(scheduler, 1);
}

// entry is what a fibre does: a thread of one block after the other.
void entry() {
	for (;;) {
		kernel(program, argument);
		wait(ENDED, "", 0);
	}
}

// resume runs fibre i until it waits or ends.
void resume(int i) {
	thread = i;
	Fibre &f = fibres[i];
	if (_setjmp(scheduler)) return;
	if (f.begun) _longjmp(f.rest, 1);
	f.begun = true;
	getcontext(&f.first);
	f.first.uc_stack.ss_sp = f.stack;
	f.first.uc_stack.ss_size = stack_bytes;
	f.first.uc_link = nullptr;
	makecontext(&f.first, entry, 0);
	setcontext(&f.first);
}

// run_block runs the threads of a block to their end. It returns false if they
// cannot get there.
bool run_block(int threads) {
	for (int i = 0; i < threads; i++) {
		fibres[i].state = READY;
		fibres[i].shuffles = 0;
	}
	for (;;) {
		// Whole warps go on by themselves, as often as they can.
		for (int k = 0; k < threads / 32; k++) {
			int warp = order == 1 ? threads / 32 - 1 - k : order == 2 ? (k * 5 + 3) % (threads / 32) : k;
			for (;;) {
				int shuffling = 0;
				for (int l = 0; l < 32; l++) {
					int lane = order == 1 ? 31 - l : order == 2 ? (l * 13 + 7) % 32 : l;
					Fibre &f = fibres[32 * warp + lane];
					if (f.state == READY) resume(32 * warp + lane);
				}
				for (int l = 0; l < 32; l++) {
					Fibre &f = fibres[32 * warp + l];
					shuffling += f.state == AT_SHUFFLE && f.line == fibres[32 * warp].line && f.file == fibres[32 * warp].file;
				}
				if (shuffling == 32) {
					for (int l = 0; l < 32; l++) fibres[32 * warp + l].state = READY;
					continue;
				}
				for (int l = 0; l < 32; l++)
					if (fibres[32 * warp + l].state == AT_SHUFFLE) {
						fail("a shuffle without all threads of the warp", fibres[32 * warp + l]);
						return false;
					}
				break;
			}
		}
		int ended = 0;
		const Fibre *waits = nullptr;
		for (int i = 0; i < threads; i++) {
			if (fibres[i].state == ENDED) ended++;
			else if (!waits) waits = &fibres[i];
			else if (fibres[i].line != waits->line || fibres[i].file != waits->file) {
				fail("threads of a block wait at different barriers", *waits);
				return false;
			}
		}
		if (ended == threads) return !error[0];
		if (ended > 0) {
			fail("a barrier after some threads have ended", *waits);
			return false;
		}
		for (int i = 0; i < threads; i++) fibres[i].state = READY;
	}
}

} // namespace

float *shared(int floats) {
	arena_used = floats;
	return arena;
}

void sync(const char *file, int line) {
	if (line != skipped_line || skipped_file != name(file)) wait(AT_BARRIER, file, line);
}

void misaligned(int bytes) {
	if (!error[0]) snprintf(error, sizeof error, "an address that is not a multiple of %d (block %d, thread %d)", bytes, block, thread);
}

float shuffle(float v, int mask, const char *file, int line) {
	int me = thread, turn = fibres[me].shuffles++ % 2;
	fibres[me].sent[turn] = v;
	wait(AT_SHUFFLE, file, line);
	return fibres[me ^ mask].sent[turn];
}

} // namespace simulator

using namespace simulator;

static struct {
	const char *name;
	void (*kernel)(const Program *, Long);
} kernels[] = {{"forward", forward}, {"dense", dense}, {"dense_wide", dense_wide},   {"conv_gradient", conv_gradient}, {"dense_gradient", dense_gradient},
               {"reduce", reduce},   {"update", update}, {"pack", pack},                   {"tally", tally}};

const char *simulator_launch(const char *name, int grid, int threads, const void *p, long long arg) {
	error[0] = 0;
	kernel = nullptr;
	for (auto &k : kernels)
		if (!strcmp(k.name, name)) kernel = k.kernel;
	if (!kernel) return "no such kernel";
	program = (const Program *)p;
	argument = arg;
	blocks = grid;
	while ((int)fibres.size() < threads) {
		Fibre f = {};
		f.stack = (char *)malloc(stack_bytes);
		if (!f.stack) return "no memory for the stacks of the simulator";
		fibres.push_back(f);
	}
	for (int k = 0; k < grid; k++) {
		block = order == 1 ? grid - 1 - k : k;
		memset(arena, pattern, sizeof arena);
		arena_used = 0;
		if (!run_block(threads)) {
			for (auto &f : fibres) f.begun = false; // they are somewhere in the kernel
			return error;
		}
		const unsigned char *rest = (const unsigned char *)(arena + arena_used), *end = (const unsigned char *)arena + sizeof arena;
		while (rest < end)
			if (*rest++ != pattern) {
				snprintf(error, sizeof error, "%s wrote beyond its %d floats of shared memory (block %d)", name, arena_used, block);
				return error;
			}
	}
	return nullptr;
}

void simulator_set(int o, const char *file, int line) {
	order = o;
	skipped_file = file;
	skipped_line = line;
}

// An allocation has a margin of the pattern on both sides.
static const size_t margin = 4096;

void *simulator_alloc(size_t n) {
	unsigned char *p = (unsigned char *)aligned_alloc(margin, (n + 3 * margin - 1) / margin * margin);
	if (!p) return nullptr;
	memset(p, pattern, (n + 3 * margin - 1) / margin * margin);
	memcpy(p, &n, sizeof n);
	return p + margin;
}

const char *simulator_free(void *at) {
	unsigned char *p = (unsigned char *)at - margin;
	size_t n;
	memcpy(&n, p, sizeof n);
	const char *answer = nullptr;
	for (size_t i = sizeof n; i < margin; i++)
		if (p[i] != pattern) answer = "something was written before the beginning of an array";
	for (unsigned char *q = p + margin + n; q < p + (n + 3 * margin - 1) / margin * margin; q++)
		if (*q != pattern) answer = "something was written after the end of an array";
	free(p);
	return answer;
}

int simulator_number(int i) {
	const int numbers[] = {
	    sizeof(Program), sizeof(Conv),    sizeof(Dense), sizeof(Step), sizeof(Counters), sizeof(Result), MAX_STAGES,
	    THREADS,         DENSE_THREADS, DENSE_EXAMPLES, WIDE_EXAMPLES, ARENA, TILE, COLUMNS,
	};
	return i < (int)(sizeof numbers / sizeof *numbers) ? numbers[i] : -1;
}
