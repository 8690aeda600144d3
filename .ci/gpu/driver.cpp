// A libcuda.so for rehearsals: as much of CUDA's driver interface as this
// project calls, on top of the simulator of internal/engine/cuda. With it the
// binaries built with the tag gpu, which need a driver, run on a machine that
// has none, kernels and all, and are held to the driver's rules: a context on
// the calling thread, addresses within allocations, no more threads than a
// kernel's launch bounds, captures that end joined.
//
// What the project does not call is filled in by the script rehearse, and fails.

#include "../../internal/engine/cuda/simulator.cpp"

#include <map>
#include <mutex>
#include <string>

typedef int Code;
enum { OK = 0, INVALID = 1, NO_MEMORY = 2, UNAVAILABLE = 46, NO_DEVICE = 100, BAD_DEVICE = 101, BAD_CONTEXT = 201, BAD_PTX = 218, NOT_FOUND = 500, UNJOINED = 904 };

namespace {

struct Function {
	std::string name;
	int most; // threads, by the launch bounds in the PTX
};

struct Module {
	std::map<std::string, Function> functions;
};

struct Launch {
	Function *f;
	int grid, threads;
	unsigned long long program;
	Long argument;
};

struct Graph {
	std::vector<Launch> launches;
};

struct Stream {
	Graph *capture = nullptr; // of this stream, or of the one that it was forked from
	bool origin = false;
	int open = 0; // of the origin: streams that were forked and not joined
	Stream *from = nullptr;
};

struct Event {
	Stream *recorded = nullptr; // while that captures
};

std::mutex lock;
std::map<unsigned long long, size_t> allocations;
size_t allocated;
thread_local void *current;
char context; // the one there is

bool within(unsigned long long at, size_t n) {
	std::lock_guard<std::mutex> hold(lock);
	auto it = allocations.upper_bound(at);
	if (it == allocations.begin()) return false;
	--it;
	return at + n <= it->first + it->second;
}

const size_t memory = size_t(8) << 30;

// plays tells whether the device is to play a part: REHEARSAL is old, busy or
// small.
bool plays(const char *part) {
	const char *set = getenv("REHEARSAL");
	return set && !strcmp(set, part);
}

Code launch(const Launch &l) {
	std::lock_guard<std::mutex> hold(lock);
	const char *e = simulator_launch(l.f->name.c_str(), l.grid, l.threads, (void *)l.program, l.argument);
	if (!e) return OK;
	fprintf(stderr, "rehearsal: %s: %s\n", l.f->name.c_str(), e);
	return 719; // launch failed
}

} // namespace

#define NEED_CONTEXT \
	if (current != &context) return BAD_CONTEXT

extern "C" {

Code cuInit(unsigned) { return OK; }
Code cuDeviceGetCount(int *n) { return *n = 1, OK; }
Code cuDeviceGet(int *d, int i) { return i == 0 ? (*d = 0, OK) : BAD_DEVICE; }
Code cuDeviceGetName(char *name, int n, int d) { return d == 0 ? (snprintf(name, n, "rehearsal"), OK) : BAD_DEVICE; }
Code cuDeviceGetAttribute(int *v, int what, int) {
	*v = what != 75 ? 0 : plays("old") ? 7 : 9; // the major number of the compute capability
	return OK;
}
Code cuDevicePrimaryCtxRetain(void **c, int) { return *c = &context, plays("busy") ? UNAVAILABLE : OK; }
Code cuDevicePrimaryCtxRelease_v2(int) { return OK; }
Code cuCtxSetCurrent(void *c) { return current = c, OK; }
Code cuCtxGetCurrent(void **c) { return *c = current, OK; }
Code cuGetErrorName(int e, const char **s) {
	*s = e == UNJOINED ? "CUDA_ERROR_STREAM_CAPTURE_UNJOINED" : "an error of the rehearsal";
	return OK;
}
Code cuGetErrorString(int, const char **s) { return *s = "see its source", OK; }

Code cuMemAlloc_v2(unsigned long long *p, size_t n) {
	NEED_CONTEXT;
	std::lock_guard<std::mutex> hold(lock);
	if (n == 0) return INVALID;
	if (allocated + n > (plays("small") ? memory >> 12 : memory)) return NO_MEMORY;
	void *a = simulator_alloc(n);
	if (!a) return NO_MEMORY;
	*p = (unsigned long long)a;
	allocations[*p] = n;
	allocated += n;
	return OK;
}

Code cuMemFree_v2(unsigned long long p) {
	NEED_CONTEXT;
	std::lock_guard<std::mutex> hold(lock);
	auto it = allocations.find(p);
	if (it == allocations.end()) return INVALID;
	allocated -= it->second;
	allocations.erase(it);
	const char *e = simulator_free((void *)p);
	if (e) fprintf(stderr, "rehearsal: %s\n", e);
	return e ? 700 : OK; // illegal address
}

Code cuMemsetD8Async(unsigned long long p, unsigned char v, size_t n, void *) {
	NEED_CONTEXT;
	if (!within(p, n)) return INVALID;
	memset((void *)p, v, n);
	return OK;
}
Code cuMemcpyHtoDAsync_v2(unsigned long long d, const void *s, size_t n, void *) {
	NEED_CONTEXT;
	if (!within(d, n)) return INVALID;
	memcpy((void *)d, s, n);
	return OK;
}
Code cuMemcpyDtoHAsync_v2(void *d, unsigned long long s, size_t n, void *) {
	NEED_CONTEXT;
	if (!within(s, n)) return INVALID;
	memcpy(d, (void *)s, n);
	return OK;
}

Code cuModuleLoadData(void **m, const void *image) {
	NEED_CONTEXT;
	std::string text = (const char *)image;
	if (text.find(".version 7.0") == std::string::npos || text.find(".target sm_80") == std::string::npos) return BAD_PTX;
	Module *module = new Module;
	const std::string entry = ".visible .entry ", bound = ".maxntid ";
	for (size_t at = text.find(entry); at != std::string::npos; at = text.find(entry, at + 1)) {
		size_t from = at + entry.size(), bracket = text.find('(', from), most = text.find(bound, from), body = text.find('{', from);
		std::string name = text.substr(from, bracket - from);
		module->functions[name] = {name, most < body ? atoi(text.c_str() + most + bound.size()) : 1024};
	}
	*m = module;
	return OK;
}
Code cuModuleGetFunction(void **f, void *m, const char *name) {
	NEED_CONTEXT;
	auto &fs = ((Module *)m)->functions;
	auto it = fs.find(name);
	if (it == fs.end()) return NOT_FOUND;
	*f = &it->second;
	return OK;
}

Code cuStreamCreate(void **s, unsigned) {
	NEED_CONTEXT;
	return *s = new Stream, OK;
}
Code cuStreamDestroy_v2(void *s) {
	NEED_CONTEXT;
	delete (Stream *)s;
	return OK;
}
Code cuStreamSynchronize(void *s) {
	NEED_CONTEXT;
	return ((Stream *)s)->capture ? 900 : OK; // not while it captures
}
Code cuEventCreate(void **e, unsigned) {
	NEED_CONTEXT;
	return *e = new Event, OK;
}
Code cuEventDestroy_v2(void *e) {
	NEED_CONTEXT;
	delete (Event *)e;
	return OK;
}
Code cuEventRecord(void *e, void *s) {
	NEED_CONTEXT;
	((Event *)e)->recorded = (Stream *)s;
	return OK;
}
Code cuStreamWaitEvent(void *s, void *e, unsigned) {
	NEED_CONTEXT;
	Stream *waits = (Stream *)s, *other = ((Event *)e)->recorded;
	if (!other || !other->capture) return OK;
	if (!waits->capture) { // a fork
		waits->capture = other->capture;
		waits->from = other;
		other->open++;
	} else if (other->from == waits) { // a join
		waits->open--;
		other->capture = nullptr;
		other->from = nullptr;
	}
	return OK;
}
Code cuStreamBeginCapture_v2(void *s, int) {
	NEED_CONTEXT;
	Stream *stream = (Stream *)s;
	if (stream->capture) return INVALID;
	stream->capture = new Graph;
	stream->origin = true;
	return OK;
}
Code cuStreamEndCapture(void *s, void **g) {
	NEED_CONTEXT;
	Stream *stream = (Stream *)s;
	if (!stream->origin) return INVALID;
	*g = stream->capture;
	stream->capture = nullptr;
	stream->origin = false;
	return stream->open ? UNJOINED : OK;
}
Code cuLaunchKernel(void *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned, void *s, void **params, void **) {
	NEED_CONTEXT;
	Launch l = {(Function *)f, (int)gx, (int)bx, *(unsigned long long *)params[0], *(Long *)params[1]};
	if (!gx || gy != 1 || gz != 1 || by != 1 || bz != 1 || (int)bx > l.f->most) return INVALID;
	if (!within(l.program, sizeof(Program))) return INVALID;
	Stream *stream = (Stream *)s;
	if (!stream->capture) return launch(l);
	stream->capture->launches.push_back(l);
	return OK;
}
Code cuGraphInstantiateWithFlags(void **e, void *g, unsigned long long) {
	NEED_CONTEXT;
	return *e = new Graph(*(Graph *)g), OK;
}
Code cuGraphDestroy(void *g) {
	delete (Graph *)g;
	return OK;
}
Code cuGraphExecDestroy(void *e) {
	delete (Graph *)e;
	return OK;
}
Code cuGraphLaunch(void *e, void *) {
	NEED_CONTEXT;
	for (auto &l : ((Graph *)e)->launches) {
		Code r = launch(l);
		if (r) return r;
	}
	return OK;
}

} // extern "C"
