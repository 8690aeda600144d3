package serve

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"example.com/lenet5/lenet"
)

// A batcher gathers the images of concurrent requests into blocks for the
// engine: while it runs one block, what arrives waits for the next. Nobody
// waits for others to come.
type batcher struct {
	net     *lenet.Net
	size    int // bytes in an image
	classes int
	jobs    chan *job
	closed  chan struct{}
	once    sync.Once
	done    sync.WaitGroup

	images, blocks atomic.Int64 // so far
}

// A job is the images of one request.
type job struct {
	images        []byte
	probabilities []float32
	err           error
	ready         chan struct{} // closed when the fields above are set
}

// maxBlock is the number of images that are gathered at most, but for a
// request that has more by itself.
const maxBlock = 256

var errClosed = errors.New("the server is shutting down")

func newBatcher(net *lenet.Net) *batcher {
	b := &batcher{net: net, size: net.Config().Input.Size(), classes: net.Config().Classes, jobs: make(chan *job, 1024), closed: make(chan struct{})}
	b.done.Add(1)
	go b.run()
	return b
}

// classify returns the probabilities of images, Classes numbers each.
func (b *batcher) classify(ctx context.Context, images []byte) ([]float32, error) {
	j := &job{images: images, ready: make(chan struct{})}
	select {
	case b.jobs <- j:
	case <-b.closed:
		return nil, errClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case <-j.ready:
		return j.probabilities, j.err
	case <-b.closed:
		return nil, errClosed
	case <-ctx.Done(): // the answer is computed, and nobody looks at it
		return nil, ctx.Err()
	}
}

func (b *batcher) run() {
	defer b.done.Done()
	var images []byte
	var block []*job
	for {
		block, images = block[:0], images[:0]
		select {
		case j := <-b.jobs:
			block = append(block, j)
		case <-b.closed:
			return
		}
		images = append(images, block[0].images...)
	gather:
		for len(images) < maxBlock*b.size {
			select {
			case j := <-b.jobs:
				block = append(block, j)
				images = append(images, j.images...)
			default:
				break gather
			}
		}
		// The answers outlive the block: they get memory of their own.
		count := len(images) / b.size
		all, err := b.net.Probabilities(make([]float32, 0, count*b.classes), images)
		b.images.Add(int64(count))
		b.blocks.Add(1)
		for _, j := range block {
			if j.err = err; err == nil {
				n := len(j.images) / b.size * b.classes
				j.probabilities, all = all[:n:n], all[n:]
			}
			close(j.ready)
		}
		if cap(images) > 4*maxBlock*b.size {
			images = nil // one large request is no reason to keep as much
		}
	}
}

// close ends it; requests that still wait get an error.
func (b *batcher) close() {
	b.once.Do(func() { close(b.closed) })
	b.done.Wait()
}
