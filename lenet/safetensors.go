package lenet

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"example.com/lenet5/internal/atomicfile"
	"example.com/lenet5/internal/safetensors"
)

// ErrModelFile is wrapped by the errors about a file that is not a model.
var ErrModelFile = errors.New("lenet: bad model file")

// A model file is in the safetensors format, with the Config in the metadata
// under configKey.
const configKey = "lenet5.config"

// Write writes the network in the safetensors format: its parameters as F32
// under the names and in the shapes of [Net.Params], and its Config in the
// metadata.
func (n *Net) Write(w io.Writer) error {
	cfg, err := json.Marshal(n.cfg)
	if err != nil {
		return fmt.Errorf("lenet: encoding the config: %w", err)
	}
	return safetensors.Write(w, map[string]string{configKey: string(cfg), "format": "pt"}, n.tensors())
}

func (n *Net) tensors() []safetensors.Tensor {
	var ts []safetensors.Tensor
	for _, p := range n.params {
		ts = append(ts, safetensors.Tensor(p))
	}
	return ts
}

// Save writes the network to a file; see [Net.Write]. The file appears under
// its name only when it is whole, in place of one that was there.
func (n *Net) Save(path string) error {
	if err := atomicfile.Write(path, n.Write); err != nil {
		return fmt.Errorf("lenet: %w", err)
	}
	return nil
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
		return nil, fmt.Errorf("%w: %w", ErrModelFile, fmt.Errorf(format, args...))
	}
	head, err := safetensors.ReadHeader(r)
	if err != nil {
		return wrong("%w", err)
	}
	text, ok := head.Metadata[configKey]
	if !ok {
		return wrong("the metadata has no %q: it does not say what network this is", configKey)
	}
	var cfg Config
	if err := json.Unmarshal([]byte(text), &cfg); err != nil {
		return wrong("metadata %q: %w", configKey, err)
	}
	layers, err := cfg.layers()
	if err != nil {
		return nil, err
	}
	want := int64(0)
	for _, l := range layers {
		want += 4 * int64(l.elements())
	}
	if head.Size != want {
		return wrong("want %d bytes of tensors for this network, found %d", want, head.Size)
	}
	if err := head.ReadData(r); err != nil {
		return wrong("%w", err)
	}
	o := options{device: "auto"}
	for _, f := range opts {
		f(&o)
	}
	n, err := build(cfg, o)
	if err != nil {
		return nil, err
	}
	if err := n.setTensors(head.Tensors); err != nil {
		return wrong("%w", err)
	}
	return n, nil
}

// setTensors sets all parameters, from tensors in any order.
func (n *Net) setTensors(tensors []safetensors.Tensor) error {
	byName := map[string]safetensors.Tensor{}
	for _, t := range tensors {
		byName[t.Name] = t
	}
	for _, p := range n.params {
		t, ok := byName[p.Name]
		if !ok {
			return fmt.Errorf("tensor %q is missing", p.Name)
		}
		if !slices.Equal(t.Shape, p.Shape) {
			return fmt.Errorf("tensor %q: want shape %v, found %v", p.Name, p.Shape, t.Shape)
		}
		delete(byName, p.Name)
		copy(p.Data, t.Data)
	}
	for name := range byName {
		return fmt.Errorf("tensor %q is none of this network", name)
	}
	for _, l := range n.layers {
		if l.connections() == nil {
			continue
		}
		for i, w := range n.param(l.name + ".weight").Data {
			if w != 0 && l.absent(i) {
				return fmt.Errorf("tensor %q: element %d is %g; the table of connections has no kernel there, so it must be 0", l.name+".weight", i, w)
			}
		}
	}
	return nil
}
