// Package kernel holds the inner loops of the CPU engine: generic Go, and
// generated assembly for AVX2 with FMA and for AVX-512, chosen when the
// program starts.
//
// The layout is batch in the lanes: 16 images stand side by side in a block of
// 16 floats, and an image of a block is (channel, row, column, lane). So every
// width is a whole number of registers, and a weight is a number that is
// broadcast.
//
// The kernels take pointers and strides, in bytes, and check nothing: a
// wrong stride is a fault of the caller. The build tag noasm leaves the
// generic kernels alone; the environment variable LENET_ISA (generic, avx2,
// avx512) caps what is chosen.
package kernel

import "unsafe"

// Lanes is the number of images in a block.
const Lanes = 16

// Block is the size in bytes of a block's pixel.
const Block = 4 * Lanes

// A Pointer is the address of a float32, or nil.
type Pointer = unsafe.Pointer

// At is the address of the i-th element of s.
func At(s []float32, i int) Pointer { return Pointer(&s[i]) }

// How the sums of a [Correlation] begin.
const (
	FromBias       = iota // the m-th number at Bias
	FromOut               // what is there
	FromZero              //
	FromVectorBias        // the p-th vector at Bias
)

// A Correlation is the argument of correlate, through which go the forward
// convolution and everything about dense layers: for m < M, p < P, lane by
// lane,
//
//	out[m][p] = start + sum over c, i, j of w[c][i][j][m] x[c][i][j + p]
//
// w is a number, m of which lie side by side; x and out are vectors of 16, p
// of which lie side by side. Strides are in bytes. The order of the fields is
// known to the assembly.
type Correlation struct {
	X, W, Bias, Out      Pointer
	Channels, Rows, Cols int // the ranges of c, i, j
	XTap, XRow, XChan    int // the strides of x for j, i, c
	WTap, WRow, WChan    int // and of w
	OutStride            int // of out for m
	tiles                int
	Mode                 int
}

// A Scatter is the argument of the data gradient of a convolution: for
// s < S, k < K,
//
//	out[s+k] = start + sum over c, i of w[c][i][k] dy[c][i][s]
type Scatter struct {
	DY, W, Out     Pointer
	Channels, Rows int
	DYChan, DYRow  int
	WChan, WRow    int
	Mode           int // FromOut or FromZero
	// WPlane and OutPlane lead to the next input channel; planes of them are
	// computed.
	WPlane, OutPlane int
}

// Weights is the argument of the weight gradient of a convolution: for m < M,
// k < K, lane by lane,
//
//	acc[m][k] += sum over i, j of dy[m][i][j] x[i][j+k]
type Weights struct {
	DY, X, Acc    Pointer
	Rows, Cols    int
	DYChan, DYRow int
	XRow          int
	AccStride     int // of acc for m
}

// Elements is the argument of the element-wise kernels; N counts blocks.
type Elements struct {
	Dst, Src, Aux Pointer
	N             int
	P             [3]param
}

// param is a float32 in the low half of a word.
type param struct {
	V float32
	_ float32
}

// An Optimization is the argument of the optimizers, over N blocks of the
// parameters p, their gradients g, and what is kept of earlier steps, m and v.
// With d = Scale g + Decay p, Momentum is
//
//	m = Beta1 m + d
//	p -= Rate d + Keep m
//
// and Adam is
//
//	m = Beta1 m + Alpha1 d
//	v = Beta2 v + Alpha2 d d
//	p = Keep p - Rate m / (Correction sqrt(v) + Epsilon)
type Optimization struct {
	P, G, M, V          Pointer
	N                   int
	Scale, Decay        param
	Beta1, Alpha1       param
	Beta2, Alpha2       param
	Correction, Epsilon param
	Rate, Keep          param
}

// A Fingerprint is sums over numbers, as integers: a change of any of them, or
// of their order, shows.
type Fingerprint [8][Lanes]uint32

// Param makes the parameters of [Elements].
func Param(a, b, c float32) [3]param { return [3]param{{V: a}, {V: b}, {V: c}} }

// Pooling is the argument of the pooling kernels: one row of N windows of 2x2,
// the second row of x and dx being XRow and DXRow bytes below.
type Pooling struct {
	X, Y, DX, DY Pointer
	N            int
	XRow, DXRow  int
	Aux          Pointer  // of AvgSlope
	P            [3]param // of AvgSlope
}

// Transposition is the argument of Transpose: N squares of 16 x 16 floats.
type Transposition struct {
	Dst, Src             Pointer
	N                    int
	SrcStride, DstStride int // from row to row of a square
	SrcNext, DstNext     int // from square to square
}

// Packing is the argument of Pack: 16 pixels, from the offset At on, of each
// of 16 images become 16 blocks, Scale*byte + Offset.
type Packing struct {
	Dst    Pointer
	Images *[Lanes]*byte
	At     int
	Scale  param
	Offset param
}

// Number wraps a float32 for [Packing] and [Optimization].
func Number(v float32) param { return param{V: v} }

// A Set is the kernels of one instruction set.
type Set struct {
	Name      string
	correlate map[[2]int]func(*Correlation) // by {M, P}
	scatter   map[[3]int]func(*Scatter)     // by {S, K, planes}
	weights   map[[2]int]func(*Weights)     // by {M, K}

	// Sigmoid is dst = P0 sigmoid(P1 src) + P2, ReLU dst = max(src, 0).
	Sigmoid, ReLU func(*Elements)
	// Slope is dst *= P0 + src (P1 + src P2), ReLUSlope dst *= [src > 0];
	// both add dst to the 16 lanes at aux.
	Slope, ReLUSlope func(*Elements)
	// Affine is dst = P0 src + P1.
	Affine func(*Elements)
	// Sum adds src to the 16 lanes at aux, Dot adds dst*src.
	Sum, Dot func(*Elements)
	// Fold adds src to the [Fingerprint] at aux; N is a multiple of 4.
	Fold func(*Elements)
	// LaneSums adds the sum of the 16 lanes of src[i] to the i-th float at
	// dst; N is rounded up to a multiple of 4.
	LaneSums func(*Elements)
	// Descend is dst = P1 dst - P0 src.
	Descend func(*Elements)
	// Momentum and Adam are steps of those optimizers; see [Optimization].
	Momentum, Adam func(*Optimization)

	AvgPool, MaxPool, AvgUnpool, MaxUnpool func(*Pooling)
	// AvgSlope goes back through average pooling and the activation before it,
	// in place: x becomes dy/4 (P0 + x (P1 + x P2)), and its sum is added to
	// the 16 lanes at aux.
	AvgSlope func(*Pooling)
	// AvgRow and MaxRow pool an image that lies in rows of pixels, a float each:
	// N groups of 16 pixels in two rows, XRow apart, become 8 at Y.
	AvgRow, MaxRow func(*Pooling)
	Transpose      func(*Transposition)
	Pack           func(*Packing)
	// registers bounds the tiles.
	registers int
}
