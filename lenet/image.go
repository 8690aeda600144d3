package lenet

import (
	"fmt"
	"image"
	"image/color"
	"math"

	"golang.org/x/image/draw"
)

// An ImageOption says how a picture becomes what the network takes.
type ImageOption func(*imageOptions)

type imageOptions struct {
	invert  bool
	light   bool
	centred bool
}

// Invert makes dark light, for pictures of dark things on a light ground: the
// networks take a dark ground.
func Invert() ImageOption { return func(o *imageOptions) { o.invert = true } }

// InvertIfLight does so if the border of the picture is light on average.
func InvertIfLight() ImageOption { return func(o *imageOptions) { o.light = true } }

// Centre places what is drawn as it is in MNIST: scaled to fit a square of 20
// pixels of 28 (as much in other sizes), with its centre of mass in the middle.
func Centre() ImageOption { return func(o *imageOptions) { o.centred = true } }

// maxPicture bounds the pixels of a picture that is scaled.
const maxPicture = 1 << 26

// Pixels makes C*H*W bytes of a picture of any size and colour: grey for a
// network of one channel, red, green and blue for one of three. The picture is
// scaled (Catmull-Rom) to fit, keeping its proportions, in the middle of a
// ground of 0. What is transparent is ground.
func (n *Net) Pixels(im image.Image, opts ...ImageOption) ([]byte, error) {
	var o imageOptions
	for _, f := range opts {
		f(&o)
	}
	in := n.cfg.Input
	if in.Channels != 1 && in.Channels != 3 {
		return nil, fmt.Errorf("lenet: a picture for a network of %d channels; it must have 1 or 3", in.Channels)
	}
	b := im.Bounds()
	if b.Empty() || b.Dx() > maxPicture/b.Dy() {
		return nil, fmt.Errorf("lenet: a picture of %dx%d pixels; want at least 1x1, and %d at most", b.Dx(), b.Dy(), maxPicture)
	}
	if o.light {
		o.invert = o.invert || lightBorder(im)
	}
	ground := image.Uniform{C: color.Black}
	if o.invert {
		ground.C = color.White
	}
	opaque := image.NewRGBA(image.Rect(0, 0, b.Dx(), b.Dy()))
	draw.Draw(opaque, opaque.Bounds(), &ground, image.Point{}, draw.Src)
	draw.Draw(opaque, opaque.Bounds(), im, b.Min, draw.Over)
	if o.invert {
		for i, p := range opaque.Pix {
			if i%4 != 3 {
				opaque.Pix[i] = 255 - p
			}
		}
	}
	out := image.NewRGBA(image.Rect(0, 0, in.Width, in.Height))
	draw.Draw(out, out.Bounds(), image.Black, image.Point{}, draw.Src)
	source, frame := opaque.Bounds(), out.Bounds()
	if o.centred {
		source, frame = inked(opaque), frame.Inset(min(in.Width, in.Height)/7)
	}
	if !source.Empty() {
		draw.CatmullRom.Scale(out, fit(source, frame), opaque, source, draw.Src, nil)
	}
	if o.centred {
		out = balance(out)
	}
	pixels := make([]byte, in.Size())
	plane := in.Width * in.Height
	for i := range plane {
		r, g, b := out.Pix[4*i], out.Pix[4*i+1], out.Pix[4*i+2]
		if in.Channels == 3 {
			pixels[i], pixels[plane+i], pixels[2*plane+i] = r, g, b
		} else {
			pixels[i] = color.GrayModel.Convert(color.RGBA{r, g, b, 255}).(color.Gray).Y
		}
	}
	return pixels, nil
}

// lightBorder reports whether the outermost pixels are light on average.
func lightBorder(im image.Image) bool {
	b := im.Bounds()
	sum, count := 0.0, 0.0
	add := func(x, y int) {
		c := color.NRGBAModel.Convert(im.At(x, y)).(color.NRGBA)
		grey := color.GrayModel.Convert(color.RGBA{c.R, c.G, c.B, 255}).(color.Gray)
		weight := float64(c.A) / 255 // what is transparent has no say
		sum, count = sum+weight*float64(grey.Y), count+weight
	}
	for x := b.Min.X; x < b.Max.X; x++ {
		add(x, b.Min.Y)
		add(x, b.Max.Y-1)
	}
	for y := b.Min.Y; y < b.Max.Y; y++ {
		add(b.Min.X, y)
		add(b.Max.X-1, y)
	}
	return sum > 127.5*count
}

// inked is the smallest rectangle around what is not ground: not darker than a
// tenth of the brightest.
func inked(im *image.RGBA) image.Rectangle {
	b := im.Bounds()
	brightest := byte(0)
	light := func(i int) byte { return max(im.Pix[i], im.Pix[i+1], im.Pix[i+2]) }
	for i := 0; i < len(im.Pix); i += 4 {
		brightest = max(brightest, light(i))
	}
	var r image.Rectangle
	for y := range b.Dy() {
		for x := range b.Dx() {
			if v := light(y*im.Stride + 4*x); v > brightest/10 {
				r = r.Union(image.Rect(x, y, x+1, y+1))
			}
		}
	}
	return r
}

// fit is the largest rectangle of the proportions of source in the middle of
// frame.
func fit(source, frame image.Rectangle) image.Rectangle {
	scale := math.Min(float64(frame.Dx())/float64(source.Dx()), float64(frame.Dy())/float64(source.Dy()))
	w := max(1, int(math.Round(scale*float64(source.Dx()))))
	h := max(1, int(math.Round(scale*float64(source.Dy()))))
	x, y := frame.Min.X+(frame.Dx()-w)/2, frame.Min.Y+(frame.Dy()-h)/2
	return image.Rect(x, y, x+w, y+h)
}

// balance moves the centre of mass to the middle, by whole pixels.
func balance(im *image.RGBA) *image.RGBA {
	var mass, mx, my float64
	b := im.Bounds()
	for y := range b.Dy() {
		for x := range b.Dx() {
			i := y*im.Stride + 4*x
			v := float64(im.Pix[i]) + float64(im.Pix[i+1]) + float64(im.Pix[i+2])
			mass, mx, my = mass+v, mx+v*float64(x), my+v*float64(y)
		}
	}
	if mass == 0 {
		return im
	}
	shift := image.Pt(int(math.Round(float64(b.Dx()-1)/2-mx/mass)), int(math.Round(float64(b.Dy()-1)/2-my/mass)))
	out := image.NewRGBA(b)
	draw.Draw(out, b, image.Black, image.Point{}, draw.Src)
	draw.Draw(out, b.Add(shift), im, b.Min, draw.Src)
	return out
}

// Predict classifies a picture of any size and colour; see [Net.Pixels].
func (n *Net) Predict(im image.Image, opts ...ImageOption) (Prediction, error) {
	pixels, err := n.Pixels(im, opts...)
	if err != nil {
		return Prediction{}, err
	}
	p, err := n.PredictBytes(pixels)
	if err != nil {
		return Prediction{}, err
	}
	return p[0], nil
}
