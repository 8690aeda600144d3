package serve

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestSoak mixes good requests with malformed, oversized, slow and broken-off
// ones, and looks at memory and goroutines. The environment variable LENET_SOAK
// makes it longer: 60s, say.
func TestSoak(t *testing.T) {
	length := 1500 * time.Millisecond
	if text := os.Getenv("LENET_SOAK"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	before := runtime.NumGoroutine()
	s, n := newServer(t)
	addr, stop := start(t, s)
	url := "http://" + addr + "/v1/predict"
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	client := &http.Client{Transport: transport}
	end := time.Now().Add(length)
	var good, bad atomic.Int64
	var wg sync.WaitGroup
	loop := func(count int, f func(i int)) {
		for range count {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for i := 0; time.Now().Before(end); i++ {
					f(i)
				}
			}()
		}
	}
	image := noise(1, 5)
	p, err := n.PredictBytes(image)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`{"predictions":[{"class":%d,`, p[0].Class)
	loop(8, func(int) {
		r, err := client.Post(url, "application/octet-stream", bytes.NewReader(image))
		if err != nil {
			t.Error(err)
			return
		}
		body, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil || r.StatusCode != 200 || !strings.HasPrefix(string(body), want) {
			t.Errorf("%d, %v: %.100s", r.StatusCode, err, body)
		}
		good.Add(1)
	})
	bodies := []struct{ kind, body string }{
		{"application/json", `{"images":[[`}, {"application/json", strings.Repeat("[", 5000)}, {"image/png", "\x89PNG\r\n\x1a\n" + strings.Repeat("x", 100)},
		{"text/plain", "x"}, {"application/octet-stream", strings.Repeat("x", 1000)}, {"application/octet-stream", strings.Repeat("x", maxBody+10)},
	}
	loop(4, func(i int) {
		c := bodies[i%len(bodies)]
		r, err := client.Post(url, c.kind, strings.NewReader(c.body))
		if err != nil { // a body that is too large may find the connection closed
			return
		}
		io.Copy(io.Discard, r.Body)
		r.Body.Close()
		if r.StatusCode < 400 || r.StatusCode > 499 {
			t.Errorf("%s %.20q: %d", c.kind, c.body, r.StatusCode)
		}
		bad.Add(1)
	})
	loop(6, func(i int) {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		switch i % 3 {
		case 0: // rubbish
			c.Write([]byte("\x16\x03\x01 what is this\r\n\r\n"))
			bufio.NewReader(c).ReadString('\n')
		case 1: // breaks off in the body
			fmt.Fprintf(c, "POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\nContent-Length: 784\r\n\r\nhalf")
		case 2: // sends a byte now and then
			fmt.Fprint(c, "POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 5000000\r\n\r\n")
			for k := 0; k < 20 && time.Now().Before(end); k++ {
				time.Sleep(20 * time.Millisecond)
				if _, err := c.Write([]byte("x")); err != nil {
					break
				}
			}
		}
		bad.Add(1)
	})
	var heap []uint64
	for time.Now().Before(end) {
		time.Sleep(length / 6)
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		heap = append(heap, m.HeapAlloc>>10)
	}
	wg.Wait()
	transport.CloseIdleConnections()
	if err := stop(); err != nil {
		t.Error(err)
	}
	s.Close()
	t.Logf("%d good and %d bad requests in %v; heap in KB over time: %v", good.Load(), bad.Load(), length, heap)
	if first, last := heap[0], heap[len(heap)-1]; last > 2*first+32<<10 {
		t.Errorf("the heap grows: %v KB", heap)
	}
	for range 100 {
		if runtime.NumGoroutine() <= before+2 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if now := runtime.NumGoroutine(); now > before+2 {
		t.Errorf("%d goroutines are left, of %d before", now, before)
	}
	if good.Load() == 0 || bad.Load() == 0 {
		t.Error("nothing was tested")
	}
}
