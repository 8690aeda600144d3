package data

import (
	"errors"
	"fmt"
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
	switch t {
	case Uint8:
		return "uint8"
	case Int8:
		return "int8"
	case Int16:
		return "int16"
	case Int32:
		return "int32"
	case Float32:
		return "float32"
	case Float64:
		return "float64"
	}
	return fmt.Sprintf("type 0x%02x", byte(t))
}

// An Array is the content of an IDX file.
type Array struct {
	// Shape is the size of each dimension. An empty one means one element.
	Shape []int
	// Data is a []uint8, []int8, []int16, []int32, []float32 or []float64 of
	// as many elements as Shape says, row-major.
	Data any
}

// Type is the element type, 0 if Data is not one of the six kinds of slice.
func (a *Array) Type() Type {
	switch a.Data.(type) {
	case []uint8:
		return Uint8
	case []int8:
		return Int8
	case []int16:
		return Int16
	case []int32:
		return Int32
	case []float32:
		return Float32
	case []float64:
		return Float64
	}
	return 0
}

// Len is the number of elements in Data, 0 if it is not one of the six kinds
// of slice.
func (a *Array) Len() int {
	switch d := a.Data.(type) {
	case []uint8:
		return len(d)
	case []int8:
		return len(d)
	case []int16:
		return len(d)
	case []int32:
		return len(d)
	case []float32:
		return len(d)
	case []float64:
		return len(d)
	}
	return 0
}

// Bytes returns the elements of an array of uint8, and whether it is one.
func (a *Array) Bytes() ([]byte, bool) {
	b, ok := a.Data.([]byte)
	return b, ok
}

// ErrFormat is wrapped by every error about bytes that are not a valid IDX
// file, or not the kind of IDX file that is wanted.
var ErrFormat = errors.New("data: bad IDX file")

// A FormatError says what is wrong with an IDX file, and where. It wraps
// [ErrFormat] and, if there is one, its cause: [io.ErrUnexpectedEOF] for a
// file that ends too early, for example.
type FormatError struct {
	File   string // the path; empty for a stream without a name
	Offset int64  // in bytes, in the decompressed content
	What   string // what was being read: "magic number"
	Want   string
	Found  string
	Err    error // the cause, or nil
}

// Error returns one line with all of it.
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

// MaxSize bounds the decompressed elements of an IDX file, in bytes: a larger
// file is refused by its header, so that neither a forged header nor a
// decompression bomb can exhaust the memory. MNIST takes 47 MB.
const MaxSize = 1 << 30
