package ipv6

import (
	"net/netip"
	"reflect"
	"time"
)

// MinDelayBetweenRAs is the shortest time between two multicast advertisements
// (MIN_DELAY_BETWEEN_RAS of RFC 4861, section 10).
const MinDelayBetweenRAs = 3 * time.Second

// Further constants of RFC 4861, section 10. As many advertisements as make the
// beginning, and as quickly, also tell a change (section 6.2.4).
const (
	initialAdvertisements = 3
	initialInterval       = 16 * time.Second
)

// Schedule decides when a router advertises, to whom and what (RFC 4861,
// sections 6.2.4 to 6.2.6). Time and chance are arguments: a random number is
// from 0 up to, not including, 1.
type Schedule struct {
	router   Router
	content  Advertisement
	gone     []farewell
	initial  int       // multicast advertisements that still belong to a beginning
	next     time.Time // of the next multicast advertisement
	earliest time.Time // that it may be sent
}

// farewell is what left the advertisement, and how often that is still to be told.
type farewell struct {
	content Advertisement
	times   int
}

// NewSchedule begins to advertise: at once.
func NewSchedule(now time.Time, r Router) *Schedule {
	return &Schedule{router: r, content: NewAdvertisement(r), initial: initialAdvertisements, next: now, earliest: now}
}

// Next is when the next multicast advertisement is due. It changes with every
// other call that isn't a question.
func (s *Schedule) Next() time.Time { return s.next }

// Advertisement is what is to be said now: the router's content, and what has
// left it lately with lifetimes of 0.
func (s *Schedule) Advertisement() Advertisement {
	a := s.content
	for _, f := range s.gone {
		a = a.with(f.content)
	}
	return a
}

// Final is what is to be said when the router ceases to advertise.
func (s *Schedule) Final() Advertisement { return s.Advertisement().Final() }

// Sent notes that a multicast advertisement was sent, and draws when the next
// one is due.
func (s *Schedule) Sent(now time.Time, random float64) {
	shortest, longest := s.router.intervals()
	wait := shortest + time.Duration(random*float64(longest-shortest))
	s.initial = max(s.initial-1, 0)
	if s.initial > 0 {
		wait = min(wait, initialInterval)
	}
	s.next, s.earliest = now.Add(wait), now.Add(MinDelayBetweenRAs)
	kept := s.gone[:0]
	for _, f := range s.gone {
		if f.times--; f.times > 0 {
			kept = append(kept, f)
		}
	}
	s.gone = kept
}

// Postpone notes that an advertisement could not be sent: it is tried again,
// no sooner than if it had been.
func (s *Schedule) Postpone(now time.Time) {
	s.next = now.Add(MinDelayBetweenRAs)
	s.earliest = s.next
}

// Solicited tells whether the answer to a solicitation goes to its sender, at
// once. Otherwise a multicast advertisement becomes due as soon as it may. That
// answer waits no random time (0 to 0.5 s in RFC 4861, section 6.2.6, to keep
// several routers and hosts apart): on a tap there is one of each.
func (s *Schedule) Solicited(now time.Time, source netip.Addr) (unicast bool) {
	if source.IsLinkLocalUnicast() {
		return true
	}
	s.hurry(now)
	return false
}

// Update changes what is advertised. A change is told as soon as it may, and as
// often as a beginning. Where nothing changed nothing happens.
func (s *Schedule) Update(now time.Time, r Router) {
	if reflect.DeepEqual(s.router, r) {
		return
	}
	content := NewAdvertisement(r)
	gone := []farewell{}
	for _, f := range append(s.gone, farewell{s.content, initialAdvertisements}) {
		if f.content = departed(f.content, content); f.content.hasOptions() {
			gone = append(gone, f)
		}
	}
	s.router, s.content, s.gone, s.initial = r, content, gone, initialAdvertisements
	s.hurry(now)
}

// hurry makes the next multicast advertisement due as soon as it may be sent.
func (s *Schedule) hurry(now time.Time) {
	soon := now
	if soon.Before(s.earliest) {
		soon = s.earliest
	}
	if soon.Before(s.next) {
		s.next = soon
	}
}

// intervals are MinRtrAdvInterval and MaxRtrAdvInterval of RFC 4861, section
// 6.2.1: a third of the longest, and never below the rate limit.
func (r Router) intervals() (shortest, longest time.Duration) {
	longest = r.Interval
	if longest == 0 {
		longest = defaultInterval
	}
	longest = min(max(longest, shortestInterval), longestInterval)
	return max(longest/3, MinDelayBetweenRAs), longest
}
