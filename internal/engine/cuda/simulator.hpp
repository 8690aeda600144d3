// What the kernels need of a machine, when that is the simulator: simulator.cpp
// tells how it works.
#pragma once

#include <cmath>
#include <cstring>

#define KERNEL(threads) static void
#define METHOD inline
#define DEVICE static inline
#define SHARED(name, size) float *const name = simulator::shared(size)
#define THREAD simulator::thread
#define BLOCK simulator::block
#define BLOCKS simulator::blocks
#define SYNC() simulator::sync(__FILE__, __LINE__)
#define ALIGNED(p, bytes) simulator::aligned(p, bytes)
#define FMA(a, b, c) std::fmaf(a, b, c)
#define SQRT(a) std::sqrt(a)
#define SHUFFLE(v, mask) simulator::shuffle(v, mask, __FILE__, __LINE__)
#define BITS(v) simulator::cast<float>(v)
#define ASBITS(v) simulator::cast<int>(v)

namespace simulator {

extern int thread, block, blocks; // of the fibre that runs

// shared returns the shared memory of the block, and notes its size.
float *shared(int floats);

// sync waits for all threads of the block; file and line name the place.
void sync(const char *file, int line);

// aligned returns p, and reports one that is no multiple of bytes.
void misaligned(int bytes);
template <class T> inline T *aligned(T *p, int bytes) {
	if ((unsigned long long)p % bytes) misaligned(bytes);
	return p;
}

// shuffle returns the v of the thread of the warp whose number differs in mask.
float shuffle(float v, int mask, const char *file, int line);

template <class To, class From> To cast(From v) {
	static_assert(sizeof(To) == sizeof(From));
	To to;
	std::memcpy(&to, &v, sizeof to);
	return to;
}

} // namespace simulator
