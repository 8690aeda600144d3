package plot

import (
	"bytes"
	"image/color"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.com/lenet5/data"
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

func TestGrid(t *testing.T) {
	set := data.SyntheticGarments(0, 10, 1).Test
	right := make([]int, 10)
	for i, l := range set.Labels {
		right[i] = int(l)
	}
	wrong := append([]int{}, right...)
	wrong[0] = (wrong[0] + 1) % 10
	a, err := Grid(set, right, 4, "title")
	if err != nil {
		t.Fatal(err)
	}
	b, err := Grid(set, wrong, 4, "title")
	if err != nil {
		t.Fatal(err)
	}
	red := func(im interface{ At(x, y int) color.Color }) bool {
		for y := range a.Bounds().Dy() {
			for x := range a.Bounds().Dx() {
				if im.At(x, y) == (color.RGBA{200, 30, 30, 255}) {
					return true
				}
			}
		}
		return false
	}
	if red(a) || !red(b) {
		t.Errorf("red marks what is wrong: %t, want false; %t, want true", red(a), red(b))
	}
	if err := SaveGrid(filepath.Join(t.TempDir(), "grid.png"), set, wrong, 4, ""); err != nil {
		t.Error(err)
	}
	for name, f := range map[string]func() error{
		"none":      func() error { _, err := Grid(set, nil, 4, ""); return err },
		"too many":  func() error { _, err := Grid(set, make([]int, 11), 4, ""); return err },
		"columns":   func() error { _, err := Grid(set, right, 0, ""); return err },
		"bad class": func() error { _, err := Grid(set, []int{10}, 1, ""); return err },
	} {
		if f() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
