package train

import (
	"fmt"
	"math"
	"strings"
)

// Chart draws the curves of train loss (*), train accuracy (o) and test
// accuracy (x) in text, width columns by height rows without the axes; values
// too small are raised to 20 and 5. All curves share the axis from 0 to the
// largest value.
func (h *History) Chart(width, height int) string {
	width, height = max(width, 20), max(height, 5)
	if len(h.Epochs) == 0 {
		return "no epochs\n"
	}
	curves := []struct {
		mark byte
		of   func(Epoch) float64
	}{
		{'x', func(e Epoch) float64 { return e.TestAccuracy }},
		{'o', func(e Epoch) float64 { return e.TrainAccuracy }},
		{'*', func(e Epoch) float64 { return e.TrainLoss }},
	}
	top := 1.0
	for _, e := range h.Epochs {
		top = max(top, e.TrainLoss)
	}
	top = math.Ceil(top*5) / 5
	grid := make([][]byte, height)
	for i := range grid {
		grid[i] = []byte(strings.Repeat(" ", width))
	}
	n := len(h.Epochs)
	for _, c := range curves {
		for col := range width {
			// The value between two epochs is interpolated.
			at, value := 0.0, c.of(h.Epochs[0])
			if n > 1 {
				at = float64(col) * float64(n-1) / float64(width-1)
				i := min(int(at), n-2)
				value = c.of(h.Epochs[i]) + (at-float64(i))*(c.of(h.Epochs[i+1])-c.of(h.Epochs[i]))
			} else if col != width/2 {
				continue
			}
			if math.IsNaN(value) || math.IsInf(value, 0) {
				continue
			}
			row := height - 1 - int(math.Round(min(1, max(0, value/top))*float64(height-1)))
			grid[row][col] = c.mark
		}
	}
	var b strings.Builder
	for i, line := range grid {
		label := "     "
		if i == 0 || i == height-1 || i == (height-1)/2 {
			label = fmt.Sprintf("%5.2f", top*float64(height-1-i)/float64(height-1))
		}
		fmt.Fprintf(&b, "%s |%s\n", label, strings.TrimRight(string(line), " "))
	}
	first, last := fmt.Sprint(h.Epochs[0].Epoch), fmt.Sprint(h.Last().Epoch)
	fmt.Fprintf(&b, "      +%s\n       %s%*s\n", strings.Repeat("-", width), first, width-len(first), last)
	b.WriteString("       epoch    * train loss    o train accuracy    x test accuracy\n")
	return b.String()
}
