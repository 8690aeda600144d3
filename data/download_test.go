package data

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// An answer takes a request for a file, body, and reports whether it has dealt
// with it.
type answer func(w http.ResponseWriter, r *http.Request, body []byte) bool

// serve answers with the files, first being asked to do something else.
func serve(t testing.TB, files map[string][]byte, first answer) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, ok := files[r.URL.Path]
		switch {
		case !ok:
			http.NotFound(w, r)
		case first == nil || !first(w, r, body):
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
		}
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// text answers with a status and a text.
func text(status int, body string) answer {
	return func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
		w.WriteHeader(status)
		io.WriteString(w, body)
		return true
	}
}

// broken sends half of the file and breaks the connection, unless it is asked
// for a range; then does what next does.
func broken(next answer) answer {
	return func(w http.ResponseWriter, r *http.Request, body []byte) bool {
		if r.Header.Get("Range") != "" {
			return next(w, r, body)
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		w.Write(body[:len(body)/2])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
}

// partialAnswer answers 206 with a header of its own and the second half.
func partialAnswer(header string) answer {
	return func(w http.ResponseWriter, _ *http.Request, body []byte) bool {
		w.Header().Set("Content-Range", header)
		w.WriteHeader(http.StatusPartialContent)
		w.Write(body[len(body)/2:])
		return true
	}
}

// once does a thing for the first request only.
func once(a answer) answer {
	var done atomic.Bool
	return func(w http.ResponseWriter, r *http.Request, body []byte) bool {
		return !done.Swap(true) && a(w, r, body)
	}
}

func honour(http.ResponseWriter, *http.Request, []byte) bool { return false }

func TestDownload(t *testing.T) {
	s, files := tiny(t)
	for name, c := range map[string]struct {
		first  answer // of the first mirror
		reason string // why the first mirror does not do; empty if it does
	}{
		"clean":          {nil, ""},
		"Range honoured": {broken(honour), ""},
		"Range ignored": {broken(func(w http.ResponseWriter, _ *http.Request, body []byte) bool {
			w.Write(body)
			return true
		}), ""},
		"Range refused once":            {once(broken(text(416, ""))), ""},
		"Content-Range of another part": {broken(partialAnswer("bytes 0-9/10")), "Content-Range"},
		"Content-Range missing":         {broken(partialAnswer("")), "Content-Range"},
		"Content-Range nonsense":        {broken(partialAnswer("bytes x-y/z")), "Content-Range"},
		"206 to a plain request":        {partialAnswer("bytes 0-9/10"), "206"},
		"403":                           {text(403, "no"), "403 Forbidden"},
		"404":                           {text(404, "no"), "404 Not Found"},
		"416 to a plain request":        {text(416, ""), "416"},
		"HTML":                          {text(200, "<!DOCTYPE html><html><body>Please log in</body></html>"), "an HTML page"},
		"empty":                         {text(200, ""), "empty"},
		"always broken": {func(w http.ResponseWriter, r *http.Request, body []byte) bool {
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			w.Write(body[:10])
			return true
		}, "the connection broke after 10 bytes"},
		"truncated, without a length": {func(w http.ResponseWriter, r *http.Request, body []byte) bool {
			w.(http.Flusher).Flush() // chunks
			w.Write(body[:len(body)-3])
			return true
		}, "the end of the file"},
		"wrong content": {func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
			w.Write(zipped([]byte{0, 0, 8, 1, 0, 0, 0, 1, 5}))
			return true
		}, "something else"},
		"no gzip": {func(w http.ResponseWriter, r *http.Request, b []byte) bool {
			w.Write(append([]byte{0x1f, 0x8b}, b[20:]...))
			return true
		}, "gzip header"},
		"too large, announced": {func(w http.ResponseWriter, r *http.Request, b []byte) bool {
			w.Header().Set("Content-Length", "99999999999")
			w.Write(b)
			return true
		}, "at most"},
		"too large, not announced": {func(w http.ResponseWriter, r *http.Request, b []byte) bool {
			w.(http.Flusher).Flush()
			for range 100 {
				w.Write(b)
			}
			return true
		}, "found more"},
		"stall": {func(w http.ResponseWriter, r *http.Request, b []byte) bool {
			w.Header().Set("Content-Length", fmt.Sprint(len(b)))
			w.Write(b[:5])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return true
		}, "no data for"},
		"silence": {func(w http.ResponseWriter, r *http.Request, b []byte) bool { <-r.Context().Done(); return true }, "no answer within"},
	} {
		t.Run(name, func(t *testing.T) {
			cache := t.TempDir()
			bad, good := serve(t, files, c.first), serve(t, files, nil)
			mirrors := []string{bad + "/", good}
			if c.reason == "" {
				mirrors = mirrors[:1]
			}
			var last Progress
			limited := func(o *options) { quick(o); o.limits.size = 100 << 10 }
			opts := []Option{CacheDir(cache), SearchDirs(), Mirrors(mirrors...), limited, OnProgress(func(p Progress) { last = p })}
			set, err := s.load(context.Background(), opts)
			if err != nil {
				t.Fatal(err)
			}
			if set.Train.Len() != 30 || set.Test.Len() != 20 || set.Synthetic {
				t.Errorf("%d and %d images", set.Train.Len(), set.Test.Len())
			}
			if !strings.Contains(set.Source, cache) || !strings.Contains(set.Source, mirrors[len(mirrors)-1]) {
				t.Errorf("Source: %s", set.Source)
			}
			if want := int64(len(files["/"+last.File])); last.Done != want || last.Total != want && last.Total != -1 || last.Part != 4 || last.Parts != 4 {
				t.Errorf("last progress %+v, want %d bytes", last, want)
			}
			for _, file := range partFiles { // byte for byte, and nothing else
				if b, err := os.ReadFile(filepath.Join(cache, "mnist", file+".gz")); err != nil || !bytes.Equal(b, files["/"+file+".gz"]) {
					t.Errorf("%s in the cache: %v, %d bytes", file, err, len(b))
				}
			}
			if left, _ := os.ReadDir(filepath.Join(cache, "mnist")); len(left) != 4 {
				t.Errorf("%d files in the cache, want 4", len(left))
			}
			// The second time nothing is asked for.
			if _, err := s.load(context.Background(), []Option{CacheDir(cache), SearchDirs(), Offline()}); err != nil {
				t.Errorf("from the cache: %v", err)
			}
			if c.reason == "" {
				return
			}
			_, err = s.load(context.Background(), []Option{CacheDir(t.TempDir()), SearchDirs(), Mirrors(bad), limited})
			if !errors.Is(err, ErrUnavailable) || !strings.Contains(fmt.Sprint(err), c.reason) || !strings.Contains(fmt.Sprint(err), bad) {
				t.Errorf("with that mirror alone: %v; want ErrUnavailable that mentions %q", err, c.reason)
			}
		})
	}
}

// counted counts the requests, and those of ranges.
func counted(all, ranges *atomic.Int32, next answer) answer {
	return func(w http.ResponseWriter, r *http.Request, body []byte) bool {
		all.Add(1)
		if r.Header.Get("Range") != "" {
			ranges.Add(1)
		}
		return next(w, r, body)
	}
}

// TestResume: what an interrupted run has got is where the next one goes on,
// at another mirror if need be.
func TestResume(t *testing.T) {
	s, files := tiny(t)
	cache := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	half := serve(t, files, func(w http.ResponseWriter, r *http.Request, b []byte) bool {
		w.Header().Set("Content-Length", fmt.Sprint(len(b)))
		w.Write(b[:len(b)/2])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return true
	})
	_, err := s.load(ctx, []Option{CacheDir(cache), SearchDirs(), Mirrors(half), OnProgress(func(p Progress) { cancel() })})
	if !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnavailable) {
		t.Fatalf("%v, want context.Canceled", err)
	}
	left, _ := os.ReadDir(filepath.Join(cache, "mnist"))
	if len(left) != 1 || !strings.HasSuffix(left[0].Name(), ".partial") {
		t.Fatalf("%v was left behind, want one partial file", left)
	}
	partial := filepath.Join(cache, "mnist", left[0].Name())
	got, err := os.ReadFile(partial)
	if err != nil || len(got) == 0 {
		t.Fatal(err)
	}

	for name, c := range map[string]struct {
		left []byte // what the next run finds
		want [2]int32
	}{
		"goes on":             {got, [2]int32{4, 1}},
		"was of another file": {bytes.Repeat([]byte{7}, len(got)), [2]int32{5, 1}},
		"is longer":           {bytes.Repeat([]byte{7}, 1<<20), [2]int32{5, 1}},
		"was whole":           {files["/"+partFiles[0]+".gz"], [2]int32{4, 1}},
		"is empty":            {nil, [2]int32{4, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			cache := t.TempDir()
			dir := filepath.Join(cache, "mnist")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, filepath.Base(partial)), c.left, 0o644); err != nil {
				t.Fatal(err)
			}
			var all, ranges atomic.Int32
			url := serve(t, files, counted(&all, &ranges, honour))
			if _, err := s.load(context.Background(), []Option{CacheDir(cache), SearchDirs(), Mirrors(url), quick}); err != nil {
				t.Fatal(err)
			}
			if all.Load() != c.want[0] || ranges.Load() != c.want[1] {
				t.Errorf("%d requests, %d of ranges, want %v", all.Load(), ranges.Load(), c.want)
			}
			if left, _ := os.ReadDir(dir); len(left) != 4 {
				t.Errorf("%d files in the cache, want 4", len(left))
			}
		})
	}
	t.Run("at another mirror", func(t *testing.T) {
		var all, ranges atomic.Int32
		first := serve(t, files, broken(text(500, "")))
		second := serve(t, files, counted(&all, &ranges, honour))
		if _, err := s.load(context.Background(), []Option{CacheDir(t.TempDir()), SearchDirs(), Mirrors(first, second), quick}); err != nil {
			t.Fatal(err)
		}
		if all.Load() != 4 || ranges.Load() != 4 {
			t.Errorf("%d requests, %d of ranges, want 4 and 4", all.Load(), ranges.Load())
		}
	})
}

func TestDownloadUnreachable(t *testing.T) {
	s, files := tiny(t)
	url := serve(t, files, nil)
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close() // nothing listens there any more
	var dials atomic.Int32
	client := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		if strings.HasPrefix(r.URL.String(), gone.URL) {
			dials.Add(1)
		}
		return http.DefaultTransport.RoundTrip(r)
	})}
	if _, err := s.load(context.Background(), []Option{CacheDir(t.TempDir()), SearchDirs(), Mirrors(gone.URL, url), HTTPClient(client), quick}); err != nil {
		t.Errorf("the second mirror was not used: %v", err)
	}
	if dials.Load() != 1 {
		t.Errorf("the unreachable mirror was tried %d times, want once for the whole set", dials.Load())
	}
	_, err := s.load(context.Background(), []Option{CacheDir(t.TempDir()), SearchDirs(), Mirrors(gone.URL, gone.URL+"/b"), quick})
	for _, want := range []string{gone.URL + "/" + partFiles[0], gone.URL + "/b/", "connect", EnvDir} {
		if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want ErrUnavailable that mentions %q", err, want)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := s.load(context.Background(), []Option{CacheDir(file), SearchDirs(), Mirrors(url)}); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), file) {
		t.Errorf("a cache that cannot be made: %v", err)
	}
	if _, err := s.load(context.Background(), []Option{CacheDir(t.TempDir()), SearchDirs(), Mirrors()}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("no mirror: %v", err)
	}
	if _, err := s.load(context.Background(), []Option{CacheDir(t.TempDir()), SearchDirs(), Mirrors("::not an address"), quick}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("nonsense for a mirror: %v", err)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestDownloadTogether: several at once in one cache do no harm.
func TestDownloadTogether(t *testing.T) {
	s, files := tiny(t)
	cache := t.TempDir()
	url := serve(t, files, broken(honour))
	var wg sync.WaitGroup
	for range 5 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			set, err := s.load(context.Background(), []Option{CacheDir(cache), SearchDirs(), Mirrors(url), func(o *options) { quick(o); o.limits.header, o.limits.stall = time.Minute, time.Minute }})
			if err != nil || set.Train.Len() != 30 {
				t.Error(err)
			}
		}()
	}
	wg.Wait()
	if left, _ := os.ReadDir(filepath.Join(cache, "mnist")); len(left) != 4 {
		t.Errorf("%v in the cache, want 4", left)
	}
}

func TestSweep(t *testing.T) {
	dir := t.TempDir()
	long := time.Now().Add(-48 * time.Hour)
	for name, old := range map[string]bool{".a.1.part": true, ".b.1.part": false, ".c.partial": true, "d.part": true} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if old {
			if err := os.Chtimes(path, long, long); err != nil {
				t.Fatal(err)
			}
		}
	}
	sweep(dir)
	if got := listing(dir); got != ".b.1.part, .c.partial, d.part" {
		t.Errorf("left: %s", got)
	}
}

func TestContentRange(t *testing.T) {
	for header, want := range map[string]string{
		"bytes 5-9/10":                   "5 9 10 true",
		"bytes 5-9/*":                    "5 9 -1 true",
		"bytes */10":                     "-1 -1 10 true",
		"bytes 9-5/10":                   "0 0 0 false",
		"bytes 5-10/10":                  "0 0 0 false",
		"bytes -5-9/10":                  "0 0 0 false",
		"bytes 5-9":                      "0 0 0 false",
		"5-9/10":                         "0 0 0 false",
		"bytes 1-99999999999999999999/*": "0 0 0 false",
		"":                               "0 0 0 false",
	} {
		first, last, size, ok := contentRange(header)
		if got := fmt.Sprint(first, last, size, ok); got != want {
			t.Errorf("%q: %s, want %s", header, got, want)
		}
	}
}

func FuzzContentRange(f *testing.F) {
	f.Add("bytes 5-9/10")
	f.Add("bytes */10")
	f.Fuzz(func(t *testing.T, header string) {
		first, last, size, ok := contentRange(header)
		if ok && first >= 0 && (last < first || size >= 0 && last >= size) {
			t.Errorf("%q: %d-%d/%d", header, first, last, size)
		}
	})
}
