package projector

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/bgp"
	"github.com/hostroute/hostroute/internal/dhcp"
	"github.com/hostroute/hostroute/ipv6"
	"github.com/hostroute/hostroute/vrf"
)

func publish(t *testing.T, s *State, seq uint64, data events.Data) {
	t.Helper()
	d, err := Decide(s, events.Event{Data: data})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Apply(Record{Sequence: seq, Event: d.Event}); err != nil {
		t.Fatal(err)
	}
}

// TestMove follows one guest with a host address and a /64 from its home
// through the preparation to its new home.
func TestMove(t *testing.T) {
	s := New()
	publish(t, s, 1, &events.HypervisorRegistered{Hypervisor: "hv1"})
	publish(t, s, 2, &events.HypervisorRegistered{Hypervisor: "hv2"})
	publish(t, s, 3, network("web"))
	publish(t, s, 4, &events.VMCreated{VM: "a", Hypervisor: "hv1", Interfaces: []events.Interface{{Tap: "tap1", MAC: mac(7), Network: "web"}}})
	publish(t, s, 5, &events.IPAssigned{Prefix: prefix("203.0.113.10"), VM: "a"})
	publish(t, s, 6, &events.IPAssigned{Prefix: prefix("2001:db8:0:1::/64"), VM: "a"})

	v4, v6 := netip.MustParsePrefix("203.0.113.10/32"), netip.MustParsePrefix("2001:db8:0:1::/64")
	local := netip.MustParseAddr("fe80::ff:fe00:7")
	prepared := vrf.Tap{Name: "tap1", VRF: "public", MAC: mac(7).Octets, Sources: []netip.Prefix{v4, v6}, Gateways: []netip.Addr{netip.MustParseAddr("203.0.113.1")},
		Neighbours: []vrf.Neighbour{{Address: v4.Addr(), MAC: mac(7).Octets}, {Address: local, MAC: mac(7).Octets}}}
	served := prepared
	served.Routes = []vrf.Route{{Prefix: v4}, {Prefix: v6, Via: local}}
	announced := func(preference uint32) []bgp.Announcement {
		return []bgp.Announcement{{VRF: "public", Prefix: v4, Preference: preference}, {VRF: "public", Prefix: v6, Preference: preference}}
	}
	nothing := Host{}
	want := func(hv string, h Host) {
		t.Helper()
		for _, tap := range h.Taps { // what the guest is told is the same wherever it is
			h.DHCP = []dhcp.Service{told4(tap.Name)}
			h.IPv6 = []ipv6.Service{told6(tap.Name)}
		}
		if diff := cmp.Diff(h, Desired(s, hv), cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{}), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s:\n%s", hv, diff)
		}
	}
	want("hv1", Host{Taps: []vrf.Tap{served}, Announcements: announced(100)})
	want("hv2", nothing)

	publish(t, s, 7, &events.VMMigrationStarted{VM: "a", To: "hv2", Taps: []string{"tap9"}})
	prepared.Name = "tap9"
	want("hv2", Host{Taps: []vrf.Tap{prepared}})

	publish(t, s, 8, &events.VMMigrated{VM: "a", To: "hv2"})
	served.Name = "tap9"
	left := func(p netip.Prefix) Departure {
		return Departure{VM: "a", VRF: "public", Prefix: p, To: "hv2", Epoch: 8, Preference: 1050}
	}
	departed := Host{Departures: []Departure{left(v4), left(v6)}}
	want("hv1", departed)
	want("hv2", Host{Taps: []vrf.Tap{served}, Announcements: announced(1100)})
	if g := s.Guest("a"); g.Epoch != 8 || g.Duty("hv1") != DutyForward {
		t.Errorf("epoch %d, duty of the old home %q", g.Epoch, g.Duty("hv1"))
	}

	publish(t, s, 9, &events.HypervisorDrained{Hypervisor: "hv2"})
	want("hv2", Host{Taps: []vrf.Tap{served}, Announcements: announced(1050)})
	want("hv1", departed)
	publish(t, s, 10, &events.HypervisorFenced{Hypervisor: "hv2"})
	want("hv2", Host{Taps: []vrf.Tap{served}, Fenced: true})
	publish(t, s, 11, &events.VMDeleted{VM: "a"})
	want("hv2", Host{Fenced: true})
	want("hv1", nothing)
}

// told4 is what the guest of TestMove is told by DHCPv4 on a tap.
func told4(tap string) dhcp.Service {
	return dhcp.Service{
		Tap: tap, VM: "a", MAC: mac(7).Octets, Address: netip.MustParseAddr("203.0.113.10"), Subnet: netip.MustParsePrefix("203.0.113.0/25"),
		Gateway: netip.MustParseAddr("203.0.113.1"), Routes: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}, Hostname: "a", Lease: time.Hour,
	}
}

// told6 is what it is told in IPv6.
func told6(tap string) ipv6.Service {
	return ipv6.Service{
		Tap: tap, VM: "a", MAC: mac(7).Octets,
		Router: ipv6.Router{Other: true, Lifetime: 30 * time.Minute, Interval: 10 * time.Minute, Prefixes: []ipv6.OnLink{
			{Prefix: netip.MustParsePrefix("2001:db8:0:1::/64"), Autonomous: true, Valid: 24 * time.Hour, Preferred: 4 * time.Hour}}},
		Lease: ipv6.Lease{Valid: 2 * time.Hour, Preferred: time.Hour},
	}
}

// TestTapOfTwoGuests keeps the guest that was homed first where the log gives
// one tap to two of them, and says so.
func TestTapOfTwoGuests(t *testing.T) {
	s := New()
	publish(t, s, 1, &events.HypervisorRegistered{Hypervisor: "hv1"})
	publish(t, s, 2, network("web"))
	for i, name := range []string{"b", "a"} {
		publish(t, s, uint64(3+i), &events.VMCreated{VM: name, Hypervisor: "hv1", Interfaces: []events.Interface{{Tap: "tap1", MAC: mac(byte(i + 1)), Network: "web"}}})
	}
	h := Desired(s, "hv1")
	if len(h.Taps) != 1 || len(h.Problems) != 1 || h.Problems[0] != (Problem{VM: "a", Tap: "tap1", Reason: `guest "b" has this tap already`}) {
		t.Errorf("taps %+v, problems %+v", h.Taps, h.Problems)
	}
}

// TestWhoComesTakesNoTap prepares an older guest for a hypervisor on which a
// younger one has a tap of the same name: the one that is here keeps it.
func TestWhoComesTakesNoTap(t *testing.T) {
	s := New()
	publish(t, s, 1, &events.HypervisorRegistered{Hypervisor: "hv1"})
	publish(t, s, 2, &events.HypervisorRegistered{Hypervisor: "hv2"})
	publish(t, s, 3, network("web"))
	for i, name := range []string{"old", "here"} {
		publish(t, s, uint64(4+i), &events.VMCreated{VM: name, Hypervisor: []string{"hv1", "hv2"}[i],
			Interfaces: []events.Interface{{Tap: "tap1", MAC: mac(byte(i + 1)), Network: "web"}}})
	}
	publish(t, s, 6, &events.IPAssigned{Prefix: prefix("203.0.113.10"), VM: "here"})
	before := Desired(s, "hv2")
	if len(before.Announcements) != 1 {
		t.Fatalf("announces %+v", before.Announcements)
	}
	want := before
	want.Problems = []Problem{{VM: "old", Tap: "tap1", Reason: `guest "here" has this tap already`}}
	for i, data := range []events.Data{&events.VMMigrationStarted{VM: "old", To: "hv2"}, &events.VMMigrated{VM: "old", To: "hv2"}} {
		publish(t, s, uint64(7+i), data)
		for what, got := range map[string]Host{"": Desired(s, "hv2"), ", seen": DesiredWith(s, "hv2", func(string) bool { return true })} {
			if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); diff != "" {
				t.Errorf("after %T%s:\n%s", data, what, diff)
			}
		}
	}
}
