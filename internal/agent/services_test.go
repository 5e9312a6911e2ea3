package agent

import (
	"log/slog"
	"maps"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/dhcp"
	"github.com/hostroute/hostroute/internal/dhcp/server"
	"github.com/hostroute/hostroute/internal/fleet"
	"github.com/hostroute/hostroute/ipv6/ra"
	"github.com/hostroute/hostroute/projector"
	"github.com/hostroute/hostroute/vrf"
)

func TestAGuestIsServedFromTheRoundThatMadeItsTap(t *testing.T) {
	b := newTestbed(t)
	b.wants(t, "announce ")
	if b.served.present["tap1"] {
		t.Error("served on a tap that doesn't exist")
	}
	b.appears("tap1")
	b.wants(t, "announce 203.0.113.10/32 203.0.113.11/32")
	if !b.served.present["tap1"] || len(b.served.host.DHCP) != 1 || b.served.host.DHCP[0].Tap != "tap1" {
		t.Errorf("with its tap there it is served with %+v on %v", b.served.host.DHCP, b.served.present)
	}
	b.projection.publish(t, &events.VMDeleted{VM: "a"})
	if _, err := b.round(t); err != nil {
		t.Fatal(err)
	}
	if len(b.served.host.DHCP) != 0 || b.served.present["tap1"] {
		t.Error("a deleted guest is served on")
	}
}

// TestOnlyGuestsThatStayAreToldOfAnEnd: what a guest hears before it moves it
// believes at its new home.
func TestOnlyGuestsThatStayAreToldOfAnEnd(t *testing.T) {
	four := events.Subnet{Prefix: events.PrefixFrom(netip.MustParsePrefix("203.0.113.0/24"))}
	six := events.Subnet{Prefix: events.PrefixFrom(netip.MustParsePrefix("2001:db8:1::/56")), Allocation: 64}
	tap := fleet.Port{Name: "tap1", Index: 7}
	for _, test := range []struct {
		what  string
		event events.Data
	}{
		{"it has moved", &events.VMMigrated{VM: "a", To: "hv2"}},
		{"it was deleted", &events.VMDeleted{VM: "a"}},
	} {
		p := &projection{state: projector.New()}
		p.publish(t, &events.HypervisorRegistered{Hypervisor: "hv1"})
		p.publish(t, &events.HypervisorRegistered{Hypervisor: "hv2"})
		p.publish(t, &events.NetworkDefined{Network: "web", VRF: "public", Subnets: []events.Subnet{four, six}})
		p.publish(t, &events.VMCreated{VM: "a", Hypervisor: "hv1", Interfaces: []events.Interface{{Tap: "tap1", MAC: events.MAC{Octets: [6]byte{2}}, Network: "web"}}})
		s := newServices(slog.New(slog.DiscardHandler))
		ports := map[string]fleet.Port{"tap1": tap}
		if s.note(projector.Desired(p.state, "hv1"), ports); !s.stays(tap) {
			t.Error("a guest that lives here is taken for one that has left")
		}
		p.publish(t, test.event)
		host := projector.Desired(p.state, "hv1")
		if s.note(host, ports); len(host.IPv6) > 0 || s.stays(tap) {
			t.Errorf("%s: served with %+v, and it is taken to stay", test.what, host.IPv6)
		}
	}
}

func TestServicesAreOnTheDevicesThatExist(t *testing.T) {
	ports, err := portsOf(map[string]bool{"lo": true, "no-such-tap": true, "absent": false})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]fleet.Port{"lo": {Name: "lo", Index: 1}}
	if !maps.Equal(ports, want) {
		t.Errorf("got %v, want %v", ports, want)
	}
	at := onPorts([]dhcp.Service{{Tap: "lo", VM: "a"}, {Tap: "absent", VM: "b"}}, ports, func(s dhcp.Service) string { return s.Tap })
	if diff := cmp.Diff(map[fleet.Port]dhcp.Service{ports["lo"]: {Tap: "lo", VM: "a"}}, at, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestAServiceThatDoesNotRunIsNamed(t *testing.T) {
	got := failures(map[string]GuestServices{
		"tap2": {RA: &ra.Status{Error: "panic: x\ngoroutine 1"}},
		"tap1": {DHCPv4: &server.Status{Error: "address in use"}, RA: &ra.Status{}},
	})
	want := []string{"DHCPv4 on tap tap1: address in use", "router advertisements on tap tap2: panic: x"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestATapDiffersByWhatItsGuestMaySendFrom(t *testing.T) {
	tap := vrf.Tap{Name: "tap1", Sources: []netip.Prefix{netip.MustParsePrefix("203.0.113.10/32")}, MAC: [6]byte{2}}
	other, moved := tap, tap
	other.Sources, moved.MAC = nil, [6]byte{4}
	if !sameTap(&tap, &tap) || sameTap(&tap, &other) || sameTap(&tap, &moved) {
		t.Error("a changed MAC or source is not seen")
	}
}
