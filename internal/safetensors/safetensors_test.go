package safetensors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
)

// file puts a header before some bytes.
func file(header string, body int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), make([]byte, body)...)
}

func read(b []byte) (*Header, error) {
	r := bytes.NewReader(b)
	h, err := ReadHeader(r)
	if err != nil {
		return nil, err
	}
	return h, h.ReadData(r)
}

func TestRoundTrip(t *testing.T) {
	nan := math.Float32frombits(0x7fc12345)
	tensors := []Tensor{
		{"b", []int{2, 3}, []float32{1, -0.5, nan, float32(math.Inf(-1)), math.SmallestNonzeroFloat32, 0}},
		{"empty", []int{3, 0}, []float32{}},
		{`a "name" of ünusual <kind>`, []int{}, []float32{math.MaxFloat32}},
	}
	meta := map[string]string{"note": "{\"x\": 1}\n"}
	var out bytes.Buffer
	if err := Write(&out, meta, tensors); err != nil {
		t.Fatal(err)
	}
	first := bytes.Clone(out.Bytes())
	h, err := read(first)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(h.Metadata, meta) || (h.Length+8)%8 != 0 || h.Size != 28 {
		t.Errorf("%+v", h)
	}
	out.Reset()
	if err := Write(&out, h.Metadata, h.Tensors); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, out.Bytes()) {
		t.Error("a round trip changes the bytes")
	}
}

// Other writers sort the names, and not the bytes.
func TestOrder(t *testing.T) {
	h, err := read(file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[8,12]},"none":{"dtype":"F32","shape":[0],"data_offsets":[8,8]},"b":{"shape":[2],"data_offsets":[0,8],"dtype":"F32"}}   `, 12))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, tensor := range h.Tensors {
		names = append(names, tensor.Name)
	}
	if got := strings.Join(names, " "); got != "b none a" {
		t.Errorf("in the order of their bytes: %s", got)
	}
}

func TestErrors(t *testing.T) {
	a := func(lo, hi string) string {
		return `{"dtype":"F32","shape":[2],"data_offsets":[` + lo + `,` + hi + `]}`
	}
	for name, c := range map[string]struct {
		b    []byte
		want string
	}{
		"empty":              {nil, "offset 0"},
		"huge header":        {binary.LittleEndian.AppendUint64(nil, 1<<62), "is this a safetensors file"},
		"header cut off":     {file(`{}`, 0)[:9], "offset 8"},
		"not an object":      {file(`[]`, 0), "begins with {"},
		"space first":        {file(` {}`, 0), "begins with {"},
		"not JSON":           {file(`{"a":}`, 0), "header"},
		"unclosed":           {file(`{"a":`+a("0", "8"), 8), "header"},
		"something after":    {file(`{}{}`, 0), "after the object"},
		"duplicate":          {file(`{"a":`+a("0", "8")+`,"a":`+a("8", "16")+`}`, 16), `"a" occurs twice`},
		"duplicate note":     {file(`{"__metadata__":{"a":"","a":""}}`, 0), `"a" occurs twice`},
		"note of no text":    {file(`{"__metadata__":{"a":1}}`, 0), "want a text"},
		"metadata no object": {file(`{"__metadata__":3}`, 0), "JSON object"},
		"wrong type":         {file(`{"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}}`, 4), "F16"},
		"no shape":           {file(`{"a":{"dtype":"F32","data_offsets":[0,4]}}`, 4), "want a shape"},
		"one offset":         {file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}}`, 4), "two data_offsets"},
		"unknown field":      {file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}}`, 4), "unknown field"},
		"negative size":      {file(`{"a":{"dtype":"F32","shape":[-1,-2],"data_offsets":[0,8]}}`, 8), "absurd"},
		"overflowing size":   {file(`{"a":{"dtype":"F32","shape":[2147483648,2147483648,4],"data_offsets":[0,0]}}`, 0), "absurd"},
		"wrong size":         {file(`{"a":`+a("0", "4")+`}`, 4), "takes 8 bytes"},
		"backwards":          {file(`{"a":`+a("8", "0")+`}`, 8), "takes 8 bytes"},
		"negative offset":    {file(`{"a":`+a("-8", "0")+`}`, 8), "takes 8 bytes"},
		"a hole":             {file(`{"a":`+a("0", "8")+`,"b":`+a("12", "20")+`}`, 20), "no hole"},
		"a hole in front":    {file(`{"a":`+a("4", "12")+`}`, 12), "no hole"},
		"an overlap":         {file(`{"a":`+a("0", "8")+`,"b":`+a("4", "12")+`}`, 12), "no overlap"},
		"twice the same":     {file(`{"a":`+a("0", "8")+`,"b":`+a("0", "8")+`}`, 8), "no overlap"},
		"truncated":          {file(`{"a":`+a("0", "8")+`}`, 7), "cut off"},
		"overlong":           {file(`{"a":`+a("0", "8")+`}`, 9), "found more"},
		"promises too much":  {file(`{"a":{"dtype":"F32","shape":[1073741824],"data_offsets":[0,4294967296]}}`, 8), "cut off"},
	} {
		if _, err := read(c.b); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want one that mentions %q", name, err, c.want)
		}
	}
}

func FuzzRead(f *testing.F) {
	var out bytes.Buffer
	if err := Write(&out, map[string]string{"a": "b"}, []Tensor{{"x", []int{2}, []float32{1, 2}}, {"y", nil, []float32{3}}}); err != nil {
		f.Fatal(err)
	}
	f.Add(out.Bytes())
	f.Add(file(`{}`, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := read(b)
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := Write(&out, h.Metadata, h.Tensors); err != nil {
			t.Fatal(err)
		}
		back, err := read(out.Bytes())
		if err != nil {
			t.Fatalf("what was read cannot be read again: %v", err)
		}
		if len(back.Tensors) != len(h.Tensors) || back.Size != h.Size {
			t.Fatal("a round trip changes the tensors")
		}
		for i, x := range h.Tensors {
			y := back.Tensors[i]
			for k := range x.Data {
				if math.Float32bits(x.Data[k]) != math.Float32bits(y.Data[k]) {
					t.Fatal("a round trip changes the numbers")
				}
			}
		}
	})
}
