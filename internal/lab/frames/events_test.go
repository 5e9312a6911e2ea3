package frames

import (
	"net/netip"
	"testing"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/projector"
	"github.com/hostroute/hostroute/vrf"
)

// history is what the log says of the guests.
func history() []events.Data {
	addresses := func(list ...netip.Addr) (out []events.Addr) {
		for _, a := range list {
			out = append(out, events.AddrFrom(a))
		}
		return out
	}
	subnet := func(p string, allocation int) events.Subnet {
		return events.Subnet{Prefix: events.PrefixFrom(prefix(p)), Allocation: allocation}
	}
	list := []events.Data{
		&events.HypervisorRegistered{Hypervisor: "hv1"},
		&events.NetworkDefined{Network: "web", VRF: "public", Gateways: addresses(gateway4, gatewayLL4, gateway6),
			Subnets: []events.Subnet{subnet("203.0.113.0/24", 0), subnet("2001:db8:cb00:7100::/64", 0), subnet("2001:db8:cb00:7101::/64", 64)}},
		&events.NetworkDefined{Network: "db", VRF: "private", Gateways: addresses(gatewayPriv, gatewayLL4),
			Subnets: []events.Subnet{subnet("192.0.2.0/25", 0), subnet("2001:db8:0:66::/64", 0)}},
	}
	for vm, g := range map[string]guest{"one": one, "two": two, "three": three} {
		network := "web"
		if vm == "three" {
			network = "db"
		}
		list = append(list, &events.VMCreated{VM: vm, Hypervisor: "hv1", Interfaces: []events.Interface{{Tap: g.tap, MAC: events.MAC{Octets: g.mac}, Network: network}}})
		for _, p := range []netip.Prefix{netip.PrefixFrom(g.v4, 32), netip.PrefixFrom(g.v6, 128), g.routed} {
			if p.IsValid() {
				list = append(list, &events.IPAssigned{Prefix: events.PrefixFrom(p), VM: vm})
			}
		}
	}
	return list
}

// projected are the taps that the projection of the history wants.
func projected(t *testing.T) []vrf.Tap {
	t.Helper()
	s := projector.New()
	for i, data := range history() {
		d, err := projector.Decide(s, events.Event{Data: data})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Apply(projector.Record{Sequence: uint64(i + 1), Event: d.Event}); err != nil {
			t.Fatal(err)
		}
	}
	host := projector.Desired(s, "hv1")
	if len(host.Taps) != 3 || len(host.Problems) > 0 {
		t.Fatalf("projected: %+v", host)
	}
	return host.Taps
}
