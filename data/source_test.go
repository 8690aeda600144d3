package data

import (
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

// tiny is a source of a few images, with its files as a server has them.
func tiny(t *testing.T) (source, map[string][]byte) {
	t.Helper()
	set := SyntheticDigits(30, 20, 1)
	s := mnist
	s.system = nil
	files := map[string][]byte{}
	for i, a := range []*Array{
		{[]int{30, 28, 28}, set.Train.Images}, {[]int{30}, set.Train.Labels},
		{[]int{20, 28, 28}, set.Test.Images}, {[]int{20}, set.Test.Labels},
	} {
		raw := idx(t, a)
		sum := newSum()
		sum.Write(raw)
		s.sums[i] = fmt.Sprintf("%x", sum.Sum(nil))
		files["/"+setFiles[i]+".gz"] = zipped(raw)
	}
	return s, files
}

func shorten(t *testing.T) {
	t.Helper()
	old := []time.Duration{stallTimeout, headerTimeout}
	stallTimeout, headerTimeout = 150*time.Millisecond, 150*time.Millisecond
	t.Cleanup(func() { stallTimeout, headerTimeout = old[0], old[1] })
	t.Setenv(EnvDir, "")
}

// serve answers with the files; wrap changes the answers.
func serve(t *testing.T, files map[string][]byte, wrap func(w http.ResponseWriter, r *http.Request, body []byte) (done bool)) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, ok := files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		if wrap != nil && wrap(w, r, body) {
			return
		}
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(body)))
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

func TestDownload(t *testing.T) {
	s, files := tiny(t)
	var ranges atomic.Int32
	cut := func(honour bool) func(w http.ResponseWriter, r *http.Request, body []byte) bool {
		return func(w http.ResponseWriter, r *http.Request, body []byte) bool {
			if r.Header.Get("Range") != "" {
				ranges.Add(1)
				if honour {
					return false
				}
				w.Write(body)
				return true
			}
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			w.Write(body[:len(body)/2])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
	}
	text := func(code int, body string) func(http.ResponseWriter, *http.Request, []byte) bool {
		return func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
			w.WriteHeader(code)
			io.WriteString(w, body)
			return true
		}
	}
	for name, c := range map[string]struct {
		first  func(http.ResponseWriter, *http.Request, []byte) bool // of the first mirror
		alone  bool                                                  // the first mirror suffices
		reason string                                                // why it does not
	}{
		"clean":          {nil, true, ""},
		"range honoured": {cut(true), true, ""},
		"range ignored":  {cut(false), true, ""},
		"403":            {text(403, "no"), false, "403"},
		"404":            {text(404, "no"), false, "404"},
		"html":           {text(200, "<!DOCTYPE html><html><body>Please log in</body></html>"), false, "an HTML page"},
		"wrong content": {func(w http.ResponseWriter, r *http.Request, b []byte) bool {
			w.Write(zipped(idx(t, &Array{[]int{1}, []byte{1}})))
			return true
		}, false, "wrong content"},
		"garbage in gzip": {func(w http.ResponseWriter, r *http.Request, b []byte) bool {
			w.Write(append([]byte{0x1f, 0x8b}, b[20:]...))
			return true
		}, false, "gzip header"},
		"too large": {func(w http.ResponseWriter, r *http.Request, b []byte) bool {
			w.Header().Set("Content-Length", "99999999999")
			w.Write(b)
			return true
		}, false, "at most"},
		"stall": {func(w http.ResponseWriter, r *http.Request, b []byte) bool {
			w.Header().Set("Content-Length", fmt.Sprint(len(b)))
			w.Write(b[:3])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return true
		}, false, "no data"},
		"silence": {func(w http.ResponseWriter, r *http.Request, b []byte) bool { <-r.Context().Done(); return true }, false, "no answer"},
	} {
		t.Run(name, func(t *testing.T) {
			shorten(t)
			ranges.Store(0)
			cache := t.TempDir()
			bad, good := serve(t, files, c.first), serve(t, files, nil)
			if c.alone {
				good = bad
			}
			var last Progress
			opts := []Option{CacheDir(cache), SearchDirs(), Mirrors(bad, good), OnProgress(func(p Progress) { last = p })}
			set, err := s.load(context.Background(), opts)
			if err != nil {
				t.Fatal(err)
			}
			if set.Train.Len() != 30 || set.Test.Len() != 20 || set.Synthetic {
				t.Errorf("%d and %d images", set.Train.Len(), set.Test.Len())
			}
			if strings.HasPrefix(name, "range") && ranges.Load() == 0 {
				t.Error("no Range was asked for: the test shows nothing")
			}
			if last.Done == 0 || last.Done > int64(len(files["/"+last.File])) {
				t.Errorf("last progress %+v", last)
			}
			left, _ := os.ReadDir(filepath.Join(cache, "mnist"))
			if len(left) != 4 {
				t.Errorf("%d files in the cache, want 4", len(left))
			}
			// The second time nothing is asked for.
			if _, err := s.load(context.Background(), []Option{CacheDir(cache), SearchDirs(), Offline()}); err != nil {
				t.Errorf("from the cache: %v", err)
			}
			if c.alone {
				return
			}
			_, err = s.load(context.Background(), []Option{CacheDir(t.TempDir()), SearchDirs(), Mirrors(bad)})
			if !errors.Is(err, ErrUnavailable) || !strings.Contains(fmt.Sprint(err), c.reason) {
				t.Errorf("with that mirror alone: %v; want ErrUnavailable that mentions %q", err, c.reason)
			}
		})
	}
}

func TestDownloadUnreachable(t *testing.T) {
	shorten(t)
	s, files := tiny(t)
	url := serve(t, files, nil)
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close() // nothing listens there any more
	if _, err := s.load(context.Background(), []Option{CacheDir(t.TempDir()), SearchDirs(), Mirrors(gone.URL, url)}); err != nil {
		t.Errorf("the second mirror was not used: %v", err)
	}
	_, err := s.load(context.Background(), []Option{CacheDir(t.TempDir()), SearchDirs("/nowhere/at/all"), Mirrors(gone.URL)})
	for _, want := range []string{"/nowhere/at/all", gone.URL, EnvDir} {
		if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want ErrUnavailable that mentions %q", err, want)
		}
	}
}

func TestDownloadCancelled(t *testing.T) {
	shorten(t)
	s, files := tiny(t)
	ctx, cancel := context.WithCancel(context.Background())
	url := serve(t, files, func(w http.ResponseWriter, r *http.Request, b []byte) bool {
		w.Write(b[:5])
		w.(http.Flusher).Flush()
		cancel()
		<-r.Context().Done()
		return true
	})
	cache := t.TempDir()
	if _, err := s.load(ctx, []Option{CacheDir(cache), SearchDirs(), Mirrors(url)}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
	if left, _ := os.ReadDir(filepath.Join(cache, "mnist")); len(left) != 0 {
		t.Errorf("%d files left behind", len(left))
	}
}

// TestDownloadTogether: several at once in one cache.
func TestDownloadTogether(t *testing.T) {
	shorten(t)
	s, files := tiny(t)
	url, cache := serve(t, files, nil), t.TempDir()
	var wg sync.WaitGroup
	for range 5 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if set, err := s.load(context.Background(), []Option{CacheDir(cache), SearchDirs(), Mirrors(url)}); err != nil || set.Train.Len() != 30 {
				t.Errorf("%v", err)
			}
		}()
	}
	wg.Wait()
	if left, _ := os.ReadDir(filepath.Join(cache, "mnist")); len(left) != 4 {
		t.Errorf("%d files in the cache, want 4", len(left))
	}
}

func TestNamedFolder(t *testing.T) {
	shorten(t)
	s, files := tiny(t)
	url := serve(t, files, func(http.ResponseWriter, *http.Request, []byte) bool {
		t.Error("a download, though a folder was named")
		return false
	})
	put := func(dir, form string) {
		t.Helper()
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, f := range setFiles {
			a, err := ReadIDX(strings.NewReader(string(files["/"+f+".gz"])))
			if err != nil {
				t.Fatal(err)
			}
			name := f
			if strings.Contains(form, "dot") {
				name = strings.NewReplacer("-idx3", ".idx3", "-idx1", ".idx1").Replace(f)
			}
			if strings.Contains(form, "gz") {
				name += ".gz"
			}
			if err := WriteIDXFile(filepath.Join(dir, name), a); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, form := range []string{"plain", "gz", "dot", "dot gz"} {
		for _, sub := range []string{"", "MNIST/raw"} {
			dir := t.TempDir()
			put(filepath.Join(dir, sub), form)
			if _, err := s.load(context.Background(), []Option{Dir(dir), Mirrors(url)}); err != nil {
				t.Errorf("%s in %q: %v", form, sub, err)
			}
			t.Setenv(EnvDir, dir)
			if _, err := s.load(context.Background(), []Option{Mirrors(url)}); err != nil {
				t.Errorf("%s in %q by %s: %v", form, sub, EnvDir, err)
			}
			t.Setenv(EnvDir, "")
		}
	}
	lacking := t.TempDir()
	put(lacking, "plain")
	os.Remove(filepath.Join(lacking, setFiles[3]))
	for name, dir := range map[string]string{"lacking": lacking, "missing": filepath.Join(lacking, "nowhere"), "a file": filepath.Join(lacking, setFiles[0])} {
		_, err := s.load(context.Background(), []Option{Dir(dir), Mirrors(url)})
		if !errors.Is(err, ErrNotInDir) || errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: %v, want ErrNotInDir", name, err)
		}
		if name == "lacking" && !(strings.Contains(err.Error(), setFiles[3]) && strings.Contains(err.Error(), "it holds "+setFiles[2])) {
			t.Errorf("%v does not say what is lacking and what is there", err)
		}
	}
	// Another set of the same form is caught, and known sets by their names.
	whole := t.TempDir()
	put(whole, "gz")
	if _, err := fashionMNIST.load(context.Background(), []Option{Dir(whole)}); !errors.Is(err, ErrWrongContent) {
		t.Errorf("another set: %v, want ErrWrongContent", err)
	}
	if err := fashionMNIST.verify(0, mnist.sums[0], "x"); !strings.Contains(err.Error(), "training images of MNIST") {
		t.Errorf("%v does not call MNIST by its name", err)
	}
	if set, err := Open(whole); err != nil || set.Train.Len() != 30 || len(set.Train.Classes) != 10 {
		t.Errorf("Open: %v", err)
	}
}

func TestOpenErrors(t *testing.T) {
	write := func(trainImages, trainLabels *Array) string {
		dir := t.TempDir()
		test := SyntheticDigits(0, 4, 1).Test
		for i, a := range []*Array{trainImages, trainLabels, {[]int{4, 28, 28}, test.Images}, {[]int{4}, test.Labels}} {
			if err := WriteIDXFile(filepath.Join(dir, setFiles[i]), a); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	images := &Array{[]int{2, 28, 28}, make([]byte, 2*28*28)}
	for name, c := range map[string]struct {
		images, labels *Array
		want           string
	}{
		"counts differ":    {images, &Array{[]int{3}, []byte{1, 2, 3}}, "2 images, 3 labels"},
		"labels of int32":  {images, &Array{[]int{2}, []int32{1, 2}}, "labels of uint8"},
		"labels of rank 2": {images, &Array{[]int{2, 1}, []byte{1, 2}}, "1 dimension"},
		"images of rank 2": {&Array{[]int{2, 784}, make([]byte, 2*784)}, &Array{[]int{2}, []byte{1, 2}}, "3 or 4 dimensions"},
		"sizes differ":     {&Array{[]int{2, 14, 14}, make([]byte, 2*196)}, &Array{[]int{2}, []byte{1, 2}}, "training images of"},
	} {
		if _, err := Open(write(c.images, c.labels)); !errors.Is(err, ErrDataset) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want one that mentions %q", name, err, c.want)
		}
	}
}
