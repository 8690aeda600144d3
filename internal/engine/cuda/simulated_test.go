//go:build cudasim && cgo

package cuda

import (
	"testing"
	"unsafe"
)

// TestSizes: the structures of both languages are the same.
func TestSizes(t *testing.T) {
	want := []uintptr{
		unsafe.Sizeof(program{}), unsafe.Sizeof(convStage{}), unsafe.Sizeof(denseStage{}), unsafe.Sizeof(step{}), unsafe.Sizeof(counters{}),
		unsafe.Sizeof(result{}),
	}
	for i, n := range sizes() {
		if uintptr(n) != want[i] {
			t.Errorf("structure %d has %d bytes in C, %d in Go", i, n, want[i])
		}
	}
}
