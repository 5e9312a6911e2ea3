package agent

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/bgp"
	"github.com/hostroute/hostroute/internal/bgp/session"
	"github.com/hostroute/hostroute/internal/handover"
	"github.com/hostroute/hostroute/vrf"
	"github.com/hostroute/hostroute/vrf/kernel"
)

// heard are the paths that the test has learned.
type heard struct {
	paths   map[netip.Prefix]session.Path
	watched map[string][]netip.Prefix
	asked   uint64
}

// PathVersion is another one each time: any test may change paths at any time.
func (l *heard) PathVersion() uint64 {
	l.asked++
	return l.asked
}

func (l *heard) Watch(prefixes map[string][]netip.Prefix) { l.watched = prefixes }

func (l *heard) WatchAlso(prefixes map[string][]netip.Prefix) {
	for vrf, list := range prefixes {
		l.watched[vrf] = slices.SortedFunc(slices.Values(slices.Concat(l.watched[vrf], list)), netip.Prefix.Compare)
	}
}

func (l *heard) Path(_ string, p netip.Prefix) (session.Path, bool) {
	path, ok := l.paths[p]
	return path, ok
}

// hears has a path known, written or not.
func (l *heard) hears(prefix string, moves uint32, written bool) {
	p := bgp.Preference(moves, false)
	l.paths[netip.MustParsePrefix(prefix)] = session.Path{
		Best: bgp.Best{Preference: p, Highest: p, Originator: netip.MustParseAddr("10.0.0.2")}, Written: written}
}

// movingBed is a testbed with paths, and what the kernel has of a prefix.
func newMovingBed(t *testing.T) (*testbed, *heard) {
	b := newTestbed(t)
	l := &heard{paths: map[netip.Prefix]session.Path{}}
	b.applier.moving.paths = l
	b.kernel.AddLink("tap1")
	b.wants(t, "announce 203.0.113.10/32 203.0.113.11/32")
	return b, l
}

// has lists the metrics of a prefix's routes, and the taps that they lead to.
func (b *testbed) has(t *testing.T, prefix string) (list []string) {
	t.Helper()
	actual, err := b.kernel.Read(t.Context(), b.fixed)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range actual.Routes {
		if r.Prefix.String() != prefix {
			continue
		}
		switch r.Metric {
		case vrf.MetricGuest:
			list = append(list, r.Link)
		case vrf.MetricBlackholeOver:
			list = append(list, "blackhole over what is learned")
		case vrf.MetricBlackhole:
			list = append(list, "blackhole")
		}
	}
	slices.Sort(list)
	return list
}

func (b *testbed) hasOnly(t *testing.T, prefix string, want ...string) {
	t.Helper()
	if got := b.has(t, prefix); !slices.Equal(got, want) {
		t.Errorf("the kernel has %q of %s, want %q", got, prefix, want)
	}
}

const first, second = "203.0.113.10/32", "203.0.113.11/32"

// TestAGuestThatLeaves: its routes go, and what was announced stays until the new
// home is heard of and that is in the kernel.
func TestAGuestThatLeaves(t *testing.T) {
	b, l := newMovingBed(t)
	b.projection.publish(t, &events.VMMigrationStarted{VM: "a", To: "hv2"})
	b.wants(t)
	b.projection.publish(t, &events.VMMigrated{VM: "a", To: "hv2"})
	b.wants(t, "delete 203.0.113.10/32", "delete 203.0.113.11/32")
	b.hasOnly(t, first, "blackhole")
	if want := []netip.Prefix{netip.MustParsePrefix(first), netip.MustParsePrefix(second)}; !slices.Equal(l.watched["public"], want) {
		t.Errorf("it watches %v", l.watched)
	}
	l.hears(first, 1, false)
	b.wants(t)
	l.hears(first, 1, true)
	b.wants(t, "announce 203.0.113.11/32")
	if len(b.served.host.DHCP)+len(b.served.host.IPv6) > 0 || b.served.present["tap1"] {
		t.Error("a guest that has left is served on")
	}
	b.elapsed += handover.Forwarding
	b.wants(t, "announce ")
	b.hasOnly(t, first)
	b.hasOnly(t, second, "blackhole") // of it nobody has heard yet
	b.elapsed += handover.Longest
	b.wants(t)
	b.hasOnly(t, second)
}

// TestAGuestThatComes: everything is ready before, and announced when the guest is
// heard, or the log says so.
func TestAGuestThatComes(t *testing.T) {
	b, l := newMovingBed(t)
	b.projection.publish(t, &events.VMMigrated{VM: "a", To: "hv2"})
	l.hears(first, 1, true)
	l.hears(second, 1, true)
	b.wants(t, "announce ", "delete 203.0.113.10/32", "delete 203.0.113.11/32")
	b.elapsed += handover.Longest
	b.wants(t)
	b.projection.publish(t, &events.VMMigrationStarted{VM: "a", To: "hv1"})
	b.wants(t)
	if g := b.served.expected["tap1"]; g.VM != "a" || g.MAC != [6]byte{2, 0, 0, 0, 0, 1} || len(b.served.host.DHCP) != 1 {
		t.Errorf("expected: %+v; %d served by DHCP", b.served.expected, len(b.served.host.DHCP))
	}
	b.hasOnly(t, first)
	b.Saw("a")
	b.wants(t, "announce 203.0.113.10/32 203.0.113.11/32")
	if got := b.announced[0].Preference; got != 2100 {
		t.Errorf("announced with %d", got)
	}
	b.hasOnly(t, first, "blackhole", "tap1") // which holds while the tap is made anew
	b.projection.publish(t, &events.VMMigrationAborted{VM: "a"})
	b.wants(t, "announce ", "delete 203.0.113.10/32", "delete 203.0.113.11/32")
	b.projection.publish(t, &events.VMMigrationStarted{VM: "a", To: "hv1"})
	b.wants(t)
	b.Saw("a")
	b.wants(t, "announce 203.0.113.10/32 203.0.113.11/32")
	b.projection.publish(t, &events.VMMigrated{VM: "a", To: "hv1"})
	b.wants(t)
	b.elapsed += handover.Forwarding
	b.wants(t)
	b.hasOnly(t, first, "tap1")
}

// TestATapThatAnotherGuestHas says nothing of the guest that was to come there.
func TestATapThatAnotherGuestHas(t *testing.T) {
	b, _ := newMovingBed(t)
	b.projection.publish(t, &events.VMCreated{VM: "b", Hypervisor: "hv2", Interfaces: []events.Interface{
		{Tap: "tap1", MAC: events.MAC{Octets: [6]byte{2, 0, 0, 0, 0, 9}}, Network: "web"}}})
	b.projection.publish(t, &events.VMMigrationStarted{VM: "b", To: "hv1"})
	b.wants(t)
	if len(b.served.expected) > 0 {
		t.Errorf("expected: %+v", b.served.expected)
	}
}

// TestAPrefixThatSomebodyNewerHas is yielded, whatever the log has said so far.
func TestAPrefixThatSomebodyNewerHas(t *testing.T) {
	for _, current := range []bool{true, false} {
		b, l := newMovingBed(t)
		b.projection.inSync = current // without a sweep, too, the route has to go
		b.projection.known = true
		l.hears(first, 1, false)
		b.wants(t, "announce 203.0.113.11/32", "delete 203.0.113.10/32")
		b.hasOnly(t, first, "blackhole")
		b.hasOnly(t, second, "tap1")
		b.elapsed += handover.Patience
		if current {
			b.wants(t, "announce 203.0.113.10/32 203.0.113.11/32")
			b.hasOnly(t, first, "tap1")
		} else {
			b.wants(t)
		}
		delete(l.paths, netip.MustParsePrefix(first))
		b.round(t)
		b.hasOnly(t, first, "tap1")
		if len(b.announced) != 2 {
			t.Errorf("%v is announced", b.announced)
		}
	}
}

// TestAnAddressThatChangesItsGuestHere: no moment without a route, and no
// withdrawal.
func TestAnAddressThatChangesItsGuestHere(t *testing.T) {
	b, _ := newMovingBed(t)
	b.projection.publish(t, &events.VMCreated{VM: "b", Hypervisor: "hv1", Interfaces: []events.Interface{
		{Tap: "tap2", MAC: events.MAC{Octets: [6]byte{2, 0, 0, 0, 0, 2}}, Network: "web"}}})
	b.appears("tap2")
	b.wants(t)
	b.projection.publish(t, &events.IPMoved{Prefix: events.PrefixFrom(netip.MustParsePrefix(first)), To: "b"})
	b.wants(t, "announce 203.0.113.10/32 203.0.113.11/32") // once more, since it was moved
	b.hasOnly(t, first, "tap2")
	if b.announced[0].Preference != 1100 || b.announced[1].Preference != 100 {
		t.Errorf("announced: %+v", b.announced)
	}
}

// TestANewHomeWithoutItsTap drops what comes, for a while.
func TestANewHomeWithoutItsTap(t *testing.T) {
	b, _ := newMovingBed(t)
	b.projection.publish(t, &events.VMMigrated{VM: "a", To: "hv2"})
	b.wants(t, "delete 203.0.113.10/32", "delete 203.0.113.11/32")
	b.kernel.DeleteLink("tap1")
	b.elapsed += handover.Longest + time.Second
	b.wants(t, "announce ")
	b.projection.publish(t, &events.VMMigrated{VM: "a", To: "hv1"})
	b.wants(t)
	b.hasOnly(t, first, "blackhole")
	b.elapsed += handover.Forwarding
	b.wants(t)
	b.hasOnly(t, first)
	b.appears("tap1")
	b.wants(t, "announce 203.0.113.10/32 203.0.113.11/32")
}

// TestNothingIsAnnouncedByARoundThatBeganBeforeAPause: what it knows may be long
// over.
func TestNothingIsAnnouncedByARoundThatBeganBeforeAPause(t *testing.T) {
	b, _ := newMovingBed(t)
	b.kernel.DeleteLink("tap1")
	b.Notice(kernel.Notice{Links: []string{"tap1"}})
	fault := b.kernel.Fault
	b.kernel.Fault = func(op vrf.Op) error {
		b.Hush()
		return fault(op)
	}
	b.projection.publish(t, &events.VMMigrated{VM: "a", To: "hv2"})
	b.kernel.AddLink("tap1")
	got, err := b.round(t)
	if err != nil || len(got) == 0 || slices.ContainsFunc(got, func(s string) bool { return s[:1] == "a" }) {
		t.Errorf("%q, %v", got, err)
	}
	b.kernel.Fault = fault
	b.wants(t, "announce ") // nothing is kept that was announced before
}
