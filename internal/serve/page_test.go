package serve

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// A browser is a headless Chromium, told what to do over its debugging pipe:
// messages of the DevTools protocol, JSON, each ended by a zero byte.
type browser struct {
	t       *testing.T
	out     *os.File
	in      *bufio.Reader
	id      int
	session string
}

func startBrowser(t *testing.T) *browser {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" || runtime.GOOS == "windows" {
		t.Skip("there is no Chromium to test the page in; on Debian: apt-get install chromium")
	}
	profile, err := os.MkdirTemp("", "lenet5-page")
	if err != nil {
		t.Fatal(err)
	}
	commands, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	in, answers, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(path, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--remote-debugging-pipe", "--user-data-dir="+profile, "about:blank")
	c.ExtraFiles = []*os.File{commands, answers} // 3 and 4
	if err := c.Start(); err != nil {
		t.Skipf("Chromium does not start: %v", err)
	}
	commands.Close()
	answers.Close()
	t.Cleanup(func() {
		out.Close() // Chromium ends when its pipe does
		timer := time.AfterFunc(5*time.Second, func() { c.Process.Kill() })
		c.Wait()
		timer.Stop()
		in.Close()
		// Its helpers may take a moment longer.
		for range 50 {
			if os.RemoveAll(profile) == nil {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
	})
	if err := in.SetReadDeadline(time.Now().Add(90 * time.Second)); err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t, out: out, in: bufio.NewReader(in)}
	target := b.call("Target.createTarget", map[string]any{"url": "about:blank"})
	attached := b.call("Target.attachToTarget", map[string]any{"targetId": target["targetId"], "flatten": true})
	b.session, _ = attached["sessionId"].(string)
	return b
}

// call sends a command, and returns its result.
func (b *browser) call(method string, params map[string]any) map[string]any {
	b.t.Helper()
	b.id++
	m := map[string]any{"id": b.id, "method": method, "params": params}
	if b.session != "" {
		m["sessionId"] = b.session
	}
	text, err := json.Marshal(m)
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.out.Write(append(text, 0)); err != nil {
		b.t.Fatalf("%s: %v", method, err)
	}
	for {
		text, err := b.in.ReadBytes(0)
		if err != nil {
			b.t.Fatalf("%s: %v", method, err)
		}
		var r struct {
			ID     int
			Result map[string]any
			Error  *struct{ Message string }
		}
		if err := json.Unmarshal(text[:len(text)-1], &r); err != nil {
			b.t.Fatal(err)
		}
		if r.ID != b.id { // an event
			continue
		}
		if r.Error != nil {
			b.t.Fatalf("%s: %s", method, r.Error.Message)
		}
		return r.Result
	}
}

// eval returns the value of an expression in the page.
func (b *browser) eval(expression string) any {
	b.t.Helper()
	r := b.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true})
	if e, ok := r["exceptionDetails"]; ok {
		b.t.Fatalf("%s: %v", expression, e)
	}
	result, _ := r["result"].(map[string]any)
	return result["value"]
}

// wait waits until an expression has a value.
func (b *browser) wait(expression string, want any) {
	b.t.Helper()
	var got any
	for range 800 {
		if got = b.eval(expression); got == want {
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	b.screenshot("failure", 1280, 1000)
	b.t.Fatalf("%s is %v, want %v", expression, got, want)
}

// draw moves the pointer, pressed, through points of the pad, whose sides are 1.
func (b *browser) draw(points ...[2]float64) {
	b.t.Helper()
	box, ok := b.eval(`(() => { const b = document.getElementById("pad").getBoundingClientRect(); return [b.left, b.top, b.width, b.height] })()`).([]any)
	if !ok || len(box) != 4 {
		b.t.Fatalf("where is the pad? %v", box)
	}
	f := func(i int) float64 { v, _ := box[i].(float64); return v }
	send := func(kind string, p [2]float64) {
		b.call("Input.dispatchMouseEvent", map[string]any{"type": kind, "x": f(0) + p[0]*f(2), "y": f(1) + p[1]*f(3), "button": "left", "buttons": 1, "clickCount": 1})
	}
	send("mousePressed", points[0])
	for i := 1; i < len(points); i++ {
		for step := 1; step <= 8; step++ {
			at := float64(step) / 8
			p, q := points[i-1], points[i]
			send("mouseMoved", [2]float64{p[0] + at*(q[0]-p[0]), p[1] + at*(q[1]-p[1])})
		}
	}
	send("mouseReleased", points[len(points)-1])
}

// screenshot keeps a picture of the page, if the environment variable
// LENET_SCREENSHOTS names a folder.
func (b *browser) screenshot(name string, width, height int) {
	b.t.Helper()
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600})
	if wide, _ := b.eval("document.documentElement.scrollWidth").(float64); int(wide) > width {
		b.t.Errorf("%s: the page is %g pixels wide in a window of %d", name, wide, width)
	}
	dir := os.Getenv("LENET_SCREENSHOTS")
	if dir == "" {
		return
	}
	r := b.call("Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": true})
	text, _ := r["data"].(string)
	png, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// A person draws digits, and reads the answer.
func TestPage(t *testing.T) {
	s, _ := newServer(t)
	b := startBrowser(t)
	addr, stop := start(t, s)
	defer stop()
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": 1280, "height": 1000, "deviceScaleFactor": 1, "mobile": false})
	b.call("Page.navigate", map[string]any{"url": "http://" + addr + "/"})
	b.wait(`document.querySelectorAll(".bar").length`, 10.0)
	b.wait(`document.querySelectorAll("#examples button").length`, 10.0)
	const answer = `(document.querySelector("#answer b")?.textContent ?? "")`
	b.wait(answer, "")
	for digit, points := range map[string][][2]float64{
		"1": {{0.5, 0.15}, {0.5, 0.85}},
		"7": {{0.25, 0.2}, {0.75, 0.2}, {0.45, 0.85}},
		"0": {{0.5, 0.15}, {0.3, 0.3}, {0.27, 0.5}, {0.3, 0.7}, {0.5, 0.85}, {0.7, 0.7}, {0.73, 0.5}, {0.7, 0.3}, {0.5, 0.15}},
	} {
		b.draw(points...)
		b.wait(answer, digit)
		b.wait(`document.querySelector(".bar.best span").textContent`, digit)
		b.wait(`document.querySelectorAll(".layer").length`, 8.0)
		b.eval(`document.getElementById("clear").click()`)
		b.wait(answer, "")
	}
	b.draw([2]float64{0.25, 0.2}, [2]float64{0.75, 0.2}, [2]float64{0.45, 0.85})
	b.wait(answer, "7")
	b.screenshot("desktop", 1280, 1000)
	b.screenshot("phone", 390, 844)
	// An example is drawn and answered, and drawing over it begins anew.
	for k := range 10 {
		b.eval(fmt.Sprintf(`document.querySelectorAll("#examples button")[%d].click()`, k))
		b.wait(answer+` === "" ? "" : "answered"`, "answered")
	}
	// A file that is no picture is refused in words.
	b.eval(`take(new File(["no picture"], "x.png", {type: "image/png"}))`)
	b.wait(`document.getElementById("message").textContent.includes("PNG, JPEG or GIF")`, true)
	b.draw([2]float64{0.5, 0.15}, [2]float64{0.5, 0.85})
	b.wait(answer, "1")
	b.wait(`document.getElementById("message").textContent`, "")
}
