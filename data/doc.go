// Package data holds the images that a LeNet learns from, and the ways to get
// them.
//
//   - [FashionMNIST] and [MNIST] find the two sets on this machine, or download
//     them, and verify every file by its SHA-256.
//   - [Open] reads any other set of IDX files from a folder, [FromFolders] a
//     folder of pictures for each class, and [NewDataset] takes slices.
//   - [SyntheticGarments] and [SyntheticDigits] draw a set, for tests and for
//     machines without a network. Only a caller chooses them: the other
//     functions never fall back to them.
//   - [ReadIDX] and [WriteIDX] are a codec for the IDX file format, complete:
//     six element types, any rank, raw or compressed by gzip.
//
// A [Dataset] keeps its images as bytes, the way they lie in the files: 47 MB
// for 60,000 images of 28x28, a quarter of what they take as float32.
// [Permutation] and [Batches] fix the order in which they are visited.
//
// The IDX format is described at the foot of Yann LeCun's page on MNIST: two
// zero bytes, a byte for the element type, a byte for the rank, one four-byte
// size per dimension, and the elements; everything big endian, row-major.
//
// No function here prints, and none panics on bad input; the exceptions, such
// as a slice out of range, say so. Everything may be called concurrently.
package data
