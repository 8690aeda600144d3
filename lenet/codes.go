package lenet

import (
	_ "embed"

	"example.com/lenet5/internal/op"
)

// The output units of [OutputRBF] have a bitmap of a digit each, 7 pixels wide
// and 12 high: as many pixels as layer F6 has units.
const (
	codeWidth  = 7 * 12
	codeDigits = 10
)

// codesText are the bitmaps, stylised digits drawn after Figure 3 of LeCun et
// al. 1998: '#' is +1, '.' is -1. The paper prints no table of them; these are
// drawn anew.
//
//go:embed codes.txt
var codesText string

// newCodes returns the centres for a number of classes.
func newCodes(classes int) *op.Codes {
	values := make([]int8, 0, codeDigits*codeWidth)
	for _, pixel := range codesText {
		switch pixel {
		case '#':
			values = append(values, 1)
		case '.':
			values = append(values, -1)
		}
	}
	return op.NewCodes(classes, codeWidth, values[:classes*codeWidth])
}
