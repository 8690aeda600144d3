//go:build cudasim && cgo

package cuda

// Simulate sets how the simulator runs: which threads come first, and where a
// barrier is left out.
func Simulate(order int, file string, line int) {
	simulation.order, simulation.file, simulation.line = order, file, line
}
