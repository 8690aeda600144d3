package data

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// ErrUnavailable is wrapped by the error about a set that was found nowhere
// and could not be downloaded either. It is never wrapped when a folder was
// named: see [ErrNotInDir].
var ErrUnavailable = errors.New("data: the set is not available")

// An UnavailableError lists what was tried to get a set. It wraps
// [ErrUnavailable], and none of the reasons.
type UnavailableError struct {
	Set   string // "Fashion-MNIST"
	Tried []Attempt
}

// An Attempt is a place, a folder or an address, and why the set could not be
// had from it.
type Attempt struct{ Place, Reason string }

// Error returns a line for each attempt, and one with what to do.
func (e *UnavailableError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "data: %s is not on this machine and could not be downloaded:\n", e.Set)
	for _, a := range e.Tried {
		fmt.Fprintf(&b, "  %s: %s\n", a.Place, a.Reason)
	}
	fmt.Fprintf(&b, "Connect to the network and try again, or bring the files %s.gz into a folder and name it (option Dir, or environment variable %s)",
		strings.Join(partFiles[:], ".gz, "), EnvDir)
	return b.String()
}

// Unwrap returns [ErrUnavailable].
func (e *UnavailableError) Unwrap() error { return ErrUnavailable }

// ErrWrongContent is wrapped by the errors about a file whose content is not
// that of the set it should belong to.
var ErrWrongContent = errors.New("data: wrong content")

// A ContentError says what a file should hold and what it holds. It wraps
// [ErrWrongContent].
type ContentError struct {
	File  string // the path
	Want  string // "the training images of Fashion-MNIST"
	Found string // "the training images of MNIST", or "something else"
	// WantSum and FoundSum are SHA-256 of the decompressed content, in
	// hexadecimal.
	WantSum, FoundSum string
}

// Error returns one line with all of it.
func (e *ContentError) Error() string {
	return fmt.Sprintf("data: %s: want %s (SHA-256 %s), found %s (SHA-256 %s)", e.File, e.Want, e.WantSum, e.Found, e.FoundSum)
}

// Unwrap returns [ErrWrongContent].
func (e *ContentError) Unwrap() error { return ErrWrongContent }

// A source is a set that is known by its content.
type source struct {
	name       string
	folder     string    // in the cache
	subfolders []string  // where other tools put it in a folder
	system     []string  // where else on the machine it may lie; ~ is the home folder
	sums       [4]string // SHA-256 of the decompressed files
	mirrors    []string  // addresses of folders
	classes    []string
}

var fashionMNIST = source{
	name:       "Fashion-MNIST",
	folder:     "fashion-mnist",
	subfolders: []string{"fashion-mnist", "FashionMNIST/raw", "FashionMNIST", "raw"},
	system:     []string{"/usr/share/datasets/fashion-mnist", "/usr/local/share/datasets/fashion-mnist", "~/.keras/datasets/fashion-mnist"},
	sums: [4]string{
		"c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
		"bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
		"5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
		"0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
	},
	mirrors: []string{
		"https://storage.googleapis.com/tensorflow/tf-keras-datasets",
		"http://fashion-mnist.s3-website.eu-central-1.amazonaws.com", // has no https
	},
	classes: []string{"t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"},
}

var mnist = source{
	name:       "MNIST",
	folder:     "mnist",
	subfolders: []string{"mnist", "MNIST/raw", "MNIST", "raw"},
	system:     []string{"/usr/share/datasets/mnist", "/usr/local/share/datasets/mnist"},
	sums: [4]string{
		"ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
		"65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
		"0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
		"ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
	},
	mirrors: []string{
		"https://storage.googleapis.com/cvdf-datasets/mnist",
		"https://ossci-datasets.s3.amazonaws.com/mnist",
	},
	classes: []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"},
}

// knownLimit bounds the decompressed size of a file of a known set.
const knownLimit = 64 << 20

// FashionMNIST returns Zalando's Fashion-MNIST (Xiao, Rasul, Vollgraf, 2017):
// 60,000 and 10,000 images of garments, 1x28x28, ten classes, each file
// verified by its SHA-256.
//
// A folder named by [Dir], or else by the environment variable LENET_DATA,
// must hold it: if it does not, the error wraps [ErrNotInDir], or
// [ErrWrongContent] if the files are those of another set. With no folder
// named, the cache directory, /usr/share/datasets/fashion-mnist and the like
// are looked at, and then it is downloaded, 30 MB, into the cache; a download
// that was interrupted goes on where it ended. If that fails too, the error is
// an [*UnavailableError] and lists what was tried. If ctx ends first, the
// error wraps that of ctx.
func FashionMNIST(ctx context.Context, opts ...Option) (*Set, error) {
	set, err := fashionMNIST.load(ctx, opts)
	if err != nil {
		return nil, err
	}
	set.Train.Flippable, set.Test.Flippable = true, true
	return set, nil
}

// MNIST returns the handwritten digits of LeCun, Cortes and Burges (1998):
// 60,000 and 10,000 images, 1x28x28, each file verified by its SHA-256. It is
// looked for, and downloaded, 12 MB, as [FashionMNIST] is.
func MNIST(ctx context.Context, opts ...Option) (*Set, error) { return mnist.load(ctx, opts) }

func (s *source) load(ctx context.Context, opts []Option) (*Set, error) {
	o := options{search: s.system, mirrors: s.mirrors, limits: defaultLimits}
	for _, f := range opts {
		f(&o)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("data: %s: %w", s.name, err)
	}
	named, by := o.dir, "option Dir"
	if named == "" {
		named, by = os.Getenv(EnvDir), "environment variable "+EnvDir
	}
	if named != "" {
		set, err := s.read(named)
		if err != nil {
			return nil, fmt.Errorf("%w. The folder was named by %s: name one that holds %s, or none to have it found or downloaded", err, by, s.name)
		}
		return set, nil
	}

	failed := &UnavailableError{Set: s.name}
	var places []string
	if o.cache == "" {
		if dir, err := os.UserCacheDir(); err == nil {
			o.cache = filepath.Join(dir, "lenet5")
		} else {
			failed.Tried = append(failed.Tried, Attempt{"the user's cache directory", err.Error()})
		}
	}
	if o.cache != "" {
		o.cache = filepath.Join(o.cache, s.folder)
		places = append(places, o.cache)
	}
	for _, dir := range o.search {
		if rest, ok := strings.CutPrefix(dir, "~/"); ok {
			home, err := os.UserHomeDir()
			if err != nil {
				continue // nobody's home: no such place
			}
			dir = filepath.Join(home, rest)
		}
		places = append(places, dir)
	}
	for _, dir := range places {
		set, err := s.read(dir)
		if err == nil {
			return set, nil
		}
		failed.Tried = append(failed.Tried, Attempt{dir, reason(err)})
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("data: %s: %w", s.name, err)
		}
	}
	switch {
	case o.offline:
		failed.Tried = append(failed.Tried, Attempt{"download", "not allowed"})
		return nil, failed
	case o.cache == "":
		failed.Tried = append(failed.Tried, Attempt{"download", "no cache directory to keep it in"})
		return nil, failed
	}
	from, tried, err := s.download(ctx, o.cache, &o)
	if err != nil {
		return nil, err
	}
	if failed.Tried = append(failed.Tried, tried...); from == nil {
		return nil, failed
	}
	set, err := s.read(o.cache)
	if err != nil {
		return nil, err // what was verified a moment ago has changed
	}
	set.Source = fmt.Sprintf("%s (now in %s)", strings.Join(from, " and "), o.cache)
	return set, nil
}

// reason says why a folder does not do, in a list where its name stands before.
func reason(err error) string {
	var missing *NotInDirError
	switch {
	case !errors.As(err, &missing):
		return strings.TrimPrefix(err.Error(), "data: ")
	case errors.Is(err, os.ErrNotExist):
		return "no such folder"
	case missing.Err != nil:
		return missing.Err.Error()
	default:
		return "lacks " + strings.Join(missing.Lacks, ", ")
	}
}

// read reads and verifies the set that lies in dir or in a subfolder that
// other tools make.
func (s *source) read(dir string) (*Set, error) {
	missing := &NotInDirError{Set: s.name, Dir: dir, Lacks: partFiles[:]}
	var wrong error
	for _, sub := range append([]string{""}, s.subfolders...) {
		folder := filepath.Join(dir, filepath.FromSlash(sub))
		found, err := scan(folder)
		switch {
		case err != nil && sub == "":
			return nil, &NotInDirError{Set: s.name, Dir: dir, Err: err}
		case err != nil || found[""] == nil:
			continue
		}
		if lacks := found[""].lacking(); len(lacks) > 0 {
			if len(lacks) < len(missing.Lacks) {
				missing.Lacks = lacks
			}
			continue
		}
		set, err := s.readFiles(found[""], folder)
		if err == nil {
			return set, nil
		}
		if wrong == nil {
			wrong = err
		}
	}
	if wrong != nil {
		return nil, wrong
	}
	missing.Holds = listing(dir)
	return nil, missing
}

// readFiles reads a set from the first candidate of each part that has the
// right content.
func (s *source) readFiles(c *candidates, folder string) (*Set, error) {
	var arrays [4]*Array
	var paths [4]string
	read := func(part int) error {
		var first error
		for _, path := range c[part] {
			sum := sha256.New()
			a, err := readIDXFile(path, knownLimit, sum)
			if err == nil {
				err = s.verify(part, path, sum.Sum(nil))
			}
			if err == nil {
				arrays[part], paths[part] = a, path
				return nil
			}
			if first == nil {
				first = err
			}
		}
		return first
	}
	// The labels go first: they tell another set at a hundredth of the cost.
	if err := parallel(read, trainLabels, testLabels); err != nil {
		return nil, err
	}
	if err := parallel(read, trainImages, testImages); err != nil {
		return nil, err
	}
	return assemble(s.name, folder, paths, arrays, slices.Clone(s.classes))
}

// verify compares the checksum of a part, and calls content that is known from
// elsewhere by its name.
func (s *source) verify(part int, path string, sum []byte) error {
	found := fmt.Sprintf("%x", sum)
	if found == s.sums[part] {
		return nil
	}
	err := &ContentError{File: path, Want: "the " + partNames[part] + " of " + s.name, Found: "something else", WantSum: s.sums[part], FoundSum: found}
	for _, known := range []*source{&mnist, &fashionMNIST} {
		if k := slices.Index(known.sums[:], found); k >= 0 {
			err.Found = "the " + partNames[k] + " of " + known.name
		}
	}
	return err
}

// verifyFile verifies a file without keeping its content.
func (s *source) verifyFile(part int, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	content, err := decompress(f, path)
	if err != nil {
		return err
	}
	sum := sha256.New()
	n, err := io.Copy(sum, io.LimitReader(content, knownLimit+1))
	switch {
	case err != nil:
		return &FormatError{File: path, Offset: n, What: "content", Want: "the whole file", Found: cause(err), Err: noEOF(err)}
	case n > knownLimit:
		return &FormatError{File: path, Offset: knownLimit, What: "content", Want: fmt.Sprintf("at most %d bytes", knownLimit), Found: "more"}
	}
	return s.verify(part, path, sum.Sum(nil))
}
