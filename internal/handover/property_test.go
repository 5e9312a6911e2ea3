package handover

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestAnyHistoryEndsAtTheHome draws histories of one guest on some hosts.
func TestAnyHistoryEndsAtTheHome(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		actions := map[string]func(){
			"prepare": w.prepare, "migrate": w.migrate, "abort": w.abort, "sign for nothing": w.sign,
			"restart": w.restart, "outage": w.outage, "bounce": w.bounce,
		}
		names := []string{"prepare", "prepare", "migrate", "migrate", "migrate", "abort", "sign for nothing", "restart", "outage", "bounce"}
		w.run(Instant(time.Second))
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			actions[rapid.SampledFrom(names).Draw(t, "action")]()
			longest := rapid.SampledFrom([]time.Duration{5 * time.Millisecond, 100 * time.Millisecond, 2 * time.Second, 15 * time.Second, time.Minute}).Draw(t, "scale")
			w.run(w.now.Add(time.Duration(rapid.Int64Range(0, int64(longest)).Draw(t, "pause"))))
		}
		w.settle()
	})
}

func (w *world) somewhere() int { return rapid.IntRange(0, len(w.hosts)-1).Draw(w.t, "host") }

func (w *world) prepare() {
	if to := w.somewhere(); w.log.next < 0 && to != w.log.home {
		w.tells(func(r *register) { r.next = to })
	}
}

// migrate has the guest run on another host, be heard there if that is prepared,
// and the log say so, in this order or the other. Its tap there is ready if it was
// prepared, and else comes within a second. The one here goes some time later, or
// if it knows that it was prepared even before the log says so.
func (w *world) migrate() {
	to := w.somewhere()
	if w.log.next >= 0 {
		to = w.log.next
	}
	if to == w.log.home {
		return
	}
	w.bound = to
	from := w.hosts[w.log.home]
	there := w.hosts[to]
	plugged := false
	appear := func() { plugged, there.tap = true, true; there.round() }
	epoch, prepared := w.log.epoch+1, w.log.next == to && from.view.next == to
	if w.log.next == to {
		appear()
		w.after(nil, "sign", 200*time.Millisecond, func() {
			w.doubtful = w.doubtful || w.log.epoch >= epoch // it may be for the next time
			there.m.Seen("vm")
			there.round()
		})
	} else {
		w.after(nil, "tap", time.Second, appear)
	}
	leave := func() {
		if from.departed == epoch && w.log.home != from.id && w.log.next != from.id && w.bound != from.id {
			from.tap = false
			from.round()
		}
	}
	say := func() {
		if w.log.epoch+1 != epoch || w.log.next >= 0 && w.log.next != to || w.log.home != from.id {
			w.doubtful = true // somebody else was faster, and the guest is where they had it go
			w.bound = w.log.home
			return
		}
		w.tells(func(r *register) { *r = register{to, r.home, -1, epoch, r.moves + 1} })
		w.moved, from.departed = w.now, epoch
		if w.bound = to; plugged && !there.tap { // it was thought to be bound for elsewhere
			appear()
		}
		if prepared {
			leave()
		} else {
			w.after(nil, "tap of before", 2*time.Second, func() { w.at(w.now.Add(feedDelay+1), leave) }) // who is told last knows, too
		}
	}
	w.after(nil, "event", 200*time.Millisecond, say)
}

func (w *world) abort() {
	if w.log.next >= 0 {
		w.doubtful = true // it may have been heard there
		w.tells(func(r *register) { r.next = -1 })
	}
}

// sign is a frame of the guest where it isn't.
func (w *world) sign() {
	if w.log.next >= 0 {
		w.doubtful = true
		h := w.hosts[w.log.next]
		h.tap = true
		h.m.Seen("vm")
		h.round()
	}
}

// restart has an agent forget all but its snapshot. Without the log it announces
// that after a while; until then the reflector keeps what it was told. What it was
// announcing for somebody else is over, and whom it saw arrive it has to see again.
func (w *world) restart() {
	h := w.hosts[w.somewhere()]
	w.outages = w.outages || len(h.announced) > 0 && !h.delivers
	w.doubtful = w.doubtful || h.early
	h.m, h.announced, h.known, h.served = New(), nil, h.connected, false
	h.said = ^uint32(0) // everything is said again
	h.round()
	w.at(w.now.Add(10*time.Second), func() { h.known = true; h.round() })
}

func (w *world) outage() {
	h := w.hosts[w.somewhere()]
	w.outages = true
	h.connected = false
	h.round()
	w.after(nil, "outage", 30*time.Second, func() { h.connected = true; h.hears() })
}

// bounce has a tap go and come.
func (w *world) bounce() {
	if h := w.hosts[w.log.home]; h.tap {
		w.outages = true // nobody announces a tap that isn't there
		h.tap = false
		h.round()
		w.after(nil, "bounce", time.Second, func() { h.tap = true; h.round() })
	}
}

// settle lets everything come to rest and looks whether the home alone has the
// guest.
func (w *world) settle() {
	w.run(w.now.Add(time.Minute))
	if w.log.next >= 0 {
		w.abort()
	}
	w.run(w.now.Add(time.Minute))
	home := w.hosts[w.log.home]
	home.tap = true
	home.round()
	w.run(w.now.Add(Longest + time.Minute))
	for _, h := range w.hosts {
		switch {
		case h == home && (h.seen == 0 || !h.delivers):
			w.t.Errorf("host %d is the home: announces with %d, delivers: %t", h.id, h.seen, h.delivers)
		case h != home && (h.seen > 0 || h.delivers || h.via != home.id):
			w.t.Errorf("host %d is not the home, which is %d: announces with %d, delivers: %t, sends to %d", h.id, home.id, h.seen, h.delivers, h.via)
		}
		if r := h.m.Report(); h.blackhole || len(r.Moves)+len(r.Claims)+len(r.Arrivals) > 0 {
			w.t.Errorf("host %d isn't done: %+v, blackhole: %t", h.id, r, h.blackhole)
		}
	}
	if len(w.queue) > 0 {
		w.t.Errorf("%d events are left", len(w.queue))
	}
}
