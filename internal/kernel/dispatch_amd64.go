//go:build amd64 && !noasm

package kernel

import "golang.org/x/sys/cpu"

// available lists the sets that this machine can run, the fastest first.
func available() []*Set {
	sets := []*Set{Generic}
	if cpu.X86.HasAVX2 && cpu.X86.HasFMA {
		sets = append([]*Set{new_avx2()}, sets...)
	}
	if cpu.X86.HasAVX512F && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VL {
		sets = append([]*Set{new_avx512()}, sets...)
	}
	return sets
}
