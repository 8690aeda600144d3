package data

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
)

// SyntheticGarments draws a set in the likeness of Fashion-MNIST: the same ten
// classes, 1x28x28, each image with its own cut, place, brightness, texture and
// noise. It is for tests, and for machines that have neither the real set nor a
// network; results on it say nothing about those on the real one. The same
// seed gives the same images, whatever the number of processors, and the first
// images of a larger set are those of a smaller one. A count below 0 means 0.
func SyntheticGarments(train, test int, seed uint64) *Set {
	set := synthesize("synthetic garments", train, test, seed, fashionMNIST.classes, drawGarment)
	set.Train.Flippable, set.Test.Flippable = true, true
	return set
}

// SyntheticDigits draws a set in the likeness of MNIST, digits by a pen; see
// [SyntheticGarments].
func SyntheticDigits(train, test int, seed uint64) *Set {
	return synthesize("synthetic digits", train, test, seed, mnist.classes, drawDigit)
}

// synthesize draws both halves. Every image has random numbers of its own, by
// seed and index, so it does not matter which processor draws which.
func synthesize(name string, train, test int, seed uint64, classes []string, draw func(c *canvas, class int)) *Set {
	half := func(name string, n int, stream uint64) *Dataset {
		n = max(n, 0)
		d := &Dataset{
			Name: name, Images: make([]byte, n*side*side), Labels: make([]byte, n),
			Channels: 1, Height: side, Width: side, Classes: slices.Clone(classes), Synthetic: true,
		}
		const chunk = 256
		next := make(chan int, n/chunk+1)
		for lo := 0; lo < n; lo += chunk {
			next <- lo
		}
		close(next)
		var workers sync.WaitGroup
		for range min(runtime.GOMAXPROCS(0), len(next)) {
			workers.Add(1)
			go func() {
				defer workers.Done()
				c := &canvas{}
				for lo := range next {
					for i := lo; i < min(lo+chunk, n); i++ {
						c.reset(seed, stream+uint64(i))
						class := c.choose(len(classes))
						draw(c, class)
						c.store(d.Image(i))
						d.Labels[i] = byte(class)
					}
				}
			}()
		}
		workers.Wait()
		return d
	}
	return &Set{
		Name: name, Synthetic: true, Source: fmt.Sprintf("drawn by the program, seed %d", seed),
		Train: half(name+" train", train, 0),
		Test:  half(name+" test", test, 1<<40), // numbers that no training image has
	}
}

// dice makes the random choices of an image. It uses nothing of math/rand but
// the generator, which is specified: what its other methods make of the
// numbers is not.
type dice struct{ pcg rand.PCG }

// between draws a number from lo to hi.
func (d *dice) between(lo, hi float64) float64 {
	return lo + (hi-lo)*float64(d.pcg.Uint64()>>11)/(1<<53)
}

// choose draws an integer from 0 to n-1.
func (d *dice) choose(n int) int {
	return int((d.pcg.Uint64() >> 32) * uint64(n) >> 32)
}

// chance is true with probability p.
func (d *dice) chance(p float64) bool { return d.between(0, 1) < p }

// normal draws from nearly a normal distribution, of mean 0 and variance 1:
// the sum of four uniform numbers of 16 bits.
func (d *dice) normal() float64 {
	u := d.pcg.Uint64()
	sum := int64(u&0xffff) + int64(u>>16&0xffff) + int64(u>>32&0xffff) + int64(u>>48) - 2*0xffff
	const deviation = 37837 // of that sum: 2^16 * sqrt(4/12)
	return float64(sum) / deviation
}
