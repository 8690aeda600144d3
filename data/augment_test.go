package data

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
)

// noise is a set of random images of an odd size.
func noise(n, channels, height, width int) *Dataset {
	rng := rand.New(rand.NewPCG(1, 2))
	d := &Dataset{Name: "noise", Images: make([]byte, n*channels*height*width), Labels: make([]byte, n), Channels: channels, Height: height, Width: width, Classes: []string{"a", "b"}, Flippable: true}
	for i := range d.Images {
		d.Images[i] = byte(1 + rng.IntN(255))
	}
	return d
}

// at is a pixel of an image, or the background around it.
func (d *Dataset) at(image []byte, c, y, x int) float64 {
	if y < 0 || x < 0 || y >= d.Height || x >= d.Width {
		return 0
	}
	return float64(image[(c*d.Height+y)*d.Width+x])
}

// Every change is one of the shifts and flips that it may be, and all occur.
func TestAugmentShiftFlip(t *testing.T) {
	for _, d := range []*Dataset{noise(1, 1, 28, 28), noise(1, 3, 9, 7), noise(1, 2, 5, 40)} {
		for _, a := range []Augmentation{{}, {Shift: 1}, {Shift: 2, Flip: true}, {Flip: true}} {
			m, err := NewAugmenter(a, d)
			if err != nil {
				t.Fatal(err)
			}
			src := d.Image(0)
			want := map[string]string{}
			for dy := -a.Shift; dy <= a.Shift; dy++ {
				for dx := -a.Shift; dx <= a.Shift; dx++ {
					for flip := range 2 {
						if flip == 1 && !a.Flip {
							continue
						}
						var b []byte
						for c := range d.Channels {
							for y := range d.Height {
								for x := range d.Width {
									if flip == 1 {
										x = d.Width - 1 - x
									}
									b = append(b, byte(d.at(src, c, y-dy, x-dx)))
								}
							}
						}
						want[string(b)] = fmt.Sprintf("%d right, %d down, flipped %d times", dx, dy, flip)
					}
				}
			}
			counts := map[string]int{}
			dst := make([]byte, len(src))
			const trials = 8000
			for i := range trials {
				m.Apply(dst, src, 7, i%5, i)
				what, ok := want[string(dst)]
				if !ok {
					t.Fatalf("%v of %dx%d: neither a shift nor a flip", a, d.Height, d.Width)
				}
				counts[what]++
			}
			expected := float64(trials) / float64(len(want))
			for _, what := range want {
				// Five standard deviations.
				if n := float64(counts[what]); math.Abs(n-expected) > 5*math.Sqrt(expected) {
					t.Errorf("%v: %s: %g times, want about %.0f", a, what, n, expected)
				}
			}
		}
	}
}

// A rotation samples the image between its pixels.
func TestAugmentRotation(t *testing.T) {
	for _, d := range []*Dataset{noise(1, 1, 28, 28), noise(1, 3, 9, 7), noise(1, 2, 5, 40)} {
		for _, degrees := range []float64{1, 15, 90, 180} {
			for _, shift := range []int{0, 2} {
				m, err := NewAugmenter(Augmentation{Rotation: degrees, Shift: shift}, d)
				if err != nil {
					t.Fatal(err)
				}
				src, dst := d.Image(0), make([]byte, d.ImageSize())
				for trial := range uint64(20) {
					random := mix(trial) >> 33
					dx, dy := int(trial)%(2*shift+1)-shift, int(trial/3)%(2*shift+1)-shift
					i := int(random * uint64(len(m.turns)) >> 31)
					angle := degrees * float64(i-m.steps) / float64(m.steps) * math.Pi / 180
					if trial%2 == 1 { // without the places
						m.turns[i].places = nil
					}
					m.rotate(dst, src, dx, dy, random)
					cx, cy := float64(d.Width-1)/2, float64(d.Height-1)/2
					for c := range d.Channels {
						for y := range d.Height {
							for x := range d.Width {
								px, py := float64(x)-cx, float64(y)-cy
								u, v := cx+math.Cos(angle)*px-math.Sin(angle)*py-float64(dx), cy+math.Sin(angle)*px+math.Cos(angle)*py-float64(dy)
								iu, iv := int(math.Floor(u)), int(math.Floor(v))
								fu, fv := u-float64(iu), v-float64(iv)
								want := (d.at(src, c, iv, iu)*(1-fu)+d.at(src, c, iv, iu+1)*fu)*(1-fv) +
									(d.at(src, c, iv+1, iu)*(1-fu)+d.at(src, c, iv+1, iu+1)*fu)*fv
								// The weights are cut off at sixteenths.
								if got := d.at(dst, c, y, x); math.Abs(got-want) > 2*255./16+1 {
									t.Fatalf("%g degrees, %dx%d, pixel (%d, %d): %g, want about %.1f", degrees, d.Height, d.Width, x, y, got, want)
								}
							}
						}
					}
				}
			}
		}
	}
	d := noise(1, 1, 9, 9)
	m, _ := NewAugmenter(Augmentation{Rotation: 90}, d)
	dst := make([]byte, 81)
	m.rotate(dst, d.Image(0), 0, 0, 1<<30) // the middle one
	if !bytes.Equal(dst, d.Image(0)) {
		t.Error("an angle of 0 changes the image")
	}
}

func TestAugmentSeeded(t *testing.T) {
	d := noise(40, 1, 28, 28)
	m, err := NewAugmenter(Augmentation{Shift: 2, Rotation: 10, Flip: true}, d)
	if err != nil {
		t.Fatal(err)
	}
	apply := func(seed uint64, epoch int) []byte {
		dst := make([]byte, len(d.Images))
		var wg sync.WaitGroup
		for i := range d.Len() {
			wg.Add(1)
			go func() {
				defer wg.Done()
				m.Apply(dst[i*784:][:784], d.Image(i), seed, epoch, i)
			}()
		}
		wg.Wait()
		return dst
	}
	first := apply(1, 1)
	if !bytes.Equal(first, apply(1, 1)) {
		t.Error("the same seed and epoch give other images")
	}
	for _, other := range [][]byte{apply(1, 2), apply(2, 1), d.Images} {
		same := 0
		for i := range d.Len() {
			if bytes.Equal(first[i*784:][:784], other[i*784:][:784]) {
				same++
			}
		}
		if same > 0 {
			t.Errorf("%d images are the same with another seed or in another epoch", same)
		}
	}
	if n := testing.AllocsPerRun(100, func() { m.Apply(first[:784], d.Image(0), 1, 1, 0) }); n > 0 {
		t.Errorf("%g allocations", n)
	}
}

// An elastic distortion moves the points of a picture of ramps, whose pixels
// say where they come from, by the right amounts, and neighbours alike.
func TestAugmentElastic(t *testing.T) {
	ramps := noise(1, 2, 40, 40)
	for y := range 40 {
		for x := range 40 {
			ramps.Images[y*40+x], ramps.Images[1600+y*40+x] = byte(6*x), byte(6*y)
		}
	}
	m, err := NewAugmenter(Augmentation{Elastic: 1.5}, ramps)
	if err != nil {
		t.Fatal(err)
	}
	dst := make([]byte, 3200)
	sum, square, n, rough := 0.0, 0.0, 0.0, 0.0
	for i := range 300 {
		m.Apply(dst, ramps.Images, 1, 1, i)
		for y := 8; y < 32; y++ {
			for x := 8; x < 32; x++ {
				d := float64(dst[y*40+x])/6 - float64(x)
				e := float64(dst[y*40+x+1])/6 - float64(x+1)
				if x%spacing == 0 && y%spacing == 0 { // a node
					sum, square, n = sum+d, square+d*d, n+1
				}
				rough = max(rough, math.Abs(d-e))
			}
		}
	}
	if mean, sd := sum/n, math.Sqrt(square/n); math.Abs(mean) > 0.1 || math.Abs(sd-1.5) > 0.1 {
		t.Errorf("displacements of mean %.2f and standard deviation %.2f, want 0 and 1.5", mean, sd)
	}
	// Two nodes are at most twice the bound apart, over four pixels.
	if limit := 2*furthestNode*1.5/spacing + 0.4; rough > limit {
		t.Errorf("neighbours are torn %.2f apart, want at most %.2f", rough, limit)
	}
	for _, a := range []Augmentation{{Elastic: 8}, {Elastic: 8, Shift: 39, Rotation: 180}, {Elastic: 0.1}} {
		m, err := NewAugmenter(a, ramps)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 500 { // nothing is read outside the margin
			m.Apply(dst, ramps.Images, 2, 1, i)
		}
	}
}

func TestAugmentErrors(t *testing.T) {
	d := noise(1, 1, 28, 20)
	digits := *d
	digits.Flippable = false
	for _, c := range []struct {
		a    Augmentation
		d    *Dataset
		want string
	}{
		{Augmentation{Shift: -1}, d, "shift of 0 to 19"},
		{Augmentation{Shift: 20}, d, "shift of 0 to 19"},
		{Augmentation{Rotation: -1}, d, "rotation"},
		{Augmentation{Rotation: math.NaN()}, d, "rotation"},
		{Augmentation{Elastic: 9}, d, "elastic"},
		{Augmentation{Flip: true}, &digits, "Flippable"},
	} {
		if _, err := NewAugmenter(c.a, c.d); !errors.Is(err, ErrDataset) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v", c.a, err)
		}
	}
	if s := (Augmentation{Shift: 2, Rotation: 7.5, Flip: true}).String(); s != "shift 2, rotation 7.5, flip" {
		t.Errorf("%q", s)
	}
}

func BenchmarkAugment(b *testing.B) {
	d := noise(256, 1, 28, 28)
	dst := make([]byte, 784)
	for _, a := range []Augmentation{{Shift: 2}, {Shift: 2, Flip: true}, {Rotation: 10}, {Shift: 2, Rotation: 10, Flip: true}, {Elastic: 1}} {
		b.Run(strings.ReplaceAll(a.String(), " ", ""), func(b *testing.B) {
			m, err := NewAugmenter(a, d)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for i := range b.N {
				m.Apply(dst, d.Image(i%256), 1, 1, i)
			}
		})
	}
}
