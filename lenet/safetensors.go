package lenet

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"example.com/lenet5/internal/atomicfile"
	"example.com/lenet5/internal/safetensors"
)

// ErrModelFile is wrapped by the errors about a file that is not a model.
var ErrModelFile = errors.New("lenet: bad model file")

// A model file is in the safetensors format. In the metadata are the Config
// under configKey, the names of the classes, as a list in JSON, under
// classesKey, and the notes under their own keys.
const (
	configKey  = "lenet5.config"
	classesKey = "lenet5.classes"
	formatKey  = "format" // libraries of Python want it, and "pt" in it
)

// Write writes the network in the safetensors format: its parameters as F32
// under the names and in the shapes of [Net.Params], which are those of
// PyTorch, and in the metadata its Config, the names of its classes, and its
// notes.
func (n *Net) Write(w io.Writer) error {
	cfg, err := json.Marshal(n.cfg)
	if err != nil {
		return fmt.Errorf("lenet: encoding the config: %w", err)
	}
	meta := n.Notes()
	if meta == nil {
		meta = map[string]string{}
	}
	meta[configKey], meta[formatKey] = string(cfg), "pt"
	if n.classes != nil {
		names, err := json.Marshal(n.classes)
		if err != nil {
			return fmt.Errorf("lenet: encoding the names of the classes: %w", err)
		}
		meta[classesKey] = string(names)
	}
	return safetensors.Write(w, meta, n.tensors())
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

// WeightsFor has [Load] and [Read] take a file that does not say what network
// it is, as PyTorch writes: the weights are for a network of this Config. The
// tensors have the names of [Net.Params]; or else any names, such as those of
// an nn.Sequential, whose order, with numbers in them as numbers, is that of
// the layers.
func WeightsFor(cfg Config) Option {
	return func(o *options) { o.weights = &cfg }
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

// Read reads a network that [Net.Write] wrote, or, with [WeightsFor], tensors
// alone. The error wraps [ErrModelFile] if the stream is something else;
// nothing is allocated on its word.
func Read(r io.Reader, opts ...Option) (*Net, error) {
	wrong := func(format string, args ...any) (*Net, error) {
		return nil, fmt.Errorf("%w: %w", ErrModelFile, fmt.Errorf(format, args...))
	}
	o := options{device: "auto"}
	for _, f := range opts {
		f(&o)
	}
	head, err := safetensors.ReadHeader(r)
	if err != nil {
		return wrong("%w", err)
	}
	var cfg Config
	text, ok := head.Metadata[configKey]
	switch {
	case o.weights != nil:
		cfg = *o.weights
	case !ok:
		return wrong("the metadata has no %q: it does not say what network this is; if you know, say so by WeightsFor", configKey)
	default:
		if err := json.Unmarshal([]byte(text), &cfg); err != nil {
			return wrong("metadata %q: %w", configKey, err)
		}
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
	if names, ok := head.Metadata[classesKey]; ok && o.classes == nil {
		if err := json.Unmarshal([]byte(names), &o.classes); err != nil || len(o.classes) != cfg.Classes {
			return wrong("metadata %q: want a list of %d names, found %.100s", classesKey, cfg.Classes, names)
		}
	}
	if err := head.ReadData(r); err != nil {
		return wrong("%w", err)
	}
	n, err := build(cfg, o)
	if err != nil {
		return nil, err
	}
	if err := n.setTensors(head.Tensors, o.weights != nil); err != nil {
		return wrong("%w", err)
	}
	for key, text := range head.Metadata {
		if key != configKey && key != classesKey && key != formatKey {
			n.SetNote(key, text)
		}
	}
	return n, nil
}

// setTensors sets all parameters, from tensors in any order; with renamed, those
// whose names are not the network's are taken in the order of their names.
func (n *Net) setTensors(tensors []safetensors.Tensor, renamed bool) error {
	if known := func(t safetensors.Tensor) bool {
		return slices.ContainsFunc(n.params, func(p Param) bool { return p.Name == t.Name })
	}; renamed && len(tensors) == len(n.params) && !slices.ContainsFunc(tensors, known) {
		slices.SortFunc(tensors, func(a, b safetensors.Tensor) int { return cmp.Compare(sortKey(a.Name), sortKey(b.Name)) })
		for i := range tensors {
			tensors[i].Name = n.params[i].Name
		}
	}
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

// sortKey orders names as people would: numbers by their value, and a weight
// before its bias.
func sortKey(name string) string {
	name = numbers.ReplaceAllStringFunc(name, func(digits string) string { return strings.Repeat("0", max(0, 9-len(digits))) + digits })
	if layer, ok := strings.CutSuffix(name, "weight"); ok {
		return layer + "\x00"
	}
	return name
}

var numbers = regexp.MustCompile(`[0-9]+`)
