package cuda

// The kernels for GPUs, which go into every build with the tag gpu. clang 19
// needs no toolkit of NVIDIA's for this, and makes the same bytes each time.
// Products and sums are fused where the source says so and nowhere else: what a
// GPU computes has then the same bits on every model, and on the simulator.
//
//go:generate clang-19 -x cuda --cuda-device-only -nocudainc -nocudalib --cuda-gpu-arch=sm_80 --cuda-feature=+ptx70 -O3 -ffp-contract=off -std=c++17 -Wall -Werror -Wno-pragma-once-outside-header -S -o kernels.ptx kernels.hpp
