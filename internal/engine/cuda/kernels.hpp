// The kernels: a training step of a network of the LeNet family, in five
// launches. They are compiled three ways from this one source: to PTX by clang
// or nvcc, and to host code for the simulator.
//
//	forward         an example to a block: pixels, and all convolutional stages
//	dense           two examples to a block, or with large batches four: the
//	                dense layers, the loss, and the gradients back to the last
//	                convolution's output
//	conv_gradient   an example to a block: the convolutional stages backwards,
//	                and the gradients of their weights, summed per block
//	dense_gradient  a square of a weight gradient to a block, over a slice of
//	                the batch
//	reduce          the sums of the blocks and slices, and the update
//
// Besides: tally adds up the losses, update is the update alone, and pack
// brings weights that the host changed into the order of the convolutions.
//
// There are no atomic additions: every sum has its order, which depends on the
// network and the batch alone, so that the same seed gives the same bits on
// every device.
#pragma once

#include "conv.hpp"
#include "dense.hpp"
#include "update.hpp"
