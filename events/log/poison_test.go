package log

import (
	"fmt"
	"slices"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/projector"
)

// good are the headers of a message that is in order.
func good(t events.Type) nats.Header {
	return headersWith(map[string]string{
		headerID: "poison", headerType: string(t), headerTime: "2026-11-22T03:12:00Z",
		headerSpecVersion: specVersion, headerDataVersion: "1", headerOffset: "0",
	})
}

func headersWith(m map[string]string) nats.Header {
	h := nats.Header{}
	for k, v := range m {
		h.Set(k, v)
	}
	return h
}

func with(h nats.Header, name, value string) nats.Header {
	h[name] = []string{value}
	return h
}

// poisons are messages that somebody with rights and bad manners writes.
func poisons(subject string) []nats.Msg {
	vm1 := `{"data":{"vm":"vm1"},"state":null}`
	other := `{"data":{"vm":"vm1","to":"hv2"},"state":{"vm":"vm2","hypervisor":"hv1","epoch":1,"interfaces":[]}}`
	return []nats.Msg{
		{Data: []byte("rubbish")},
		{Data: []byte{}},
		{Header: good("VMDeleted"), Data: []byte("rubbish")},
		{Header: good("VMExploded"), Data: []byte(vm1)},
		{Header: with(good("VMDeleted"), headerDataVersion, "2"), Data: []byte(vm1)},
		{Header: with(good("VMDeleted"), headerOffset, "999"), Data: []byte(vm1)},
		{Header: with(good("VMDeleted"), headerOffset, "-1"), Data: []byte(vm1)},
		{Header: with(good("VMDeleted"), nats.JSSequence, "1"), Data: []byte("a sequence of its own")},
		{Header: with(good("VMMigrated"), headerOffset, "1"), Data: []byte(other)},
		{Header: good("VMDeleted"), Data: []byte(`{"data":{"vm":"VM 1"},"state":null}`)},
	}
}

// TestPoisonHarmsNobodyElse writes rubbish everywhere in the log and goes on.
func TestPoisonHarmsNobodyElse(t *testing.T) {
	for _, subject := range []string{
		"hr.feed.hv1.vm1", "hr.feed.hv1", "hr.net", "hr.vm.vm1", "hr.net.web", "hr.hv.hv1", "hr.vrf.public",
		"hr.ip.public.203-0-113-7", "hr.unheard.of", "hr.feed.hv1.vm1.more",
	} {
		t.Run(subject, func(t *testing.T) { poisonSubject(t, subject) })
	}
}

func poisonSubject(t *testing.T, subject string) {
	l := newLab(t)
	l.base()
	l.publish(assign("203.0.113.7/32", "vm1"))
	l.serve()
	f := l.follow("hv1", FollowerOptions{})
	var written []uint64
	for _, p := range poisons(subject) {
		written = append(written, l.raw(subject, p.Header, string(p.Data)))
	}
	checkAll := func(when string) {
		t.Helper()
		want := desired(t, l.replay(), "hv1")
		testenv.Eventually(t, when+", the follower agrees with replay", func() bool { return desired(t, f.State(), "hv1") == want })
		fresh := l.follow("hv1", FollowerOptions{})
		if have := desired(t, fresh.State(), "hv1"); have != want {
			t.Errorf("%s, a new follower has %s\nreplay has               %s", when, have, want)
		}
	}
	checkAll("right after it")
	if n := len(projector.Desired(f.State(), "hv1").Announcements); n != 1 {
		t.Errorf("%d announcements; want that of the one address", n)
	}
	// Life goes on for everybody, also for whom it was written to.
	web := network("web", "public", "203.0.113.0/24")
	web.MTU = 1400
	l.publish(assign("203.0.113.8/32", "vm2"), assign("203.0.113.9/32", "vm1"), guest("vm3", "hv1", "web"), web,
		&events.IPMoved{Prefix: pfx("203.0.113.7/32"), To: "vm3"}, &events.HypervisorDrained{Hypervisor: "hv1"},
		&events.VMMigrated{VM: "vm1", To: "hv2"}, &events.VMMigrated{VM: "vm1", To: "hv1"})
	checkAll("later")
	checkQuarantine(t, l, written)
}

// checkQuarantine wants all of the poison reported by replay, and nothing else.
func checkQuarantine(t *testing.T, l *lab, written []uint64) {
	t.Helper()
	var have []uint64
	for _, q := range l.replay().Quarantined() {
		have = append(have, q.Sequence)
		if q.Reason == "" {
			t.Errorf("sequence %d is in quarantine without a reason", q.Sequence)
		}
	}
	if !slices.Equal(have, written) {
		t.Errorf("in quarantine are %v; want %v", have, written)
	}
}

func TestFollowerReportsPoison(t *testing.T) {
	l := newLab(t)
	l.base()
	l.serve()
	f := l.follow("hv1", FollowerOptions{})
	sequence := l.raw("hr.feed.hv1.vm1", nil, "rubbish")
	testenv.Eventually(t, "it is noticed", func() bool { return f.Status().Quarantined == 1 })
	q := f.State().Quarantined()[0]
	if q.Sequence != sequence || q.Subject != "hr.vm.vm1" || q.Reason == "" {
		t.Errorf("got %+v", q)
	}
	fresh := l.follow("hv1", FollowerOptions{})
	if got := fmt.Sprint(fresh.State().Quarantined()); got != fmt.Sprint(f.State().Quarantined()) {
		t.Errorf("a new follower reports %s", got)
	}
}
