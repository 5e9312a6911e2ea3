package scale

import (
	"container/heap"
	"time"
)

// engine runs what happens in the order of virtual time; what happens at the same
// moment in the order in which it was planned.
type engine struct {
	now    time.Duration
	queue  agenda
	serial int
	random random
}

type entry struct {
	at     time.Duration
	serial int
	do     func()
}

type agenda []entry

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	return a[i].at < a[j].at || a[i].at == a[j].at && a[i].serial < a[j].serial
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(entry)) }
func (a *agenda) Pop() any {
	last := len(*a) - 1
	e := (*a)[last]
	*a = (*a)[:last]
	return e
}

// after plans something.
func (e *engine) after(d time.Duration, do func()) {
	e.serial++
	heap.Push(&e.queue, entry{e.now + max(d, 0), e.serial, do})
}

// run goes on until nothing is planned any more, or until a time.
func (e *engine) run(until time.Duration) {
	for len(e.queue) > 0 && e.queue[0].at <= until {
		next := heap.Pop(&e.queue).(entry)
		e.now = next.at
		next.do()
	}
}

// station is a queue that is worked off in order by so many at once: the cores of
// a host, or, with one, a goroutine or a link.
type station struct {
	e       *engine
	workers int
	busy    int
	waiting []job
	worked  time.Duration // all work that was taken up
	served  int
	longest int // the queue
}

type job struct {
	takes time.Duration
	done  func()
	void  func() bool // if not nil: nobody wants it any more, and it takes no time
}

func newStation(e *engine, workers int) *station { return &station{e: e, workers: max(workers, 1)} }

// work queues a job.
func (s *station) work(takes time.Duration, done func()) { s.queue(job{takes: takes, done: done}) }

func (s *station) queue(j job) {
	if s.busy < s.workers {
		s.begin(j)
		return
	}
	s.waiting = append(s.waiting, j)
	s.longest = max(s.longest, len(s.waiting))
}

func (s *station) begin(j job) {
	if j.void != nil && j.void() {
		j.takes = 0
	}
	s.busy++
	s.worked += j.takes
	s.e.after(j.takes, func() {
		s.busy--
		s.served++
		if len(s.waiting) > 0 {
			next := s.waiting[0]
			s.waiting = s.waiting[1:]
			s.begin(next)
		}
		j.done()
	})
}
