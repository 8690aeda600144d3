package data

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

// idx is the IDX form of an array.
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
		"chunks":  {Shape: []int{10000}, Data: make([]int32, 10000)},
		"grows":   {Shape: []int{3 << 20}, Data: bytes.Repeat([]byte{1, 2, 3}, 1<<20)},
	} {
		t.Run(name, func(t *testing.T) {
			raw := idx(t, a)
			for form, b := range map[string][]byte{"raw": raw, "gzip": zipped(raw)} {
				got, err := ReadIDX(iotest.HalfReader(bytes.NewReader(b)))
				if err != nil {
					t.Fatalf("%s: %v", form, err)
				}
				if !reflect.DeepEqual(a, got) { // cmp takes seconds for the largest
					t.Errorf("%s: found %v of %v", form, got.Shape, got.Type())
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
					t.Errorf("%s: found %v of %v", file, got.Shape, got.Type())
				}
			}
		})
	}
}

func TestIDXHeader(t *testing.T) {
	got := idx(t, &Array{Shape: []int{1, 2}, Data: []int16{1, -2}})
	want := []byte{0, 0, 0x0b, 2, 0, 0, 0, 1, 0, 0, 0, 2, 0, 1, 0xff, 0xfe}
	if !bytes.Equal(got, want) {
		t.Errorf("found % x, want % x", got, want)
	}
}

func TestIDXErrors(t *testing.T) {
	good := idx(t, &Array{Shape: []int{2, 3}, Data: []uint8{1, 2, 3, 4, 5, 6}})
	bomb := append([]byte{0, 0, 8, 1, 0, 0, 0, 4}, make([]byte, 8<<20)...)
	for name, c := range map[string]struct {
		b      []byte
		offset int64
		what   string
		text   string // of what is found
	}{
		"empty":             {nil, 0, "magic number", "0 bytes, then the end"},
		"three bytes":       {good[:3], 0, "magic number", "3 bytes, then the end"},
		"HTML":              {[]byte("<!DOCTYPE html>"), 0, "magic number", "an HTML page?"},
		"ZIP":               {[]byte("PK\x03\x04 and so on"), 0, "magic number", "a ZIP archive?"},
		"text":              {[]byte("5,0,0,0"), 0, "magic number", "text?"},
		"unknown type":      {append([]byte{0, 0, 0x0a, 2}, good[4:]...), 2, "element type", "0a"},
		"sizes cut off":     {good[:9], 8, "size of dimension 1", "1 byte, then the end"},
		"truncated":         {good[:len(good)-1], 17, "elements", "5, then the end"},
		"overlong":          {append(bytes.Clone(good), 0), 18, "end of the file", "more bytes"},
		"negative size":     {[]byte{0, 0, 8, 1, 0xff, 0xff, 0xff, 0xff}, 4, "size of dimension 0", "4294967295"},
		"product too large": {[]byte{0, 0, 8, 2, 0, 1, 0, 0, 0, 0, 0x40, 1}, 8, "size of dimension 1", "16385, after the sizes [65536]"},
		"overflow":          {[]byte{0, 0, 0x0e, 2, 0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff}, 4, "size of dimension 0", "2147483647"},
		"claims a gigabyte": {[]byte{0, 0, 8, 1, 0x3f, 0xff, 0xff, 0xff, 1, 2, 3}, 11, "elements", "3, then the end"},
		"bad gzip":          {[]byte{0x1f, 0x8b, 0, 0, 0, 0, 0, 0, 0, 0}, 0, "gzip header", "invalid header"},
		"gzip cut off":      {zipped(good)[:len(zipped(good))-6], 18, "end of the file", "the end"},
		"bomb after 4":      {zipped(bomb), 12, "end of the file", "more bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ReadIDX(bytes.NewReader(c.b))
			var f *FormatError
			if !errors.As(err, &f) || !errors.Is(err, ErrFormat) {
				t.Fatalf("error %v, want a FormatError", err)
			}
			if f.What != c.what || f.Offset != c.offset || !strings.Contains(f.Found, c.text) || f.Want == "" {
				t.Errorf("%v\nwant one about %q at offset %d that found %q", err, c.what, c.offset, c.text)
			}
			if errors.Is(err, io.EOF) {
				t.Error("it wraps io.EOF, which means that all is well")
			}
			path := filepath.Join(t.TempDir(), "some-idx")
			if err := os.WriteFile(path, c.b, 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := ReadIDXFile(path); err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("%v does not name the file", err)
			}
		})
	}
	t.Run("truncation says so", func(t *testing.T) {
		if _, err := ReadIDX(bytes.NewReader(good[:15])); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%v, want io.ErrUnexpectedEOF", err)
		}
	})
	t.Run("a failing reader", func(t *testing.T) {
		if _, err := ReadIDX(iotest.ErrReader(io.ErrClosedPipe)); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("%v, want io.ErrClosedPipe", err)
		}
	})
	t.Run("checksum", func(t *testing.T) {
		b := zipped(good)
		b[len(b)-8] ^= 1
		if _, err := ReadIDX(bytes.NewReader(b)); !errors.Is(err, gzip.ErrChecksum) {
			t.Errorf("%v, want gzip.ErrChecksum", err)
		}
	})
	t.Run("no file", func(t *testing.T) {
		if _, err := ReadIDXFile(filepath.Join(t.TempDir(), "no")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%v, want os.ErrNotExist", err)
		}
	})
}

// TestIDXBomb: a few kilobytes that stand for more than is allowed are refused
// by the header, and cost nothing.
func TestIDXBomb(t *testing.T) {
	bomb := zipped(append([]byte{0, 0, 8, 1, 0, 0x80, 0, 0}, make([]byte, 8<<20)...))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := readIDX(bytes.NewReader(bomb), "bomb", 1<<20, nil)
	runtime.ReadMemStats(&after)
	if !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "at most 1048576 bytes") {
		t.Errorf("%v, want one about the limit", err)
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
		t.Errorf("%d bytes were allocated", got)
	}
}

// TestIDXTrustsNoHeader: a header that claims a gigabyte costs no gigabyte.
func TestIDXTrustsNoHeader(t *testing.T) {
	for name, b := range map[string][]byte{
		"elements":   {0, 0, 8, 1, 0x3f, 0xff, 0xff, 0xff, 1, 2, 3},
		"dimensions": append([]byte{0, 0, 8, 255}, bytes.Repeat([]byte{0, 0, 0, 1}, 200)...),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := ReadIDX(bytes.NewReader(b)); err == nil {
			t.Fatalf("%s: no error", name)
		}
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > 4<<20 {
			t.Errorf("%s: %d bytes were allocated on a header's word", name, got)
		}
	}
}

func TestWriteIDXErrors(t *testing.T) {
	for name, a := range map[string]*Array{
		"count":    {Shape: []int{3}, Data: []uint8{1, 2}},
		"type":     {Shape: []int{1}, Data: []uint16{1}},
		"nil":      {Shape: []int{1}},
		"negative": {Shape: []int{-1}, Data: []uint8{}},
		"overflow": {Shape: []int{math.MaxInt32, math.MaxInt32, math.MaxInt32, 2}, Data: []uint8{}},
		"rank":     {Shape: make([]int, 256), Data: []uint8{}},
	} {
		var b bytes.Buffer
		if err := WriteIDX(&b, a); err == nil || b.Len() > 0 {
			t.Errorf("%s: error %v after %d bytes", name, err, b.Len())
		}
		dir := t.TempDir()
		if err := WriteIDXFile(filepath.Join(dir, "a.gz"), a); err == nil {
			t.Errorf("%s: no error of the file", name)
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("%s: %s was left behind", name, left[0].Name())
		}
	}
	path := filepath.Join(t.TempDir(), "no", "file")
	if err := WriteIDXFile(path, &Array{Shape: []int{0}, Data: []uint8{}}); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("a missing folder: %v", err)
	}
}

func FuzzReadIDX(f *testing.F) {
	f.Add([]byte{0, 0, 8, 1, 0, 0, 0, 2, 5, 6})
	f.Add([]byte{0, 0, 0x0d, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0x7f, 0x80, 0, 1})
	f.Add([]byte{0, 0, 0x0b, 0, 1, 2})
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
		if _, err := ReadIDX(bytes.NewReader(out)); err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
	})
}
