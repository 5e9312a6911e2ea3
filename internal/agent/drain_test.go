package agent

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/events/log"
)

// TestADrainIsWatched goes through a drain, second by second, with the counters
// of two taps.
func TestADrainIsWatched(t *testing.T) {
	drained := &events.HypervisorDrained{Hypervisor: "hv1"}
	p := history(t)
	counters, failure := map[string]uint64{"tap1": 1000, "eth0": 5}, error(nil)
	reads := 0
	w := newDrainWatch("hv1", p.State, func() {}, slog.New(slog.DiscardHandler))
	w.counters = func() (map[string]uint64, error) { reads++; return counters, failure }
	now := time.Time{}
	pass := func(tap1, eth0 uint64) *log.Drain {
		now = now.Add(time.Second)
		counters["tap1"] += tap1
		counters["eth0"] += eth0
		w.look(now)
		return w.status()
	}
	if d := pass(7, 7); d != nil || reads > 0 {
		t.Fatalf("one that isn't drained has %+v, after %d reads", d, reads)
	}
	p.publish(t, drained)
	for i, c := range []struct {
		tap1 uint64
		want log.Drain
	}{
		{3, log.Drain{Guests: 1}}, // from when it is watched
		{2, log.Drain{Guests: 1, Delivered: 2, Window: 1}},
		{4, log.Drain{Guests: 1, Delivered: 6, Window: 2}},
		{0, log.Drain{Guests: 1, Delivered: 6, Window: 3}},
		{0, log.Drain{Guests: 1, Delivered: 6, Window: 4}},
		{0, log.Drain{Guests: 1, Delivered: 6, Window: 5, Known: true}},
		{0, log.Drain{Guests: 1, Delivered: 4, Window: 5, Known: true}},
		{0, log.Drain{Guests: 1, Window: 5, Known: true}},
	} {
		if d := pass(c.tap1, 100); *d != c.want {
			t.Errorf("after %d s: %+v, want %+v", i, *d, c.want)
		}
	}
	counters["tap1"] = 2 // made anew
	if d := pass(0, 0); d.Delivered != 2 {
		t.Errorf("a tap that was made anew: %+v", d)
	}
	failure = errors.New("no buffer space")
	if d := pass(0, 0); d.Known {
		t.Errorf("nothing can be read, and yet %+v", d)
	}
	failure = nil
	p.publish(t, &events.VMMigrated{VM: "a", To: "hv2"})
	if d := pass(0, 0); d.Guests != 0 {
		t.Errorf("nobody is left, but %+v", d)
	}
	p.publish(t, &events.HypervisorUndrained{Hypervisor: "hv1"})
	before := reads
	if d := pass(1, 1); d != nil || reads > before {
		t.Errorf("undrained: %+v", d)
	}
	p.publish(t, drained)
	if d := pass(1, 1); d == nil || d.Known || d.Window > 0 {
		t.Errorf("drained again: %+v", d)
	}
}

func TestWhoIsAMember(t *testing.T) {
	p := history(t, &events.IPReleased{Prefix: events.PrefixFrom(theAddress.prefix), VM: "a"},
		&events.IPAssigned{Prefix: events.PrefixFrom(theAddress.prefix), VM: "a", Role: events.RoleAnycast})
	if d, taps := homedHere(p.state, "hv1"); d.Members != 1 || d.Guests != 0 || len(taps) != 1 {
		t.Errorf("%+v %v", d, taps)
	}
	p.publish(t, &events.IPReleased{Prefix: events.PrefixFrom(theAddress.prefix), VM: "a"})
	if d, _ := homedHere(p.state, "hv1"); d.Members != 0 || d.Guests != 1 {
		t.Errorf("a guest without addresses: %+v", d)
	}
}

// TestCountersOfLinks reads those of this machine.
func TestCountersOfLinks(t *testing.T) {
	sent, err := sentToLinks()
	if _, ok := sent["lo"]; err != nil || !ok {
		t.Errorf("%v, %v", sent, err)
	}
}
