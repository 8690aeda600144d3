// Package picture makes what a network takes of picture files that people hand
// to a program.
package picture

import (
	"bytes"
	"fmt"
	"image"
	_ "image/gif"  // the formats that are read
	_ "image/jpeg" //
	_ "image/png"  //
	"math"
	"slices"
	"strings"

	"example.com/lenet5/lenet"
)

// Choices are the values of the fields of a [Handling]; an empty one is the
// first.
var Choices = []string{"auto", "yes", "no"}

// A Handling says what is done to a picture.
type Handling struct {
	// Invert makes dark light; auto does so if the border of the picture is
	// light.
	Invert string
	// Centre places what is drawn as MNIST does; auto does so for networks of
	// the ten digits.
	Centre string
}

// Validate reports a value that is not among the [Choices].
func (h Handling) Validate() error {
	for name, v := range map[string]string{"invert": h.Invert, "centre": h.Centre} {
		if v != "" && !slices.Contains(Choices, v) {
			return fmt.Errorf("%s %q: there are %s", name, v, strings.Join(Choices, ", "))
		}
	}
	return nil
}

// Digits reports whether the classes of a network are the ten digits.
func Digits(net *lenet.Net) bool {
	return slices.Equal(net.ClassNames(), strings.Split("0123456789", ""))
}

// BytesPerPixel is about what it takes to decode a picture, and to handle it.
const BytesPerPixel = 12

// Pixels decodes a PNG, JPEG or GIF picture, and makes of it the bytes that net
// takes. allow is asked first, with the number of its pixels by its header.
func Pixels(net *lenet.Net, content []byte, h Handling, allow func(pixels int) error) ([]byte, error) {
	c, _, err := image.DecodeConfig(bytes.NewReader(content))
	if err != nil {
		return nil, fmt.Errorf("want a PNG, JPEG or GIF picture: %w", err)
	}
	if c.Width < 1 || c.Height < 1 || c.Width > math.MaxInt32/c.Height {
		return nil, fmt.Errorf("a picture of %dx%d pixels", c.Width, c.Height)
	}
	if err := allow(c.Width * c.Height); err != nil {
		return nil, fmt.Errorf("a picture of %dx%d pixels: %w", c.Width, c.Height, err)
	}
	im, _, err := image.Decode(bytes.NewReader(content))
	if err != nil {
		return nil, fmt.Errorf("the picture is damaged: %w", err)
	}
	var opts []lenet.ImageOption
	switch h.Invert {
	case "", "auto":
		opts = append(opts, lenet.InvertIfLight())
	case "yes":
		opts = append(opts, lenet.Invert())
	}
	if h.Centre == "yes" || h.Centre != "no" && Digits(net) {
		opts = append(opts, lenet.Centre())
	}
	return net.Pixels(im, opts...)
}
