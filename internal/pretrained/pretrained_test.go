package pretrained

import (
	"slices"
	"strings"
	"testing"
)

func TestDigits(t *testing.T) {
	net, err := Digits()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(net.ClassNames(), strings.Split("0123456789", "")) {
		t.Errorf("classes %q", net.ClassNames())
	}
	for _, note := range []string{"trained_by", "trained_on", "test_accuracy"} {
		if net.Notes()[note] == "" {
			t.Errorf("no note of %s", note)
		}
	}
	// An upright stroke is a 1.
	image := make([]byte, 784)
	for y := 4; y < 24; y++ {
		image[y*28+13], image[y*28+14] = 255, 255
	}
	p, err := net.PredictBytes(image)
	if err != nil || p[0].Name != "1" || p[0].Probabilities[1] < 0.9 {
		t.Errorf("%+v, %v", p, err)
	}
}
