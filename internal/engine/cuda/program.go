package cuda

// The structures of program.h, field by field. What they mean is said there.

// An address is one of device memory; 0 is none.
type address uint64

const (
	maxStages     = 32
	threads       = 256
	denseThreads  = 512
	denseExamples = 2
	wideExamples  = 4
	arena         = 12288
	tile          = 32
	columns       = 32
)

// What the kernel reduce is asked for.
const (
	fromPartials = 1
	andUpdate    = 2
)

type layout struct {
	at, stride, plane, pitch int32
}

type convStage struct {
	x, dx, y, z, dz, scratch                       address
	in, out                                        layout
	channels, height, width, padding               int32
	maps, kernel                                   int32
	rows, cols                                     int32
	yPitch, yPlane, yStride                        int32
	before, pool, after                            int32
	weight, bias, poolWeight, poolBias             int32
	forward, backward                              int32
	sharedWeights, sharedX                         int32
	gradDY, gradX, gradWeights, gradSums           int32
	border, left, dyPitch, dyPlane, dySize, nParts int32
}

type denseStage struct {
	x, z, dx, dy            address
	in, out, xPitch, zPitch int32
	dyPitch, activation     int32
	weight, bias            int32
	tiles, tileColumns      int32
	inputActivation, vector int32
}

type step struct {
	images, labels                        address
	count, gathered                       int32
	decay, beta1, alpha1, beta2, alpha2   float32
	correction, epsilon, rate, keep, clip float32
	vectors, _                            int32
}

type result struct {
	loss float32
	hits int32
}

// counters are next, step, halted and one unused.
type counters [4]int32

type program struct {
	steps, index, results, counters                      address
	params, grads, state, packed, pack, mask             address
	convPartials, densePartials, squares                 address
	losses, hits, logits, dlogits, probabilities, pixels address
	codes                                                address
	in                                                   layout
	imageChannels, imageHeight, imageWidth               int32
	scale, offset                                        float32
	batch, classes, codeWidth                            int32
	parameters, convParams                               int32
	gradBlocks, denseParts, reduceBlocks                 int32
	convs, denses                                        int32
	backward, rubbish                                    int32
	background, smoothing                                float32
	_                                                    int32
	conv                                                 [maxStages]convStage
	dense                                                [maxStages]denseStage
}
