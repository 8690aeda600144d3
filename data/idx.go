// Package data reads the images that a LeNet learns from: the IDX file format,
// the MNIST and Fashion-MNIST sets (found, or downloaded and verified), other
// sets in IDX files or in folders of pictures, and synthetic images where none
// of these can be had.
//
// The IDX format is described at the foot of Yann LeCun's MNIST page: two zero
// bytes, a byte for the element type, a byte for the rank, then one four-byte
// size per dimension and the elements, everything big endian, row-major.
package data

import (
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
)

// A Type is the element type of an IDX file, by its code in the header.
type Type byte

// The six element types.
const (
	Uint8   Type = 0x08
	Int8    Type = 0x09
	Int16   Type = 0x0B
	Int32   Type = 0x0C
	Float32 Type = 0x0D
	Float64 Type = 0x0E
)

// Size is the number of bytes in an element, 0 for an unknown type.
func (t Type) Size() int {
	switch t {
	case Uint8, Int8:
		return 1
	case Int16:
		return 2
	case Int32, Float32:
		return 4
	case Float64:
		return 8
	}
	return 0
}

// String returns "uint8", "int8", and so on.
func (t Type) String() string {
	if name, ok := map[Type]string{Uint8: "uint8", Int8: "int8", Int16: "int16", Int32: "int32", Float32: "float32", Float64: "float64"}[t]; ok {
		return name
	}
	return fmt.Sprintf("type 0x%02x", byte(t))
}

// An Array is the content of an IDX file.
type Array struct {
	Shape []int
	// Data is a []uint8, []int8, []int16, []int32, []float32 or []float64 of
	// as many elements as Shape says, row-major.
	Data any
}

// Bytes returns the elements of an array of uint8.
func (a *Array) Bytes() ([]byte, bool) {
	b, ok := a.Data.([]byte)
	return b, ok
}

// ErrFormat is wrapped by every error about bytes that are not a valid IDX
// file.
var ErrFormat = errors.New("data: bad IDX file")

// A FormatError says what is wrong with an IDX file, and where.
type FormatError struct {
	File   string // "" for a stream
	Offset int64  // in the (decompressed) content
	What   string // "magic number"
	Want   string
	Found  string
	Err    error // the cause, if there is one
}

// Error returns a line with all of it.
func (e *FormatError) Error() string {
	name := e.File
	if name == "" {
		name = "IDX stream"
	}
	return fmt.Sprintf("data: %s: offset %d: %s: want %s, found %s", name, e.Offset, e.What, e.Want, e.Found)
}

// Unwrap returns [ErrFormat] and the cause.
func (e *FormatError) Unwrap() []error {
	if e.Err == nil {
		return []error{ErrFormat}
	}
	return []error{ErrFormat, e.Err}
}

// MaxSize bounds the decompressed size of an IDX file, in bytes: a larger one
// is refused, so that a forged header or a decompression bomb cannot exhaust
// the memory. MNIST takes 47 MB.
const MaxSize = 1 << 30

// ReadIDX reads one array from r to its end. The stream may be compressed by
// gzip, which is told by its first bytes. Memory is set aside only as elements
// arrive, whatever the header claims. The error is a [*FormatError] for bad
// content.
func ReadIDX(r io.Reader) (*Array, error) { return readIDX(r, "", nil) }

// ReadIDXFile reads one array from a file; see [ReadIDX].
func ReadIDXFile(path string) (*Array, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	defer f.Close()
	return readIDX(f, path, nil)
}

// readIDX decodes a stream named name for errors; sum, if there is one, sees
// the decompressed content.
func readIDX(r io.Reader, name string, sum hash.Hash) (*Array, error) {
	d := &idxDecoder{name: name}
	br := bufio.NewReaderSize(r, 1<<16)
	d.r = br
	if magic, err := br.Peek(2); err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
		z, err := gzip.NewReader(br)
		if err != nil {
			return nil, d.fail("gzip header", "a valid one", err.Error(), err)
		}
		d.r = z
	}
	if sum != nil {
		d.r = io.TeeReader(d.r, sum)
	}
	return d.decode()
}

type idxDecoder struct {
	r    io.Reader
	name string
	at   int64
}

func (d *idxDecoder) fail(what, want, found string, err error) error {
	return &FormatError{d.name, d.at, what, want, found, err}
}

// full reads exactly len(b) bytes.
func (d *idxDecoder) full(b []byte, what string) error {
	n, err := io.ReadFull(d.r, b)
	if err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		found := fmt.Sprintf("%d, then %v", n, err)
		err = d.fail(what, fmt.Sprintf("%d bytes", len(b)), found, err)
	}
	d.at += int64(n)
	return err
}

func (d *idxDecoder) decode() (*Array, error) {
	var magic [4]byte
	if err := d.full(magic[:], "magic number"); err != nil {
		return nil, err
	}
	d.at = 0
	t, rank := Type(magic[2]), int(magic[3])
	if magic[0] != 0 || magic[1] != 0 {
		return nil, d.fail("magic number", "two zero bytes, a type and a rank", fmt.Sprintf("% x", magic), nil)
	}
	if t.Size() == 0 {
		d.at = 2
		return nil, d.fail("element type", "one of 08 09 0b 0c 0d 0e", fmt.Sprintf("%02x", byte(t)), nil)
	}
	d.at = 4
	a := &Array{Shape: make([]int, 0, rank)}
	total := int64(t.Size())
	zero := false
	for i := range rank {
		var b [4]byte
		if err := d.full(b[:], fmt.Sprintf("size of dimension %d", i)); err != nil {
			return nil, err
		}
		n := int64(binary.BigEndian.Uint32(b[:]))
		if n > math.MaxInt32 {
			d.at -= 4
			return nil, d.fail(fmt.Sprintf("size of dimension %d", i), "at most 2147483647", fmt.Sprint(n), nil)
		}
		a.Shape = append(a.Shape, int(n))
		if zero = zero || n == 0; zero {
			total = 0
			continue
		}
		if total > MaxSize/n {
			d.at -= 4
			return nil, d.fail("total size", fmt.Sprintf("at most %d bytes", MaxSize), fmt.Sprintf("%s of %d and more", t, a.Shape), nil)
		}
		total *= n
	}
	body, err := d.body(int(total))
	if err != nil {
		return nil, err
	}
	a.Data = elements(t, body)
	return a, nil
}

// body reads n bytes and the end of the stream. The buffer grows as the bytes
// arrive, and ends at n exactly.
func (d *idxDecoder) body(n int) ([]byte, error) {
	start := d.at
	buf := make([]byte, min(n, 1<<20))
	for have := 0; ; {
		m, err := io.ReadFull(d.r, buf[have:])
		have += m
		d.at = start + int64(have)
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, d.fail("elements", fmt.Sprintf("%d bytes", n), fmt.Sprintf("%d, then %v", have, err), err)
		}
		if have == n {
			break
		}
		grown := make([]byte, min(n, 4*len(buf)))
		copy(grown, buf)
		buf = grown
	}
	var extra [1]byte
	switch m, err := io.ReadFull(d.r, extra[:]); {
	case m > 0:
		return nil, d.fail("end of file", fmt.Sprintf("after %d bytes of elements", n), "more bytes", nil)
	case err != io.EOF: // the checksum of gzip, say
		return nil, d.fail("end of file", "a clean end", err.Error(), err)
	}
	return buf, nil
}

// elements converts big-endian bytes; those of uint8 are kept as they are.
func elements(t Type, b []byte) any {
	be := binary.BigEndian
	switch t {
	case Int8:
		return convert(b, 1, func(b []byte) int8 { return int8(b[0]) })
	case Int16:
		return convert(b, 2, func(b []byte) int16 { return int16(be.Uint16(b)) })
	case Int32:
		return convert(b, 4, func(b []byte) int32 { return int32(be.Uint32(b)) })
	case Float32:
		return convert(b, 4, func(b []byte) float32 { return math.Float32frombits(be.Uint32(b)) })
	case Float64:
		return convert(b, 8, func(b []byte) float64 { return math.Float64frombits(be.Uint64(b)) })
	default:
		return b
	}
}

func convert[T any](b []byte, size int, f func([]byte) T) []T {
	out := make([]T, len(b)/size)
	for i := range out {
		out[i] = f(b[i*size:][:size])
	}
	return out
}

// WriteIDX writes a. What [ReadIDX] read is written byte for byte as it was
// (before compression).
func WriteIDX(w io.Writer, a *Array) error {
	var t Type
	var count int
	switch d := a.Data.(type) {
	case []uint8:
		t, count = Uint8, len(d)
	case []int8:
		t, count = Int8, len(d)
	case []int16:
		t, count = Int16, len(d)
	case []int32:
		t, count = Int32, len(d)
	case []float32:
		t, count = Float32, len(d)
	case []float64:
		t, count = Float64, len(d)
	default:
		return fmt.Errorf("data: IDX has no elements of %T", a.Data)
	}
	if len(a.Shape) > 255 {
		return fmt.Errorf("data: rank %d; IDX has at most 255", len(a.Shape))
	}
	head := []byte{0, 0, byte(t), byte(len(a.Shape))}
	total := 1
	for _, n := range a.Shape {
		if n < 0 || n > math.MaxInt32 {
			return fmt.Errorf("data: a dimension of %d does not fit IDX", n)
		}
		if n > 0 && total > math.MaxInt/n {
			return fmt.Errorf("data: the shape %v overflows", a.Shape)
		}
		head = binary.BigEndian.AppendUint32(head, uint32(n))
		total *= n
	}
	if total != count {
		return fmt.Errorf("data: %d elements for the shape %v of %d", count, a.Shape, total)
	}
	if _, err := w.Write(head); err != nil {
		return err
	}
	return binary.Write(w, binary.BigEndian, a.Data)
}

// WriteIDXFile writes a to a file, compressed if its name ends in ".gz". The
// file appears under its name only when it is whole.
func WriteIDXFile(path string, a *Array) (err error) {
	return writeAtomic(path, func(w io.Writer) error {
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
}

// writeAtomic writes a file under a temporary name and renames it.
func writeAtomic(path string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("data: writing %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
			err = fmt.Errorf("data: writing %s: %w", path, err)
		}
	}()
	if err := write(f); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// newSum is the checksum by which files are known.
func newSum() hash.Hash { return sha256.New() }
