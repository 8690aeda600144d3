// Package serve answers predictions over HTTP, and shows a page to try them.
//
//	POST /v1/predict      what images are: Content-Type image/* is one picture,
//	                      application/octet-stream n images of C*H*W bytes,
//	                      application/json {"images": [[0-255, ...], ...]}
//	POST /v1/activations  the same for one image, with what each layer makes of it
//	GET  /v1/model        what the network is
//	GET  /v1/examples     images to try
//	GET  /healthz         whether it is up
//	GET  /metrics         counters in the text form of Prometheus
//	GET  /                the page
package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"example.com/lenet5/internal/picture"
	"example.com/lenet5/lenet"
)

// Limits on what a client can ask for.
const (
	maxBody       = 8 << 20 // bytes
	maxPixels     = 1 << 24 // of a picture
	maxConcurrent = 512     // requests in progress
	maxMemory     = 1 << 29 // bytes that all of them together may take
	maxHeader     = 16 << 10
	headerTimeout = 5 * time.Second
	readTimeout   = 15 * time.Second
	writeTimeout  = 30 * time.Second
	idleTimeout   = 60 * time.Second
	shutdownTime  = 10 * time.Second
)

// A Server answers predictions of one network. Make one with [New], and close
// it in the end.
type Server struct {
	net     *lenet.Net
	shown   *lenet.Net // for activations, which are slow: they do not hold up predictions
	names   []string
	digits  bool // the classes are the ten digits
	batcher *batcher
	slots   chan struct{} // a token for each request in progress
	mux     *http.ServeMux
	metrics metrics
	memory  atomic.Int64 // that is reserved
}

// New makes a server of a network, which must not be trained meanwhile.
func New(net *lenet.Net) (*Server, error) {
	shown, err := net.Clone()
	if err != nil {
		return nil, err
	}
	s := &Server{
		net: net, shown: shown, batcher: newBatcher(net), slots: make(chan struct{}, maxConcurrent), mux: http.NewServeMux(),
		names: net.ClassNames(), digits: picture.Digits(net),
	}
	s.handle("POST", "/v1/predict", s.predict)
	s.handle("POST", "/v1/activations", s.activations)
	s.handle("GET", "/v1/model", s.model)
	s.handle("GET", "/v1/examples", s.examples)
	s.handle("GET", "/healthz", func(w http.ResponseWriter, _ *http.Request) error {
		return writeJSON(w, map[string]string{"status": "ok"})
	})
	s.handle("GET", "/metrics", s.writeMetrics)
	s.handle("GET", "/{$}", s.page)
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, problem(http.StatusNotFound, "there is nothing at %s; predictions are at POST /v1/predict", r.URL.Path))
	})
	return s, nil
}

// A reservation is the memory that a request takes, about.
type reservation struct {
	s     *Server
	bytes int64
}

func (s *Server) reserve() *reservation { return &reservation{s: s} }

// add takes more, or reports that there is none.
func (m *reservation) add(bytes int64) error {
	if m.s.memory.Add(bytes) > maxMemory {
		m.s.memory.Add(-bytes)
		return problem(http.StatusServiceUnavailable, "the requests in progress take all memory; try again")
	}
	m.bytes += bytes
	return nil
}

func (m *reservation) release() {
	m.s.memory.Add(-m.bytes)
	m.bytes = 0
}

// Close ends the work in the background.
func (s *Server) Close() { s.batcher.close() }

// A problemError is an answer other than 200.
type problemError struct {
	code int
	text string
}

func (p *problemError) Error() string { return p.text }

func problem(code int, format string, args ...any) error {
	return &problemError{code, fmt.Sprintf(format, args...)}
}

// handle routes a path, with other methods refused, requests counted, and
// errors answered.
func (s *Server) handle(method, path string, f func(http.ResponseWriter, *http.Request) error) {
	name := strings.TrimSuffix(path, "{$}")
	s.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		err := func() error {
			if r.Method != method && !(method == "GET" && r.Method == "HEAD") {
				w.Header().Set("Allow", method)
				return problem(http.StatusMethodNotAllowed, "%s takes %s, not %s", name, method, r.Method)
			}
			select {
			case s.slots <- struct{}{}:
				defer func() { <-s.slots }()
			default:
				return problem(http.StatusServiceUnavailable, "%d requests are in progress; try again", maxConcurrent)
			}
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
			return f(w, r)
		}()
		code := http.StatusOK
		if err != nil {
			code = s.fail(w, err)
		}
		s.metrics.count(name, code, time.Since(began))
	})
}

// fail answers an error as JSON, and returns its code.
func (s *Server) fail(w http.ResponseWriter, err error) int {
	code := http.StatusInternalServerError
	var p *problemError
	var tooLarge *http.MaxBytesError
	var timeout net.Error
	switch {
	case errors.As(err, &p):
		code = p.code
	case errors.As(err, &tooLarge):
		code, err = http.StatusRequestEntityTooLarge, fmt.Errorf("the body is larger than %d bytes", maxBody)
	case errors.Is(err, errClosed):
		code = http.StatusServiceUnavailable
	case errors.As(err, &timeout) && timeout.Timeout():
		code, err = http.StatusRequestTimeout, errors.New("the body did not arrive in time")
	case errors.Is(err, context.Canceled):
		code = 499 // the client has gone; nobody reads this
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if code == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(code)
	// A client that does not take the answer has gone.
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"code": code, "message": err.Error()}})
	return code
}

func writeJSON(w http.ResponseWriter, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return writeBody(w, "application/json", append(b, '\n'))
}

// writeBody writes an answer. That a client has gone is no error of ours.
func writeBody(w http.ResponseWriter, kind string, body []byte) error {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(body)
	return nil
}

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Run serves on a listener until ctx ends; then it lets the requests in
// progress finish, and returns nil.
func (s *Server) Run(ctx context.Context, l net.Listener, logger *log.Logger) error {
	h := &http.Server{
		Handler: s, ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader, ErrorLog: logger,
	}
	served := make(chan error, 1)
	go func() { served <- h.Serve(l) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.Background(), shutdownTime)
	defer cancel()
	if err := h.Shutdown(end); err != nil {
		return errors.Join(fmt.Errorf("some requests did not finish: %w", err), h.Close())
	}
	return nil
}
