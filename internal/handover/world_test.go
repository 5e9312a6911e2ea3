package handover

import (
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/hostroute/hostroute/internal/bgp"
)

// The longest delays of the world, one way.
const (
	feedDelay  = 50 * time.Millisecond
	bgpDelay   = 10 * time.Millisecond
	writeDelay = 20 * time.Millisecond
)

// register is what the log has of the one guest, or what a host knows of that.
type register struct {
	home, previous, next int // -1: none
	epoch                uint64
	moves                uint32
}

// world is some hosts, a log and a reflector in virtual time, and one guest with
// one prefix.
type world struct {
	t      *rapid.T
	now    Instant
	queue  []event
	number int
	hosts  []*host
	log    register
	moved  Instant // when the log said so last
	bound  int     // where the guest is on its way to, or was last

	outages, doubtful bool // something happened after which a gap is nobody's fault
	said              bool // the reflector has heard of the prefix once
	loop, silence     Instant
}

type event struct {
	at     Instant
	number int // of those at one time the first is first
	do     func()
}

// host is an agent with its kernel.
type host struct {
	w         *world
	id        int
	m         *Machine
	view      register
	connected bool
	tap       bool // is there
	served    bool // and was, when that was looked at last
	known     bool // what is known may be announced
	announced []bgp.Announcement
	said      uint32         // what the reflector was told last; 0: nothing
	paths     map[int]uint32 // by the host that announces
	seen      uint32         // what the reflector has of this host
	via       int            // the learned route in the kernel; -1: none
	delivers  bool
	blackhole bool
	over      bool // it stands over what is learned
	early     bool
	departed  uint64  // the epoch in which the guest left last
	rival     uint32  // generation of the newest path that is newer than ours
	rivalled  Instant // since when
	ruled     bool    // the log could overrule it since
	order     map[string]Instant
}

func newWorld(t *rapid.T) *world {
	w := &world{t: t, log: register{0, -1, -1, 1, 0}, loop: Never, silence: Never}
	for i := range rapid.IntRange(2, 3).Draw(t, "hosts") {
		h := &host{w: w, id: i, m: New(), view: w.log, connected: true, known: true, tap: i == 0, paths: map[int]uint32{}, via: -1, order: map[string]Instant{}}
		w.hosts = append(w.hosts, h)
		h.round()
	}
	return w
}

// after has something happen in a while; what is sent the same way keeps its order.
func (w *world) after(h *host, way string, longest time.Duration, do func()) {
	at := w.now.Add(time.Duration(rapid.Int64Range(0, int64(longest)).Draw(w.t, way)))
	if h != nil {
		at = max(at, h.order[way])
		h.order[way] = at
	}
	w.at(at, do)
}

func (w *world) at(at Instant, do func()) {
	w.number++
	w.queue = append(w.queue, event{at, w.number, do})
}

// run has everything happen that is to happen until then.
func (w *world) run(until Instant) {
	for {
		first := -1
		for i, e := range w.queue {
			if first < 0 || e.at < w.queue[first].at || e.at == w.queue[first].at && e.number < w.queue[first].number {
				first = i
			}
		}
		if first < 0 || w.queue[first].at > until {
			w.now = until
			return
		}
		e := w.queue[first]
		w.queue = slices.Delete(w.queue, first, first+1)
		if e.at > w.now {
			w.check()
		}
		w.now = e.at
		e.do()
	}
}

// round is one of the agent's.
func (h *host) round() {
	var preparing []string
	if h.view.next == h.id {
		preparing = []string{"vm"}
	}
	h.early = h.m.Arrived(h.w.now, preparing)("vm")
	in := Input{Announced: h.announced, Known: true, Current: h.connected, Path: h.path}
	moves := h.view.moves
	if h.early {
		moves++
	}
	if h.home() {
		in.Own = []Own{{Key: theKey, VM: "vm", Epoch: h.view.epoch, Preference: bgp.Preference(moves, false),
			Came: h.view.previous >= 0 || h.early, Leaving: !h.early && h.view.next >= 0, Early: h.early, Served: h.served}}
	} else if h.view.previous == h.id {
		in.Departures = []Departure{{theKey, "vm", fmt.Sprint(h.view.home), h.view.epoch, bgp.Preference(h.view.moves, true)}}
	}
	h.m.Watch(h.w.now, in)
	out := h.m.Step(h.w.now, in)
	if h.served != h.tap {
		h.served = h.tap
		h.w.at(h.w.now, h.round)
	}
	h.delivers = h.home() && !out.Withheld[theKey] && h.tap
	h.blackhole = len(out.Blackholes) > 0
	h.over = h.blackhole && out.Blackholes[0].Over
	if out.Next != Never {
		h.w.at(max(out.Next, h.w.now), h.round)
	}
	if !h.known {
		return
	}
	h.announced = out.Keep
	if h.delivers {
		h.announced = []bgp.Announcement{{VRF: theKey.VRF, Prefix: theKey.Prefix, Preference: bgp.Preference(moves, false)}}
	}
	h.tell()
}

func (h *host) home() bool { return h.view.home == h.id || h.early }

// tell brings the reflector what is announced, and that to everybody else.
func (h *host) tell() {
	preference := uint32(0)
	for _, a := range h.announced {
		preference = max(preference, a.Preference)
	}
	if preference == h.said {
		return
	}
	h.said = preference
	h.w.after(h, "to the reflector", bgpDelay, func() {
		h.seen = preference
		h.w.said = h.w.said || preference > 0
		for _, other := range h.w.hosts {
			if other != h {
				h.w.after(other, "from the reflector", bgpDelay, func() { other.learn(h.id, preference) })
			}
		}
	})
}

// learn takes a path of another host; the kernel has it a little later.
func (h *host) learn(from int, preference uint32) {
	if h.paths[from] = preference; preference == 0 {
		delete(h.paths, from)
	}
	h.round()
	h.w.after(h, "into the kernel", writeDelay, func() {
		h.via, _ = h.best()
		h.round()
	})
}

func (h *host) best() (from int, preference uint32) {
	from = -1
	for i, p := range h.paths {
		if p > preference {
			from, preference = i, p
		}
	}
	return from, preference
}

func (h *host) path(Key) (Path, bool) {
	from, p := h.best()
	return Path{Preference: p, Highest: p, Written: h.via == from}, p > 0
}

// hears brings a host what the log has, unless it is cut off.
func (h *host) hears() {
	if h.connected {
		h.view = h.w.log
		h.known = true
		h.round()
	}
}

// tells has every host hear what the log says now.
func (w *world) tells(change func(r *register)) {
	change(&w.log)
	now := w.log
	for _, h := range w.hosts {
		w.after(h, "feed", feedDelay, func() {
			if h.connected && now.epoch >= h.view.epoch {
				h.view = now
				h.round()
			}
		})
	}
}

// check holds what is the case between two events against what may be.
func (w *world) check() {
	for _, h := range w.hosts {
		w.checkDelivery(h)
		fresh := h.view == w.log
		if looked := h.id == w.log.home || h.id == w.log.previous; fresh && looked && w.log.previous >= 0 &&
			w.now.Sub(w.moved) < Forwarding && !h.delivers && h.via < 0 && !h.blackhole {
			w.t.Fatalf("at %v host %d answers for a guest that has just moved that it is unreachable", time.Duration(w.now), h.id)
		}
	}
	w.checkLoop()
	w.checkSilence()
}

// checkDelivery: nobody delivers who could know better.
func (w *world) checkDelivery(h *host) {
	_, newest := h.best()
	mine := h.view.moves
	if h.early {
		mine++
	}
	rival := bgp.Generation(newest)
	switch {
	case newest == 0 || rival <= mine || !h.home():
		h.rival = 0
	case rival > h.rival:
		h.rival, h.rivalled, h.ruled = rival, w.now, false
	}
	h.ruled = h.ruled || h.rival > 0 && h.connected && w.now.Sub(h.rivalled) >= Patience-bgpDelay
	switch {
	case h.delivers && !h.home():
		w.t.Fatalf("at %v host %d delivers what the log told it is elsewhere", time.Duration(w.now), h.id)
	case h.delivers && h.rival > 0 && !h.ruled:
		w.t.Fatalf("at %v host %d delivers though it has a newer path", time.Duration(w.now), h.id)
	}
}

// forwards tells whether the kernel sends on what comes for the guest.
func (h *host) forwards() bool { return !h.delivers && !h.over && h.via >= 0 }

// checkLoop: no packet goes in circles for longer than everybody takes to hear of a
// change. What the reflector keeps of an agent that was restarted without the log is
// old news that nobody takes back.
func (w *world) checkLoop() {
	circle := false
	if slices.ContainsFunc(w.hosts, func(h *host) bool { return !h.known }) {
		w.loop = Never
		return
	}
	for i := range w.hosts {
		at := i
		for range w.hosts {
			if h := w.hosts[at]; h.forwards() {
				at = h.via
			}
		}
		h := w.hosts[at]
		circle = circle || h.forwards()
	}
	if !circle {
		w.loop = Never
		return
	}
	w.loop = min(w.loop, w.now)
	if w.now.Sub(w.loop) > bgpDelay+writeDelay {
		w.t.Fatalf("at %v packets have gone in circles since %v", time.Duration(w.now), time.Duration(w.loop))
	}
}

// checkSilence: somebody announces at every moment, but where a guest was heard on
// a host that it didn't move to, and then for no longer than it takes to hear that
// once its tap is where it did.
func (w *world) checkSilence() {
	if !w.said || w.outages || w.doubtful && !w.hosts[w.log.home].tap || slices.ContainsFunc(w.hosts, func(h *host) bool { return h.seen > 0 }) {
		w.silence = Never
		return
	}
	w.silence = min(w.silence, w.now)
	if !w.doubtful || w.now.Sub(w.silence) > feedDelay+4*bgpDelay {
		w.t.Fatalf("at %v nobody announces the prefix, since %v", time.Duration(w.now), time.Duration(w.silence))
	}
}
