//go:build cudasim && cgo

package cuda

// Simulate sets how the simulator runs: which threads come first, and the line
// of a barrier that is left out.
func Simulate(order, skipped int) { simulation.order, simulation.skipped = order, skipped }
