// The simulator, as Go sees it. It runs one launch at a time.
#pragma once
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

// simulator_launch runs a kernel; it returns null or what went wrong.
const char *simulator_launch(const char *name, int grid, int threads, const void *program, long long argument);
// simulator_set chooses which threads come first: 0 the first, 1 the last, 2 a
// mixture; and the line of a file whose barrier is left out, 0 for none.
void simulator_set(int order, const char *file, int line);
void *simulator_alloc(size_t bytes);
// simulator_free returns null or what was found around the array.
const char *simulator_free(void *p);
// simulator_number is the size of a structure or a constant of program.h, in
// the order of simulated_test.go; -1 after the last.
int simulator_number(int i);

#ifdef __cplusplus
}
#endif
