// What the host tells the kernels. The Go side mirrors these structures field
// by field in program.go; a test compares their sizes.
//
// Addresses are of device memory. Sizes count elements. All arrays are
// row-major; every example of an activation lies in one piece.
#pragma once

#ifdef __cplusplus
#define POINTER(type) type *
#else
#define POINTER(type) unsigned long long
#endif

// MAX_STAGES bounds the convolutions, and the dense layers, of a network.
#define MAX_STAGES 32

// THREADS are in a block of every kernel but the one of the dense layers.
#define THREADS 256
#define DENSE_THREADS 512
// DENSE_EXAMPLES are what a block takes through the dense layers, WIDE_EXAMPLES
// those of the kernel for large batches.
#define DENSE_EXAMPLES 2
#define WIDE_EXAMPLES 4
// ARENA is the shared memory of a block that works on convolutions, in floats:
// the 48 KB that every device has.
#define ARENA 12288
// TILE is the side of the square of a weight gradient that a block computes.
#define TILE 32
// COLUMNS are the parameters that a block of the reduction sums.
#define COLUMNS 32

enum { NONE, SIGMOID, TANH, SCALED_TANH, RELU };
enum { NO_POOL, AVERAGE, MAX, TRAINABLE };

// Layout says where (channel, row, column) of an example is:
// at + example*stride + channel*plane + row*pitch + column.
struct Layout {
	int at, stride, plane, pitch;
};

// Conv is a convolution of stride 1 with what follows it: an activation, a
// pooling of 2x2 windows, an activation, each of which may be missing.
struct Conv {
	POINTER(float) x;  // the input with its padding, (N, channels, height + 2 padding, width + 2 padding) and some slack
	POINTER(float) dx; // its gradient, in the same layout; null where none is wanted
	POINTER(float) y;  // (N, maps, rows, cols) before the pooling; null if the backward pass does without
	POINTER(float) z;  // the output, in the layout of the next stage's input
	POINTER(float) dz;
	POINTER(float) scratch; // for the gradient of the convolution, a piece for each block; null if it fits the arena
	struct Layout in, out;
	int channels, height, width, padding;
	int maps, kernel;
	int rows, cols; // of the convolution's output, as far as the pooling looks at it
	int y_pitch, y_plane, y_stride;
	int before, pool, after;
	int weight, bias, pool_weight, pool_bias; // places among the parameters; of the pooling -1 if it has none
	int forward, backward;                    // places of the two packed copies of the weights
	int shared_weights, shared_x;             // places in the arena of the kernel forward; -1: in global memory
	// Of the kernel that computes the gradients: the gradient of the
	// convolution with a border, the input, the packed weights, and the sums
	// of the parts.
	int grad_dy, grad_x, grad_weights, grad_sums;
	int border, left;                // rows of zeros around dy, and columns left of it
	int dy_pitch, dy_plane, dy_size; // of dy with its border
	int parts;                       // the rows of dy are dealt out to so many threads
};

// Dense is a dense layer and its activation: z = f(W x + b).
struct Dense {
	POINTER(float) x; // (N, x_pitch)
	POINTER(float) z; // (N, z_pitch)
	POINTER(float) dx; // as x; null where none is wanted
	POINTER(float) dy; // (N, dy_pitch), the gradient before the activation
	int in, out, x_pitch, z_pitch, dy_pitch;
	int activation;
	int weight, bias;
	int tiles, tile_columns; // of the weight gradient and, as one more column, the bias gradient
	int input_activation;    // what x is the output of, whose slope goes into dx
	int vector;              // whether rows can be read four at a time
};

// Step is what changes from one step to the next.
struct Step {
	POINTER(const unsigned char) images;
	POINTER(const unsigned char) labels; // of all rows; null if there are none
	int count;                           // examples
	int gathered;                        // the images are those of the batch, in order; the labels still go by index
	// The constants of the update; engine.Step explains them.
	float decay, beta1, alpha1, beta2, alpha2, correction, epsilon, rate, keep, clip;
	int vectors; // that the optimizer keeps: 0, 1 (momentum) or 2 (Adam)
	int unused;
};

// Result is what a step answers.
struct Result {
	float loss; // mean
	int hits;
};

// Counters are how the kernels of a step know which it is.
struct Counters {
	int next;   // the step that the kernel forward takes
	int step;   // the step in progress
	int halted; // a loss was not finite: nothing is updated any more
	int unused;
};

struct Program {
	POINTER(const struct Step) steps;
	POINTER(const int) index; // (steps, batch), rows of the data set
	POINTER(struct Result) results;
	POINTER(struct Counters) counters;
	POINTER(float) params;
	POINTER(float) grads;
	POINTER(float) state;    // (2, parameters)
	POINTER(float) packed;   // the weights of the convolutions, twice
	POINTER(const int) pack; // (2, conv_params): places of a parameter in packed, or -1
	POINTER(const unsigned char) mask; // (conv_params): 0 for a kernel that is not there; null: all are
	POINTER(float) conv_partials;      // (grad_blocks, conv_params)
	POINTER(float) dense_partials;     // (dense_parts, parameters - conv_params)
	POINTER(float) squares;            // a sum for each block of the reduction
	POINTER(float) losses;             // (N)
	POINTER(int) hits;                 // (N)
	POINTER(float) logits;             // (N, classes)
	POINTER(float) dlogits;            // (N, classes)
	POINTER(float) probabilities;      // (N, classes); null if nobody asks
	POINTER(float) pixels;             // the input of the first stage
	POINTER(const float) codes;        // (classes, width) of an output layer of radial basis functions; null: none
	struct Layout in;                  // of the input, without its padding
	int image_channels, image_height, image_width;
	float scale, offset;
	int batch, classes, code_width;
	int parameters, conv_params; // with the gaps between them
	int grad_blocks, dense_parts, reduce_blocks;
	int convs, denses;
	int backward; // whether there are gradients
	int rubbish;  // the criterion has a class of its own for rubbish
	float background, smoothing;
	int unused;
	struct Conv conv[MAX_STAGES];
	struct Dense dense[MAX_STAGES];
};
