package serve

import (
	"bytes"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"example.com/lenet5/data"
	"example.com/lenet5/internal/picture"
)

// A buffer is memory for a body, or an answer, used again and again.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func put(b *bytes.Buffer) {
	if b.Cap() <= 1<<20 { // a large one is not kept
		b.Reset()
		buffers.Put(b)
	}
}

func get() *bytes.Buffer {
	b, _ := buffers.Get().(*bytes.Buffer)
	return b
}

// images reads the images of a request into b, within the memory that there is
// for it.
func (s *Server) images(b *bytes.Buffer, r *http.Request, m *reservation) ([]byte, error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return nil, problem(http.StatusUnsupportedMediaType, "want a Content-Type of image/*, application/octet-stream or application/json, found %q", r.Header.Get("Content-Type"))
	}
	if n := r.ContentLength; n > maxBody {
		return nil, problem(http.StatusRequestEntityTooLarge, "the body of %d bytes is larger than %d", n, maxBody)
	} else {
		if n < 0 {
			n = maxBody // it is not known
		}
		if kind == "application/json" {
			n *= 6 // the numbers take more than their text
		}
		if err := m.add(n); err != nil {
			return nil, err
		}
		b.Grow(int(min(max(r.ContentLength, 0)+bytes.MinRead, 1<<20)))
	}
	if _, err := b.ReadFrom(r.Body); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, problem(http.StatusBadRequest, "the body ends after %d bytes", b.Len())
		}
		return nil, err
	}
	size := s.net.Config().Input.Size()
	switch {
	case kind == "application/octet-stream":
		if b.Len() == 0 || b.Len()%size != 0 {
			return nil, problem(http.StatusBadRequest, "want images of %d bytes each, found %d bytes", size, b.Len())
		}
		return b.Bytes(), nil
	case kind == "application/json":
		return fromJSON(b.Bytes(), size)
	case strings.HasPrefix(kind, "image/"):
		return s.picture(b.Bytes(), r, m)
	}
	return nil, problem(http.StatusUnsupportedMediaType, "want a Content-Type of image/*, application/octet-stream or application/json, found %q", kind)
}

// fromJSON reads {"images": [[...], ...]}.
func fromJSON(body []byte, size int) ([]byte, error) {
	var request struct {
		Images [][]float64 `json:"images"`
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&request); err != nil {
		return nil, problem(http.StatusBadRequest, `want {"images": [[%d numbers from 0 to 255], ...]}: %v`, size, err)
	}
	if d.More() {
		return nil, problem(http.StatusBadRequest, "want one JSON object, found more after it")
	}
	if len(request.Images) == 0 {
		return nil, problem(http.StatusBadRequest, `want at least one image in "images"`)
	}
	out := make([]byte, 0, len(request.Images)*size)
	for i, im := range request.Images {
		if len(im) != size {
			return nil, problem(http.StatusBadRequest, "image %d: want %d numbers, found %d", i, size, len(im))
		}
		for k, v := range im {
			if !(v >= 0 && v <= 255) {
				return nil, problem(http.StatusBadRequest, "image %d, number %d: want 0 to 255, found %g", i, k, v)
			}
			out = append(out, byte(math.Round(v)))
		}
	}
	return out, nil
}

// picture decodes a picture. The query parameters invert and centre are auto,
// yes or no.
func (s *Server) picture(body []byte, r *http.Request, m *reservation) ([]byte, error) {
	h := picture.Handling{Invert: r.URL.Query().Get("invert"), Centre: r.URL.Query().Get("centre")}
	if err := h.Validate(); err != nil {
		return nil, problem(http.StatusBadRequest, "%v", err)
	}
	pixels, err := picture.Pixels(s.net, body, h, func(pixels int) error {
		if pixels > maxPixels {
			return fmt.Errorf("there can be %d in all", maxPixels)
		}
		return m.add(int64(pixels) * picture.BytesPerPixel)
	})
	var busy *problemError
	if errors.As(err, &busy) {
		return nil, busy
	}
	if err != nil {
		return nil, problem(http.StatusBadRequest, "%v", err)
	}
	return pixels, nil
}

func (s *Server) predict(w http.ResponseWriter, r *http.Request) error {
	in, m := get(), s.reserve()
	defer m.release()
	images, err := s.images(in, r, m)
	if err != nil {
		put(in)
		return err
	}
	probabilities, err := s.batcher.classify(r.Context(), images)
	if err != nil {
		return err // the batcher may still read the images
	}
	put(in)
	out := get()
	defer put(out)
	b := append(out.AvailableBuffer(), `{"predictions":[`...)
	n := s.net.Config().Classes
	for i := 0; i < len(probabilities); i += n {
		if i > 0 {
			b = append(b, ',')
		}
		b = s.appendPrediction(b, probabilities[i:i+n])
	}
	out.Write(append(b, "]}\n"...))
	return writeBody(w, "application/json", out.Bytes())
}

// appendPrediction appends {"class": ..., "name": ..., "probabilities": [...]}.
func (s *Server) appendPrediction(b []byte, probabilities []float32) []byte {
	class := 0
	for k, p := range probabilities {
		if p > probabilities[class] {
			class = k
		}
	}
	b = strconv.AppendInt(append(b, `{"class":`...), int64(class), 10)
	name, _ := json.Marshal(s.name(class)) // a text always can be
	b = append(append(b, `,"name":`...), name...)
	b = append(b, `,"probabilities":[`...)
	for k, p := range probabilities {
		if k > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendFloat(b, float64(p), 'g', 6, 32)
	}
	return append(b, "]}"...)
}

func (s *Server) name(class int) string {
	if names := s.names; class < len(names) {
		return names[class]
	}
	return strconv.Itoa(class)
}

// A layer is what a layer makes of an image, for the page: one byte a number,
// from the least, 0, to the largest, 255.
type layer struct {
	Name     string `json:"name"`
	Kind     string `json:"kind"`
	Channels int    `json:"channels"`
	Height   int    `json:"height"`
	Width    int    `json:"width"`
	Values   []byte `json:"values"`
}

func (s *Server) activations(w http.ResponseWriter, r *http.Request) error {
	in, m := get(), s.reserve()
	defer put(in)
	defer m.release()
	image, err := s.images(in, r, m)
	if err != nil {
		return err
	}
	if size := s.net.Config().Input.Size(); len(image) != size {
		return problem(http.StatusBadRequest, "want one image, found %d", len(image)/size)
	}
	layers, err := s.shown.Activations(image)
	if err != nil {
		return err
	}
	p, err := s.shown.PredictBytes(image)
	if err != nil {
		return err
	}
	var shown []layer
	for _, l := range layers {
		if l.Name == "flatten" {
			continue
		}
		v := layer{Name: l.Name, Kind: l.Kind, Channels: l.Output[0], Height: 1, Width: 1, Values: scaled(l.Values)}
		if len(l.Output) == 3 {
			v.Height, v.Width, v.Channels = l.Output[0], l.Output[1], l.Output[2]
		}
		shown = append(shown, v)
	}
	return writeJSON(w, map[string]any{
		"prediction": json.RawMessage(s.appendPrediction(nil, p[0].Probabilities)),
		"image":      image, "layers": shown,
	})
}

func scaled(values []float32) []byte {
	lo, hi := values[0], values[0]
	for _, v := range values {
		lo, hi = min(lo, v), max(hi, v)
	}
	out := make([]byte, len(values))
	if hi > lo {
		for i, v := range values {
			out[i] = byte(255 * (v - lo) / (hi - lo))
		}
	}
	return out
}

func (s *Server) model(w http.ResponseWriter, _ *http.Request) error {
	c := s.net.Config()
	var names []string
	for k := range c.Classes {
		names = append(names, s.name(k))
	}
	params := 0
	for _, l := range s.net.Shapes() {
		params += l.Params
	}
	return writeJSON(w, map[string]any{
		"name": c.Name, "channels": c.Input.Channels, "height": c.Input.Height, "width": c.Input.Width,
		"classes": names, "parameters": params, "notes": s.net.Notes(), "device": s.net.Device().String(), "digits": s.digits,
	})
}

// examples are drawn by the program: ten images, one of each class that it can
// draw. A network of another input gets none.
func (s *Server) examples(w http.ResponseWriter, _ *http.Request) error {
	in := s.net.Config().Input
	out := []string{}
	if in.Channels == 1 && in.Height == 28 && in.Width == 28 {
		set := data.SyntheticGarments(0, 200, 3).Test
		if s.digits {
			set = data.SyntheticDigits(0, 200, 3).Test
		}
		for _, i := range set.ByClass(1) {
			out = append(out, base64.StdEncoding.EncodeToString(set.Image(i)))
		}
	}
	return writeJSON(w, map[string]any{"height": in.Height, "width": in.Width, "images": out})
}

//go:embed page.html
var pageHTML []byte

func (s *Server) page(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src 'self' data: blob:")
	return writeBody(w, "text/html; charset=utf-8", pageHTML)
}

// writeMetrics writes the counters in the text form of Prometheus.
func (s *Server) writeMetrics(w http.ResponseWriter, _ *http.Request) error {
	var b bytes.Buffer
	s.metrics.write(&b)
	fmt.Fprintf(&b, "# HELP lenet5_images_total Images that were classified.\n# TYPE lenet5_images_total counter\nlenet5_images_total %d\n", s.batcher.images.Load())
	fmt.Fprintf(&b, "# HELP lenet5_blocks_total Blocks that they were gathered into.\n# TYPE lenet5_blocks_total counter\nlenet5_blocks_total %d\n", s.batcher.blocks.Load())
	fmt.Fprintf(&b, "# HELP lenet5_requests_in_progress Requests being answered.\n# TYPE lenet5_requests_in_progress gauge\nlenet5_requests_in_progress %d\n", len(s.slots))
	return writeBody(w, "text/plain; version=0.0.4; charset=utf-8", b.Bytes())
}
