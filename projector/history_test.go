package projector

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/hostroute/hostroute/events"
	"pgregory.net/rapid"
)

// published is an event of a generated history with all that its batch wrote.
type published struct {
	Record
	Decision
	effect Effect
}

// world is what generated events are about: few things, so that they meet.
var (
	worldHVs   = []string{"hv1", "hv2", "hv3"}
	worldVMs   = []string{"vm1", "vm2", "vm3"}
	worldNets  = []string{"web", "db"}
	worldAddrs = []string{"203.0.113.1", "203.0.113.10", "203.0.113.11", "203.0.113.140", "2001:db8:0:1::/64", "2001:db8:0:2::/64", "2001:db8:1::7", "2001:db8:1::8", "198.51.100.9"}
)

func pick(t *rapid.T, what string, of []string) string { return rapid.SampledFrom(of).Draw(t, what) }

func prefix(s string) events.Prefix {
	p, err := events.ParsePrefix(s)
	if err != nil {
		panic(err)
	}
	return p
}

func network(name string) *events.NetworkDefined {
	subnets := []events.Subnet{{Prefix: prefix("203.0.113.0/25")}, {Prefix: prefix("2001:db8::/57"), Allocation: 64}, {Prefix: prefix("2001:db8:1::/64")}}
	gateway := "203.0.113.1"
	if name == "db" {
		subnets = []events.Subnet{{Prefix: prefix("203.0.113.128/25")}}
		gateway = "203.0.113.129"
	}
	return &events.NetworkDefined{Network: name, VRF: map[string]string{"web": "public", "db": "private"}[name], Subnets: subnets,
		Gateways: []events.Addr{events.AddrFrom(netip.MustParseAddr(gateway))}}
}

func mac(n byte) events.MAC { return events.MAC{Octets: [6]byte{2, 0, 0, 0, 0, n}} }

// drawData draws any event; many are impossible at the time.
func drawData(t *rapid.T) events.Data {
	vm, hv := pick(t, "vm", worldVMs), pick(t, "hv", worldHVs)
	p := prefix(pick(t, "prefix", worldAddrs))
	role := rapid.SampledFrom([]events.Role{"", events.RolePrimary, events.RoleSecondary, events.RoleElastic, events.RoleAnycast, events.RoleRouted}).Draw(t, "role")
	switch rapid.IntRange(0, 15).Draw(t, "kind") {
	case 0:
		n := network(pick(t, "net", worldNets))
		if _, ok := (&Network{NetworkDefined: *n}).Subnet(p.Prefix); ok { // sometimes on what a guest may hold
			n.Gateways = append(n.Gateways, events.AddrFrom(p.Addr()))
		}
		drawTold(t, n)
		return n
	case 1:
		return &events.NetworkRemoved{Network: pick(t, "net", worldNets)}
	case 2:
		return &events.HypervisorDrained{Hypervisor: hv}
	case 3:
		return &events.HypervisorUndrained{Hypervisor: hv}
	case 4:
		return &events.HypervisorFenced{Hypervisor: hv}
	case 5:
		return &events.HypervisorUnfenced{Hypervisor: hv}
	case 6, 7:
		return &events.VMCreated{VM: vm, Hypervisor: hv, Hostname: pick(t, "hostname", []string{"", "www.example.net"}), Interfaces: []events.Interface{
			{Tap: vm + "a", MAC: mac(vm[2]), Network: "web"}, {Tap: vm + "b", MAC: mac(vm[2] + 10), Network: "db"}}}
	case 8:
		return &events.VMDeleted{VM: vm}
	case 9:
		return &events.VMMigrationStarted{VM: vm, To: hv, Taps: []string{vm + "c", vm + "d"}}
	case 10:
		return &events.VMMigrated{VM: vm, To: hv}
	case 11:
		return &events.VMMigrationAborted{VM: vm}
	case 12, 13:
		return &events.IPAssigned{Prefix: p, VM: vm, Role: role}
	case 14:
		return &events.IPMoved{Prefix: p, To: vm}
	default:
		return &events.IPReleased{Prefix: p, VM: pick(t, "owner", append(worldVMs, ""))}
	}
}

// drawTold draws what the guests of a network are told.
func drawTold(t *rapid.T, n *events.NetworkDefined) {
	n.DHCP.Style = rapid.SampledFrom([]events.DHCPStyle{"", events.DHCPHost}).Draw(t, "dhcp")
	n.IPv6.Style = rapid.SampledFrom([]events.IPv6Style{"", events.IPv6Shared, events.IPv6DHCP}).Draw(t, "ipv6")
	n.IPv6.OnLink = rapid.SampledFrom([]*bool{nil, &yes, &no}).Draw(t, "on-link")
	n.IPv6.Managed = rapid.SampledFrom([]*bool{nil, &yes, &no}).Draw(t, "managed")
	n.Routes = rapid.SampledFrom([][]events.Prefix{nil, {prefix("10.0.0.0/8")}, {events.PrefixFrom(everything6)}}).Draw(t, "routes")
	if rapid.Bool().Draw(t, "no gateway") {
		n.Gateways = nil
	}
}

// drawHistory publishes drawn events on an empty log and returns those that
// were accepted, with the sequences that the log would give them.
func drawHistory(t *rapid.T) []published { return drawHistoryOf(t, drawData) }

func drawHistoryOf(t *rapid.T, draw func(*rapid.T) events.Data) []published {
	state, next := New(), uint64(1)
	var history []published
	publish := func(data events.Data) {
		e := events.Event{ID: fmt.Sprint("e", next), Data: data}
		d, err := Decide(state, e)
		if err != nil {
			var refused *events.Error
			if !errors.As(err, &refused) {
				t.Fatalf("publishing a %s: %v", e.Type(), err)
			}
			return
		}
		r := Record{Sequence: next, Event: d.Event}
		effect, err := state.Apply(r)
		if err != nil {
			t.Fatalf("a decided %s can't be applied: %v", e.Type(), err)
		}
		history = append(history, published{r, d, effect})
		next += uint64(len(d.Messages))
	}
	for _, hv := range worldHVs {
		publish(&events.HypervisorRegistered{Hypervisor: hv})
	}
	for _, n := range worldNets {
		publish(network(n))
	}
	for range rapid.IntRange(0, 60).Draw(t, "events") {
		publish(draw(t))
	}
	return history
}

func fold(history []published) *State {
	s := New()
	for _, p := range history {
		s.Fold(p.Record)
	}
	return s
}

// dump writes everything that a State is, to be compared.
func dump(s *State) string {
	var lines []string
	for subject, r := range s.registers {
		b, err := EncodeRegister(r)
		if err != nil {
			panic(err)
		}
		lines = append(lines, fmt.Sprintf("%s %d %s", subject, r.Sequence(), b))
	}
	slices.Sort(lines)
	for _, q := range s.Quarantined() {
		lines = append(lines, fmt.Sprintf("quarantined %+v", q))
	}
	return strings.Join(lines, "\n")
}
