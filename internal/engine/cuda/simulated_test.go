//go:build cudasim && cgo

package cuda

import (
	"testing"
	"unsafe"
)

// TestNumbers: the sizes of the structures and the constants are the same in
// both languages.
func TestNumbers(t *testing.T) {
	want := []int{
		int(unsafe.Sizeof(program{})), int(unsafe.Sizeof(convStage{})), int(unsafe.Sizeof(denseStage{})), int(unsafe.Sizeof(step{})),
		int(unsafe.Sizeof(counters{})), int(unsafe.Sizeof(result{})), maxStages,
		threads, denseThreads, denseExamples, wideExamples, arena, tile, columns, -1,
	}
	for i, n := range want {
		if got := number(i); got != n {
			t.Errorf("number %d is %d in C, %d in Go", i, got, n)
		}
	}
}
