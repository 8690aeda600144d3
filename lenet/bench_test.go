package lenet

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
)

// benchmarkSet is a data set of the size of MNIST.
func benchmarkSet(cfg Config, n int) Batch {
	b := randomBatch(cfg, n, 1)
	b.Index = make([]int32, n)
	for i, j := range rand.New(rand.NewPCG(1, 1)).Perm(n) {
		b.Index[i] = int32(j)
	}
	return b
}

// BenchmarkTrain measures whole training steps (gather, forward, backward,
// loss, update) over a shuffled set of 60,000 images.
func BenchmarkTrain(b *testing.B) {
	for _, v := range []string{"sigmoid", "relu", "modern"} {
		for _, batch := range []int{256, 64} {
			b.Run(fmt.Sprintf("variant=%s/batch=%d/threads=%d", v, batch, runtime.GOMAXPROCS(0)), func(b *testing.B) {
				cfg, err := Variant(v)
				if err != nil {
					b.Fatal(err)
				}
				n, err := New(cfg)
				if err != nil {
					b.Fatal(err)
				}
				set := benchmarkSet(cfg, 60000)
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
	}
}
