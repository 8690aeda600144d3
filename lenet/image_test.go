package lenet

import (
	"bytes"
	"image"
	"image/color"
	"math"
	"slices"
	"testing"
)

// digits is a network of MNIST's input.
func digits(t *testing.T) *Net {
	t.Helper()
	n, err := New(Modern(), ClassNames("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A picture of the network's size is taken as it is.
func TestPixelsExact(t *testing.T) {
	n := digits(t)
	im := image.NewGray(image.Rect(5, 7, 33, 35)) // bounds need not begin at 0
	inverted := image.NewGray(im.Rect)
	for i := range im.Pix {
		im.Pix[i] = byte(i * 7)
		inverted.Pix[i] = 255 - im.Pix[i]
	}
	for name, c := range map[string]struct {
		im   image.Image
		opts []ImageOption
	}{"plain": {im, nil}, "inverted": {inverted, []ImageOption{Invert()}}} {
		got, err := n.Pixels(c.im, c.opts...)
		if err != nil || !bytes.Equal(got, im.Pix) {
			t.Errorf("%s: the bytes are others: %v", name, err)
		}
	}
	p, err := n.Predict(im)
	if err != nil {
		t.Fatal(err)
	}
	want, err := n.PredictBytes(im.Pix)
	if err != nil || p.Class != want[0].Class || !slices.Equal(p.Probabilities, want[0].Probabilities) || p.Name != n.classes[p.Class] {
		t.Errorf("%+v, want %+v: %v", p, want[0], err)
	}
}

// A wide picture fills the width, and keeps its proportions.
func TestPixelsScaled(t *testing.T) {
	n := digits(t)
	im := image.NewRGBA(image.Rect(0, 0, 112, 56))
	for i := range im.Pix {
		im.Pix[i] = 255
	}
	got, err := n.Pixels(im)
	if err != nil {
		t.Fatal(err)
	}
	for y := range 28 {
		for x := range 28 {
			want := byte(0)
			if y >= 7 && y < 21 {
				want = 255
			}
			if got[y*28+x] != want {
				t.Fatalf("pixel (%d, %d) is %d, want %d", x, y, got[y*28+x], want)
			}
		}
	}
	// What is transparent is ground, whichever ground the picture has.
	empty := image.NewNRGBA(image.Rect(0, 0, 50, 50))
	for _, opts := range [][]ImageOption{nil, {Invert()}, {InvertIfLight()}, {Centre()}} {
		if got, err := n.Pixels(empty, opts...); err != nil || slices.Max(got) != 0 {
			t.Errorf("a transparent picture is not ground: %v", err)
		}
	}
}

// A dark stroke on white paper, in a corner, ends up as in MNIST: light on
// dark, 20 pixels high, its mass in the middle.
func TestPixelsCentred(t *testing.T) {
	n := digits(t)
	im := image.NewRGBA(image.Rect(0, 0, 300, 200))
	for y := range 200 {
		for x := range 300 {
			im.Set(x, y, color.White)
			if x >= 20 && x < 40 && y >= 30 && y < 130 {
				im.Set(x, y, color.RGBA{0, 0, 60, 255})
			}
		}
	}
	got, err := n.Pixels(im, InvertIfLight(), Centre())
	if err != nil {
		t.Fatal(err)
	}
	var mass, mx, my float64
	top, bottom := 28, 0
	for y := range 28 {
		for x := range 28 {
			v := float64(got[y*28+x])
			mass, mx, my = mass+v, mx+v*float64(x), my+v*float64(y)
			if v > 128 {
				top, bottom = min(top, y), max(bottom, y)
			}
		}
	}
	if math.Abs(mx/mass-13.5) > 0.5 || math.Abs(my/mass-13.5) > 0.5 || bottom-top+1 != 20 {
		t.Errorf("the centre of mass is (%.1f, %.1f), the stroke goes from %d to %d", mx/mass, my/mass, top, bottom)
	}
	dark, err := n.Pixels(im, InvertIfLight(), Invert(), Centre())
	if err != nil || !bytes.Equal(dark, got) {
		t.Errorf("InvertIfLight inverts twice: %v", err)
	}
}

func TestPixelsColour(t *testing.T) {
	cfg := Modern()
	cfg.Input.Channels = 3
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	im := image.NewRGBA(image.Rect(0, 0, 28, 28))
	for i := 0; i < len(im.Pix); i += 4 {
		copy(im.Pix[i:], []byte{200, 100, 50, 255})
	}
	got, err := n.Pixels(im)
	if err != nil || len(got) != 3*784 || got[0] != 200 || got[784] != 100 || got[2*784+783] != 50 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	cfg.Input.Channels = 2
	two, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := two.Predict(im); err == nil {
		t.Error("a picture for two channels: no error")
	}
	if _, err := n.Predict(image.NewGray(image.Rectangle{})); err == nil {
		t.Error("an empty picture: no error")
	}
	if _, err := n.Predict(&huge{}); err == nil {
		t.Error("a huge picture: no error")
	}
}

// huge is a picture that would not fit in memory.
type huge struct{ image.Uniform }

func (huge) Bounds() image.Rectangle { return image.Rect(0, 0, 1<<30, 1<<30) }
