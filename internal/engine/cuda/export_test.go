//go:build cudasim && cgo

package cuda

// WideFrom sets the batch from which on the kernel dense_wide is used.
func WideFrom(n int) { wideFrom = n }

// Simulate sets how the simulator runs: which threads come first, and where a
// barrier is left out.
func Simulate(order int, file string, line int) {
	simulation.order, simulation.file, simulation.line = order, file, line
}
