package cli

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"example.com/lenet5/data"
	"example.com/lenet5/lenet"
)

// one is a picture of the digit 1, dark on light, off the middle.
func one() image.Image {
	im := image.NewGray(image.Rect(0, 0, 200, 150))
	for y := range 150 {
		for x := range 200 {
			im.SetGray(x, y, color.Gray{250})
			if x >= 40 && x < 52 && y >= 20 && y < 120 {
				im.SetGray(x, y, color.Gray{10})
			}
		}
	}
	return im
}

func predict(stdin []byte, args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = Predict(context.Background(), args, bytes.NewReader(stdin), &out, &err)
	return code, out.String(), err.String()
}

func TestPredict(t *testing.T) {
	dir := t.TempDir()
	encode := func(name string, f func(*bytes.Buffer) error) []byte {
		t.Helper()
		var b bytes.Buffer
		if err := f(&b); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	pngFile := encode("a.png", func(b *bytes.Buffer) error { return png.Encode(b, one()) })
	encode("b.jpg", func(b *bytes.Buffer) error { return jpeg.Encode(b, one(), nil) })
	encode("c.gif", func(b *bytes.Buffer) error { return gif.Encode(b, one(), nil) })
	images := data.SyntheticDigits(0, 3, 1).Test
	idx := &data.Array{Shape: []int{3, 28, 28}, Data: images.Images}
	encode("d-idx3-ubyte", func(b *bytes.Buffer) error { return data.WriteIDX(b, idx) })
	if err := data.WriteIDXFile(filepath.Join(dir, "e.gz"), idx); err != nil {
		t.Fatal(err)
	}

	code, stdout, stderr := predict(nil, "-format", "csv", dir)
	if code != exitOK || stderr != "" {
		t.Fatalf("code %d: %s", code, stderr)
	}
	rows, err := csv.NewReader(strings.NewReader(stdout)).ReadAll()
	if err != nil || len(rows) != 1+3+3+3 || len(rows[0]) != 14 || rows[0][13] != "p9" {
		t.Fatalf("%d rows, %v: %s", len(rows), err, stdout)
	}
	for i, row := range rows[1:] {
		sum := 0.0
		for _, f := range row[4:] {
			v, err := strconv.ParseFloat(f, 64)
			if err != nil {
				t.Fatal(err)
			}
			sum += v
		}
		if sum < 0.999 || sum > 1.001 || row[2] != row[3] {
			t.Errorf("row %d: %q, the probabilities add up to %g", i, row, sum)
		}
		if i < 3 && row[2] != "1" {
			t.Errorf("%s is a 1, and was taken for %s", row[0], row[2])
		}
	}
	for i := 4; i < 7; i++ { // the compressed file holds the same images
		if a, b := strings.Join(rows[i][1:], ","), strings.Join(rows[i+3][1:], ","); a != b {
			t.Errorf("%s, and compressed %s", a, b)
		}
	}

	code, stdout, stderr = predict(pngFile, "-format", "json", "-")
	var found []finding
	if err := json.Unmarshal([]byte(stdout), &found); err != nil || code != exitOK || len(found) != 1 {
		t.Fatalf("code %d, %v: %s%s", code, err, stdout, stderr)
	}
	if f := found[0]; f.File != "standard input" || f.Name != "1" || len(f.Probabilities) != 10 {
		t.Errorf("%+v", f)
	}
	code, stdout, _ = predict(nil, filepath.Join(dir, "a.png"))
	if code != exitOK || !strings.Contains(stdout, "a.png  0      1      1     0.9") && !strings.Contains(stdout, "a.png  0      1      1     1.0") {
		t.Errorf("code %d: %s", code, stdout)
	}

	// A model of one's own, with names; pictures for it are not centred.
	net, err := lenet.New(lenet.ReLU(), lenet.ClassNames(strings.Split("abcdefghij", "")...))
	if err != nil {
		t.Fatal(err)
	}
	model := filepath.Join(t.TempDir(), "model.safetensors")
	if err := net.Save(model); err != nil {
		t.Fatal(err)
	}
	pixels, err := net.Pixels(one(), lenet.Invert())
	if err != nil {
		t.Fatal(err)
	}
	want, err := net.PredictBytes(pixels)
	if err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr = predict(pngFile, "-model", model, "-")
	if code != exitOK || !strings.Contains(stdout, want[0].Name) {
		t.Errorf("code %d, want %s: %s%s", code, want[0].Name, stdout, stderr)
	}
}

func TestPredictErrors(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text.png")
	if err := os.WriteFile(text, []byte("no picture"), 0o644); err != nil {
		t.Fatal(err)
	}
	good := filepath.Join(dir, "good.png")
	var b bytes.Buffer
	if err := png.Encode(&b, one()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(good, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	labels := filepath.Join(dir, "labels")
	if err := data.WriteIDXFile(labels, &data.Array{Shape: []int{3}, Data: []byte{1, 2, 3}}); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(dir, "empty")
	if err := os.Mkdir(empty, 0o755); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]struct {
		code int
		text string
	}{
		"":                       {exitUsage, "name the files"},
		"-format xml x":          {exitUsage, "table, csv and json"},
		"-invert maybe x":        {exitUsage, "-invert"},
		"-centre maybe x":        {exitUsage, "-centre"},
		"-threads -1 x":          {exitUsage, "-threads"},
		"-nonsense x":            {exitUsage, "nonsense"},
		"-model /nowhere x":      {exitFailure, "/nowhere"},
		"-model " + text + " x":  {exitFailure, "bad model file"},
		"-device tpu " + good:    {exitFailure, "tpu"},
		"/nowhere.png":           {exitFailure, "/nowhere.png"},
		text:                     {exitFailure, "want a PNG, JPEG or GIF picture"},
		labels:                   {exitFailure, "want images of 1 x 28x28"},
		empty:                    {exitFailure, "no files"},
		text + " " + good:        {exitFailure, "text.png"},
		"-format json " + labels: {exitFailure, "labels"},
	} {
		code, stdout, stderr := predict(nil, strings.Fields(line)...)
		if code != want.code || !strings.Contains(stderr, want.text) {
			t.Errorf("%s: code %d, want %d; stderr %q", line, code, want.code, stderr)
		}
		if strings.HasSuffix(line, good) && !strings.HasPrefix(line, "-device") && !strings.Contains(stdout, "good.png") {
			t.Errorf("%s: the file that can be read was left out: %s", line, stdout)
		}
	}
	if code, stdout, _ := predict(nil, "-h"); code != exitOK || !strings.Contains(stdout, "-model file") {
		t.Errorf("-h: code %d: %s", code, stdout)
	}
}
