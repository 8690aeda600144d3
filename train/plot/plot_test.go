package plot

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.com/lenet5/data"
	"example.com/lenet5/lenet"
	"example.com/lenet5/train"
)

func history(n int) *train.History {
	h := &train.History{}
	for i := range n {
		h.Epochs = append(h.Epochs, train.Epoch{Epoch: i + 1, TrainLoss: 2.3 / float64(i+1), TrainAccuracy: 1 - 0.9/float64(i+1), TestAccuracy: math.NaN()})
		if n > 1 {
			h.Epochs[i].TestAccuracy = 0.9 - 0.8/float64(i+1)
		}
	}
	return h
}

func TestCurves(t *testing.T) {
	for _, n := range []int{0, 1, 2, 30} {
		dir := t.TempDir()
		if err := Live(dir, "a title")(history(n)); err != nil {
			t.Fatalf("%d epochs: %v", n, err)
		}
		b, err := os.ReadFile(filepath.Join(dir, "curves.png"))
		if err != nil {
			t.Fatal(err)
		}
		im, err := png.Decode(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		seen := map[color.Color]bool{}
		for y := range im.Bounds().Dy() {
			for x := range im.Bounds().Dx() {
				seen[color.RGBAModel.Convert(im.At(x, y))] = true
			}
		}
		for _, c := range []color.RGBA{blue, orange, green} {
			if want := n > 1 || n == 1 && c != green; seen[c] != want {
				t.Errorf("%d epochs: colour %v drawn: %t", n, c, seen[c])
			}
		}
		svg, err := os.ReadFile(filepath.Join(dir, "curves.svg"))
		if err != nil || !strings.Contains(string(svg), "a title") || !strings.Contains(string(svg), "</svg>") {
			t.Errorf("%d epochs: the SVG is not whole: %v", n, err)
		}
		if files, _ := os.ReadDir(dir); len(files) != 2 {
			t.Errorf("%d files, want 2", len(files))
		}
	}
	h := history(3)
	h.Epochs[1].TrainLoss = math.Inf(1)
	if _, err := Curves(h, ""); err != nil {
		t.Errorf("an infinite loss: %v", err)
	}
	if err := SaveCurves(filepath.Join(t.TempDir(), "missing"), h, ""); err == nil {
		t.Error("a missing folder: no error")
	}
}

// encode returns the picture as PNG, decoded, and as SVG.
func encode(t *testing.T, p *Picture) (image.Image, string) {
	t.Helper()
	var b bytes.Buffer
	if err := p.Write(&b, "png"); err != nil {
		t.Fatal(err)
	}
	im, err := png.Decode(&b)
	if err != nil {
		t.Fatal(err)
	}
	b.Reset()
	if err := p.Write(&b, "svg"); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "</svg>") {
		t.Error("the SVG is not whole")
	}
	return im, b.String()
}

// has reports whether a pixel of im has the colour.
func has(im image.Image, c color.Color) bool {
	want := color.RGBAModel.Convert(c)
	for y := range im.Bounds().Dy() {
		for x := range im.Bounds().Dx() {
			if color.RGBAModel.Convert(im.At(x, y)) == want {
				return true
			}
		}
	}
	return false
}

func TestGrid(t *testing.T) {
	set := data.SyntheticGarments(0, 10, 1).Test
	all, hits := make([]int, 10), make([]int, 10)
	for i, l := range set.Labels {
		all[i], hits[i] = i, int(l)
	}
	misses := slices.Clone(hits)
	misses[0] = (misses[0] + 1) % 10
	a, err := Grid(set, all, hits, 4, "title")
	if err != nil {
		t.Fatal(err)
	}
	b, err := Grid(set, all, misses, 4, "title")
	if err != nil {
		t.Fatal(err)
	}
	_, good := encode(t, a)
	_, bad := encode(t, b)
	const red, green = "fill:#C81E1E", "fill:#00783C"
	if strings.Contains(good, red) || !strings.Contains(bad, red) || !strings.Contains(bad, green) {
		t.Errorf("red marks what is wrong: %t, want false; %t, want true", strings.Contains(good, red), strings.Contains(bad, red))
	}
	is := ">is " + set.Classes[hits[0]] + "<"
	if strings.Contains(good, ">is ") || !strings.Contains(bad, is) || !strings.Contains(bad, "title") {
		t.Errorf("the SVG lacks %q or the title", is)
	}
	if _, err := Grid(set, nil, nil, 4, ""); err != nil {
		t.Errorf("no images: %v", err)
	}
	for name, f := range map[string]func() error{
		"too few":   func() error { _, err := Grid(set, all, hits[1:], 4, ""); return err },
		"columns":   func() error { _, err := Grid(set, all, hits, 0, ""); return err },
		"bad class": func() error { _, err := Grid(set, []int{0}, []int{-1}, 1, ""); return err },
		"bad index": func() error { _, err := Grid(set, []int{10}, []int{0}, 1, ""); return err },
	} {
		if f() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestReportPictures(t *testing.T) {
	for _, set := range []*data.Dataset{data.SyntheticGarments(0, 60, 1).Test, data.SyntheticDigits(0, 60, 1).Test} {
		net, err := lenet.New(lenet.ReLU())
		if err != nil {
			t.Fatal(err)
		}
		r, err := train.Classify(net, set)
		if err != nil {
			t.Fatal(err)
		}
		_, svg := encode(t, Confusion(r, "a matrix"))
		for _, want := range append([]string{"a matrix", "predicted", "true"}, set.Classes...) {
			if !strings.Contains(svg, ">"+want+"<") {
				t.Errorf("the confusion matrix lacks %q", want)
			}
		}
		for _, row := range r.Confusion {
			for _, n := range row {
				if want := fmt.Sprintf(">%d<", n); n > 0 && !strings.Contains(svg, want) {
					t.Errorf("the confusion matrix lacks the number %d", n)
				}
			}
		}
		p, err := Mistakes(r, set, 10, 5, "the worst")
		if err != nil {
			t.Fatal(err)
		}
		_, svg = encode(t, p)
		if n := strings.Count(svg, "<image"); n != 10 {
			t.Errorf("%d mistakes are drawn, want 10", n)
		}
		if _, err := Mistakes(r, set.Slice(0, 5), 10, 5, ""); err == nil {
			t.Error("a report on another set: no error")
		}
	}
}

func TestNetworkPictures(t *testing.T) {
	colours := lenet.Modern()
	colours.Input.Channels = 3
	for _, cfg := range []lenet.Config{lenet.Sigmoid(), lenet.LeCun98(), colours} {
		net, err := lenet.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		p, err := Filters(net, "filters")
		if err != nil {
			t.Fatal(err)
		}
		im, svg := encode(t, p)
		if n := strings.Count(svg, "<image"); n != 6*cfg.Input.Channels {
			t.Errorf("%s: %d filters", cfg.Name, n)
		}
		if strongest := diverging(1); !has(im, strongest) && !has(im, diverging(-1)) {
			t.Errorf("%s: the largest weight does not have the full colour", cfg.Name)
		}
		p, err = Activations(net, bytes.Repeat([]byte{1, 200, 30}, cfg.Input.Size()/3+1)[:cfg.Input.Size()], "activations")
		if err != nil {
			t.Fatal(err)
		}
		_, svg = encode(t, p)
		for _, s := range net.Shapes() {
			if s.Name != "flatten" && !strings.Contains(svg, ">"+s.Name+"<") {
				t.Errorf("%s: no activations of %s", cfg.Name, s.Name)
			}
		}
		if _, err := Activations(net, nil, ""); err == nil {
			t.Error("no image: no error")
		}
	}
	flat := lenet.Sigmoid()
	flat.Blocks = nil
	net, err := lenet.New(flat)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Filters(net, ""); err == nil {
		t.Error("the filters of a network without convolutions: no error")
	}
}
