package lenet

import (
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"example.com/lenet5/internal/atomicfile"
)

// The versions of the format that the file is written in: those of ONNX 1.8,
// which runtimes have read since 2020 and still do.
const (
	onnxIR    = 7
	onnxOpset = 13
)

// SaveONNX writes the network to a file in the ONNX format; see
// [Net.WriteONNX].
func (n *Net) SaveONNX(path string) error {
	if err := atomicfile.Write(path, n.WriteONNX); err != nil {
		return fmt.Errorf("lenet: %w", err)
	}
	return nil
}

// WriteONNX writes the network in the ONNX format, for other runtimes. Its
// input "images" is (N, C, H, W), uint8, any N: the bytes as they are, since
// the scaling and the padding are part of the file. Its outputs are "logits"
// and "probabilities", (N, Classes), float32. The notes and the names of the
// classes are in the metadata, the latter under "classes", one to a line.
func (n *Net) WriteONNX(w io.Writer) error {
	g := &onnxGraph{}
	in := n.cfg.Input
	x := g.node("Cast", "pixels.float", []string{"images"}, attrInt("to", onnxFloat))
	x = g.node("Mul", "pixels.scaled", []string{x, g.scalar("scale", in.Scale)})
	x = g.node("Add", "pixels", []string{x, g.scalar("offset", in.Offset)})
	if p := int64(in.Padding); p > 0 {
		pads := g.ints("pads", []int64{0, 0, p, p, 0, 0, p, p})
		x = g.node("Pad", "pixels.padded", []string{x, pads, g.scalar("background", in.Offset)}, attrString("mode", "constant"))
	}
	for _, p := range n.params {
		g.floats(p.Name, p.Shape, p.Data)
	}
	for i, l := range n.layers {
		name := l.name
		if i == len(n.layers)-1 { // it has no activation
			name = "logits"
		}
		var err error
		if x, err = g.layer(l, name, x, n.cfg.Classes); err != nil {
			return err
		}
		if x, err = g.activation(l, x); err != nil {
			return err
		}
	}
	g.node("Softmax", "probabilities", []string{x}, attrInt("axis", 1))
	_, err := w.Write(n.onnxModel(g))
	return err
}

// layer appends the nodes of a layer without its activation, and returns the
// name of its output.
func (g *onnxGraph) layer(l layer, name, x string, classes int) (string, error) {
	weight, bias := l.name+".weight", l.name+".bias"
	window := []onnxAttr{attrInts("kernel_shape", 2, 2), attrInts("strides", 2, 2)}
	switch l.kind {
	case layerConv:
		k, p := int64(l.block.Kernel), int64(l.block.Padding)
		return g.node("Conv", name, []string{x, weight, bias}, attrInts("kernel_shape", k, k), attrInts("pads", p, p, p, p)), nil
	case layerPool:
		switch l.block.Pool {
		case PoolMax:
			return g.node("MaxPool", name, []string{x}, window...), nil
		case PoolAverage:
			return g.node("AveragePool", name, []string{x}, window...), nil
		case PoolTrainable:
			// The sum of a window is four times its mean; the coefficient and
			// the bias of a map are brought to (maps, 1, 1).
			shape := g.ints(name+".shape", []int64{-1, 1, 1})
			mean := g.node("AveragePool", name+".mean", []string{x}, window...)
			sum := g.node("Mul", name+".sum", []string{mean, g.scalar(name+".four", 4)})
			scaled := g.node("Mul", name+".scaled", []string{sum, g.node("Reshape", name+".coefficients", []string{weight, shape})})
			return g.node("Add", name, []string{scaled, g.node("Reshape", name+".biases", []string{bias, shape})}), nil
		}
	case layerFlatten:
		return g.node("Flatten", name, []string{x}, attrInt("axis", 1)), nil
	case layerDense:
		return g.node("Gemm", name, []string{x, weight, bias}, attrInt("transB", 1)), nil
	case layerRBF:
		codes := newCodes(classes)
		centres := make([]float32, len(codes.Values))
		for i, v := range codes.Values {
			centres[i] = float32(v)
		}
		g.floats(l.name+".codes", []int{codes.Classes, codes.Width}, centres)
		axis := g.ints(l.name+".axis", []int64{1})
		last := g.ints(l.name+".last", []int64{2})
		column := g.node("Unsqueeze", l.name+".column", []string{x, axis})
		d := g.node("Sub", l.name+".difference", []string{column, l.name + ".codes"})
		square := g.node("Mul", l.name+".square", []string{d, d})
		penalty := g.node("ReduceSum", l.name+".penalty", []string{square, last}, attrInt("keepdims", 0))
		return g.node("Neg", name, []string{penalty}), nil
	}
	return "", fmt.Errorf("lenet: %s has no counterpart in ONNX", l.name)
}

func (g *onnxGraph) activation(l layer, x string) (string, error) {
	name := l.name + "." + string(l.act)
	switch l.act {
	case ActNone:
		return x, nil
	case ActSigmoid:
		return g.node("Sigmoid", name, []string{x}), nil
	case ActTanh:
		return g.node("Tanh", name, []string{x}), nil
	case ActReLU:
		return g.node("Relu", name, []string{x}), nil
	case ActScaledTanh:
		inner := g.node("Mul", name+".inner", []string{x, g.scalar(name+".slope", 2.0/3)})
		tanh := g.node("Tanh", name+".tanh", []string{inner})
		return g.node("Mul", name, []string{tanh, g.scalar(name+".amplitude", 1.7159)}), nil
	}
	return "", fmt.Errorf("lenet: the activation %s has no counterpart in ONNX", l.act)
}

// onnxGraph collects nodes and initial values, encoded as fields of a
// GraphProto. The numbers of fields are those of onnx.proto.
type onnxGraph struct{ nodes, initializers []byte }

const (
	onnxFloat = 1 // of TensorProto.DataType
	onnxUint8 = 2
	onnxInt64 = 7
)

// message appends a field that is a message, or bytes, or a text.
func message(dst []byte, field protowire.Number, content []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(dst, field, protowire.BytesType), content)
}

func textField(dst []byte, field protowire.Number, text string) []byte {
	return message(dst, field, []byte(text))
}

func intField(dst []byte, field protowire.Number, v int64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(dst, field, protowire.VarintType), uint64(v))
}

// An onnxAttr is an encoded AttributeProto.
type onnxAttr []byte

func attrInt(name string, v int64) onnxAttr {
	return intField(intField(textField(nil, 1, name), 3, v), 20, 2)
}

func attrString(name, v string) onnxAttr {
	return intField(textField(textField(nil, 1, name), 4, v), 20, 3)
}

func attrInts(name string, vs ...int64) onnxAttr {
	a := textField(nil, 1, name)
	for _, v := range vs {
		a = intField(a, 8, v)
	}
	return intField(a, 20, 7)
}

// node appends an operation, and returns the name of its only output, which is
// its own.
func (g *onnxGraph) node(op, name string, inputs []string, attrs ...onnxAttr) string {
	var b []byte
	for _, in := range inputs {
		b = textField(b, 1, in)
	}
	b = textField(b, 2, name)
	b = textField(b, 3, name)
	b = textField(b, 4, op)
	for _, a := range attrs {
		b = message(b, 5, a)
	}
	g.nodes = message(g.nodes, 1, b)
	return name
}

// tensor appends an initial value, and returns its name.
func (g *onnxGraph) tensor(name string, shape []int, kind int64, raw []byte) string {
	var b []byte
	for _, d := range shape {
		b = intField(b, 1, int64(d))
	}
	b = intField(b, 2, kind)
	b = textField(b, 8, name)
	g.initializers = message(g.initializers, 5, message(b, 9, raw))
	return name
}

func (g *onnxGraph) floats(name string, shape []int, values []float32) string {
	var raw []byte
	for _, v := range values {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	return g.tensor(name, shape, onnxFloat, raw)
}

func (g *onnxGraph) scalar(name string, v float32) string {
	return g.floats(name, nil, []float32{v})
}

func (g *onnxGraph) ints(name string, values []int64) string {
	var raw []byte
	for _, v := range values {
		raw = binary.LittleEndian.AppendUint64(raw, uint64(v))
	}
	return g.tensor(name, []int{len(values)}, onnxInt64, raw)
}

// valueInfo describes an input or output of N rows.
func valueInfo(name string, kind int64, sizes ...int) []byte {
	shape := message(nil, 1, textField(nil, 2, "N"))
	for _, s := range sizes {
		shape = message(shape, 1, intField(nil, 1, int64(s)))
	}
	tensor := message(intField(nil, 1, kind), 2, shape)
	return message(textField(nil, 1, name), 2, message(nil, 1, tensor))
}

// onnxModel encodes the ModelProto.
func (n *Net) onnxModel(g *onnxGraph) []byte {
	in := n.cfg.Input
	graph := append([]byte(nil), g.nodes...)
	graph = textField(graph, 2, "lenet5")
	graph = append(graph, g.initializers...)
	graph = message(graph, 11, valueInfo("images", onnxUint8, in.Channels, in.Height, in.Width))
	graph = message(graph, 12, valueInfo("logits", onnxFloat, n.cfg.Classes))
	graph = message(graph, 12, valueInfo("probabilities", onnxFloat, n.cfg.Classes))
	b := intField(nil, 1, onnxIR)
	b = textField(b, 2, "lenet5")
	b = message(b, 7, graph)
	b = message(b, 8, intField(textField(nil, 1, ""), 2, onnxOpset))
	property := func(key, value string) {
		b = message(b, 14, textField(textField(nil, 1, key), 2, value))
	}
	for _, key := range slices.Sorted(maps.Keys(n.notes)) {
		property(key, n.notes[key])
	}
	if n.classes != nil {
		property("classes", strings.Join(n.classes, "\n"))
	}
	return b
}
