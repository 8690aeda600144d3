package cli

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/term"

	"example.com/lenet5/data"
	"example.com/lenet5/lenet"
	"example.com/lenet5/train"
	"example.com/lenet5/train/plot"
)

// A Program is an example: a data set and the network it is for.
type Program struct {
	Name     string // "fashion"
	Purpose  string // the first lines of the help
	DataName string // "Fashion-MNIST"
	// Load finds the data, Synthetic draws what stands in for it.
	Load      func(context.Context, ...data.Option) (*data.Set, error)
	Synthetic func(train, test int, seed uint64) *data.Set
	Variant   string // the default
	// StepLines, if not 0, has a line printed for every so many steps, counted
	// over all epochs.
	StepLines int
	// DataOptions and SyntheticSize are for tests; SyntheticSize is by
	// default that of MNIST.
	DataOptions   []data.Option
	SyntheticSize [2]int
}

// The exit codes.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitInterrupted = 130
)

// Main runs the program with the arguments and the signals of the process, and
// exits.
func Main(p *Program) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	// After the first Ctrl-C, a second one ends the process at once.
	go func() { <-ctx.Done(); stop() }()
	os.Exit(p.Run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// Run runs the program and returns its exit code.
func (p *Program) Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	s, err := p.parse(args, stdout, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		return exitUsage
	}
	j := &job{p: p, s: s, stdout: stdout, stderr: stderr}
	switch err := j.run(ctx); {
	case err == nil:
		return exitOK
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		fmt.Fprintf(stderr, "%s: interrupted: %v\n", p.Name, err)
		return exitInterrupted
	default:
		fmt.Fprintf(stderr, "%s: %v\n", p.Name, err)
		return exitFailure
	}
}

// A job is one run of a program.
type job struct {
	p              *Program
	s              *settings
	stdout, stderr io.Writer
	set            *data.Set
	net            *lenet.Net
	resumed        *train.Checkpoint
}

func (j *job) run(ctx context.Context) error {
	if j.s.resume {
		if err := j.findRun(); err != nil {
			return err
		}
	}
	if err := j.makeNet(); err != nil {
		return err
	}
	if j.s.out != "" && j.resumed == nil {
		if err := j.prepareOut(); err != nil {
			return err
		}
	}
	if err := j.load(ctx); err != nil {
		return err
	}
	fmt.Fprintf(j.stdout, "data: %s, %d training and %d test images; %s\n\n", j.set.Name, j.set.Train.Len(), j.set.Test.Len(), j.set.Source)
	fmt.Fprintf(j.stdout, "%s\n", j.net.Summary())
	device := j.net.Device()
	fmt.Fprintf(j.stdout, "device: %s; %s\n", device, device.Reason)
	if j.s.epochs == 0 {
		return j.evaluate()
	}
	return j.train(ctx)
}

func (j *job) makeNet() (err error) {
	opts := []lenet.Option{lenet.Seed(j.s.seed), lenet.OnDevice(j.s.device), lenet.Threads(j.s.threads)}
	if j.resumed != nil {
		j.net, err = lenet.New(j.resumed.Config, opts...)
		return err
	}
	if j.s.model != "" {
		j.net, err = lenet.Load(j.s.model, opts...)
		return err
	}
	cfg, err := lenet.Variant(j.s.variant)
	if err != nil {
		return err
	}
	if j.s.recipe != "" && !j.s.given["variant"] {
		r, err := train.NewRecipe(j.s.recipe, nil) // the network does not depend on the data
		if err != nil {
			return err
		}
		cfg = r.Network
	}
	j.net, err = lenet.New(cfg, opts...)
	return err
}

// load finds the data, or draws it if that was asked for or nothing else is
// left. A folder that was named is never passed over.
func (j *job) load(ctx context.Context) error {
	if !j.s.synthetic {
		opts := append([]data.Option{data.Dir(j.s.data), data.OnProgress(j.downloading())}, j.p.DataOptions...)
		set, err := j.p.Load(ctx, opts...)
		if err == nil {
			j.set = set
			return nil
		}
		if !errors.Is(err, data.ErrUnavailable) {
			return err
		}
		bar := strings.Repeat("*", 72)
		fmt.Fprintf(j.stderr, "%s\n%s IS NOT TO BE HAD HERE. Training on SYNTHETIC images instead:\nthe figures below say nothing about %s.\n\n%v\n%s\n", bar, strings.ToUpper(j.p.DataName), j.p.DataName, err, bar)
	}
	size := j.p.SyntheticSize
	if size[0] == 0 {
		size = [2]int{60000, 10000}
	}
	fmt.Fprintln(j.stderr, "drawing synthetic images ...")
	j.set = j.p.Synthetic(size[0], size[1], j.s.seed)
	return nil
}

// terminal reports whether progress goes to a terminal.
func (j *job) terminal() bool {
	f, _ := j.stderr.(*os.File)
	return f != nil && term.IsTerminal(int(f.Fd()))
}

// downloading shows the progress of downloads: on a terminal as it goes, else
// a line per file.
func (j *job) downloading() func(data.Progress) {
	file, terminal := "", j.terminal()
	return func(p data.Progress) {
		switch {
		case j.s.verbosity == 0:
		case terminal && p.Total > 0:
			fmt.Fprintf(j.stderr, "\rdownloading %s: %3d %% of %.1f MB", p.File, 100*p.Done/p.Total, float64(p.Total)/1e6)
			if p.Done == p.Total {
				fmt.Fprintln(j.stderr)
			}
		case p.File != file:
			fmt.Fprintf(j.stderr, "downloading %s\n", p.File)
		}
		file = p.File
	}
}

// runFiles are what a run leaves under -out.
var runFiles = []string{
	"model.safetensors", "model.onnx", "checkpoint", "history.csv", "history.jsonl",
	"curves.png", "curves.svg", "confusion.png", "confusion.svg", "predictions.png", "predictions.svg", "mistakes.png", "mistakes.svg",
	"activations.png", "activations.svg", "filters.png", "filters.svg",
}

// findRun reads the checkpoint of the run that is to go on, if there is one.
func (j *job) findRun() error {
	c, err := train.ReadCheckpoint(filepath.Join(j.s.out, "checkpoint"))
	switch {
	case err == nil:
		j.resumed = c
		// What a process that was killed had begun to write.
		begun, _ := filepath.Glob(filepath.Join(j.s.out, ".*.tmp")) // the pattern is sound
		for _, name := range begun {
			if err := os.Remove(name); err != nil {
				return fmt.Errorf("-resume: %w", err)
			}
		}
		return j.s.recall(c.Notes)
	case errors.Is(err, fs.ErrNotExist):
		fmt.Fprintf(j.stderr, "-resume: there is no checkpoint in %s; a new run begins\n", j.s.out)
		return nil
	default:
		return err
	}
}

// prepareOut makes the folder, refuses one that holds a run, and notices one
// that cannot be written before any time is spent.
func (j *job) prepareOut() error {
	dir := j.s.out
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("-out: %w", err)
	}
	for _, name := range runFiles {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			return fmt.Errorf("-out %s: it holds a run already (%s), which is not overwritten; name another folder, or go on with it by -resume", dir, name)
		}
	}
	f, err := os.CreateTemp(dir, ".probe.*")
	if err != nil {
		return fmt.Errorf("-out: the folder cannot be written: %w", err)
	}
	f.Close()
	return os.Remove(f.Name())
}

func (j *job) evaluate() error {
	m, err := train.Evaluate(j.net, j.set.Test)
	if err != nil {
		return err
	}
	report, err := train.Classify(j.net, j.set.Test)
	if err != nil {
		return err
	}
	fmt.Fprintf(j.stdout, "\n%s\n", report)
	j.markSynthetic()
	fmt.Fprintf(j.stdout, "test loss %.3f, test acc %.4f (%d of %d)\n", m.Loss, m.Accuracy, m.Correct, m.Count)
	return nil
}

// markSynthetic says on standard output that the figures mean little.
func (j *job) markSynthetic() {
	if j.set.Synthetic {
		fmt.Fprintf(j.stdout, "SYNTHETIC DATA: these figures say nothing about %s\n", j.p.DataName)
	}
}

// title heads the pictures.
func (j *job) title() string {
	t := fmt.Sprintf("LeNet-5 (%s) on %s", j.net.Config().Name, j.set.Name)
	if j.set.Synthetic {
		t += " - SYNTHETIC DATA"
	}
	return t
}

func (j *job) train(ctx context.Context) error {
	cfg, err := j.config()
	if err != nil {
		return err
	}
	if j.s.out != "" {
		live, events := plot.Live(j.s.out, j.title()), train.TensorBoard(j.s.out)
		cfg.Hooks.EpochEnd = func(h *train.History) error {
			if err := j.writeHistory(h); err != nil {
				return err
			}
			return errors.Join(events(h), live(h))
		}
	}
	if j.p.StepLines > 0 {
		cfg.Hooks.Step = j.stepLines()
	}
	if j.s.verbosity > 1 {
		plan, err := j.net.Plan(cfg.BatchSize)
		if err != nil {
			return err
		}
		fmt.Fprintf(j.stderr, "%s\n", plan)
	}
	fmt.Fprintf(j.stdout, "training: epochs %d, batch %d, %s, schedule %s, augmentation %s, seed %d\n\n", cfg.Epochs, cfg.BatchSize, cfg.Optimizer, cfg.Schedule, cfg.Augment, cfg.Seed)
	if c := j.resumed; c != nil {
		fmt.Fprintf(j.stdout, "resuming: %d epochs and %d of %d steps are done\n\n", c.Epoch-1, c.Step, c.Steps)
	}
	j.provenance()
	h, err := train.Fit(ctx, j.net, j.set.Train, cfg)
	if err != nil {
		if errors.Is(err, context.Canceled) && j.s.out != "" {
			err = errors.Join(err, j.writeNet(), j.writeHistory(h))
			fmt.Fprintf(j.stderr, "the run is saved in %s; -resume -out %s goes on with it\n", j.s.out, j.s.out)
		}
		return err
	}
	if j.s.out != "" {
		if err := j.write(h); err != nil {
			return err
		}
		fmt.Fprintf(j.stdout, "written to %s: model.safetensors, the history and the pictures\n", j.s.out)
	} else {
		fmt.Fprintf(j.stdout, "%s\n-out DIR keeps the network, the history and the curves as files\n", h.Chart(60, 14))
	}
	j.markSynthetic()
	last := h.Last()
	if j.p.StepLines > 0 {
		fmt.Fprintf(j.stdout, "test accuracy: %.4f\n", last.TestAccuracy)
	}
	fmt.Fprintf(j.stdout, "loss %.3f, train acc %.3f, test acc %.3f\n", last.TrainLoss, last.TrainAccuracy, last.TestAccuracy)
	fmt.Fprintf(j.stdout, "%.1f examples/sec on %s\n", h.ExamplesPerSec(), j.net.Device())
	return nil
}

// provenance has the model file say where the network comes from.
func (j *job) provenance() {
	command := []string{j.p.Name}
	for name, value := range j.s.notes() {
		if name != "data" && name != "model" {
			command = append(command, "-"+name+"="+value)
		}
	}
	slices.Sort(command[1:]) // a map has no order, and a file is to be the same each time
	j.net.SetNote("trained_by", "lenet5, "+strings.Join(command, " "))
	j.net.SetNote("trained_on", j.set.Train.Name)
}

// config is what the flags make of the recipe, or of the network's defaults: a
// learning rate alone is for their optimizer, and goes by their schedule.
func (j *job) config() (cfg train.Config, err error) {
	d := j.net.Config().Defaults
	if j.s.recipe != "" {
		r, err := train.NewRecipe(j.s.recipe, j.set.Train)
		if err != nil {
			return cfg, err
		}
		cfg, d = r.Config, r.Network.Defaults
	}
	cfg.Epochs, cfg.BatchSize = or(max(j.s.epochs, 0), d.Epochs), or(j.s.batch, d.BatchSize)
	cfg.Validation, cfg.Seed, cfg.Progress = j.set.Test, j.s.seed, j.progress()
	cfg.Resume, cfg.Notes = j.resumed, j.s.notes()
	if j.s.out != "" {
		cfg.Checkpoint = filepath.Join(j.s.out, "checkpoint")
	}
	if j.s.optimizer == "" || j.s.optimizer == or(d.Optimizer, "sgd") {
		if cfg.Schedule, err = train.NewSchedule(d.Schedule); err != nil {
			return cfg, err
		}
		cfg.Optimizer, err = train.NewOptimizer(d.Optimizer, or(j.s.lr, d.LearningRate))
	} else {
		cfg.Optimizer, err = train.NewOptimizer(j.s.optimizer, j.s.lr)
	}
	if err != nil {
		return cfg, err
	}
	return cfg.Resolve(j.net, j.set.Train)
}

// progress is where training tells how it goes.
func (j *job) progress() io.Writer {
	if j.s.verbosity == 0 {
		return warnings{j.stderr}
	}
	return j.stderr
}

// warnings lets only warnings through.
type warnings struct{ w io.Writer }

func (w warnings) Write(line []byte) (int, error) {
	if bytes.HasPrefix(line, []byte("warning:")) {
		return w.w.Write(line)
	}
	return len(line), nil
}

// stepLines prints the loss of every so-manieth step, and the accuracy since
// the line before.
func (j *job) stepLines() func(train.Step) error {
	correct, count := 0, 0
	return func(s train.Step) error {
		correct, count = correct+s.Correct, count+s.Count
		if (s.Total-1)%j.p.StepLines != 0 {
			return nil
		}
		if j.terminal() { // the line of the progress bar, which is drawn again
			fmt.Fprint(j.stderr, "\r\x1b[K")
		}
		_, err := fmt.Fprintf(j.stdout, "step %d: loss %.4f, accuracy %.4f\n", s.Total-1, s.Loss, float64(correct)/float64(count))
		correct, count = 0, 0
		return err
	}
}

// or returns v, or preset if v is zero.
func or[T comparable](v, preset T) T {
	var zero T
	if v == zero {
		return preset
	}
	return v
}

// write writes the network, the history and the pictures.
func (j *job) write(h *train.History) error {
	if err := j.writeHistory(h); err != nil {
		return err
	}
	report, err := train.Classify(j.net, j.set.Test)
	if err != nil {
		return err
	}
	j.net.SetNote("test_accuracy", fmt.Sprintf("%.4f on %s", report.Accuracy(), j.set.Test.Name))
	if err := j.writeNet(); err != nil {
		return err
	}
	title := fmt.Sprintf("%s: test accuracy %.4f", j.title(), report.Accuracy())
	const shown, columns = 40, 8
	var first []int
	for i := range min(shown, j.set.Test.Len()) {
		first = append(first, i)
	}
	type picture struct {
		name string
		draw func() (*plot.Picture, error)
	}
	pictures := []picture{
		{"curves", func() (*plot.Picture, error) { return plot.Curves(h, j.title()) }},
		{"confusion", func() (*plot.Picture, error) { return plot.Confusion(report, title), nil }},
		{"predictions", func() (*plot.Picture, error) {
			return plot.Grid(j.set.Test, first, report.Predicted[:len(first)], columns, title)
		}},
		{"mistakes", func() (*plot.Picture, error) {
			return plot.Mistakes(report, j.set.Test, shown, columns, "the worst mistakes: "+j.title())
		}},
		{"activations", func() (*plot.Picture, error) {
			return plot.Activations(j.net, j.set.Test.Image(0), "activations: "+j.title())
		}},
	}
	if len(j.net.Config().Blocks) > 0 {
		pictures = append(pictures, picture{"filters", func() (*plot.Picture, error) { return plot.Filters(j.net, "filters of "+j.title()) }})
	}
	for _, p := range pictures {
		drawn, err := p.draw()
		if err != nil {
			return err
		}
		if err := drawn.Save(j.s.out, p.name); err != nil {
			return err
		}
	}
	return nil
}

func (j *job) writeNet() error {
	if err := j.net.SaveONNX(filepath.Join(j.s.out, "model.onnx")); err != nil {
		return err
	}
	return j.net.Save(filepath.Join(j.s.out, "model.safetensors"))
}

func (j *job) writeHistory(h *train.History) error {
	for _, name := range []string{"history.csv", "history.jsonl"} {
		if err := h.Save(filepath.Join(j.s.out, name)); err != nil {
			return err
		}
	}
	return nil
}
