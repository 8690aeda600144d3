package data

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math"
	"runtime"
	"slices"
	"testing"
)

var synthetics = map[string]func(train, test int, seed uint64) *Set{"garments": SyntheticGarments, "digits": SyntheticDigits}

func TestSynthetic(t *testing.T) {
	for name, draw := range synthetics {
		t.Run(name, func(t *testing.T) {
			a, other := draw(700, 100, 1), draw(700, 100, 2)
			if bytes.Equal(a.Train.Images, other.Train.Images) {
				t.Error("another seed gives the same images")
			}
			if !a.Synthetic || !a.Train.Synthetic || !a.Test.Synthetic || a.Source == "" {
				t.Error("not marked as synthetic")
			}
			if _, err := NewDataset(name, a.Train.Images, a.Train.Labels, 1, 28, 28, a.Train.Classes); err != nil {
				t.Error(err)
			}
			seen := map[string]bool{}
			for _, part := range []*Dataset{a.Train, a.Test} {
				for i := range part.Len() {
					lit := part.ImageSize() - bytes.Count(part.Image(i), []byte{0})
					if lit < 20 || lit > 28*28*9/10 {
						t.Errorf("image %d, %s: %d pixels are lit", i, part.Classes[part.Labels[i]], lit)
					}
					seen[string(part.Image(i))] = true
				}
			}
			if len(seen) != 800 {
				t.Errorf("%d different images of 800", len(seen))
			}
			for k, n := range a.Train.Counts() {
				if n < 35 || n > 110 {
					t.Errorf("%d images of class %d, of 700", n, k)
				}
			}
			if d := draw(-1, 0, 1); d.Train.Len() != 0 || d.Test.Len() != 0 {
				t.Error("images, though none were asked for")
			}
		})
	}
}

// TestSyntheticSame: neither the number of processors nor that of images
// decides about an image.
func TestSyntheticSame(t *testing.T) {
	for name, draw := range synthetics {
		a := draw(600, 30, 7)
		old := runtime.GOMAXPROCS(1)
		b := draw(300, 30, 7)
		runtime.GOMAXPROCS(old)
		if !bytes.Equal(a.Train.Slice(0, 300).Images, b.Train.Images) || !bytes.Equal(a.Test.Images, b.Test.Images) || !bytes.Equal(a.Test.Labels, b.Test.Labels) {
			t.Errorf("%s: the images differ", name)
		}
	}
}

// TestSyntheticPromise: the same seed gives the same images in other versions.
func TestSyntheticPromise(t *testing.T) {
	for name, want := range map[string]string{
		"garments": "93110f2b69185eb8",
		"digits":   "75f00a01a3920989",
	} {
		d := synthetics[name](200, 0, 1).Train
		if got := fmt.Sprintf("%x", sha256.Sum256(append(slices.Clone(d.Images), d.Labels...)))[:16]; got != want {
			t.Errorf("%s: the images have changed: %s, want %s", name, got, want)
		}
	}
}

// TestSyntheticLearnable: the class nearest in the mean tells more than
// guessing does, and less than everything: there is something to learn, and
// something left for a network.
func TestSyntheticLearnable(t *testing.T) {
	for name, draw := range synthetics {
		set := draw(3000, 1000, 1)
		var mean [10][28 * 28]float64
		counts := set.Train.Counts()
		for i, l := range set.Train.Labels {
			for k, v := range set.Train.Image(i) {
				mean[l][k] += float64(v) / float64(counts[l])
			}
		}
		right := 0
		for i, l := range set.Test.Labels {
			best, nearest := math.Inf(1), -1
			for class := range mean {
				d := 0.0
				for k, v := range set.Test.Image(i) {
					d += (float64(v) - mean[class][k]) * (float64(v) - mean[class][k])
				}
				if d < best {
					best, nearest = d, class
				}
			}
			if nearest == int(l) {
				right++
			}
		}
		if right < 450 || right > 900 {
			t.Errorf("%s: the nearest mean is right for %d of 1000", name, right)
		}
	}
}

func TestDice(t *testing.T) {
	var d dice
	d.pcg.Seed(1, 2)
	var sum, squares float64
	const n = 20000
	for range n {
		v := d.normal()
		sum, squares = sum+v, squares+v*v
		if u := d.between(2, 3); u < 2 || u >= 3 {
			t.Fatalf("between 2 and 3: %v", u)
		}
		if k := d.choose(3); k < 0 || k > 2 {
			t.Fatalf("of 3: %d", k)
		}
	}
	if math.Abs(sum/n) > 0.03 || math.Abs(squares/n-1) > 0.03 {
		t.Errorf("normal: mean %v, mean of squares %v", sum/n, squares/n)
	}
}

func BenchmarkSynthetic(b *testing.B) {
	for name, draw := range synthetics {
		b.Run(name, func(b *testing.B) {
			const n = 2000
			for b.Loop() {
				draw(n, 0, 1)
			}
			b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "examples/s")
		})
	}
}
