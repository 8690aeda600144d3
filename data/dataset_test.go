package data

import (
	"bytes"
	"errors"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestNewDatasetErrors(t *testing.T) {
	two := []string{"a", "b"}
	for name, c := range map[string]struct {
		images, labels []byte
		channels, h, w int
		classes        []string
		text           string
	}{
		"cut image":   {make([]byte, 7), []byte{0, 1}, 1, 2, 2, two, "images of 4 bytes (1x2x2), found 7"},
		"counts":      {make([]byte, 8), []byte{0}, 1, 2, 2, two, "2 images and 1 label"},
		"label":       {make([]byte, 8), []byte{0, 2}, 1, 2, 2, two, "label 1: want a class from 0 to 1, found 2"},
		"one class":   {make([]byte, 8), []byte{0, 0}, 1, 2, 2, two[:1], "found 1"},
		"257 classes": {make([]byte, 8), []byte{0, 0}, 1, 2, 2, make([]string, 257), "found 257"},
		"no width":    {nil, nil, 1, 2, 0, two, "2x0"},
		"no channels": {nil, nil, 0, 2, 2, two, "found 0 channels"},
		"overflow":    {nil, nil, 1 << 14, 1 << 14, 1 << 14, two, "too large"},
	} {
		_, err := NewDataset(name, c.images, c.labels, c.channels, c.h, c.w, c.classes)
		if !errors.Is(err, ErrDataset) || !strings.Contains(err.Error(), name+": ") || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v; want ErrDataset with %q", name, err, c.text)
		}
	}
}

// small is a set whose image i is filled with i.
func small(t *testing.T, n int) *Dataset {
	t.Helper()
	images, labels := make([]byte, 4*n), make([]byte, n)
	for i := range images {
		images[i] = byte(i / 4)
	}
	for i := range labels {
		labels[i] = byte(i % 3)
	}
	d, err := NewDataset("small", images, labels, 1, 2, 2, []string{"a", "b", "c"})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// firsts are the first bytes of the images.
func firsts(d *Dataset) []int {
	var f []int
	for i := range d.Len() {
		f = append(f, int(d.Image(i)[0]))
	}
	return f
}

func TestSplit(t *testing.T) {
	d := small(t, 50)
	for _, n := range []int{0, 12, 50} {
		rest, held, err := d.Split(n, 1)
		if err != nil || rest.Len() != 50-n || held.Len() != n {
			t.Fatalf("Split(%d): %v, %d and %d images", n, err, rest.Len(), held.Len())
		}
		all := append(firsts(rest), firsts(held)...)
		if !slices.IsSorted(firsts(rest)) || !slices.IsSorted(firsts(held)) {
			t.Error("a part is not in the order of the whole")
		}
		for _, part := range []*Dataset{rest, held} {
			for i, f := range firsts(part) {
				if int(part.Labels[i]) != f%3 {
					t.Errorf("image %d got the label %d", f, part.Labels[i])
				}
			}
		}
		if slices.Sort(all); !slices.Equal(all, firsts(d)) {
			t.Errorf("the parts are %v together", all)
		}
	}
	_, a, _ := d.Split(12, 1)
	_, b, _ := d.Split(12, 1)
	_, c, _ := d.Split(12, 2)
	if !slices.Equal(firsts(a), firsts(b)) || slices.Equal(firsts(a), firsts(c)) {
		t.Error("the seed does not decide the split")
	}
	a.Images[0]++
	if !slices.Equal(firsts(d), firsts(small(t, 50))) {
		t.Error("a part shares the storage of the whole")
	}
	for _, n := range []int{-1, 51} {
		if _, _, err := d.Split(n, 1); !errors.Is(err, ErrDataset) {
			t.Errorf("Split(%d): %v", n, err)
		}
	}
}

func TestSliceAndSubset(t *testing.T) {
	d := small(t, 10)
	s := d.Slice(3, 6)
	if !slices.Equal(firsts(s), []int{3, 4, 5}) || s.Labels[1] != d.Labels[4] || &s.Images[0] != &d.Images[12] {
		t.Errorf("Slice: %v", firsts(s))
	}
	if cap(s.Images) != 12 || cap(s.Labels) != 3 || cap(d.Image(0)) != 4 {
		t.Error("appending to a part would write into the whole")
	}
	sub, err := d.Subset([]int{7, 0, 7})
	if err != nil || !slices.Equal(firsts(sub), []int{7, 0, 7}) || !bytes.Equal(sub.Labels, []byte{1, 0, 1}) {
		t.Errorf("Subset: %v, %v", sub, err)
	}
	for _, i := range []int{-1, 10} {
		if _, err := d.Subset([]int{i}); !errors.Is(err, ErrDataset) {
			t.Errorf("Subset(%d): %v", i, err)
		}
	}
	if got := d.Counts(); !slices.Equal(got, []int{4, 3, 3}) {
		t.Errorf("Counts: %v", got)
	}
	if got := d.ByClass(2); !slices.Equal(got, []int{0, 3, 1, 4, 2, 5}) {
		t.Errorf("ByClass: %v", got)
	}
}

func TestPermutation(t *testing.T) {
	// These numbers are a promise: other versions and platforms give the same.
	const want = "[2 4 3 9 0 1 8 6 5 7]"
	if got := fmt.Sprint(Permutation(nil, 10, 1, 2)); got != want {
		t.Errorf("Permutation(10, 1, 2) = %v, want %v", got, want)
	}
	seen := map[string]bool{}
	for seed := range uint64(3) {
		for epoch := range 3 {
			p := Permutation(nil, 100, seed, epoch)
			seen[fmt.Sprint(p)] = true
			slices.Sort(p)
			for i, v := range p {
				if int(v) != i {
					t.Fatal("not a permutation")
				}
			}
		}
	}
	if len(seen) != 9 {
		t.Errorf("%d different orders of 9", len(seen))
	}
	buf := make([]int32, 8)
	if n := testing.AllocsPerRun(5, func() { buf = Permutation(buf, 5, 1, 1) }); n > 0 {
		t.Errorf("%v allocations, though there was a buffer", n)
	}
	if p := Permutation(nil, 0, 1, 1); len(p) != 0 {
		t.Errorf("of nothing: %v", p)
	}
}

func TestBatches(t *testing.T) {
	for _, c := range []struct {
		n, size int
		want    string
	}{
		{7, 3, "0[0 1 2] 1[3 4 5] 2[6] "},
		{6, 3, "0[0 1 2] 1[3 4 5] "},
		{2, 3, "0[0 1] "},
		{2, 0, "0[0 1] "},
		{0, 3, ""},
		{0, 0, ""},
	} {
		order := make([]int32, c.n)
		for i := range order {
			order[i] = int32(i)
		}
		var got strings.Builder
		for step, index := range Batches(order, c.size) {
			fmt.Fprint(&got, step, index, " ")
		}
		if strings.ReplaceAll(got.String(), " [", "[") != c.want {
			t.Errorf("%d in batches of %d: %s, want %s", c.n, c.size, got.String(), c.want)
		}
	}
	for range Batches(make([]int32, 9), 2) {
		break // must not go on
	}
}

func TestGrid(t *testing.T) {
	d := small(t, 5)
	picture, err := Grid(d, []int{4, 0, 3}, 2, 2)
	if err != nil {
		t.Fatal(err)
	}
	if b := picture.Bounds(); b.Dx() != 14 || b.Dy() != 14 { // 2 images of 2 and 3 gaps, twice
		t.Errorf("the grid is %v", b)
	}
	for _, c := range []struct{ x, y, want int }{{2, 2, 4}, {5, 5, 4}, {8, 2, 0}, {2, 8, 3}, {0, 0, 64}, {8, 8, 64}} {
		if r, _, _, _ := picture.At(c.x, c.y).RGBA(); int(r>>8) != c.want {
			t.Errorf("the pixel at %d, %d is %d, want %d", c.x, c.y, r>>8, c.want)
		}
	}
	colour, err := NewDataset("colour", []byte{10, 20, 30}, []byte{0}, 3, 1, 1, []string{"a", "b"})
	if err != nil {
		t.Fatal(err)
	}
	if picture, err = Grid(colour, []int{0}, 9, 1); err != nil {
		t.Fatal(err)
	}
	if r, g, b, _ := picture.At(1, 1).RGBA(); r>>8 != 10 || g>>8 != 20 || b>>8 != 30 {
		t.Errorf("found the colour %d %d %d", r>>8, g>>8, b>>8)
	}
	path := filepath.Join(t.TempDir(), "grid.png")
	if err := SaveGrid(path, d, []int{0, 1}, 2, 3); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := png.Decode(f); err != nil {
		t.Error(err)
	}
	for name, err := range map[string]error{
		"no images":   SaveGrid(path, d, nil, 2, 2),
		"index":       SaveGrid(path, d, []int{5}, 2, 2),
		"negative":    SaveGrid(path, d, []int{-1}, 2, 2),
		"columns":     SaveGrid(path, d, []int{0}, 0, 2),
		"scale":       SaveGrid(path, d, []int{0}, 1, 0),
		"no such dir": SaveGrid(filepath.Join(path, "x"), d, []int{0}, 1, 1),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
