package data

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Progress is the state of a download.
type Progress struct {
	File  string // the name of the file
	Part  int    // which of the set's files it is, from 1
	Parts int    // how many there are
	Done  int64  // bytes of it that are there, those of an earlier attempt included
	Total int64  // bytes in all, or -1 if the server does not say
}

// newClient makes a client that gives up soon where there is no network.
func newClient(l limits) *http.Client {
	t, ok := http.DefaultTransport.(*http.Transport)
	if !ok { // somebody replaced it
		return &http.Client{}
	}
	t = t.Clone()
	t.DialContext = (&net.Dialer{Timeout: l.dial}).DialContext
	t.TLSHandshakeTimeout = l.dial
	return &http.Client{Transport: t}
}

// download brings what dir lacks of the four files, each from the first mirror
// that has it. It returns the mirrors that gave something, nil if a file could
// be had from none; what failed; and an error if going on makes no sense:
// ctx has ended.
func (s *source) download(ctx context.Context, dir string, o *options) (from []string, failed []Attempt, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, []Attempt{{dir, "cannot be made to download to: " + err.Error()}}, nil
	}
	if len(o.mirrors) == 0 {
		return nil, []Attempt{{"download", "no mirror is known"}}, nil
	}
	client := o.client
	if client == nil {
		client = newClient(o.limits)
		defer client.CloseIdleConnections()
	}
	sweep(dir)
	from = []string{}
	mirrors := slices.Clone(o.mirrors)
	for part, file := range partFiles {
		if s.has(dir, part) {
			continue // from an earlier attempt, or another process
		}
		tried, used, err := s.downloadPart(ctx, client, dir, part, &mirrors, o)
		failed = append(failed, tried...)
		if err != nil {
			return nil, failed, fmt.Errorf("data: downloading %s of %s: %w", file+".gz", s.name, err)
		}
		if used == "" {
			return nil, failed, nil
		}
		if !slices.Contains(from, used) {
			from = append(from, used)
		}
	}
	return from, failed, nil
}

// has reports whether a folder holds a part, with the right content.
func (s *source) has(dir string, part int) bool {
	found, err := scan(dir)
	if err != nil || found[""] == nil {
		return false
	}
	return slices.ContainsFunc(found[""][part], func(path string) bool { return s.verifyFile(part, path) == nil })
}

// downloadPart tries the mirrors in turn, and takes those that cannot be
// reached off the list, so that a machine without network is not asked to wait
// for them four times. It returns the mirror that had the file, "" if none.
func (s *source) downloadPart(ctx context.Context, client *http.Client, dir string, part int, mirrors *[]string, o *options) (failed []Attempt, used string, err error) {
	name := partFiles[part] + ".gz"
	p, err := claim(dir, name)
	if err != nil {
		return []Attempt{{dir, "cannot be written to: " + err.Error()}}, "", nil
	}
	defer p.release()
	for _, mirror := range slices.Clone(*mirrors) {
		f := fetch{
			client: client,
			url:    strings.TrimSuffix(mirror, "/") + "/" + name,
			part:   p,
			limits: o.limits,
			verify: func() error { return s.verifyFile(part, p.file.Name()) },
		}
		f.progress = func(done, total int64) {
			if o.progress != nil {
				o.progress(Progress{File: name, Part: part + 1, Parts: len(partFiles), Done: done, Total: total})
			}
		}
		err := f.run(ctx)
		if err == nil {
			err = p.install(filepath.Join(dir, name))
			if err == nil || s.has(dir, part) { // another process was faster, and holds it open
				return failed, mirror, nil
			}
			return append(failed, Attempt{dir, "cannot be written to: " + err.Error()}), "", nil
		}
		if cause := ctx.Err(); cause != nil {
			return failed, "", cause
		}
		failed = append(failed, Attempt{f.url, err.Error()})
		var local *localError
		if errors.As(err, &local) { // the disk is full, say: another mirror does not help
			return failed, "", nil
		}
		var unreachable *unreachableError
		if errors.As(err, &unreachable) {
			*mirrors = slices.DeleteFunc(*mirrors, func(m string) bool { return m == mirror })
		}
	}
	return failed, "", nil
}

// A partial is a file on its way. It belongs to one process, under a name of
// its own, so several that download the same file at once do not meet; what
// one leaves behind, the next one takes over by renaming it, which only one
// can.
type partial struct {
	file  *os.File
	have  int64  // bytes that are there
	left  string // where it is left for others
	whole bool   // it was installed: there is nothing to leave
}

// claim makes a partial file for dir/name, or takes over one that was left.
func claim(dir, name string) (*partial, error) {
	p := &partial{left: filepath.Join(dir, "."+name+".partial")}
	tmp, err := os.CreateTemp(dir, "."+name+".*.part")
	if err != nil {
		return nil, err
	}
	tmp.Close()
	_ = os.Rename(p.left, tmp.Name()) // mostly there is none
	p.file, err = os.OpenFile(tmp.Name(), os.O_RDWR, 0o644)
	if err != nil {
		os.Remove(tmp.Name())
		return nil, err
	}
	if p.have, err = p.file.Seek(0, io.SeekEnd); err != nil {
		p.have = 0 // then it is begun anew
	}
	return p, nil
}

// keep cuts the file to its first n bytes and goes on behind them.
func (p *partial) keep(n int64) error {
	p.have = 0
	if err := p.file.Truncate(n); err != nil {
		return &localError{err}
	}
	if _, err := p.file.Seek(n, io.SeekStart); err != nil {
		return &localError{err}
	}
	p.have = n
	return nil
}

// install gives the file its name.
func (p *partial) install(path string) error {
	if err := p.file.Chmod(0o644); err != nil { // CreateTemp makes it for the owner only
		return err
	}
	if err := p.file.Close(); err != nil {
		return err
	}
	if err := os.Rename(p.file.Name(), path); err != nil {
		return err
	}
	p.whole = true
	return nil
}

// release leaves what is there for a later attempt, unless one that is longer
// has been left already.
func (p *partial) release() {
	if p.whole {
		return
	}
	p.file.Close()
	other, err := os.Stat(p.left)
	if p.have == 0 || err == nil && other.Size() >= p.have || os.Rename(p.file.Name(), p.left) != nil {
		os.Remove(p.file.Name())
	}
}

// sweep removes files that killed processes left behind long ago. They are not
// taken over: a process that was only stopped would go on writing to them.
func sweep(dir string) {
	paths, _ := filepath.Glob(filepath.Join(dir, ".*.part"))
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil && time.Since(info.ModTime()) > 24*time.Hour {
			os.Remove(path)
		}
	}
}
