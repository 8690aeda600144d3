package cpu

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// crew is the goroutines that all engines share. They are started when they
// are first needed, and wait without work.
var crew struct {
	sync.Mutex
	members int
	wake    []chan *job
}

// A job is a number of tasks, handed out one by one.
type job struct {
	run  func(worker, task int)
	n    int64
	next atomic.Int64
	left sync.WaitGroup
}

// work does tasks until there are none left.
func (j *job) work(worker int) {
	for i := j.next.Add(1) - 1; i < j.n; i = j.next.Add(1) - 1 {
		j.run(worker, int(i))
	}
}

// do runs n tasks on up to limit threads (0: GOMAXPROCS), the caller among
// them; run gets the number of the thread, and of the task. If the crew is
// busy for another engine, the caller does all tasks itself.
func (j *job) do(n, limit int, run func(worker, task int)) {
	threads := runtime.GOMAXPROCS(0)
	if limit > 0 {
		threads = min(threads, limit)
	}
	threads = min(threads, n)
	j.run, j.n = run, int64(n)
	j.next.Store(0)
	if threads <= 1 || !crew.TryLock() {
		j.work(0)
		return
	}
	defer crew.Unlock()
	for crew.members < threads-1 {
		wake := make(chan *job, 1)
		crew.wake = append(crew.wake, wake)
		crew.members++
		go member(wake, crew.members)
	}
	j.left.Add(threads - 1)
	for _, wake := range crew.wake[:threads-1] {
		wake <- j
	}
	j.work(0)
	j.left.Wait()
}

// member works on the jobs that it is sent. The jobs of a training step
// follow each other within microseconds, so it looks for the next one for a
// moment before it sleeps.
func member(wake chan *job, number int) {
	for {
		var j *job
		for spin := 0; j == nil && spin < 2000; spin++ {
			select {
			case j = <-wake:
			default:
			}
		}
		if j == nil {
			j = <-wake
		}
		j.work(number)
		j.left.Done()
	}
}
