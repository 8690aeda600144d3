package cpu

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// crew is the goroutines that all engines share. They are started when they
// are first needed, and sleep without work.
var crew struct {
	sync.Mutex
	members []*member
}

// A job is a number of tasks, handed out one by one.
type job struct {
	run     func(worker, task int)
	n       int64
	next    atomic.Int64
	working atomic.Int64 // members that have not finished
	done    sleeper
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
	for len(crew.members) < threads-1 {
		m := &member{number: len(crew.members) + 1}
		m.sleeper.init()
		crew.members = append(crew.members, m)
		go m.live()
	}
	if j.done.wake == nil {
		j.done.init()
	}
	j.working.Store(int64(threads - 1))
	for _, m := range crew.members[:threads-1] {
		m.job.Store(j)
		m.sleeper.rouse()
	}
	j.work(0)
	j.done.wait(func() bool { return j.working.Load() == 0 })
}

// A member works on the jobs that it is sent.
type member struct {
	number  int
	job     atomic.Pointer[job]
	sleeper sleeper
}

func (m *member) live() {
	sent := func() bool { return m.job.Load() != nil }
	for {
		m.sleeper.wait(sent)
		j := m.job.Swap(nil)
		j.work(m.number)
		if j.working.Add(-1) == 0 {
			j.done.rouse()
		}
	}
}

// A sleeper waits for a condition that another goroutine makes true. The parts
// of a training step follow each other within microseconds, so it looks for a
// moment before it sleeps: waking takes longer than most waits.
type sleeper struct {
	asleep atomic.Bool
	wake   chan struct{}
}

// patience is how long a sleeper looks before it sleeps.
const patience = 100 * time.Microsecond

func (s *sleeper) init() { s.wake = make(chan struct{}, 1) }

// wait returns when ready does.
func (s *sleeper) wait(ready func() bool) {
	var start time.Time
	for spin := 1; ; spin++ {
		if ready() {
			return
		}
		if spin%256 != 0 {
			continue
		}
		if start.IsZero() {
			start = time.Now()
		} else if time.Since(start) > patience {
			break
		}
		runtime.Gosched()
	}
	for !ready() {
		s.asleep.Store(true)
		// Whoever makes it true looks at asleep afterwards, so one of the two
		// sees the other.
		if ready() {
			if !s.asleep.CompareAndSwap(true, false) {
				<-s.wake
			}
			return
		}
		<-s.wake
	}
}

// rouse is called once the condition is true.
func (s *sleeper) rouse() {
	if s.asleep.CompareAndSwap(true, false) {
		s.wake <- struct{}{}
	}
}
