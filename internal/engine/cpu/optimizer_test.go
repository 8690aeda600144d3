package cpu_test

import (
	"fmt"
	"testing"

	"example.com/lenet5/internal/engine"
	"example.com/lenet5/internal/engine/cpu"
	"example.com/lenet5/internal/engine/enginetest"
	"example.com/lenet5/internal/kernel"
)

func setNames() (names []string) {
	for _, s := range kernel.Available() {
		names = append(names, s.Name)
	}
	return names
}

// newEngine makes an engine with a set of kernels, or the reference.
func newEngine(p *engine.Program, name string) (engine.Engine, error) {
	if name == "tape" {
		return engine.NewTape(p)
	}
	set, err := kernel.Choose(name)
	if err == nil && set.Name != name {
		err = fmt.Errorf("kernels %s were chosen", set.Name)
	}
	if err != nil {
		return nil, err
	}
	return cpu.NewWith(p, 0, set)
}

// TestOptimizersPyTorch runs the recorded optimizers on every set of kernels
// and on the reference.
func TestOptimizersPyTorch(t *testing.T) {
	enginetest.OptimizersPyTorch(t, append([]string{"tape"}, setNames()...), newEngine)
}
