package data

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"math"
	"net/http"
	"os"
	"strings"
)

// ReadIDX reads one array from r, to its end. The stream may be compressed by
// gzip, which is told by its first two bytes. Memory is set aside only as
// elements arrive, whatever the header claims; [MaxSize] is the limit. The
// error is a [*FormatError] for bad content, also for bytes after the last
// element.
func ReadIDX(r io.Reader) (*Array, error) { return readIDX(r, "", MaxSize, nil) }

// ReadIDXFile reads one array from a file; see [ReadIDX].
func ReadIDXFile(path string) (*Array, error) { return readIDXFile(path, MaxSize, nil) }

// readIDXFile reads a file of at most limit bytes of elements; sum, if there is
// one, sees the decompressed content.
func readIDXFile(path string, limit int64, sum hash.Hash) (*Array, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	defer f.Close()
	return readIDX(f, path, limit, sum)
}

// decompress returns the content of r, which may be compressed by gzip.
func decompress(r io.Reader, name string) (io.Reader, error) {
	br := bufio.NewReaderSize(r, 1<<16)
	if magic, err := br.Peek(2); err != nil || magic[0] != 0x1f || magic[1] != 0x8b {
		return br, nil // a read error shows again at the first read
	}
	z, err := gzip.NewReader(br)
	if err != nil {
		return nil, &FormatError{File: name, What: "gzip header", Want: "a valid one", Found: cause(err), Err: noEOF(err)}
	}
	return z, nil
}

// readIDX decodes a stream called name in errors.
func readIDX(r io.Reader, name string, limit int64, sum hash.Hash) (*Array, error) {
	content, err := decompress(r, name)
	if err != nil {
		return nil, err
	}
	if sum != nil {
		content = io.TeeReader(content, sum)
	}
	d := &idxDecoder{r: content, name: name, limit: limit}
	t, shape, size, err := d.header()
	if err != nil {
		return nil, err
	}
	body, err := d.body(size)
	if err != nil {
		return nil, err
	}
	if err := d.end(size); err != nil {
		return nil, err
	}
	return &Array{Shape: shape, Data: elements(t, body)}, nil
}

// An idxDecoder reads from r, in which it is at offset at.
type idxDecoder struct {
	r     io.Reader
	name  string
	limit int64 // of the elements, in bytes
	at    int64
}

func (d *idxDecoder) fail(what, want, found string, err error) error {
	return &FormatError{File: d.name, Offset: d.at, What: what, Want: want, Found: found, Err: noEOF(err)}
}

// noEOF turns an end of file into an unexpected one: where an error is made of
// it, there was something to come, and io.EOF means the opposite to callers.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// cause describes a read error for people.
func cause(err error) string {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return "the end of the file"
	}
	return strings.TrimPrefix(err.Error(), "gzip: ")
}

// full reads exactly len(b) bytes.
func (d *idxDecoder) full(b []byte, what string) error {
	n, err := io.ReadFull(d.r, b)
	if err != nil {
		return d.fail(what, plural(int64(len(b)), "byte"), fmt.Sprintf("%s, then %s", plural(int64(n), "byte"), cause(err)), err)
	}
	d.at += int64(n)
	return nil
}

// plural writes "1 byte" or "2 bytes".
func plural(n int64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// header reads the type, the shape and from them the size of the elements in
// bytes.
func (d *idxDecoder) header() (t Type, shape []int, size int64, err error) {
	var magic [4]byte
	if err := d.full(magic[:], "magic number"); err != nil {
		return 0, nil, 0, err
	}
	if magic[0] != 0 || magic[1] != 0 {
		d.at = 0
		return 0, nil, 0, d.fail("magic number", "00 00, an element type and a rank", fmt.Sprintf("% x%s", magic, guess(magic[:])), nil)
	}
	t = Type(magic[2])
	if t.Size() == 0 {
		d.at = 2
		return 0, nil, 0, d.fail("element type", "one of 08 09 0b 0c 0d 0e", fmt.Sprintf("%02x", byte(t)), nil)
	}
	size = int64(t.Size())
	shape = make([]int, 0, magic[3])
	for i := range int(magic[3]) {
		var b [4]byte
		if err := d.full(b[:], fmt.Sprintf("size of dimension %d", i)); err != nil {
			return 0, nil, 0, err
		}
		n := int64(binary.BigEndian.Uint32(b[:]))
		// A size of zero stays zero whatever the sizes after it.
		if n > math.MaxInt32 || n > 0 && size > d.limit/n {
			d.at -= 4
			return 0, nil, 0, d.fail(fmt.Sprintf("size of dimension %d", i),
				fmt.Sprintf("at most %d bytes of elements in all", d.limit),
				fmt.Sprintf("%d, after the sizes %v of %v", n, shape, t), nil)
		}
		shape = append(shape, int(n))
		size *= n
	}
	return t, shape, size, nil
}

// guess says what a file that begins with magic may be.
func guess(magic []byte) string {
	switch {
	case bytes.HasPrefix(magic, []byte("PK")):
		return " (a ZIP archive?)"
	case bytes.HasPrefix(magic, []byte("BZh")), bytes.HasPrefix(magic, []byte("\xfd7zX")), bytes.HasPrefix(magic, []byte("\x28\xb5\x2f\xfd")):
		return " (compressed, but not by gzip?)"
	case magic[0] == '<':
		return " (an HTML page?)"
	case strings.HasPrefix(http.DetectContentType(magic), "text/"):
		return fmt.Sprintf(" (text? %q)", magic)
	}
	return ""
}

// body reads the elements. The buffer grows as they arrive, and ends at their
// size exactly: never more than eight times what has been read, and for the
// last and largest step never a second copy of the whole.
func (d *idxDecoder) body(size int64) ([]byte, error) {
	start := d.at
	buf := make([]byte, min(size, 1<<20))
	for have := 0; ; {
		n, err := io.ReadFull(d.r, buf[have:])
		have += n
		d.at = start + int64(have)
		if err != nil {
			return nil, d.fail("elements", plural(size, "byte"), fmt.Sprintf("%d, then %s", have, cause(err)), err)
		}
		if int64(have) == size {
			return buf, nil
		}
		grown := make([]byte, min(size, 8*int64(have)))
		copy(grown, buf)
		buf = grown
	}
}

// end makes sure that nothing follows, and has gzip verify its checksum.
func (d *idxDecoder) end(size int64) error {
	var extra [1]byte
	n, err := io.ReadFull(d.r, extra[:])
	switch {
	case n > 0:
		return d.fail("end of the file", "it after "+plural(size, "byte")+" of elements", "more bytes", nil)
	case err != io.EOF:
		return d.fail("end of the file", "a clean end", cause(err), err)
	}
	return nil
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
