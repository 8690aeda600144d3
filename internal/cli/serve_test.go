package cli

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// lockedBuffer is a writer that may be read meanwhile.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestServe(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var out, errs lockedBuffer
	code := make(chan int, 1)
	go func() { code <- Serve(ctx, []string{"-addr", "127.0.0.1:0"}, &out, &errs) }()
	address := regexp.MustCompile(`http://\S+`)
	var url string
	for range 200 {
		if url = address.FindString(out.String()); url != "" {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	r, err := http.Get(url + "/healthz")
	if err != nil {
		t.Fatalf("%v: %s%s", err, out.String(), errs.String())
	}
	body, err := io.ReadAll(r.Body)
	r.Body.Close()
	if err != nil || string(body) != "{\"status\":\"ok\"}\n" {
		t.Errorf("%q, %v", body, err)
	}
	cancel()
	if c := <-code; c != exitOK || !strings.HasSuffix(out.String(), "stopped\n") {
		t.Errorf("code %d: %s%s", c, out.String(), errs.String())
	}
}

func TestServeErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("no model, but a text"), 0o644); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]struct {
		code int
		text string
	}{
		"-nonsense":                      {exitUsage, "nonsense"},
		"stray":                          {exitUsage, "stray"},
		"-threads -2":                    {exitUsage, "-threads"},
		"-model /nowhere":                {exitFailure, "/nowhere"},
		"-model " + text:                 {exitFailure, "bad model file"},
		"-device tpu":                    {exitFailure, "tpu"},
		"-addr " + taken.Addr().String(): {exitFailure, "in use"},
		"-addr nonsense":                 {exitFailure, "-addr"},
	} {
		var out, errs lockedBuffer
		if code := Serve(context.Background(), strings.Fields(line), &out, &errs); code != want.code || !strings.Contains(errs.String(), want.text) {
			t.Errorf("%s: code %d, want %d: %s", line, code, want.code, errs.String())
		}
	}
	var out, errs lockedBuffer
	if code := Serve(context.Background(), []string{"-h"}, &out, &errs); code != exitOK || !strings.Contains(out.String(), "POST /v1/predict") {
		t.Errorf("-h: code %d: %s", code, out.String())
	}
}
