package lenet

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"example.com/lenet5/internal/kernel"
)

// benchmarkSet is a shuffled data set of the size of MNIST.
func benchmarkSet(cfg Config) Batch {
	const n = 60000
	b := randomBatch(cfg, n, 1)
	b.Index = make([]int32, n)
	for i, j := range rand.New(rand.NewPCG(1, 1)).Perm(n) {
		b.Index[i] = int32(j)
	}
	return b
}

// eachSetting runs f for variants, batch sizes, threads and instruction sets.
func eachSetting(b *testing.B, batches, threads []int, f func(b *testing.B, n *Net, batch int)) {
	for _, v := range Variants() {
		for _, batch := range batches {
			for _, t := range threads {
				for _, set := range kernel.Available() {
					b.Run(fmt.Sprintf("variant=%s/batch=%d/threads=%d/isa=%s", v, batch, t, set.Name), func(b *testing.B) {
						b.Setenv(kernel.EnvISA, set.Name)
						cfg, err := Variant(v)
						if err != nil {
							b.Fatal(err)
						}
						n, err := New(cfg, Threads(t))
						if err != nil {
							b.Fatal(err)
						}
						f(b, n, batch)
					})
				}
			}
		}
	}
}

// BenchmarkTrain measures whole training steps (gather, forward, backward,
// loss, update) over a shuffled set of 60,000 images.
func BenchmarkTrain(b *testing.B) {
	eachSetting(b, []int{256, 64}, []int{2, 1}, func(b *testing.B, n *Net, batch int) {
		set := benchmarkSet(n.cfg)
		t, err := n.NewTrainer(batch)
		if err != nil {
			b.Fatal(err)
		}
		defer t.Close()
		b.ReportAllocs()
		at := 0
		for b.Loop() {
			if at+batch > len(set.Labels) {
				at = 0
			}
			step := set
			step.Index = set.Index[at : at+batch]
			if _, err := t.Step(step, Update{LearningRate: 0.01}); err != nil {
				b.Fatal(err)
			}
			at += batch
		}
		b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "examples/s")
	})
}

// BenchmarkInfer measures the prediction of batches out of a large set.
func BenchmarkInfer(b *testing.B) {
	eachSetting(b, []int{256}, []int{2, 1}, func(b *testing.B, n *Net, batch int) {
		set := randomBatch(n.cfg, 10000, 1)
		size := n.cfg.Input.Size()
		var p []float32
		b.ReportAllocs()
		at := 0
		for b.Loop() {
			if at+batch > len(set.Labels) {
				at = 0
			}
			var err error
			if p, err = n.Probabilities(p[:0], set.Images[at*size:(at+batch)*size]); err != nil {
				b.Fatal(err)
			}
			at += batch
		}
		b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "examples/s")
	})
}

// BenchmarkPredict measures one image at a time; p50-us is the median.
func BenchmarkPredict(b *testing.B) {
	eachSetting(b, []int{1}, []int{1}, func(b *testing.B, n *Net, _ int) {
		set := randomBatch(n.cfg, 1000, 1)
		size := n.cfg.Input.Size()
		var p []float32
		times := make([]time.Duration, 0, 1<<20)
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			start := time.Now()
			var err error
			if p, err = n.Probabilities(p[:0], set.Images[i*size:(i+1)*size]); err != nil {
				b.Fatal(err)
			}
			if len(times) < cap(times) {
				times = append(times, time.Since(start))
			}
			i = (i + 1) % len(set.Labels)
		}
		slices.Sort(times)
		b.ReportMetric(float64(times[len(times)/2].Nanoseconds())/1000, "p50-us")
	})
}
