//go:build !((gpu || cudasim) && cgo)

package cuda

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

const hint = "build with -tags gpu, which needs cgo and the headers of CUDA: see the README"

func open(int) (device, error) {
	return nil, fmt.Errorf("%w: %s", ErrNotBuilt, hint)
}

// Build says what this build can do.
func Build() Status { return Status{Driver: driver(), Hint: hint} }

// driver looks for NVIDIA's driver without loading it.
func driver() bool {
	switch runtime.GOOS {
	case "linux":
		_, err := os.Stat("/proc/driver/nvidia/version")
		return err == nil
	case "windows":
		_, err := os.Stat(filepath.Join(os.Getenv("SystemRoot"), "System32", "nvcuda.dll"))
		return err == nil
	}
	return false
}
