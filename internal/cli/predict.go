package cli

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"example.com/lenet5/data"
	"example.com/lenet5/internal/picture"
	"example.com/lenet5/internal/pretrained"
	"example.com/lenet5/lenet"
)

// MainPredict runs the program that classifies files, and exits.
func MainPredict() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(Predict(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// predictor is a run of the program that classifies files.
type predictor struct {
	model, format, device string
	handling              picture.Handling
	threads               int
	net                   *lenet.Net
	failed                bool
	stdin                 io.Reader
	stderr                io.Writer
	found                 []finding
}

// A finding is the prediction for one image.
type finding struct {
	File          string    `json:"file"`
	Index         int       `json:"index"` // of the image in its file
	Class         int       `json:"class"`
	Name          string    `json:"name"`
	Probabilities []float32 `json:"probabilities"`
}

// Predict classifies the files that the arguments name, and returns the exit
// code.
func Predict(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	p := &predictor{stdin: stdin, stderr: stderr}
	fs := flag.NewFlagSet("predict", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	fs.StringVar(&p.model, "model", "", "the network, a `file` that a training run left; by default a network for\nhandwritten digits that is part of the program")
	fs.StringVar(&p.format, "format", "table", "`table|csv|json`")
	fs.StringVar(&p.handling.Invert, "invert", "auto", "`auto|yes|no`: whether a picture is dark on a light ground; auto looks at\nits border. IDX images are taken as they are")
	fs.StringVar(&p.handling.Centre, "centre", "auto", "`auto|yes|no`: whether to scale and place what is drawn as MNIST does; auto\ndoes so for networks of the ten digits")
	fs.StringVar(&p.device, "device", "auto", "where to run: `auto|cpu|cuda`, or cuda:1 for the second GPU;\nauto takes a GPU if there is one and the program was built for it")
	fs.IntVar(&p.threads, "threads", 0, "`number` of threads; by default as many as there are processors")
	err := fs.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, "Predict classifies images: PNG, JPEG and GIF files of any size, IDX files of\nimages (also compressed), folders of such files, or one of them on standard\ninput, named -.\n\nusage: predict [flags] FILE|FOLDER|- ...\n\n")
		fs.SetOutput(stdout)
		fs.PrintDefaults()
		return exitOK
	case err != nil:
	case fs.NArg() == 0:
		err = errors.New("name the files to classify, or - for standard input")
	case !slices.Contains([]string{"table", "csv", "json"}, p.format):
		err = fmt.Errorf("-format %q: there are table, csv and json", p.format)
	case p.handling.Validate() != nil:
		err = fmt.Errorf("-%w", p.handling.Validate())
	case p.threads < 0:
		err = fmt.Errorf("-threads %d: it must be at least 1", p.threads)
	}
	if err != nil {
		fmt.Fprintf(stderr, "predict: %v\nRun it with -h for the flags.\n", err)
		return exitUsage
	}
	if p.net, err = p.load(); err != nil {
		fmt.Fprintf(stderr, "predict: %v\n", err)
		return exitFailure
	}
	for _, arg := range fs.Args() {
		if ctx.Err() != nil {
			fmt.Fprintln(stderr, "predict: interrupted")
			return exitInterrupted
		}
		p.take(arg)
	}
	if err := p.write(stdout); err != nil {
		fmt.Fprintf(stderr, "predict: %v\n", err)
		return exitFailure
	}
	if p.failed {
		return exitFailure
	}
	return exitOK
}

func (p *predictor) load() (*lenet.Net, error) {
	opts := []lenet.Option{lenet.OnDevice(p.device), lenet.Threads(p.threads)}
	if p.model == "" {
		return pretrained.Digits(opts...)
	}
	return lenet.Load(p.model, opts...)
}

// complain reports a file that cannot be classified; the others still are.
func (p *predictor) complain(err error) {
	fmt.Fprintf(p.stderr, "predict: %v\n", err)
	p.failed = true
}

// take classifies a file, all files of a folder, or standard input.
func (p *predictor) take(name string) {
	if name == "-" {
		p.classify("standard input", p.stdin)
		return
	}
	info, err := os.Stat(name)
	if err != nil {
		p.complain(err)
		return
	}
	if info.IsDir() {
		entries, err := os.ReadDir(name)
		if err != nil {
			p.complain(err)
			return
		}
		files := 0
		for _, e := range entries {
			if !e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
				p.take(filepath.Join(name, e.Name()))
				files++
			}
		}
		if files == 0 {
			p.complain(fmt.Errorf("%s: there are no files in the folder", name))
		}
		return
	}
	f, err := os.Open(name)
	if err != nil {
		p.complain(err)
		return
	}
	defer f.Close()
	p.classify(name, f)
}

// Bounds on a file, in bytes, and on a picture, in pixels.
const (
	maxInput  = 1 << 30
	maxPixels = 1 << 26
)

// classify classifies the images of a stream: by its first bytes an IDX file,
// or a picture.
func (p *predictor) classify(name string, r io.Reader) {
	content, err := io.ReadAll(io.LimitReader(r, maxInput+1))
	if err == nil && len(content) > maxInput {
		err = fmt.Errorf("it is larger than %d bytes", maxInput)
	}
	if err != nil {
		p.complain(fmt.Errorf("%s: %w", name, err))
		return
	}
	var pixels []byte
	if bytes.HasPrefix(content, []byte{0, 0}) || bytes.HasPrefix(content, []byte{0x1f, 0x8b}) {
		pixels, err = p.idx(content)
	} else {
		pixels, err = picture.Pixels(p.net, content, p.handling, allow)
	}
	if err != nil {
		p.complain(fmt.Errorf("%s: %w", name, err))
		return
	}
	predictions, err := p.net.PredictBytes(pixels)
	if err != nil {
		p.complain(fmt.Errorf("%s: %w", name, err))
		return
	}
	for i, q := range predictions {
		p.found = append(p.found, finding{name, i, q.Class, q.Name, q.Probabilities})
	}
}

// idx returns the images of an IDX file.
func (p *predictor) idx(content []byte) ([]byte, error) {
	a, err := data.ReadIDX(bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	in := p.net.Config().Input
	pixels, ok := a.Bytes()
	fits := len(a.Shape) == 3 && in.Channels == 1 && a.Shape[1] == in.Height && a.Shape[2] == in.Width ||
		len(a.Shape) == 4 && a.Shape[1] == in.Channels && a.Shape[2] == in.Height && a.Shape[3] == in.Width
	if !ok || !fits || a.Shape[0] == 0 {
		return nil, fmt.Errorf("want images of %d x %dx%d bytes, found an IDX file of %v, %v", in.Channels, in.Height, in.Width, a.Type(), a.Shape)
	}
	return pixels, nil
}

func allow(pixels int) error {
	if pixels > maxPixels {
		return fmt.Errorf("there can be %d in all", maxPixels)
	}
	return nil
}

func (p *predictor) write(w io.Writer) error {
	switch p.format {
	case "json":
		out := json.NewEncoder(w)
		out.SetIndent("", " ")
		if p.found == nil {
			p.found = []finding{}
		}
		return out.Encode(p.found)
	case "csv":
		return p.writeCSV(w)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "file\timage\tclass\tname\tprobability\n")
	for _, f := range p.found {
		fmt.Fprintf(t, "%s\t%d\t%d\t%s\t%.4f\n", f.File, f.Index, f.Class, f.Name, f.Probabilities[f.Class])
	}
	return t.Flush()
}

func (p *predictor) writeCSV(w io.Writer) error {
	c := csv.NewWriter(w)
	head := []string{"file", "image", "class", "name"}
	for k := range p.net.Config().Classes {
		head = append(head, fmt.Sprint("p", k))
	}
	if err := c.Write(head); err != nil {
		return err
	}
	for _, f := range p.found {
		row := []string{f.File, strconv.Itoa(f.Index), strconv.Itoa(f.Class), f.Name}
		for _, v := range f.Probabilities {
			row = append(row, strconv.FormatFloat(float64(v), 'g', -1, 32))
		}
		if err := c.Write(row); err != nil {
			return err
		}
	}
	c.Flush()
	return c.Error()
}
