package handover

// arrival is a guest that this hypervisor prepares for and that was seen here.
type arrival struct {
	since Instant
	late  bool // the log should have said so by now
}

// Seen notes that a guest has spoken on its prepared tap, for the next Arrived.
func (m *Machine) Seen(vm string) { m.seen[vm] = true }

// Arrived takes the guests that this hypervisor prepares for, and tells which of
// them to take for arrived: those that were seen here. For one that the log
// confirms there is nothing to prepare any more, nor for one whose move was aborted.
// One of which the log says neither is taken for arrived on and on, and reported:
// who publishes may be down, and the guest is where it was seen.
func (m *Machine) Arrived(now Instant, preparing []string) (arrived func(vm string) bool) {
	still := make(map[string]*arrival, len(m.arrivals))
	for _, vm := range preparing {
		a := m.arrivals[vm]
		if a == nil && m.seen[vm] {
			a = &arrival{since: now}
		}
		if a != nil {
			a.late = now >= a.since.Add(Patience)
			still[vm] = a
		}
	}
	m.arrivals = still
	clear(m.seen)
	return func(vm string) bool { return still[vm] != nil }
}

// arrivalsNext is when the first of them is to be reported.
func (m *Machine) arrivalsNext(now Instant) Instant {
	next := Never
	for _, a := range m.arrivals {
		if at := a.since.Add(Patience); !a.late && at > now {
			next = min(next, at)
		}
	}
	return next
}
