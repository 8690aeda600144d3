package data

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"math"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

func idx(t testing.TB, a *Array) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := WriteIDX(&b, a); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zipped(b []byte) []byte {
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Write(b)
	w.Close()
	return z.Bytes()
}

func TestIDXRoundTrip(t *testing.T) {
	for name, a := range map[string]*Array{
		"uint8":   {Shape: []int{2, 3}, Data: []uint8{0, 1, 127, 128, 254, 255}},
		"int8":    {Shape: []int{3}, Data: []int8{-128, 0, 127}},
		"int16":   {Shape: []int{1, 1, 2}, Data: []int16{math.MinInt16, math.MaxInt16}},
		"int32":   {Shape: []int{2}, Data: []int32{math.MinInt32, math.MaxInt32}},
		"float32": {Shape: []int{2, 1}, Data: []float32{-1.5, math.MaxFloat32}},
		"float64": {Shape: []int{1, 2}, Data: []float64{math.Pi, -math.MaxFloat64}},
		"scalar":  {Shape: []int{}, Data: []uint8{7}},
		"empty":   {Shape: []int{0, 28, 28}, Data: []uint8{}},
		"rank 9":  {Shape: []int{1, 1, 1, 1, 2, 1, 1, 1, 1}, Data: []int16{1, 2}},
		"large":   {Shape: []int{3 << 20}, Data: bytes.Repeat([]byte{1, 2, 3}, 1<<20)},
	} {
		t.Run(name, func(t *testing.T) {
			raw := idx(t, a)
			for form, b := range map[string][]byte{"raw": raw, "gzip": zipped(raw)} {
				got, err := ReadIDX(iotest.HalfReader(bytes.NewReader(b)))
				if err != nil {
					t.Fatalf("%s: %v", form, err)
				}
				if !reflect.DeepEqual(a, got) {
					t.Errorf("%s: %v, want %v", form, got.Shape, a.Shape)
				}
				if !bytes.Equal(idx(t, got), raw) {
					t.Errorf("%s: written again, the bytes differ", form)
				}
			}
			for _, file := range []string{"a-idx", "a-idx.gz"} {
				path := filepath.Join(t.TempDir(), file)
				if err := WriteIDXFile(path, a); err != nil {
					t.Fatal(err)
				}
				got, err := ReadIDXFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if !reflect.DeepEqual(a, got) {
					t.Errorf("%s: %v, want %v", file, got.Shape, a.Shape)
				}
			}
		})
	}
}

func TestIDXErrors(t *testing.T) {
	good := idx(t, &Array{Shape: []int{2, 3}, Data: []uint8{1, 2, 3, 4, 5, 6}})
	bomb := append([]byte{0, 0, 8, 1, 0, 0, 0, 4}, make([]byte, 32<<20)...)
	for name, c := range map[string]struct {
		b      []byte
		offset int64
		what   string
	}{
		"empty":              {nil, 0, "magic number"},
		"three bytes":        {good[:3], 0, "magic number"},
		"wrong magic":        {append([]byte("PNG!"), good[4:]...), 0, "magic number"},
		"unknown type":       {append([]byte{0, 0, 0x0a, 2}, good[4:]...), 2, "element type"},
		"sizes cut off":      {good[:9], 8, "size of dimension 1"},
		"truncated":          {good[:len(good)-1], 12, "elements"},
		"overlong":           {append(bytes.Clone(good), 0), 18, "end of file"},
		"negative size":      {[]byte{0, 0, 8, 1, 0xff, 0xff, 0xff, 0xff}, 4, "size of dimension 0"},
		"sizes that overrun": {[]byte{0, 0, 0x0e, 3, 0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff}, 4, "total size"},
		"claims a gigabyte":  {[]byte{0, 0, 8, 1, 0x3f, 0xff, 0xff, 0xff, 1, 2, 3}, 8, "elements"},
		"bad gzip":           {[]byte{0x1f, 0x8b, 0, 0, 0, 0, 0, 0, 0, 0}, 0, "gzip header"},
		"gzip cut off":       {zipped(good)[:len(zipped(good))-6], 18, "end of file"},
		"bomb":               {zipped(bomb), 12, "end of file"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ReadIDX(bytes.NewReader(c.b))
			var f *FormatError
			if !errors.As(err, &f) || !errors.Is(err, ErrFormat) {
				t.Fatalf("error %v, want a FormatError", err)
			}
			if f.What != c.what || c.offset != f.Offset && c.what != "elements" {
				t.Errorf("%v; want one about %q at offset %d", err, c.what, c.offset)
			}
		})
	}
	if _, err := ReadIDX(iotest.ErrReader(io.ErrClosedPipe)); err == nil {
		t.Error("a failing reader: no error")
	}
}

// TestIDXTrustsNoHeader: a header that claims a gigabyte costs no gigabyte.
func TestIDXTrustsNoHeader(t *testing.T) {
	b := []byte{0, 0, 8, 1, 0x3f, 0xff, 0xff, 0xff, 1, 2, 3}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := ReadIDX(bytes.NewReader(b)); err == nil {
		t.Fatal("no error")
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 4<<20 {
		t.Errorf("%d bytes were allocated on a header's word", got)
	}
}

func TestWriteIDXErrors(t *testing.T) {
	for name, a := range map[string]*Array{
		"count":    {Shape: []int{3}, Data: []uint8{1, 2}},
		"type":     {Shape: []int{1}, Data: []uint16{1}},
		"negative": {Shape: []int{-1}, Data: []uint8{}},
		"overflow": {Shape: []int{math.MaxInt32, math.MaxInt32, math.MaxInt32, 2}, Data: []uint8{}},
		"rank":     {Shape: make([]int, 256), Data: []uint8{}},
	} {
		if err := WriteIDX(io.Discard, a); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := WriteIDXFile(filepath.Join(t.TempDir(), "no", "folder"), &Array{Shape: []int{0}, Data: []uint8{}}); err == nil || !strings.Contains(err.Error(), "folder") {
		t.Errorf("a missing folder: %v", err)
	}
}

func FuzzReadIDX(f *testing.F) {
	f.Add([]byte{0, 0, 8, 1, 0, 0, 0, 2, 5, 6})
	f.Add([]byte{0, 0, 0x0d, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0x3f, 0x80, 0, 0})
	f.Add(zipped([]byte{0, 0, 8, 1, 0, 0, 0, 2, 5, 6}))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := ReadIDX(bytes.NewReader(b))
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Fatalf("%v does not wrap ErrFormat", err)
			}
			return
		}
		out := idx(t, a)
		if b[0] != 0x1f && !bytes.Equal(out, b) {
			t.Fatalf("% x was written again as % x", b, out)
		}
	})
}
