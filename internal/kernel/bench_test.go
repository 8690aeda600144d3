package kernel

import (
	"fmt"
	"testing"
)

// BenchmarkKernels measures the inner loops of LeNet's layers on one block, in
// GFLOP/s.
func BenchmarkKernels(b *testing.B) {
	for _, s := range Available() {
		for _, c := range []struct {
			name                 string
			C, H, W, M, K, stage int
		}{{"conv1", 1, 28, 28, 6, 5, 28}, {"conv1/cached", 1, 28, 28, 6, 5, 1}, {"conv2", 6, 10, 10, 16, 5, 10}, {"dense", 400, 1, 1, 120, 1, 1}} {
			hp, wp := c.H+c.K-1, c.W+c.K-1
			x, w, bias := random(c.C*hp*wp*Lanes), random(c.C*c.K*c.K*c.M), random(c.M)
			out, dx := random(c.M*c.H*c.W*Lanes), make([]float32, c.C*hp*wp*Lanes)
			acc := make([]float32, (c.M*c.C*c.K*c.K+4)*Lanes)
			run := func(what string, f func()) {
				b.Run(fmt.Sprintf("%s/%s/isa=%s", c.name, what, s.Name), func(b *testing.B) {
					for b.Loop() {
						f()
					}
					flop := 2 * float64(c.C*c.M*c.H*c.W*c.K*c.K*Lanes) * float64(b.N)
					b.ReportMetric(flop/b.Elapsed().Seconds()/1e9, "GFLOP/s")
				})
			}
			tiling := s.Tile(c.M, c.W, false)
			run("forward", func() {
				a := Correlation{W: At(w, 0), Bias: At(bias, 0), Channels: c.C, Rows: c.K, Cols: c.K,
					XTap: Block, XRow: wp * Block, XChan: hp * wp * Block, WTap: 4 * c.M, WRow: 4 * c.M * c.K, WChan: 4 * c.M * c.K * c.K,
					OutStride: c.H * c.W * Block, Mode: FromBias}
				if c.K == 1 {
					a.Channels, a.Cols, a.WTap = 1, c.C, 4*c.M
				}
				for y := range c.H {
					a.X, a.Out = At(x, y*wp*Lanes), At(out, y%c.stage*c.W*Lanes)
					tiling.Run(&a)
				}
			})
			if c.K == 1 || c.stage == 1 {
				continue
			}
			weights := s.Weights(c.M, c.K)
			run("weights", func() {
				a := Weights{Rows: c.H, Cols: c.W, DYChan: c.H * c.W * Block, DYRow: c.W * Block, XRow: wp * Block, AccStride: c.C * c.K * c.K * Block}
				for ch := range c.C {
					for i := range c.K {
						a.DY, a.X, a.Acc = At(out, 0), At(x, (ch*hp+i)*wp*Lanes), At(acc, (ch*c.K+i)*c.K*Lanes)
						weights.Run(&a)
					}
				}
			})
			scatter := s.Scatter(c.W, c.K, c.C)
			run("scatter", func() {
				a := Scatter{Channels: c.M, DYChan: c.H * c.W * Block, DYRow: -c.W * Block, WChan: 4 * c.C * c.K * c.K, WRow: 4 * c.K, Mode: FromZero,
					WPlane: 4 * c.K * c.K, OutPlane: hp * wp * Block}
				for y := range hp {
					lo, hi := max(0, y-c.H+1), min(c.K-1, y)
					a.Rows, a.DY, a.W = hi-lo+1, At(out, (y-lo)*c.W*Lanes), At(w, lo*c.K)
					a.Out = At(dx, y*wp*Lanes)
					scatter.Run(&a)
				}
			})
		}
	}
}
