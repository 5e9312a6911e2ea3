package lab

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"github.com/hostroute/hostroute/events"
)

// Topology describes a lab. It is pure data: two labs with the same topology are the same network.
type Topology struct {
	// Prefix starts the name of every namespace: the node hv1 lives in hr-hv1.
	Prefix string
	// AS is the one autonomous system: all sessions are iBGP to route reflectors.
	AS          uint32
	Planes      []Plane
	Hypervisors []Hypervisor
	Guests      []Guest
	Networks    []Network
	// VRFs are the routing tables that hypervisors have, in the order of their definition.
	VRFs []VRF
	// Internet4 and Internet6 are addresses that only the default route leads to; the edge holds them.
	Internet4, Internet6 netip.Addr
	// LogAddress is where the log service listens in the node control.
	LogAddress netip.AddrPort
}

// VRF is the name and kernel table of a VRF.
type VRF struct {
	Name  string
	Table int
}

// Plane is one layer-2 fabric with route reflectors of its own. Planes share nothing.
type Plane struct {
	Name       string // "a"
	Node       string // "planea"
	Reflectors []Reflector
	Segments   []Segment
}

// Reflector is a route reflector of a plane, for all of its VRFs. Those of a plane don't speak with each other: every
// client has a session with each.
type Reflector struct {
	Node     string // "rra", "rra2"
	Software string // what reflects: BIRD or FRR
	Host     int    // its number in every segment of the plane
}

// The reflectors' software.
const (
	BIRD = "bird"
	FRR  = "frr"
)

// Segment is one broadcast domain of a plane, for one VRF.
type Segment struct {
	VRF    string
	V4, V6 netip.Prefix
}

// Hypervisor is a host that runs the agent. Number tells its addresses: interconnects end in .1N.
type Hypervisor struct {
	Name       string
	Number     int
	Management netip.Addr
}

// Guest is a virtual machine: a namespace, its home and its interfaces.
type Guest struct {
	Name       string
	Hypervisor string // where it starts
	Interfaces []Interface
	// Mobile guests can be paused and moved while they run.
	Mobile bool
}

// Interface is a guest's network interface and the tap at its other end.
type Interface struct {
	Name, Tap, MAC, Network string
	V4                      netip.Addr
	V6                      netip.Addr
	// Prefix6 is what the log assigns: a /64 that V6 lies in, or V6 itself.
	Prefix6 netip.Prefix
}

// Names of the nodes that every topology has once.
const (
	NodeEdge    = "edge"
	NodeControl = "control"
	NodeMgmt    = "mgmt"
)

// Reference returns the topology of the documentation: two planes, three hypervisors, four guests on two
// networks. All addresses are from documentation ranges and 100.64.0.0/10.
func Reference() Topology {
	t := Topology{
		Prefix:    "hr-",
		AS:        65000,
		VRFs:      []VRF{{"public", 90}, {"private", 20}},
		Internet4: netip.MustParseAddr("192.0.2.1"), Internet6: netip.MustParseAddr("2001:db8:ffff::1"),
		LogAddress: netip.MustParseAddrPort("198.51.100.10:4222"),
		Networks: []Network{
			{Name: "public", VRF: "public", Allocation6: 64,
				V4: netip.MustParsePrefix("203.0.113.0/25"), Gateway4: netip.MustParseAddr("203.0.113.1"),
				V6: netip.MustParsePrefix("2001:db8:cb00:7100::/57"), Gateway6: guestGateway6,
				DNS: resolvers, Domain: "lab.example", MTU: 1450},
			{Name: "private", VRF: "private", Allocation6: 128, IPv6: events.IPv6DHCP,
				V4: netip.MustParsePrefix("203.0.113.128/25"), Gateway4: netip.MustParseAddr("203.0.113.129"),
				V6: netip.MustParsePrefix("2001:db8:cb00:7180::/57"), Gateway6: guestGateway6,
				Routes: []netip.Prefix{netip.MustParsePrefix("203.0.113.128/25"), netip.MustParsePrefix("2001:db8:cb00:7180::/57")}},
		},
	}
	for i := range 2 {
		t.Planes = append(t.Planes, referencePlane(i, 1))
	}
	for n := 1; n <= 3; n++ {
		t.Hypervisors = append(t.Hypervisors, referenceHypervisor(n))
	}
	for n, home := range []string{"hv1", "hv1", "hv2", "hv3"} {
		t.Guests = append(t.Guests, referenceGuest(n+1, home))
	}
	return t
}

func referenceHypervisor(n int) Hypervisor {
	return Hypervisor{Name: fmt.Sprintf("hv%d", n), Number: n, Management: netip.AddrFrom4([4]byte{198, 51, 100, byte(10 + n)})}
}

// resolvers are what guests are told to ask. Nobody answers there.
var resolvers = []netip.Addr{netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("2001:db8:ffff::53")}

// guestGateway6 is the same link-local address on every tap.
var guestGateway6 = netip.MustParseAddr("fe80::1")

// referencePlane alternates the reflectors' software over planes, and within one.
func referencePlane(i, reflectors int) Plane {
	letter := string(rune('a' + i))
	p := Plane{Name: letter, Node: "plane" + letter}
	for j := range reflectors {
		r := Reflector{Node: "rr" + letter, Software: []string{BIRD, FRR}[(i+j)%2], Host: reflectorHosts[j]}
		if j > 0 {
			r.Node += strconv.Itoa(j + 1)
		}
		p.Reflectors = append(p.Reflectors, r)
	}
	for j, vrf := range []string{"public", "private"} {
		p.Segments = append(p.Segments, Segment{
			VRF: vrf,
			V4:  netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, byte(2*i + j), 0}), 24),
			V6:  netip.MustParsePrefix(fmt.Sprintf("2001:db8:%s:%d::/64", letter, j)),
		})
	}
	return p
}

// referenceGuest has an address that it forms itself in a /64 of its own, and one that DHCPv6 gives it.
func referenceGuest(n int, home string) Guest {
	public6 := netip.MustParsePrefix(fmt.Sprintf("2001:db8:cb00:710%d::/64", n))
	private6 := netip.MustParseAddr(fmt.Sprintf("2001:db8:cb00:7180::1%d", n))
	return Guest{
		Name: fmt.Sprintf("vm%d", n), Hypervisor: home,
		Interfaces: []Interface{
			{Name: "eth0", Tap: fmt.Sprintf("tap%d", n), MAC: fmt.Sprintf("02:00:00:00:%02x:00", n), Network: "public",
				V4:      netip.AddrFrom4([4]byte{203, 0, 113, byte(10 + n)}),
				V6:      EUI64(public6, [6]byte{2, 0, 0, 0, byte(n), 0}),
				Prefix6: public6},
			{Name: "eth1", Tap: fmt.Sprintf("tap%dp", n), MAC: fmt.Sprintf("02:00:00:00:%02x:01", n), Network: "private",
				V4: netip.AddrFrom4([4]byte{203, 0, 113, byte(140 + n)}),
				V6: private6, Prefix6: netip.PrefixFrom(private6, 128)},
		},
	}
}

// Nodes lists every node of the topology in the order of their making.
func (t Topology) Nodes() []string {
	nodes := []string{NodeMgmt, NodeControl, NodeEdge}
	if slices.ContainsFunc(t.Guests, func(g Guest) bool { return g.Mobile }) {
		nodes = append(nodes, NodeMachines)
	}
	for _, p := range t.Planes {
		nodes = append(nodes, p.Node)
		for _, r := range p.Reflectors {
			nodes = append(nodes, r.Node)
		}
	}
	for _, h := range t.Hypervisors {
		nodes = append(nodes, h.Name)
	}
	for _, g := range t.Guests {
		nodes = append(nodes, g.Name)
	}
	return nodes
}

// Namespace is the name under which ip(8) knows a node.
func (t Topology) Namespace(node string) string { return t.Prefix + node }

// Guest finds a guest by name.
func (t Topology) Guest(name string) (Guest, error) {
	i := slices.IndexFunc(t.Guests, func(g Guest) bool { return g.Name == name })
	if i < 0 {
		return Guest{}, fmt.Errorf("guest %q is not in the topology", name)
	}
	return t.Guests[i], nil
}

// Plane finds a plane by its letter.
func (t Topology) Plane(name string) (Plane, error) {
	i := slices.IndexFunc(t.Planes, func(p Plane) bool { return p.Name == name })
	if i < 0 {
		return Plane{}, fmt.Errorf("plane %q is not in the topology", name)
	}
	return t.Planes[i], nil
}

// Hypervisor finds a hypervisor by name.
func (t Topology) Hypervisor(name string) (Hypervisor, error) {
	i := slices.IndexFunc(t.Hypervisors, func(h Hypervisor) bool { return h.Name == name })
	if i < 0 {
		return Hypervisor{}, fmt.Errorf("hypervisor %q is not in the topology", name)
	}
	return t.Hypervisors[i], nil
}

// Network finds a guests' network by name.
func (t Topology) Network(name string) (Network, error) {
	i := slices.IndexFunc(t.Networks, func(n Network) bool { return n.Name == name })
	if i < 0 {
		return Network{}, fmt.Errorf("network %q is not in the topology", name)
	}
	return t.Networks[i], nil
}

// Host numbers in every segment; hypervisor N has hypervisorHost + N.
const (
	edgeHost       = 2
	hypervisorHost = 10
)

// reflectorHosts are those of a plane's reflectors.
var reflectorHosts = [MaxReflectors]int{1, 3}

// address4 and address6 are the host's address in the segment, with the segment's length.
func (s Segment) address4(host int) netip.Prefix {
	a := s.V4.Addr().As4()
	a[3] = byte(host)
	return netip.PrefixFrom(netip.AddrFrom4(a), s.V4.Bits())
}

// address6 writes the number as people read it: host 11 ends in ::11.
func (s Segment) address6(host int) netip.Prefix {
	a := s.V6.Addr().As16()
	a[15] = byte(host/10<<4 | host%10)
	return netip.PrefixFrom(netip.AddrFrom16(a), s.V6.Bits())
}

// reflectorsOn lists the addresses of a plane's reflectors in one of its segments.
func (p Plane) reflectorsOn(s Segment) []netip.Addr {
	var list []netip.Addr
	for _, r := range p.Reflectors {
		list = append(list, s.address4(r.Host).Addr())
	}
	return list
}

// Uplink is a hypervisor's port into a segment.
type Uplink struct {
	Interface string
	Plane     string
	VRF       string
	V4, V6    netip.Prefix
	// Reflectors are whom to speak BGP with there.
	Reflectors []netip.Addr
}

// Uplinks lists a hypervisor's ports with the addresses that its agent has to give them.
func (t Topology) Uplinks(h Hypervisor) []Uplink {
	var ups []Uplink
	for _, p := range t.Planes {
		for _, s := range p.Segments {
			ups = append(ups, Uplink{
				Interface: p.Name + "-" + s.VRF, Plane: p.Name, VRF: s.VRF,
				V4: s.address4(hypervisorHost + h.Number), V6: s.address6(hypervisorHost + h.Number),
				Reflectors: p.reflectorsOn(s),
			})
		}
	}
	return ups
}
