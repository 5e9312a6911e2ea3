package udp

import "github.com/hostroute/hostroute/internal/bfd"

// queue is a heap of sessions by deadline. Each knows its place, so that a
// deadline that changes costs no search.
type queue []*peer

// update puts a session where its deadline belongs; it enters by that, too.
func (q *queue) update(p *peer, deadline bfd.Instant) {
	p.deadline = deadline
	if p.place < 0 {
		p.place = len(*q)
		*q = append(*q, p)
	}
	q.up(p.place)
	q.down(p.place)
}

func (q *queue) remove(p *peer) {
	i := p.place
	if i < 0 {
		return
	}
	last := len(*q) - 1
	q.swap(i, last)
	(*q)[last] = nil
	*q = (*q)[:last]
	p.place = -1
	if i < last {
		q.up(i)
		q.down(i)
	}
}

// first is the earliest deadline.
func (q queue) first() bfd.Instant {
	if len(q) == 0 {
		return bfd.Never
	}
	return q[0].deadline
}

func (q queue) up(i int) {
	for i > 0 && q[i].deadline < q[(i-1)/2].deadline {
		q.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
}

func (q queue) down(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(q); child++ {
			if q[child].deadline < q[least].deadline {
				least = child
			}
		}
		if least == i {
			return
		}
		q.swap(i, least)
		i = least
	}
}

func (q queue) swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i, j
}
