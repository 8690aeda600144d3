package train

import (
	"fmt"
	"io"
	"math"
	"os"

	"github.com/cheggaaa/pb/v3"
	"golang.org/x/term"
)

// progress tells w how training goes: on a terminal by a bar for the epoch,
// and everywhere by a line when an epoch ends.
type progress struct {
	w        io.Writer
	terminal bool
	bar      *pb.ProgressBar
	last     int // the number of the last epoch
}

func newProgress(w io.Writer) *progress {
	p := &progress{w: w}
	if f, ok := w.(*os.File); ok {
		p.terminal = term.IsTerminal(int(f.Fd()))
	}
	return p
}

const barTemplate = `{{string . "epoch"}} {{bar . "[" "=" ">" " " "]"}} {{percent .}} {{string . "state"}} {{rtime . "ETA %s"}}`

func (p *progress) begin(epoch, last, examples int) {
	p.last = last
	if p.terminal {
		p.bar = pb.ProgressBarTemplate(barTemplate).New(examples)
		p.bar.SetWriter(p.w)
		p.bar.Set("epoch", fmt.Sprintf("epoch %d/%d", epoch, last)).Set("state", "")
		p.bar.Set(pb.CleanOnFinish, true)
		p.bar.Start()
	}
}

func (p *progress) step(e Epoch) {
	if p.bar != nil {
		p.bar.Set("state", fmt.Sprintf("loss %.3f acc %.3f %.0f examples/sec", e.TrainLoss, e.TrainAccuracy, e.ExamplesPerSec()))
		p.bar.SetCurrent(int64(e.Examples))
	}
}

// end replaces the bar by the epoch's line.
func (p *progress) end(e Epoch) {
	p.abandon()
	if p.w == nil {
		return
	}
	test := ""
	if !math.IsNaN(e.TestAccuracy) {
		test = fmt.Sprintf(", test acc %.4f", e.TestAccuracy)
	}
	fmt.Fprintf(p.w, "epoch %*d/%d: loss %.3f, train acc %.3f%s, %.1f examples/sec\n",
		len(fmt.Sprint(p.last)), e.Epoch, p.last, e.TrainLoss, e.TrainAccuracy, test, e.ExamplesPerSec())
}

// say writes a line about something that the user should know.
func (p *progress) say(text string) {
	if p.w != nil {
		fmt.Fprintln(p.w, text)
	}
}

// abandon takes the bar away.
func (p *progress) abandon() {
	if p.bar != nil {
		p.bar.Finish()
		p.bar = nil
	}
}
