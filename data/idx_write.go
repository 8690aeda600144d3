package data

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"strings"

	"example.com/lenet5/internal/atomicfile"
)

// WriteIDX writes a. What [ReadIDX] has read is written byte for byte as it
// was, before compression. An array whose Data is of another type or does not
// fit its Shape is an error, and nothing is written.
func WriteIDX(w io.Writer, a *Array) error {
	t := a.Type()
	if t == 0 {
		return fmt.Errorf("data: writing IDX: want elements of uint8, int8, int16, int32, float32 or float64, found %T", a.Data)
	}
	if len(a.Shape) > 255 {
		return fmt.Errorf("data: writing IDX: want at most 255 dimensions, found %d", len(a.Shape))
	}
	header := []byte{0, 0, byte(t), byte(len(a.Shape))}
	count := 1
	for i, n := range a.Shape {
		// The product is compared by division: it may overflow.
		if n < 0 || n > math.MaxInt32 || n > 0 && count > math.MaxInt/n {
			return fmt.Errorf("data: writing IDX: the size %d of dimension %d of %v does not fit", n, i, a.Shape)
		}
		header = binary.BigEndian.AppendUint32(header, uint32(n))
		count *= n
	}
	if count != a.Len() {
		return fmt.Errorf("data: writing IDX: the shape %v wants %s, found %d", a.Shape, plural(int64(count), "element"), a.Len())
	}
	if _, err := w.Write(header); err != nil {
		return fmt.Errorf("data: writing IDX: %w", err)
	}
	if err := writeElements(w, a.Data); err != nil {
		return fmt.Errorf("data: writing IDX: %w", err)
	}
	return nil
}

func writeElements(w io.Writer, data any) error {
	be := binary.BigEndian
	switch d := data.(type) {
	case []uint8:
		_, err := w.Write(d)
		return err
	case []int8:
		return writeChunks(w, d, func(b []byte, v int8) []byte { return append(b, byte(v)) })
	case []int16:
		return writeChunks(w, d, func(b []byte, v int16) []byte { return be.AppendUint16(b, uint16(v)) })
	case []int32:
		return writeChunks(w, d, func(b []byte, v int32) []byte { return be.AppendUint32(b, uint32(v)) })
	case []float32:
		return writeChunks(w, d, func(b []byte, v float32) []byte { return be.AppendUint32(b, math.Float32bits(v)) })
	case []float64:
		return writeChunks(w, d, func(b []byte, v float64) []byte { return be.AppendUint64(b, math.Float64bits(v)) })
	}
	return nil // WriteIDX has refused all others
}

// writeChunks converts some elements at a time, so that a large array needs no
// second one.
func writeChunks[T any](w io.Writer, data []T, put func([]byte, T) []byte) error {
	const chunk = 4096
	buf := make([]byte, 0, 8*chunk)
	for lo := 0; lo < len(data); lo += chunk {
		buf = buf[:0]
		for _, v := range data[lo:min(lo+chunk, len(data))] {
			buf = put(buf, v)
		}
		if _, err := w.Write(buf); err != nil {
			return err
		}
	}
	return nil
}

// WriteIDXFile writes a to a file, compressed by gzip if its name ends in
// ".gz". The file appears under its name only when it is whole; one that is
// already there is replaced.
func WriteIDXFile(path string, a *Array) error {
	err := atomicfile.Write(path, func(w io.Writer) error {
		if !strings.HasSuffix(path, ".gz") {
			b := bufio.NewWriter(w)
			if err := WriteIDX(b, a); err != nil {
				return err
			}
			return b.Flush()
		}
		z := gzip.NewWriter(w)
		if err := WriteIDX(z, a); err != nil {
			return err
		}
		return z.Close()
	})
	if err != nil {
		return fmt.Errorf("data: %w", err)
	}
	return nil
}
