package data

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Three kinds of failure are not tried again at the same mirror. All others
// are: a connection that breaks, or stalls, after the answer has begun.
type (
	// unreachableError: there was no answer at all.
	unreachableError struct{ error }
	// refusedError: the answer is not the file.
	refusedError struct{ error }
	// localError: the file cannot be written here.
	localError struct{ error }
)

func (e *unreachableError) Unwrap() error { return e.error }
func (e *refusedError) Unwrap() error     { return e.error }
func (e *localError) Unwrap() error       { return e.error }

// A fetch is the download of one file from one mirror.
type fetch struct {
	client   *http.Client
	url      string
	part     *partial
	limits   limits
	progress func(done, total int64)
	verify   func() error // the content of part

	etag    string // of the bytes from this mirror, if it is of use for ranges
	foreign bool   // part begins with bytes from another mirror or an earlier run
}

// run brings the file and verifies it. What it has when it fails stays in part,
// unless that is of no use.
func (f *fetch) run(ctx context.Context) error {
	f.foreign = f.part.have > 0
	for try := 0; ; try++ {
		err := f.attempt(ctx)
		if err == nil {
			if err = f.verify(); err == nil {
				return nil
			}
			// Of no use, neither here nor for the next mirror.
			if err := f.part.keep(0); err != nil {
				return err
			}
			if !f.foreign {
				return err
			}
			// The two pieces do not fit together; this mirror may still be good.
			f.foreign = false
			continue
		}
		var unreachable *unreachableError
		var refused *refusedError
		var local *localError
		if ctx.Err() != nil || errors.As(err, &unreachable) || errors.As(err, &refused) || errors.As(err, &local) || try >= f.limits.tries {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(f.limits.pause):
		}
	}
}

// attempt asks once for what part lacks, and appends it.
func (f *fetch) attempt(parent context.Context) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	watchdog := time.AfterFunc(f.limits.header, func() { cancel(fmt.Errorf("no answer within %v", f.limits.header)) })
	defer watchdog.Stop()
	resp, err := f.request(ctx)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	watchdog.Stop()

	total, err := f.accept(resp)
	if err != nil || f.part.have == total {
		return err
	}
	stall := time.AfterFunc(f.limits.stall, func() { cancel(fmt.Errorf("no data for %v", f.limits.stall)) })
	defer stall.Stop()
	body := bufio.NewReaderSize(resp.Body, 1<<16)
	if f.part.have == 0 {
		if err := sniff(body); err != nil {
			return err
		}
	}
	buf := make([]byte, 1<<16)
	for {
		n, err := body.Read(buf)
		if n > 0 {
			stall.Reset(f.limits.stall)
			if f.part.have+int64(n) > f.limits.size {
				_ = f.part.keep(0)
				return &refusedError{fmt.Errorf("want at most %d bytes, found more", f.limits.size)}
			}
			if _, err := f.part.file.Write(buf[:n]); err != nil {
				return &localError{err}
			}
			f.part.have += int64(n)
			f.progress(f.part.have, total)
		}
		switch {
		case err == io.EOF && total >= 0 && f.part.have != total:
			return fmt.Errorf("want %d bytes, found %d, then the end of the connection", total, f.part.have)
		case err == io.EOF:
			return nil
		case err != nil && context.Cause(ctx) != nil:
			return context.Cause(ctx)
		case err != nil:
			return fmt.Errorf("the connection broke after %s: %w", plural(f.part.have, "byte"), err)
		}
	}
}

func (f *fetch) request(ctx context.Context) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url, nil)
	if err != nil {
		return nil, &refusedError{err}
	}
	// The bytes as they lie there: no other encoding, or a range of them would
	// be one of something else.
	req.Header.Set("Accept-Encoding", "identity")
	if f.part.have > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", f.part.have))
		if f.etag != "" {
			req.Header.Set("If-Range", f.etag)
		}
	}
	resp, err := f.client.Do(req)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		var outer *url.Error
		if errors.As(err, &outer) { // it repeats the address
			err = outer.Err
		}
		return nil, &unreachableError{err}
	}
	return resp, nil
}

// accept looks at the head of an answer and sets part to where its body goes
// on. It returns the size of the whole file, -1 if that is not known.
func (f *fetch) accept(resp *http.Response) (total int64, err error) {
	have := f.part.have
	switch resp.StatusCode {
	case http.StatusOK: // everything, perhaps because ranges are not understood
		have, total = 0, resp.ContentLength
	case http.StatusPartialContent:
		first, last, size, ok := contentRange(resp.Header.Get("Content-Range"))
		if have == 0 || !ok || first != have || size >= 0 && last != size-1 || resp.ContentLength >= 0 && resp.ContentLength != last-first+1 {
			if err := f.part.keep(0); err != nil {
				return 0, err
			}
			if have == 0 {
				return 0, &refusedError{fmt.Errorf("the server answers %s to a request for the whole", resp.Status)}
			}
			return 0, fmt.Errorf("want bytes %d to the end, found Content-Range %q", have, resp.Header.Get("Content-Range"))
		}
		total = last + 1
	case http.StatusRequestedRangeNotSatisfiable:
		if _, _, size, ok := contentRange(resp.Header.Get("Content-Range")); ok && have > 0 && size == have {
			return have, nil // all of it is there already
		}
		if err := f.part.keep(0); err != nil {
			return 0, err
		}
		if have == 0 {
			return 0, &refusedError{fmt.Errorf("the server answers %s", resp.Status)}
		}
		return 0, fmt.Errorf("want bytes %d to the end, found %s", have, resp.Status)
	default:
		return 0, &refusedError{fmt.Errorf("the server answers %s", resp.Status)}
	}
	if total > f.limits.size {
		return 0, &refusedError{fmt.Errorf("want at most %d bytes, found %d announced", f.limits.size, total)}
	}
	if total == 0 {
		return 0, &refusedError{errors.New("the server sends an empty file")}
	}
	if f.etag = resp.Header.Get("ETag"); strings.HasPrefix(f.etag, "W/") {
		f.etag = "" // weak ones do not promise equal bytes
	}
	f.foreign = f.foreign && have > 0
	return total, f.part.keep(have)
}

// sniff looks at the first bytes of a file: it saves downloading what cannot
// be one, and names it.
func sniff(body *bufio.Reader) error {
	b, err := body.Peek(4)
	if err != nil || b[0] == 0x1f && b[1] == 0x8b || b[0] == 0 && b[1] == 0 {
		return nil // a read error shows again at the first read
	}
	start, _ := body.Peek(min(body.Buffered(), 512))
	kind, _, _ := strings.Cut(http.DetectContentType(start), ";")
	if kind == "text/html" {
		kind = "an HTML page"
	}
	return &refusedError{fmt.Errorf("want a gzip file, found %s", kind)}
}

// contentRange takes "bytes 5-9/10" apart, or "bytes */10", of which first and
// last are -1. An unknown size, *, is -1.
func contentRange(header string) (first, last, size int64, ok bool) {
	rest, ok := strings.CutPrefix(header, "bytes ")
	span, whole, cut := strings.Cut(rest, "/")
	if !ok || !cut {
		return 0, 0, 0, false
	}
	size = -1
	if whole != "*" {
		if size, ok = number(whole); !ok {
			return 0, 0, 0, false
		}
	}
	if span == "*" {
		return -1, -1, size, true
	}
	a, b, cut := strings.Cut(span, "-")
	first, ok = number(a)
	last, ok2 := number(b)
	if !cut || !ok || !ok2 || last < first || size >= 0 && last >= size {
		return 0, 0, 0, false
	}
	return first, last, size, true
}

// number reads decimal digits, nothing else.
func number(s string) (int64, bool) {
	if s == "" || len(s) > 18 {
		return 0, false
	}
	var n int64
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int64(c-'0')
	}
	return n, true
}
