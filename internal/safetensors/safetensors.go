// Package safetensors reads and writes tensors of float32 in the safetensors
// format (https://huggingface.co/docs/safetensors): eight bytes with the
// length of the header, little endian; the header, a JSON object that says for
// each tensor its type, its shape and where its bytes lie, and in
// "__metadata__" texts by name; then the bytes, little endian, row-major.
//
// Reading is strict, as the format demands: a name that occurs twice, bytes
// that belong to no tensor or to two, or a size that is not that of the shape
// make an error, before memory is set aside for what the header promises.
package safetensors

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// ErrFormat is wrapped by the errors about a stream that is not in the format.
var ErrFormat = errors.New("bad safetensors")

// maxHeader bounds the header, in bytes: that of a LeNet takes about 1.5 KB.
const maxHeader = 1 << 20

const metadataKey = "__metadata__"

// A Tensor is a name, a shape and the numbers, row-major.
type Tensor struct {
	Name  string
	Shape []int
	Data  []float32
}

// An entry describes a tensor in the header.
type entry struct {
	DType   string  `json:"dtype"`
	Shape   []int   `json:"shape"`
	Offsets []int64 `json:"data_offsets"`
}

// Write writes the tensors in their order. The header is padded so that the
// bytes begin at a multiple of eight.
func Write(w io.Writer, metadata map[string]string, tensors []Tensor) error {
	var head bytes.Buffer
	head.WriteByte('{')
	put := func(key string, value any) error {
		k, err := json.Marshal(key)
		if err != nil {
			return fmt.Errorf("safetensors: encoding the name %q: %w", key, err)
		}
		v, err := json.Marshal(value)
		if err != nil {
			return fmt.Errorf("safetensors: encoding %q: %w", key, err)
		}
		if head.Len() > 1 {
			head.WriteByte(',')
		}
		fmt.Fprintf(&head, "%s:%s", k, v)
		return nil
	}
	if len(metadata) > 0 {
		if err := put(metadataKey, metadata); err != nil {
			return err
		}
	}
	var at int64
	for _, t := range tensors {
		end := at + 4*int64(len(t.Data))
		if err := put(t.Name, entry{"F32", append([]int{}, t.Shape...), []int64{at, end}}); err != nil {
			return err
		}
		at = end
	}
	head.WriteByte('}')
	for head.Len()%8 != 0 {
		head.WriteByte(' ')
	}
	out := make([]byte, 0, 8+head.Len()+int(at))
	out = binary.LittleEndian.AppendUint64(out, uint64(head.Len()))
	out = append(out, head.Bytes()...)
	for _, t := range tensors {
		for _, v := range t.Data {
			out = binary.LittleEndian.AppendUint32(out, math.Float32bits(v))
		}
	}
	_, err := w.Write(out)
	return err
}

// A Header is what stands before the bytes.
type Header struct {
	Metadata map[string]string
	// Tensors are in the order of their bytes; their Data is nil.
	Tensors []Tensor
	// Length is that of the header in bytes, without the eight before it; Size
	// is the number of bytes after it.
	Length, Size int64
}

func wrong(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrFormat, fmt.Sprintf(format, args...))
}

// ReadHeader reads the header, and checks that its tensors tile the bytes that
// it promises. Errors wrap [ErrFormat].
func ReadHeader(r io.Reader) (*Header, error) {
	var size [8]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, wrong("offset 0: want 8 bytes of header length: %v", err)
	}
	length := binary.LittleEndian.Uint64(size[:])
	if length < 2 || length > maxHeader {
		return nil, wrong("offset 0: want a header of 2 to %d bytes, found %d; is this a safetensors file?", maxHeader, length)
	}
	head := make([]byte, length)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, wrong("offset 8: want a header of %d bytes: %v", length, err)
	}
	if head[0] != '{' {
		return nil, wrong("offset 8: want a header that begins with {, found %q", head[0])
	}
	h := &Header{Length: int64(length)}
	var at []int64
	err := object(head, func(key string, value json.RawMessage) error {
		if key == metadataKey {
			h.Metadata = map[string]string{}
			return object(value, func(key string, value json.RawMessage) error {
				var text *string
				if err := json.Unmarshal(value, &text); err != nil || text == nil {
					return wrong("metadata %q: want a text, found %.40s", key, value)
				}
				h.Metadata[key] = *text
				return nil
			})
		}
		t, lo, hi, err := tensor(value)
		if err != nil {
			return wrong("tensor %q: %v", key, err)
		}
		t.Name = key
		i, _ := slices.BinarySearch(at, lo)
		for i < len(at) && at[i] == lo && hi > lo { // an empty tensor lies before a full one
			i++
		}
		at, h.Tensors = slices.Insert(at, i, lo), slices.Insert(h.Tensors, i, t)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i, t := range h.Tensors {
		if at[i] != h.Size {
			return nil, wrong("tensor %q: its bytes begin at %d, and those before it end at %d; there may be no hole and no overlap", t.Name, at[i], h.Size)
		}
		h.Size += 4 * int64(elements(t.Shape))
	}
	return h, nil
}

// object calls f for each member of a JSON object, in order, and refuses one
// that occurs twice.
func object(text []byte, f func(key string, value json.RawMessage) error) error {
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return wrong("header: want a JSON object, found %.40s", text)
	}
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return wrong("header: %v", err)
		}
		key, _ := t.(string)
		if seen[key] {
			return wrong("header: %q occurs twice", key)
		}
		seen[key] = true
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return wrong("header: %q: %v", key, err)
		}
		if err := f(key, value); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return wrong("header: %v", err)
	}
	if rest := strings.Trim(string(text[d.InputOffset():]), " "); rest != "" {
		return wrong("header: want spaces after the object, found %.40q", rest)
	}
	return nil
}

// maxSide bounds sizes, so that products do not overflow.
const maxSide = 1 << 31

// tensor reads an entry of the header.
func tensor(value json.RawMessage) (t Tensor, lo, hi int64, err error) {
	d := json.NewDecoder(bytes.NewReader(value))
	d.DisallowUnknownFields()
	var e entry
	if err := d.Decode(&e); err != nil {
		return t, 0, 0, err
	}
	if e.DType != "F32" {
		return t, 0, 0, fmt.Errorf("want numbers of type F32, found %q", e.DType)
	}
	if e.Shape == nil || len(e.Offsets) != 2 {
		return t, 0, 0, fmt.Errorf("want a shape and two data_offsets, found %.80s", value)
	}
	lo, hi = e.Offsets[0], e.Offsets[1]
	n := int64(1)
	for _, s := range e.Shape {
		if s < 0 || int64(s) > maxSide || n > maxSide/max(int64(s), 1) {
			return t, 0, 0, fmt.Errorf("an absurd shape, %v", e.Shape)
		}
		n *= int64(s)
	}
	if lo < 0 || hi < lo || hi-lo != 4*n {
		return t, 0, 0, fmt.Errorf("shape %v takes %d bytes, found data_offsets %v", e.Shape, 4*n, e.Offsets)
	}
	return Tensor{Shape: e.Shape}, lo, hi, nil
}

func elements(shape []int) int {
	n := 1
	for _, s := range shape {
		n *= s
	}
	return n
}

// ReadData reads what comes after the header, to the end of the stream, and
// fills in the Data of the tensors. Memory is taken as the bytes arrive, not
// on the header's word.
func (h *Header) ReadData(r io.Reader) error {
	body, err := io.ReadAll(io.LimitReader(r, h.Size+1))
	if err != nil {
		return fmt.Errorf("%w: reading the tensors: %w", ErrFormat, err)
	}
	if n := int64(len(body)); n < h.Size {
		return wrong("offset %d: want %d bytes of tensors, found %d: the file is cut off", 8+h.Length, h.Size, n)
	} else if n > h.Size {
		return wrong("offset %d: want the end of the file after %d bytes of tensors, found more", 8+h.Length+h.Size, h.Size)
	}
	for i := range h.Tensors {
		t := &h.Tensors[i]
		t.Data = make([]float32, elements(t.Shape))
		for k := range t.Data {
			t.Data[k] = math.Float32frombits(binary.LittleEndian.Uint32(body[4*k:]))
		}
		body = body[4*len(t.Data):]
	}
	return nil
}
