package lab

import (
	"context"
	"fmt"
	"hash/fnv"
	"net"
	"slices"
)

// build makes every namespace, link and address that is not the business of hostroute.
func (l *Lab) build(ctx context.Context) error {
	if err := l.makeNamespaces(ctx); err != nil {
		return err
	}
	for _, p := range l.Topology.Planes {
		if err := l.makePlane(ctx, p); err != nil {
			return fmt.Errorf("building plane %s: %w", p.Name, err)
		}
	}
	if err := l.makeManagement(ctx); err != nil {
		return fmt.Errorf("building the management network: %w", err)
	}
	if err := l.makeEdge(ctx); err != nil {
		return fmt.Errorf("building the edge: %w", err)
	}
	for _, g := range l.Topology.Guests {
		if err := l.makeGuest(ctx, g); err != nil {
			return fmt.Errorf("building guest %s: %w", g.Name, err)
		}
	}
	return nil
}

// makeNamespaces sets the defaults before any interface is there, since interfaces copy them when they
// come. Duplicate address detection is off but in guests: elsewhere it only costs a second.
func (l *Lab) makeNamespaces(ctx context.Context) error {
	var all batch
	for _, node := range l.Topology.Nodes() {
		all.add("netns add %s", l.Topology.Namespace(node))
	}
	if err := all.run(ctx, ""); err != nil {
		return err
	}
	for _, node := range l.Topology.Nodes() {
		settings := hostSettings
		if _, err := l.Topology.Guest(node); err == nil {
			settings = guestSettings
		}
		if l.isSwitch(node) {
			settings = []string{"net.ipv6.conf.default.disable_ipv6=1", "net.bridge.bridge-nf-call-iptables=0", "net.bridge.bridge-nf-call-ip6tables=0", "net.bridge.bridge-nf-call-arptables=0"}
		}
		if err := sysctl(l.Topology.Namespace(node), settings...); err != nil {
			return err
		}
	}
	return nil
}

// hostSettings are those of nodes that are neither guests nor switches.
var hostSettings = []string{
	"net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.default.accept_ra=0", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0",
}

// isSwitch says whether a node only holds bridges.
func (l *Lab) isSwitch(node string) bool {
	return node == NodeMgmt || node == NodeMachines || slices.ContainsFunc(l.Topology.Planes, func(p Plane) bool { return p.Node == node })
}

// port is one cable of a segment: the bridge's end is named after the node and the segment.
type port struct{ node, iface string }

func portName(node, bridge string) string { return node + "-" + bridge }

// wire makes a bridge and a cable to each port's node.
func (l *Lab) wire(b *batch, bridge string, ports []port) {
	b.add("link add %s type bridge stp_state 0 forward_delay 0 mcast_snooping 0", bridge)
	b.add("link set %s up", bridge)
	for _, p := range ports {
		l.plug(b, bridge, p)
	}
}

// plug makes a cable from a bridge to a node.
func (l *Lab) plug(b *batch, bridge string, p port) {
	name := portName(p.node, bridge)
	b.add("link add %s type veth peer name %s address %s netns %s", name, p.iface, portMAC(name), l.Topology.Namespace(p.node))
	b.add("link set %s master %s up", name, bridge)
}

// portMAC is a port's hardware address, which it keeps when its host is switched off and on: neighbours that sent to it
// just before don't ask again for up to 45 s (RFC 4861, section 7.3.3).
func portMAC(name string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name)) // never fails
	sum := h.Sum(nil)
	return net.HardwareAddr{0x02, 0xaa, sum[0], sum[1], sum[2], sum[3]}.String()
}

func (l *Lab) makePlane(ctx context.Context, p Plane) error {
	var fabric batch
	for _, s := range p.Segments {
		l.wire(&fabric, s.VRF, l.segmentPorts(p, s))
	}
	if err := fabric.run(ctx, l.Topology.Namespace(p.Node)); err != nil {
		return err
	}
	for _, r := range p.Reflectors {
		var b batch
		b.add("link set lo up")
		for _, s := range p.Segments {
			b.add("addr add %s dev %s", s.address4(r.Host), s.VRF)
			b.add("addr add %s dev %s nodad", s.address6(r.Host), s.VRF)
			b.add("link set %s up", s.VRF)
		}
		if err := b.run(ctx, l.Topology.Namespace(r.Node)); err != nil {
			return err
		}
	}
	return nil
}

// segmentPorts lists who is on a segment: its reflectors, every hypervisor, and the edge where it is public.
func (l *Lab) segmentPorts(p Plane, s Segment) []port {
	var ports []port
	for _, r := range p.Reflectors {
		ports = append(ports, port{r.Node, s.VRF})
	}
	for _, h := range l.Topology.Hypervisors {
		ports = append(ports, port{h.Name, p.Name + "-" + s.VRF})
	}
	if s.VRF == edgeVRF {
		ports = append(ports, port{NodeEdge, p.Name + "-" + s.VRF})
	}
	return ports
}

// edgeVRF is the VRF that leads to the internet.
const edgeVRF = "public"

func (l *Lab) makeManagement(ctx context.Context) error {
	hosts := map[string]string{NodeControl: l.Topology.LogAddress.Addr().String()}
	ports := []port{{NodeControl, NodeMgmt}}
	for _, h := range l.Topology.Hypervisors {
		hosts[h.Name] = h.Management.String()
		ports = append(ports, port{h.Name, NodeMgmt})
	}
	var b batch
	l.wire(&b, NodeMgmt, ports)
	if err := b.run(ctx, l.Topology.Namespace(NodeMgmt)); err != nil {
		return err
	}
	for _, p := range ports {
		if err := l.manage(ctx, p.node, hosts[p.node]); err != nil {
			return err
		}
	}
	return nil
}

// manage gives a host its address on the management network.
func (l *Lab) manage(ctx context.Context, node, address string) error {
	var host batch
	host.add("link set lo up")
	host.add("addr add %s/24 dev %s", address, NodeMgmt)
	host.add("link set %s up", NodeMgmt)
	return host.run(ctx, l.Topology.Namespace(node))
}

// makeEdge gives the edge its uplinks and the addresses of the internet. Flows are spread by their ports,
// as on the hypervisors.
func (l *Lab) makeEdge(ctx context.Context) error {
	var b batch
	b.add("link set lo up")
	b.add("addr add %s/32 dev lo", l.Topology.Internet4)
	b.add("addr add %s/128 dev lo nodad", l.Topology.Internet6)
	for _, p := range l.Topology.Planes {
		for _, s := range p.Segments {
			if s.VRF != edgeVRF {
				continue
			}
			dev := p.Name + "-" + s.VRF
			b.add("addr add %s dev %s", s.address4(edgeHost), dev)
			b.add("addr add %s dev %s nodad", s.address6(edgeHost), dev)
			b.add("link set %s up", dev)
		}
	}
	ns := l.Topology.Namespace(NodeEdge)
	if err := sysctl(ns, "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1",
		"net.ipv4.fib_multipath_hash_policy=1", "net.ipv6.fib_multipath_hash_policy=1"); err != nil {
		return err
	}
	// All hosts of a lab have one kernel, whose hashes have one seed. Where the edge spreads flows by what hypervisors do,
	// each of their members would get all or nothing of what the edge sent to their host. Kernels before 5.13 lack this.
	_ = sysctl(ns, "net.ipv4.fib_multipath_hash_fields=48", "net.ipv6.fib_multipath_hash_fields=48", // both ports
		"net.ipv4.fib_multipath_hash_policy=3", "net.ipv6.fib_multipath_hash_policy=3")
	return b.run(ctx, ns)
}
