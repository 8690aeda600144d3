package lenet

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
)

// ErrModelFile is wrapped by the errors about a file that is not a model.
var ErrModelFile = errors.New("lenet: bad model file")

// A model file is in the safetensors format: eight bytes with the length of
// the header (little endian), the header in JSON, then the tensors. The Config
// is in the metadata under configKey.
const (
	configKey = "lenet5.config"
	maxHeader = 1 << 20 // the header of a LeNet takes about 1.5 KB
)

// tensorInfo is an entry of the header.
type tensorInfo struct {
	DType   string   `json:"dtype"`
	Shape   []int    `json:"shape"`
	Offsets [2]int64 `json:"data_offsets"`
}

// Write writes the network in the safetensors format: its parameters as F32
// under the names and in the shapes of [Net.Params], and its Config in the
// metadata.
func (n *Net) Write(w io.Writer) error {
	cfg, err := json.Marshal(n.cfg)
	if err != nil {
		return fmt.Errorf("lenet: encoding the config: %w", err)
	}
	var head bytes.Buffer
	meta, err := json.Marshal(map[string]string{configKey: string(cfg), "format": "pt"})
	if err != nil {
		return fmt.Errorf("lenet: encoding the metadata: %w", err)
	}
	fmt.Fprintf(&head, `{"__metadata__":%s`, meta)
	var at int64
	for _, p := range n.params {
		end := at + 4*int64(len(p.Data))
		info, err := json.Marshal(tensorInfo{"F32", p.Shape, [2]int64{at, end}})
		if err != nil {
			return fmt.Errorf("lenet: encoding %s: %w", p.Name, err)
		}
		fmt.Fprintf(&head, `,%q:%s`, p.Name, info)
		at = end
	}
	head.WriteByte('}')
	for head.Len()%8 != 0 { // the tensors begin aligned
		head.WriteByte(' ')
	}
	out := make([]byte, 0, 8+head.Len()+4*len(n.flat))
	out = binary.LittleEndian.AppendUint64(out, uint64(head.Len()))
	out = append(out, head.Bytes()...)
	for _, v := range n.flat {
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(v))
	}
	_, err = w.Write(out)
	return err
}

// Save writes the network to a file; see [Net.Write]. The file appears under
// its name only when it is whole, in place of one that was there.
func (n *Net) Save(path string) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("lenet: saving %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
			err = fmt.Errorf("lenet: saving %s: %w", path, err)
		}
	}()
	if err := n.Write(f); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// Load reads a network from a file; see [Read].
func Load(path string, opts ...Option) (*Net, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("lenet: loading: %w", err)
	}
	defer f.Close()
	n, err := Read(f, opts...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return n, nil
}

// Read reads a network that [Net.Write] wrote. The error wraps [ErrModelFile]
// if the stream is something else; nothing is allocated on its word.
func Read(r io.Reader, opts ...Option) (*Net, error) {
	wrong := func(format string, args ...any) (*Net, error) {
		return nil, fmt.Errorf("%w: %s", ErrModelFile, fmt.Sprintf(format, args...))
	}
	var size [8]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return wrong("offset 0: want 8 bytes of header length: %v", err)
	}
	length := binary.LittleEndian.Uint64(size[:])
	if length < 2 || length > maxHeader {
		return wrong("offset 0: want a header of 2 to %d bytes, found %d; is this a safetensors file?", maxHeader, length)
	}
	head := make([]byte, length)
	if _, err := io.ReadFull(r, head); err != nil {
		return wrong("offset 8: want a header of %d bytes: %v", length, err)
	}
	var entries map[string]json.RawMessage
	if err := json.Unmarshal(head, &entries); err != nil {
		return wrong("offset 8: header: %v", err)
	}
	var meta map[string]string
	if raw, ok := entries["__metadata__"]; ok {
		if err := json.Unmarshal(raw, &meta); err != nil {
			return wrong("metadata: %v", err)
		}
	}
	text, ok := meta[configKey]
	if !ok {
		return wrong("the metadata has no %q: it does not say what network this is", configKey)
	}
	delete(entries, "__metadata__")
	var cfg Config
	if err := json.Unmarshal([]byte(text), &cfg); err != nil {
		return wrong("metadata %q: %v", configKey, err)
	}
	o := options{device: "auto"}
	for _, f := range opts {
		f(&o)
	}
	layers, err := cfg.layers()
	if err != nil {
		return nil, err
	}
	want := 0
	for _, l := range layers {
		want += 4 * l.elements()
	}
	// The stream must hold the tensors before memory is set aside for them.
	body, err := io.ReadAll(io.LimitReader(r, int64(want)+1))
	if err != nil {
		return wrong("reading the tensors: %v", err)
	}
	if len(body) != want {
		return wrong("offset %d: want %d bytes of tensors, found %d%s", 8+length, want, min(len(body), want), map[bool]string{true: " and more"}[len(body) > want])
	}
	n, err := build(cfg, o)
	if err != nil {
		return nil, err
	}
	if len(entries) != len(n.params) {
		return wrong("want %d tensors, found %d", len(n.params), len(entries))
	}
	for _, p := range n.params {
		raw, ok := entries[p.Name]
		if !ok {
			return wrong("tensor %q is missing", p.Name)
		}
		var info tensorInfo
		if err := json.Unmarshal(raw, &info); err != nil {
			return wrong("tensor %q: %v", p.Name, err)
		}
		lo, hi := info.Offsets[0], info.Offsets[1]
		if info.DType != "F32" || fmt.Sprint(info.Shape) != fmt.Sprint(p.Shape) {
			return wrong("tensor %q: want F32 of shape %v, found %s of shape %v", p.Name, p.Shape, info.DType, info.Shape)
		}
		if lo < 0 || hi > int64(len(body)) || hi-lo != 4*int64(len(p.Data)) {
			return wrong("tensor %q: want %d bytes within %d, found data_offsets %v", p.Name, 4*len(p.Data), len(body), info.Offsets)
		}
		for i := range p.Data {
			p.Data[i] = math.Float32frombits(binary.LittleEndian.Uint32(body[lo+4*int64(i):]))
		}
	}
	for _, l := range n.layers {
		if l.connections() == nil {
			continue
		}
		for i, w := range n.param(l.name + ".weight").Data {
			if w != 0 && l.absent(i) {
				return wrong("tensor %q: element %d is %g; the table of connections has no kernel there, so it must be 0", l.name+".weight", i, w)
			}
		}
	}
	return n, nil
}
