package agent

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/events/log"
	"github.com/hostroute/hostroute/projector"
)

// How often the counters of taps are read on a drained hypervisor, and how long
// nothing may be delivered for the drain to be over.
const (
	drainInterval = time.Second
	drainWindow   = 5 * time.Second
)

// drainWatch watches what is left on a drained hypervisor. While it isn't
// drained, nothing is read.
type drainWatch struct {
	hypervisor string
	state      func() *projector.State
	counters   func() (map[string]uint64, error) // packets to each link
	changed    func()
	log        *slog.Logger

	mu       sync.Mutex
	now      log.Drain
	drained  bool
	traffic  traffic
	complain string // the error that was logged last
}

func newDrainWatch(hypervisor string, state func() *projector.State, changed func(), log *slog.Logger) *drainWatch {
	return &drainWatch{hypervisor: hypervisor, state: state, counters: sentToLinks, changed: changed, log: log}
}

// Run looks until the context ends.
func (w *drainWatch) Run(ctx context.Context) error {
	tick := time.NewTicker(drainInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			w.look(now)
		}
	}
}

// look takes a sample.
func (w *drainWatch) look(now time.Time) {
	s := w.state()
	hv := s.Hypervisor(w.hypervisor)
	if hv == nil || !hv.Drained {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.drained, w.now, w.traffic = false, log.Drain{}, traffic{}
		return
	}
	d, taps := homedHere(s, w.hypervisor)
	counters, err := w.counters()
	if err == nil {
		w.traffic.sample(now, counters, taps)
		w.complain = ""
	} else if w.complain != err.Error() {
		w.log.Warn("reading what the guests of a drained hypervisor are sent; trying again", "err", err)
		w.complain = err.Error()
	}
	var window time.Duration
	d.Delivered, window = w.traffic.within(now, drainWindow)
	d.Window, d.Known = window.Seconds(), err == nil && window >= drainWindow
	w.mu.Lock()
	w.drained, w.now = true, d
	w.mu.Unlock()
	w.changed()
}

// status is what is left of a hypervisor that is drained; nil: it isn't.
func (w *drainWatch) status() *log.Drain {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.drained {
		return nil
	}
	d := w.now
	return &d
}

// homedHere counts the guests that are homed on a hypervisor, and lists their taps.
// Who holds nothing but anycast prefixes is a member of something that goes on
// without it.
func homedHere(s *projector.State, hypervisor string) (d log.Drain, taps []string) {
	for _, g := range s.Guests() {
		if g.Duty(hypervisor) != projector.DutyHome {
			continue
		}
		member := len(g.Addresses) > 0
		for _, a := range g.Addresses {
			member = member && a.Role == events.RoleAnycast
		}
		if member {
			d.Members++
		} else {
			d.Guests++
		}
		for _, f := range g.Interfaces {
			taps = append(taps, f.Tap)
		}
	}
	return d, taps
}

// traffic is what was sent to taps, sample by sample.
type traffic struct {
	last    map[string]uint64
	samples []sample
}

type sample struct {
	at      time.Time
	packets uint64 // since the one before
}

// sample adds what was sent to the taps since the last one. A tap that was made
// anew begins with nothing.
func (t *traffic) sample(now time.Time, counters map[string]uint64, taps []string) {
	s, last := sample{at: now}, make(map[string]uint64, len(taps))
	for _, tap := range taps {
		n, ok := counters[tap]
		if !ok {
			continue
		}
		last[tap] = n
		switch before, known := t.last[tap]; {
		case known && n >= before:
			s.packets += n - before
		case t.last != nil:
			s.packets += n
		}
	}
	t.last = last
	t.samples = append(t.samples, s)
	if len(t.samples) > 64 {
		t.samples = t.samples[1:]
	}
}

// within sums up what was sent in the last so much time, or as long as it was
// watched, which is shorter at first.
func (t *traffic) within(now time.Time, window time.Duration) (packets uint64, watched time.Duration) {
	for i, s := range t.samples {
		if i == 0 {
			watched = min(window, now.Sub(s.at))
		} else if now.Sub(s.at) < window {
			packets += s.packets
		}
	}
	return packets, watched
}

// sentToLinks reads how many packets this host has sent to each of its links: to
// a tap, what its guest was delivered.
func sentToLinks() (map[string]uint64, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("reading the counters of links: %w", err)
	}
	sent := make(map[string]uint64, len(links))
	for _, l := range links {
		if s := l.Attrs().Statistics; s != nil {
			sent[l.Attrs().Name] = s.TxPackets
		}
	}
	return sent, nil
}
