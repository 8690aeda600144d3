// Package cli is the command line that the examples share: the flags, the
// search for data, the files under -out, and the closing lines. An example is
// a [Program] handed to [Main].
package cli

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"example.com/lenet5/lenet"
	"example.com/lenet5/train"
)

// settings are the parsed flags.
type settings struct {
	data, variant, recipe, optimizer, device, out, model string
	epochs, batch, threads, verbosity                    int
	lr                                                   float64
	seed                                                 uint64
	synthetic, resume                                    bool
	given                                                map[string]bool
	flags                                                *flag.FlagSet
}

// remembered are the flags that decide about a run: a checkpoint keeps them,
// and -resume takes them from there.
var remembered = []string{"data", "variant", "model", "recipe", "epochs", "batch", "lr", "optimizer", "seed", "synthetic"}

// notes returns the remembered flags that were given.
func (s *settings) notes() map[string]string {
	notes := map[string]string{}
	for _, name := range remembered {
		if s.given[name] {
			notes[name] = s.flags.Lookup(name).Value.String()
		}
	}
	return notes
}

// recall sets the flags as they were when the run began. One that is given now
// must be as it was, but for the number of epochs and for where the data is.
func (s *settings) recall(notes map[string]string) error {
	for _, name := range remembered {
		was, noted := notes[name]
		f := s.flags.Lookup(name)
		switch {
		case s.given[name] && name != "epochs" && name != "data" && (!noted || was != f.Value.String()):
			if !noted {
				was = "left away"
			}
			return fmt.Errorf("-resume: -%s was %s when the run in %s was begun, and is %s; leave it away to go on, or begin a run in another folder", name, was, s.out, f.Value)
		case noted && !s.given[name]:
			if err := f.Value.Set(was); err != nil {
				return fmt.Errorf("-resume: the checkpoint in %s says -%s %s: %w", s.out, name, was, err)
			}
			s.given[name] = true
		}
	}
	return nil
}

// errUsage is returned for a command line that cannot be understood; what is
// wrong has been printed.
var errUsage = errors.New("usage")

// parse reads the flags of a program. On -h it prints the help to stdout and
// returns flag.ErrHelp.
func (p *Program) parse(args []string, stdout, stderr io.Writer) (*settings, error) {
	fs := flag.NewFlagSet(p.Name, flag.ContinueOnError)
	s := &settings{given: map[string]bool{}, flags: fs}
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	fs.StringVar(&s.data, "data", "", "`folder` with the four IDX files of "+p.DataName+"; without it, LENET_DATA,\nthe cache and the usual folders are searched, then it is downloaded")
	fs.StringVar(&s.variant, "variant", p.Variant, "the network: `"+strings.Join(lenet.Variants(), "|")+"`")
	fs.StringVar(&s.recipe, "recipe", "", "`"+strings.Join(train.RecipeNames(), "|")+"`: a network with settings that go together, in place of the\ndefaults; an explicit flag beats it")
	fs.IntVar(&s.epochs, "epochs", -1, "`passes` over the training set; by default the variant's own;\n0 with -model only evaluates")
	fs.IntVar(&s.batch, "batch", 0, "`examples` per step; by default the variant's own")
	fs.Float64Var(&s.lr, "lr", 0, "learning `rate`; by default the variant's own")
	fs.StringVar(&s.optimizer, "optimizer", "", "`"+strings.Join(train.OptimizerNames(), "|")+"`; by default the variant's own")
	fs.Uint64Var(&s.seed, "seed", 1, "`seed` of the weights and of the order of the examples;\nthe same seed gives the same bits")
	fs.StringVar(&s.device, "device", "auto", "where to run: `auto|cpu|cuda`, or cuda:1 for the second GPU;\nauto takes a GPU if there is one and the program was built for it")
	fs.IntVar(&s.threads, "threads", 0, "`number` of threads; by default as many as there are processors;\nthe results do not depend on it")
	fs.StringVar(&s.out, "out", "", "`folder` for model.safetensors and .onnx, history.csv and .jsonl, and pictures\nas PNG and SVG: curves, confusion, predictions, mistakes, activations, filters;\nit must not hold a run, but for -resume; without it no file is written")
	fs.StringVar(&s.model, "model", "", "start from the network in this `file` instead of a new one")
	fs.IntVar(&s.verbosity, "v", 1, "`level` of detail on standard error: 0 only warnings and errors, 1 progress,\n2 also how the graph is run")
	fs.BoolVar(&s.resume, "resume", false, "go on with the run in the folder of -out, with its settings, where it was\nstopped; without a run there, begin one; a larger -epochs makes it longer")
	fs.BoolVar(&s.synthetic, "synthetic", false, "train on images drawn by the program instead of "+p.DataName)
	err := fs.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		p.help(fs, stdout)
		return nil, err
	}
	if err == nil {
		fs.Visit(func(f *flag.Flag) { s.given[f.Name] = true })
		err = s.check(fs)
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\nRun it with -h for the flags.\n", p.Name, err)
		return nil, errUsage
	}
	return s, nil
}

// check reports a value out of range by the name of its flag.
func (s *settings) check(fs *flag.FlagSet) error {
	switch {
	case fs.NArg() > 0:
		return fmt.Errorf("unexpected argument %q; every setting is a flag", fs.Arg(0))
	case s.given["epochs"] && s.epochs < 0:
		return fmt.Errorf("-epochs %d: it must not be negative", s.epochs)
	case s.given["batch"] && s.batch < 1:
		return fmt.Errorf("-batch %d: it must be at least 1", s.batch)
	case s.given["threads"] && s.threads < 1:
		return fmt.Errorf("-threads %d: it must be at least 1", s.threads)
	case s.given["lr"] && (!(s.lr > 0) || math.IsInf(s.lr, 0)):
		return fmt.Errorf("-lr %g: it must be a positive number", s.lr)
	case s.optimizer != "" && !slices.Contains(train.OptimizerNames(), s.optimizer):
		return fmt.Errorf("-optimizer %q: there are %s", s.optimizer, strings.Join(train.OptimizerNames(), ", "))
	case s.recipe != "" && !slices.Contains(train.RecipeNames(), s.recipe):
		return fmt.Errorf("-recipe %q: there are %s", s.recipe, strings.Join(train.RecipeNames(), ", "))
	case s.verbosity < 0 || s.verbosity > 2:
		return fmt.Errorf("-v %d: there are the levels 0, 1 and 2", s.verbosity)
	case s.synthetic && s.given["data"]:
		return errors.New("-synthetic and -data exclude each other")
	case s.model != "" && s.given["variant"]:
		return errors.New("-model and -variant exclude each other: the file says which network it is")
	case s.epochs == 0 && s.model == "":
		return errors.New("-epochs 0: there is nothing to evaluate; name a network by -model FILE")
	case s.resume && s.out == "":
		return errors.New("-resume: name the folder of the run by -out DIR")
	case s.epochs == 0 && s.out != "":
		return errors.New("-epochs 0: an evaluation writes no files; leave -out away")
	}
	if err := lenet.CheckDevice(s.device); err != nil {
		return fmt.Errorf("-device: %w", err)
	}
	if _, err := lenet.Variant(s.variant); err != nil {
		return fmt.Errorf("-variant %q: there are %s", s.variant, strings.Join(lenet.Variants(), ", "))
	}
	return nil
}

// help prints the purpose and the flags that work.
func (p *Program) help(fs *flag.FlagSet, w io.Writer) {
	fmt.Fprintf(w, "%s\n\nusage: %s [flags]\n\n", p.Purpose, p.Name)
	shown := flag.NewFlagSet(p.Name, flag.ContinueOnError)
	shown.SetOutput(w)
	fs.VisitAll(func(f *flag.Flag) {
		shown.Var(f.Value, f.Name, f.Usage)
		if f.Name == "epochs" {
			shown.Lookup(f.Name).DefValue = "0" // -1 stands for the variant's own, and need not be shown
		}
	})
	shown.PrintDefaults()
	fmt.Fprintf(w, "\nThe last two lines on standard output are the result; progress goes to standard error.\nCtrl-C finishes the step, saves the run under -out for -resume, and exits with code 130.\n")
}
