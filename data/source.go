package data

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// EnvDir is the environment variable that names the folder of the sets, as
// [Dir] does.
const EnvDir = "LENET_DATA"

// ErrUnavailable is wrapped by the error about a set that was found nowhere
// and could not be downloaded.
var ErrUnavailable = errors.New("data: the set is not available")

// ErrWrongContent is wrapped by the errors about a file whose content is not
// that of the set.
var ErrWrongContent = errors.New("data: wrong content")

// An Option adjusts [FashionMNIST] and [MNIST].
type Option func(*options)

type options struct {
	dir, cache string
	search     []string
	offline    bool
	progress   func(Progress)
	client     *http.Client
	mirrors    []string
}

// Dir names the folder that holds the set, or one that has it in a subfolder
// such as FashionMNIST/raw. Nothing else is tried then. An empty path means no
// folder is named.
func Dir(path string) Option { return func(o *options) { o.dir = path } }

// CacheDir is where downloads are kept, by default the folder lenet5 in the
// user's cache directory.
func CacheDir(path string) Option { return func(o *options) { o.cache = path } }

// SearchDirs replaces the places, beside the cache, in which a set is looked
// for when no folder is named.
func SearchDirs(dirs ...string) Option {
	return func(o *options) { o.search = append([]string{}, dirs...) }
}

// Offline forbids downloading.
func Offline() Option { return func(o *options) { o.offline = true } }

// OnProgress has f called while a download goes on.
func OnProgress(f func(Progress)) Option { return func(o *options) { o.progress = f } }

// HTTPClient replaces the client for downloads.
func HTTPClient(c *http.Client) Option { return func(o *options) { o.client = c } }

// Mirrors replaces the places that the set is downloaded from: URLs of
// folders, tried in order.
func Mirrors(urls ...string) Option {
	return func(o *options) { o.mirrors = append([]string{}, urls...) }
}

// A source is a known set.
type source struct {
	name       string
	folder     string   // in the cache
	subfolders []string // of a named folder
	system     []string // where else it may lie
	sums       [4]string
	mirrors    []string
	classes    []string
}

var fashionMNIST = source{
	name:       "Fashion-MNIST",
	folder:     "fashion-mnist",
	subfolders: []string{"fashion-mnist", "FashionMNIST/raw", "FashionMNIST", "fashion", "raw"},
	system:     []string{"/usr/share/datasets/fashion-mnist", "/usr/local/share/datasets/fashion-mnist", "~/.keras/datasets/fashion-mnist"},
	sums: [4]string{
		"c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
		"bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
		"5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
		"0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
	},
	mirrors: []string{
		"https://storage.googleapis.com/tensorflow/tf-keras-datasets",
		"http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
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

// parts names the four files for people.
var parts = [4]string{"training images", "training labels", "test images", "test labels"}

// FashionMNIST returns Zalando's Fashion-MNIST (Xiao, Rasul, Vollgraf, 2017):
// 60,000 and 10,000 images of 28x28, ten classes, verified by SHA-256.
//
// A folder named by [Dir], or else by a non-empty LENET_DATA, must hold it: if
// it does not, that is an error wrapping [ErrNotInDir]. With no folder named,
// the cache directory, /usr/share/datasets/fashion-mnist and the like are
// looked at, and then it is downloaded into the cache. If that fails too, the
// error wraps [ErrUnavailable] and lists what was tried.
func FashionMNIST(ctx context.Context, opts ...Option) (*Set, error) {
	return fashionMNIST.load(ctx, opts)
}

// MNIST returns the handwritten digits of LeCun, Cortes and Burges: 60,000 and
// 10,000 images of 28x28, verified by SHA-256. It is looked for as
// [FashionMNIST] is.
func MNIST(ctx context.Context, opts ...Option) (*Set, error) { return mnist.load(ctx, opts) }

func (s *source) load(ctx context.Context, opts []Option) (*Set, error) {
	o := options{search: s.system, mirrors: s.mirrors}
	for _, f := range opts {
		f(&o)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("data: %s: %w", s.name, err)
	}
	for _, named := range []struct{ dir, by string }{{o.dir, ""}, {os.Getenv(EnvDir), " (named by " + EnvDir + ")"}} {
		if named.dir == "" {
			continue
		}
		set, err := s.read(named.dir)
		if err != nil {
			return nil, fmt.Errorf("%s%s: %w", s.name, named.by, err)
		}
		return set, nil
	}
	var tried []string
	if o.cache == "" {
		if dir, err := os.UserCacheDir(); err == nil {
			o.cache = filepath.Join(dir, "lenet5")
		} else {
			tried = append(tried, "the user's cache directory: "+err.Error())
		}
	}
	cache := ""
	if o.cache != "" {
		cache = filepath.Join(o.cache, s.folder)
	}
	for _, dir := range append([]string{cache}, o.search...) {
		if rest, ok := strings.CutPrefix(dir, "~/"); ok {
			home, err := os.UserHomeDir()
			if err != nil {
				continue
			}
			dir = filepath.Join(home, rest)
		}
		if dir == "" {
			continue
		}
		set, err := s.read(dir)
		if err == nil {
			return set, nil
		}
		tried = append(tried, fmt.Sprintf("%s: %v", dir, err))
	}
	if cache == "" {
		o.offline = true
	}
	if o.offline {
		tried = append(tried, "downloading: not allowed")
	} else {
		failures, err := s.download(ctx, cache, &o)
		if err != nil {
			return nil, err
		}
		if failures == nil {
			set, err := s.read(cache)
			if err == nil {
				set.Source = "downloaded to " + cache
			}
			return set, err
		}
		tried = append(tried, failures...)
	}
	return nil, fmt.Errorf("%w: %s\n  %s\nPut the four files %s.gz, ... into a folder and name it (option Dir, flag -data or %s), or connect to the network and try again",
		ErrUnavailable, s.name, strings.Join(tried, "\n  "), setFiles[0], EnvDir)
}

// read reads and verifies the set in a folder.
func (s *source) read(dir string) (*Set, error) {
	paths, err := locate(dir, s.subfolders...)
	if err != nil {
		return nil, err
	}
	arrays, err := readAll(paths, func(i int, sum string) error { return s.verify(i, sum, paths[i]) })
	if err != nil {
		return nil, err
	}
	return assemble(s.name, filepath.Dir(paths[0]), paths, arrays, slices.Clone(s.classes))
}

// verify compares the checksum of part i, and calls content that it knows by
// its name.
func (s *source) verify(i int, sum, path string) error {
	if sum == s.sums[i] {
		return nil
	}
	found := "content with SHA-256 " + sum
	for _, known := range []*source{&mnist, &fashionMNIST} {
		if k := slices.Index(known.sums[:], sum); k >= 0 {
			found = "the " + parts[k] + " of " + known.name
		}
	}
	return fmt.Errorf("%w: %s: want the %s of %s (SHA-256 %s), found %s", ErrWrongContent, path, parts[i], s.name, s.sums[i], found)
}
