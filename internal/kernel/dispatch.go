package kernel

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
)

// EnvISA is the environment variable that caps the instruction set.
const EnvISA = "LENET_ISA"

// Available returns the sets that this machine can run, the fastest first.
// The last is [Generic].
var Available = sync.OnceValue(available)

// Choose returns the fastest set that limit allows: its name ("avx512",
// "avx2", "generic") or empty for no limit. The error names the sets there
// are.
func Choose(limit string) (*Set, error) {
	order := []string{"avx512", "avx2", "generic"}
	from := 0
	if limit != "" {
		if from = slices.Index(order, limit); from < 0 {
			return nil, fmt.Errorf("kernel: %s=%q; there are %s", EnvISA, limit, strings.Join(order, ", "))
		}
	}
	for _, s := range Available() {
		if slices.Index(order, s.Name) >= from {
			return s, nil
		}
	}
	return Generic, nil
}

// Default returns the set that the environment allows.
func Default() (*Set, error) { return Choose(os.Getenv(EnvISA)) }
