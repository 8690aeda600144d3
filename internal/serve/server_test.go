package serve

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"log"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/lenet5/internal/pretrained"
	"example.com/lenet5/lenet"
)

func newServer(t testing.TB) (*Server, *lenet.Net) {
	t.Helper()
	n, err := pretrained.Digits()
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, n
}

func do(s http.Handler, method, path, kind string, body []byte) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, bytes.NewReader(body))
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

type answer struct {
	Predictions []struct {
		Class         int
		Name          string
		Probabilities []float64
	}
}

// seven is a picture of the digit, light on dark or dark on light.
func seven(light bool) image.Image {
	im := image.NewRGBA(image.Rect(0, 0, 120, 160))
	ground, pen := color.Color(color.Black), color.Color(color.White)
	if !light {
		ground, pen = pen, ground
	}
	for y := range 160 {
		for x := range 120 {
			im.Set(x, y, ground)
			bar := y >= 30 && y < 42 && x >= 25 && x < 95
			// A slanted stem below the right end of the bar.
			stem := y >= 30 && y < 135 && x >= 83-(y-30)/2 && x < 95-(y-30)/2
			if bar || stem {
				im.Set(x, y, pen)
			}
		}
	}
	return im
}

func noise(n int, seed uint64) []byte {
	rng := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n*784)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

func TestPredict(t *testing.T) {
	s, n := newServer(t)
	raw := noise(3, 1)
	want, err := n.PredictBytes(raw)
	if err != nil {
		t.Fatal(err)
	}
	numbers := make([][]int, 3)
	for i, b := range raw {
		numbers[i/784] = append(numbers[i/784], int(b))
	}
	body, err := json.Marshal(map[string]any{"images": numbers})
	if err != nil {
		t.Fatal(err)
	}
	for kind, body := range map[string][]byte{"application/octet-stream": raw, "application/json; charset=utf-8": body} {
		w := do(s, "POST", "/v1/predict", kind, body)
		var a answer
		if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || w.Code != 200 || len(a.Predictions) != 3 {
			t.Fatalf("%s: %d, %v: %s", kind, w.Code, err, w.Body)
		}
		for i, p := range a.Predictions {
			if p.Class != want[i].Class || p.Name != want[i].Name {
				t.Errorf("%s: image %d: %+v, want %+v", kind, i, p, want[i])
			}
			for k, v := range p.Probabilities {
				if math.Abs(v-float64(want[i].Probabilities[k])) > 1e-5 {
					t.Errorf("%s: image %d, class %d: %g, want %g", kind, i, k, v, want[i].Probabilities[k])
				}
			}
		}
	}
	var p, j, g bytes.Buffer
	if png.Encode(&p, seven(true)) != nil || jpeg.Encode(&j, seven(false), nil) != nil || gif.Encode(&g, seven(false), nil) != nil {
		t.Fatal("encoding")
	}
	for kind, body := range map[string][]byte{"image/png": p.Bytes(), "image/jpeg": j.Bytes(), "image/gif": g.Bytes(), "image/unknown": p.Bytes()} {
		w := do(s, "POST", "/v1/predict", kind, body)
		if w.Code != 200 || !strings.HasPrefix(w.Body.String(), `{"predictions":[{"class":7,"name":"7","probabilities":[`) {
			t.Errorf("%s: %d: %s", kind, w.Code, w.Body)
		}
	}
	if w := do(s, "POST", "/v1/predict?invert=yes&centre=no", "image/png", p.Bytes()); w.Code != 200 || strings.Contains(w.Body.String(), `"class":7`) {
		t.Errorf("inverted wrongly, it is still a seven: %s", w.Body)
	}
}

func TestBadRequests(t *testing.T) {
	s, _ := newServer(t)
	image784 := "[" + strings.Repeat("0,", 783) + "0]"
	var bomb bytes.Buffer // a picture that claims to be huge
	if err := png.Encode(&bomb, image.NewGray(image.Rect(0, 0, 1, 1))); err != nil {
		t.Fatal(err)
	}
	huge := bytes.Clone(bomb.Bytes())
	copy(huge[16:], []byte{0, 0, 0x80, 0, 0, 0, 0x80, 0})
	for _, c := range []struct {
		method, path, kind, body string
		code                     int
		text                     string
	}{
		{"GET", "/v1/predict", "", "", 405, "POST"},
		{"DELETE", "/", "", "", 405, "GET"},
		{"GET", "/nothing", "", "", 404, "/nothing"},
		{"POST", "/v1/predict", "", "x", 415, "Content-Type"},
		{"POST", "/v1/predict", "text/plain", "x", 415, "text/plain"},
		{"POST", "/v1/predict", "image/", "x", 415, "image/"},
		{"POST", "/v1/predict", "application/octet-stream", "", 400, "784 bytes"},
		{"POST", "/v1/predict", "application/octet-stream", strings.Repeat("x", 785), 400, "found 785"},
		{"POST", "/v1/predict", "application/octet-stream", strings.Repeat("x", maxBody+1), 413, "larger"},
		{"POST", "/v1/predict", "image/png", "no picture", 400, "PNG, JPEG or GIF"},
		{"POST", "/v1/predict", "image/png", bomb.String()[:40], 400, "picture"},
		{"POST", "/v1/predict", "image/png", string(huge), 400, "picture"},
		{"POST", "/v1/predict?invert=perhaps", "image/png", bomb.String(), 400, "invert"},
		{"POST", "/v1/predict", "application/json", "", 400, "images"},
		{"POST", "/v1/predict", "application/json", "{}", 400, "at least one"},
		{"POST", "/v1/predict", "application/json", `{"images":[]}`, 400, "at least one"},
		{"POST", "/v1/predict", "application/json", `{"images":[[1,2]]}`, 400, "want 784 numbers, found 2"},
		{"POST", "/v1/predict", "application/json", `{"images":[` + strings.Replace(image784, "0", "256", 1) + `]}`, 400, "found 256"},
		{"POST", "/v1/predict", "application/json", `{"images":[` + strings.Replace(image784, "0", "-1", 1) + `]}`, 400, "found -1"},
		{"POST", "/v1/predict", "application/json", `{"images":[` + strings.Replace(image784, "0", `"a"`, 1) + `]}`, 400, "string"},
		{"POST", "/v1/predict", "application/json", `{"pictures":[]}`, 400, "pictures"},
		{"POST", "/v1/predict", "application/json", `{"images":[` + image784 + `]}{}`, 400, "more after"},
		{"POST", "/v1/predict", "application/json", strings.Repeat("[", 100000), 400, "images"},
		{"POST", "/v1/activations", "application/octet-stream", strings.Repeat("x", 1568), 400, "want one image, found 2"},
	} {
		w := do(s, c.method, c.path, c.kind, []byte(c.body))
		var e struct {
			Error struct {
				Code    int
				Message string
			}
		}
		if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || w.Code != c.code || e.Error.Code != c.code || !strings.Contains(e.Error.Message, c.text) {
			t.Errorf("%s %s %s %.40q: %d, %v: %s; want %d, %q", c.method, c.path, c.kind, c.body, w.Code, err, w.Body, c.code, c.text)
		}
		if w.Code == 405 && w.Header().Get("Allow") == "" {
			t.Error("405 without Allow")
		}
	}
}

// What the requests in progress may take together is bounded, and given back.
func TestMemory(t *testing.T) {
	s, _ := newServer(t)
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 4000, 4000))); err != nil {
		t.Fatal(err)
	}
	if w := do(s, "POST", "/v1/predict", "image/png", b.Bytes()); w.Code != 200 {
		t.Errorf("a large picture: %d %s", w.Code, w.Body)
	}
	other := s.reserve()
	if err := other.add(maxMemory - 100<<20); err != nil {
		t.Fatal(err)
	}
	if w := do(s, "POST", "/v1/predict", "image/png", b.Bytes()); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "memory") {
		t.Errorf("without memory: %d %s", w.Code, w.Body)
	}
	if w := do(s, "POST", "/v1/predict", "application/octet-stream", noise(1, 1)); w.Code != 200 {
		t.Errorf("a small request: %d %s", w.Code, w.Body)
	}
	if err := other.add(100 << 20); err != nil {
		t.Fatal(err)
	}
	if w := do(s, "POST", "/v1/predict", "application/octet-stream", noise(1, 1)); w.Code != http.StatusServiceUnavailable {
		t.Errorf("a small request without memory: %d %s", w.Code, w.Body)
	}
	other.release()
	if n := s.memory.Load(); n != 0 {
		t.Errorf("%d bytes are still reserved", n)
	}
}

func TestActivations(t *testing.T) {
	s, n := newServer(t)
	w := do(s, "POST", "/v1/activations", "application/octet-stream", noise(1, 2))
	var a struct {
		Prediction struct{ Class int }
		Image      []byte
		Layers     []layer
	}
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || w.Code != 200 {
		t.Fatalf("%d, %v: %s", w.Code, err, w.Body)
	}
	if !bytes.Equal(a.Image, noise(1, 2)) || len(a.Layers) != len(n.Shapes())-1 {
		t.Errorf("%d layers", len(a.Layers))
	}
	for _, l := range a.Layers {
		if len(l.Values) != l.Channels*l.Height*l.Width || slices.Max(l.Values) != 255 || slices.Min(l.Values) != 0 {
			t.Errorf("%s: %d values for %dx%dx%d", l.Name, len(l.Values), l.Height, l.Width, l.Channels)
		}
	}
	last := a.Layers[len(a.Layers)-1].Values
	if last[a.Prediction.Class] != 255 {
		t.Errorf("class %d does not have the largest output, %v", a.Prediction.Class, last)
	}
}

func TestPages(t *testing.T) {
	s, _ := newServer(t)
	for path, want := range map[string]string{
		"/": "<canvas id=\"pad\"", "/healthz": `{"status":"ok"}`, "/v1/model": `"parameters":61706`, "/v1/examples": `"height":28`,
	} {
		if w := do(s, "GET", path, "", nil); w.Code != 200 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d: %.200s", path, w.Code, w.Body)
		}
	}
	do(s, "POST", "/v1/predict", "application/octet-stream", noise(5, 1))
	do(s, "POST", "/v1/predict", "application/octet-stream", nil)
	w := do(s, "GET", "/metrics", "", nil)
	for _, want := range []string{
		`lenet5_requests_total{path="/v1/predict",code="200"} 1`, `lenet5_requests_total{path="/v1/predict",code="400"} 1`,
		`lenet5_request_seconds_count{path="/v1/predict"} 2`, `le="+Inf"} 2`, "lenet5_images_total 5\n", "lenet5_requests_in_progress 1\n",
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("the metrics lack %q: %s", want, w.Body)
		}
	}
}

// start runs the server on a free port, until the returned function is called.
func start(t testing.TB, s *Server) (addr string, stop func() error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, l, log.New(io.Discard, "", 0)) }()
	return l.Addr().String(), func() error { cancel(); return <-done }
}

// Requests at once are answered each with its own predictions.
func TestConcurrent(t *testing.T) {
	s, n := newServer(t)
	addr, stop := start(t, s)
	var wg sync.WaitGroup
	for c := range 16 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 20 {
				images := noise(1+(c+i)%5, uint64(100*c+i))
				want, err := n.PredictBytes(images)
				if err != nil {
					t.Error(err)
					return
				}
				r, err := http.Post("http://"+addr+"/v1/predict", "application/octet-stream", bytes.NewReader(images))
				if err != nil {
					t.Error(err)
					return
				}
				var a answer
				err = json.NewDecoder(r.Body).Decode(&a)
				r.Body.Close()
				if err != nil || len(a.Predictions) != len(want) {
					t.Errorf("%v, %d predictions for %d images", err, len(a.Predictions), len(want))
					return
				}
				for k, p := range a.Predictions {
					if p.Class != want[k].Class || math.Abs(p.Probabilities[p.Class]-float64(want[k].Probabilities[p.Class])) > 1e-5 {
						t.Errorf("client %d, request %d, image %d: %+v, want %+v", c, i, k, p, want[k])
					}
				}
			}
		}()
	}
	wg.Wait()
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// A request in progress is answered when the server shuts down; then nothing
// is left running.
func TestShutdown(t *testing.T) {
	before := runtime.NumGoroutine()
	s, _ := newServer(t)
	addr, stop := start(t, s)
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	images := noise(1, 1)
	fmt.Fprintf(c, "POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\nContent-Length: 784\r\n\r\n%s", images[:300])
	time.Sleep(50 * time.Millisecond)
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	time.Sleep(50 * time.Millisecond)
	if _, err := c.Write(images[300:]); err != nil {
		t.Fatal(err)
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || r.StatusCode != 200 {
		t.Errorf("the request in progress: %v, %+v", err, r)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	s.Close()
	for range 50 {
		if runtime.NumGoroutine() <= before+2 { // the engine's crew stays
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if n := runtime.NumGoroutine(); n > before+2 {
		t.Errorf("%d goroutines are left, of %d before", n, before)
	}
	if w := do(s, "POST", "/v1/predict", "application/octet-stream", images); w.Code != http.StatusServiceUnavailable {
		t.Errorf("after closing: %d", w.Code)
	}
}

// BenchmarkServe is the load of 64 connections that each send one image after
// the other over the loopback; every answer is compared.
func BenchmarkServe(b *testing.B) {
	for _, connections := range []int{1, 64} {
		b.Run(fmt.Sprintf("connections=%d", connections), func(b *testing.B) {
			s, n := newServer(b)
			addr, stop := start(b, s)
			defer stop()
			images := noise(64, 1)
			var want [64]string
			for i := range want {
				p, err := n.PredictBytes(images[i*784:][:784])
				if err != nil {
					b.Fatal(err)
				}
				want[i] = fmt.Sprintf(`{"predictions":[{"class":%d,`, p[0].Class)
			}
			times := make([]time.Duration, b.N)
			var wg sync.WaitGroup
			b.ResetTimer()
			for c := range connections {
				wg.Add(1)
				go func() {
					defer wg.Done()
					conn, err := net.Dial("tcp", addr)
					if err != nil {
						b.Error(err)
						return
					}
					defer conn.Close()
					in := bufio.NewReader(conn)
					head := "POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\nContent-Length: 784\r\n\r\n"
					for i := c; i < b.N; i += connections {
						k := i % 64
						began := time.Now()
						if _, err := conn.Write(append([]byte(head), images[k*784:][:784]...)); err != nil {
							b.Error(err)
							return
						}
						body, err := readAnswer(in)
						if err != nil || !strings.HasPrefix(body, want[k]) {
							b.Errorf("request %d: %v, %.80s, want %s", i, err, body, want[k])
							return
						}
						times[i] = time.Since(began)
					}
				}()
			}
			wg.Wait()
			b.StopTimer()
			slices.Sort(times)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
			b.ReportMetric(float64(times[len(times)/2].Nanoseconds())/1000, "p50-us")
			b.ReportMetric(float64(times[len(times)*99/100].Nanoseconds())/1000, "p99-us")
		})
	}
}

// readAnswer reads an HTTP response with a Content-Length.
func readAnswer(in *bufio.Reader) (string, error) {
	length := 0
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return "", err
		}
		if line == "\r\n" {
			break
		}
		fmt.Sscanf(line, "Content-Length: %d", &length)
	}
	body := make([]byte, length)
	_, err := io.ReadFull(in, body)
	return string(body), err
}
