package data

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Progress is the state of a download.
type Progress struct {
	File  string // the name of the file
	Done  int64  // bytes
	Total int64  // bytes, or -1 if the server does not say
}

// The limits of a download. They are variables for the tests.
var (
	stallTimeout  = 20 * time.Second // without a byte
	dialTimeout   = 4 * time.Second
	headerTimeout = 15 * time.Second
	retries       = 3 // attempts to go on with a broken download
)

// maxDownload bounds each of the four files, compressed: they take 26 MB at
// most.
const maxDownload = 64 << 20

func defaultClient() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DialContext = (&net.Dialer{Timeout: dialTimeout}).DialContext
	t.TLSHandshakeTimeout = dialTimeout
	t.DisableCompression = true // the bytes as they lie there
	return &http.Client{Transport: t}
}

// download brings the four files into dir, each from the first mirror that
// has it. It returns the failures of the mirrors if a file could not be had
// from any, and an error if going on makes no sense: ctx has ended, or the
// folder cannot be written.
func (s *source) download(ctx context.Context, dir string, o *options) (failures []string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return []string{"downloading: the cache directory cannot be made: " + err.Error()}, nil
	}
	client := o.client
	if client == nil {
		client = defaultClient()
	}
	if len(o.mirrors) == 0 {
		return []string{"downloading: no mirrors"}, nil
	}
	unreachable := map[string]bool{}
	for i, file := range setFiles {
		final := filepath.Join(dir, file+".gz")
		if s.verifyFile(i, final) == nil {
			continue // brought by an earlier attempt, or by another process
		}
		got := false
		for _, mirror := range o.mirrors {
			if unreachable[mirror] {
				continue
			}
			f := fetch{client: client, url: strings.TrimSuffix(mirror, "/") + "/" + file + ".gz", file: file + ".gz", dir: dir, progress: o.progress}
			err := f.run(ctx, final, func(path string) error { return s.verifyFile(i, path) })
			if err == nil {
				got = true
				break
			}
			if ctx.Err() != nil {
				return nil, fmt.Errorf("data: downloading %s: %w", f.url, ctx.Err())
			}
			var op *net.OpError
			if errors.As(err, &op) && op.Op == "dial" {
				unreachable[mirror] = true // no use trying it for the other files
			}
			failures = append(failures, fmt.Sprintf("%s: %v", f.url, err))
		}
		if !got {
			return failures, nil
		}
	}
	return nil, nil
}

// verifyFile checks the content of a compressed file.
func (s *source) verifyFile(i int, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := newSum()
	if _, err := readIDX(f, path, sum); err != nil {
		return err
	}
	return s.verify(i, fmt.Sprintf("%x", sum.Sum(nil)), path)
}

// A fetch is the download of one file from one mirror.
type fetch struct {
	client         *http.Client
	url, file, dir string
	progress       func(Progress)
	etag           string // of the bytes so far
}

// A statusError is an answer that is not the file.
type statusError struct{ text string }

func (e *statusError) Error() string { return e.text }

// run downloads into a temporary file of its own, so that two processes never
// write to the same one, verifies it, and renames it. A connection that breaks
// is taken up again where it ended, if the server can.
func (f *fetch) run(ctx context.Context, final string, verify func(path string) error) (err error) {
	tmp, err := os.CreateTemp(f.dir, "."+f.file+".*.part")
	if err != nil {
		return err
	}
	defer func() {
		tmp.Close()
		if err != nil {
			os.Remove(tmp.Name())
		}
	}()
	var gained int64
	for attempt := 0; ; attempt++ {
		before := gained
		if gained, err = f.attempt(ctx, tmp); err == nil {
			break
		}
		var status *statusError
		if ctx.Err() != nil || errors.As(err, &status) || attempt == retries || gained <= before {
			return err
		}
	}
	if err := verify(tmp.Name()); err != nil {
		return err
	}
	if err := tmp.Chmod(0o644); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), final)
}

// attempt asks for what tmp lacks and appends it. It returns the bytes that
// tmp then holds.
func (f *fetch) attempt(parent context.Context, tmp *os.File) (have int64, err error) {
	have, err = tmp.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	stalled := fmt.Errorf("no data for %v", stallTimeout)
	watchdog := time.AfterFunc(headerTimeout, func() { cancel(fmt.Errorf("no answer for %v", headerTimeout)) })
	defer watchdog.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url, nil)
	if err != nil {
		return have, err
	}
	if have > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", have))
		if f.etag != "" {
			req.Header.Set("If-Range", f.etag)
		}
	}
	resp, err := f.client.Do(req)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return have, cause
		}
		return have, err
	}
	defer resp.Body.Close()
	watchdog.Stop()
	watchdog = time.AfterFunc(stallTimeout, func() { cancel(stalled) })
	defer func() { watchdog.Stop() }()
	switch {
	case have > 0 && resp.StatusCode == http.StatusPartialContent && startsAt(resp.Header.Get("Content-Range"), have):
	case resp.StatusCode == http.StatusOK: // the whole file, perhaps because Range is ignored
		have = 0
	case have > 0 && (resp.StatusCode == http.StatusPartialContent || resp.StatusCode == http.StatusRequestedRangeNotSatisfiable):
		have = 0 // it cannot go on there; begin again
		if err = truncate(tmp, 0); err != nil {
			return have, err
		}
		return have, fmt.Errorf("the server cannot continue: %s, Content-Range %q", resp.Status, resp.Header.Get("Content-Range"))
	default:
		return have, &statusError{"the server answers " + resp.Status}
	}
	if err = truncate(tmp, have); err != nil {
		return have, err
	}
	f.etag = resp.Header.Get("ETag")
	if strings.HasPrefix(f.etag, "W/") {
		f.etag = "" // weak: of no use for ranges
	}
	total := int64(-1)
	if resp.ContentLength >= 0 {
		total = have + resp.ContentLength
	}
	if total > maxDownload {
		return have, &statusError{fmt.Sprintf("the server announces %d bytes; at most %d are taken", total, maxDownload)}
	}
	body := bufio.NewReaderSize(resp.Body, 1<<15)
	if have == 0 {
		if b, err := body.Peek(2); err == nil && (b[0] != 0x1f || b[1] != 0x8b) {
			start, _ := body.Peek(64)
			what := http.DetectContentType(start)
			if strings.HasPrefix(what, "text/html") {
				what = "an HTML page"
			}
			return have, &statusError{"want a gzip file, found " + what}
		}
	}
	buf := make([]byte, 1<<15)
	for {
		n, err := body.Read(buf)
		if n > 0 {
			watchdog.Reset(stallTimeout)
			if have += int64(n); have > maxDownload {
				return have, &statusError{fmt.Sprintf("more than %d bytes", maxDownload)}
			}
			if _, err := tmp.Write(buf[:n]); err != nil {
				return have, &statusError{err.Error()} // a full disk: another mirror will not help, nor a retry
			}
			if f.progress != nil {
				f.progress(Progress{f.file, have, total})
			}
		}
		switch {
		case err == io.EOF && total >= 0 && have != total:
			return have, fmt.Errorf("the connection ended after %d of %d bytes", have, total)
		case err == io.EOF:
			return have, nil
		case err != nil:
			if cause := context.Cause(ctx); cause != nil {
				return have, cause
			}
			return have, err
		}
	}
}

func truncate(f *os.File, size int64) error {
	if err := f.Truncate(size); err != nil {
		return err
	}
	_, err := f.Seek(size, io.SeekStart)
	return err
}

// startsAt reports whether a Content-Range header ("bytes 5-9/10") begins at
// offset.
func startsAt(header string, offset int64) bool {
	rest, ok := strings.CutPrefix(header, "bytes ")
	if !ok {
		return false
	}
	first, _, ok := strings.Cut(rest, "-")
	n, err := strconv.ParseInt(first, 10, 64)
	return ok && err == nil && n == offset
}
