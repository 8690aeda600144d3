package data

import (
	"net/http"
	"time"
)

// EnvDir is the environment variable that names the folder of the sets, as
// [Dir] does. Empty means that it names none.
const EnvDir = "LENET_DATA"

// An Option adjusts [FashionMNIST] and [MNIST].
type Option func(*options)

type options struct {
	dir, cache string
	search     []string
	offline    bool
	progress   func(Progress)
	client     *http.Client
	mirrors    []string
	limits     limits
}

// limits bound a download. Tests make them small.
type limits struct {
	dial   time.Duration // to make a connection, for name resolution and TLS each
	header time.Duration // from the request to the first byte of the answer
	stall  time.Duration // without a byte after that
	tries  int           // times that a broken download is gone on with
	pause  time.Duration // before that
	size   int64         // of each file, in bytes
}

var defaultLimits = limits{
	dial:   3 * time.Second,
	header: 10 * time.Second,
	stall:  20 * time.Second,
	tries:  4,
	pause:  500 * time.Millisecond,
	size:   64 << 20, // 26 MB is the largest, and 47 MB if it is not compressed
}

// Dir names the folder that holds the set, or that has it in a subfolder where
// other tools put it, such as FashionMNIST/raw. Nothing else is tried then. It
// goes before the environment variable [EnvDir]. An empty path names none.
func Dir(path string) Option { return func(o *options) { o.dir = path } }

// CacheDir sets the folder that downloads are kept in, one subfolder for each
// set. By default it is lenet5 in [os.UserCacheDir].
func CacheDir(path string) Option { return func(o *options) { o.cache = path } }

// SearchDirs replaces the places besides the cache in which a set is looked for
// when no folder is named, such as /usr/share/datasets/fashion-mnist.
func SearchDirs(dirs ...string) Option {
	return func(o *options) { o.search = dirs }
}

// Offline forbids downloading.
func Offline() Option { return func(o *options) { o.offline = true } }

// OnProgress has f called again and again during a download, by the goroutine
// that waits for it. A slow f slows the download.
func OnProgress(f func(Progress)) Option { return func(o *options) { o.progress = f } }

// HTTPClient replaces the client for downloads. Its own time limits apply
// beside those of this package.
func HTTPClient(c *http.Client) Option { return func(o *options) { o.client = c } }

// Mirrors replaces the places that the set is downloaded from: addresses of
// folders, tried in order. What they serve is verified all the same.
func Mirrors(urls ...string) Option {
	return func(o *options) { o.mirrors = urls }
}
