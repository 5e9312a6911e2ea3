package scenarios

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hostroute/hostroute/internal/lab"
)

// tapMAC is the hardware address of every tap.
const tapMAC = "ee:ee:ee:ee:ee:01"

// neighbourhood boots vm1 again, for the rest of the story.
func (w *world) neighbourhood(ctx context.Context) error {
	clients, err := w.BootGuest(ctx, trying)
	if err != nil {
		return err
	}
	w.clients[trying] = clients
	w.awaitConfigured(ctx, trying)
	for _, iface := range bothInterfaces {
		out, err := w.Rdisc6(ctx, trying, iface)
		if err == nil && !strings.Contains(out, "from fe80::1\n") {
			err = errors.New("it doesn't come from fe80::1")
		}
		w.story.Show(fmt.Sprintf("ip netns exec hr-vm1 rdisc6 -1 %s", iface), out)
		w.story.Check("rdisc6 on "+iface+" is answered by fe80::1", err)
	}
	if err := w.arp(ctx); err != nil {
		return err
	}
	w.neighbourDiscovery(ctx)
	return w.claimsGateway(ctx)
}

// arp asks as a guest's kernel does, and probes as one that looks for
// duplicates.
func (w *world) arp(ctx context.Context) error {
	for _, iface := range bothInterfaces {
		i, n, err := w.port(trying, iface)
		if err != nil {
			return err
		}
		mac, err := w.ARP(ctx, trying, iface, n.Gateway(false), false)
		w.story.Check(fmt.Sprintf("ARP on %s: %s answers for the gateway %s", iface, tapMAC, n.Gateway(false)), isTap(mac, err))
		mac, err = w.ARP(ctx, trying, iface, n.Gateway(false), true)
		w.story.Check("a guest that wants to take the gateway's address is told of the conflict", isTap(mac, err))
		mac, err = w.ARP(ctx, trying, iface, i.V4, true)
		w.story.Check("a guest that wants to take its own address is not", lab.Unanswered(mac, err))
	}
	mac, err := w.ARP(ctx, trying, "eth0", w.address("vm2", "public", 4), false)
	w.story.Check("ARP for another guest of the subnet is answered by the tap", isTap(mac, err))
	return nil
}

func isTap(mac net.HardwareAddr, err error) error {
	if err == nil && mac.String() != tapMAC {
		err = fmt.Errorf("%s answered", mac)
	}
	return err
}

// neighbourDiscovery is that of the shared /64.
func (w *world) neighbourDiscovery(ctx context.Context) {
	mac, err := w.Ndisc6(ctx, "vm3", "eth0", netip.MustParseAddr("fe80::1"))
	w.story.Check("ndisc6: fe80::1 is the tap", isTap(mac, err))
	mac, err = w.Ndisc6(ctx, "vm3", "eth0", w.address("vm4", "flat", 6))
	w.story.Check("ndisc6: another guest of the shared /64, on another hypervisor, is answered for by the tap", isTap(mac, err))
	mac, err = w.Ndisc6(ctx, "vm3", "eth0", w.address("vm3", "flat", 6))
	w.story.Check("ndisc6: nobody answers a guest for its own address", lab.Unanswered(mac, err))
}

// claimsGateway has a guest's own kernel look for duplicates of the gateway.
func (w *world) claimsGateway(ctx context.Context) error {
	const gateway = "fe80::1/64"
	if _, err := w.Exec(ctx, trying, "ip", "address", "add", gateway, "dev", "eth0"); err != nil {
		return err
	}
	w.story.Eventually(ctx, "a guest that takes fe80::1 finds that it is a duplicate", settle, func() error {
		out, err := w.Exec(ctx, trying, "ip", "-6", "address", "show", "dev", "eth0", "dadfailed")
		if err == nil && !strings.Contains(out, gateway) {
			err = errors.New("its kernel has found no duplicate")
		}
		return err
	})
	_, err := w.Exec(ctx, trying, "ip", "address", "del", gateway, "dev", "eth0")
	return err
}

// spoofed are what vm1 claims to be: its neighbour on the same hypervisor and a
// guest elsewhere.
func (w *world) spoofed() []netip.Addr {
	return []netip.Addr{
		w.address("vm2", "public", 4), w.address("vm2", "public", 6),
		w.address("vm4", "flat", 4), w.address("vm4", "flat", 6),
	}
}

func (w *world) spoof(ctx context.Context) error {
	before, err := w.drops(ctx, "hv1", trying)
	if err != nil {
		return err
	}
	seen, err := w.spoofOnce(ctx)
	if err != nil {
		return err
	}
	w.story.Check("pings from addresses of others arrive nowhere: not at the neighbour, not at another guest, not at the edge", seen)
	w.story.Eventually(ctx, "`hostroute guests` counts them as spoofed", settle, func() error {
		after, err := w.drops(ctx, "hv1", trying)
		if err == nil && after <= before {
			err = fmt.Errorf("%d before and %d after", before, after)
		}
		return err
	})
	out, err := w.hostroute(ctx, "hv1", "guests", "--socket", w.AgentSocket("hv1"))
	w.story.Show("hostroute guests    (on hv1)", out)
	if err != nil {
		return err
	}
	out, err = w.hostroute(ctx, "hv1", "explain", w.address("vm4", "flat", 4).String(), "--socket", w.AgentSocket("hv1"))
	w.story.Show("hostroute explain "+w.address("vm4", "flat", 4).String()+"    (on hv1)", out)
	return err
}

// spoofOnce pings from each spoofed address while others watch, and then from
// vm1's own, which everyone who watches has to see: so it wasn't blindness.
func (w *world) spoofOnce(ctx context.Context) (seen, err error) {
	own := w.address(trying, "public", 4)
	places := [][2]string{{"vm2", "eth0"}, {"vm4", "eth0"}, {lab.NodeEdge, "a-public"}, {lab.NodeEdge, "b-public"}}
	targets := []netip.Addr{w.address("vm2", "public", 4), w.address("vm2", "public", 6), w.address("vm4", "flat", 4), w.address("vm4", "flat", 6), w.Topology.Internet4, w.Topology.Internet6}
	var watches []*lab.Watch
	for _, p := range places {
		watch, err := w.Watch(p[0], p[1], spoofingPing(w.spoofed()))
		if err != nil {
			return nil, err
		}
		watches = append(watches, watch)
	}
	spoofErr := w.pingFrom(ctx, w.spoofed(), targets)
	// Its kernel may just have asked for the gateway in another's name, which nobody answers: it asks again.
	ownErr := lab.Eventually(ctx, "its own pings to be answered", settle, func() error {
		return w.all(ctx, []probe{{from: trying, to: targets[0], via: own.String()}, {from: trying, to: targets[2], via: own.String()}, {from: trying, to: w.Topology.Internet4, via: own.String()}})
	})
	for _, watch := range watches {
		n, _, err := watch.Stop()
		if n > 0 {
			seen = errors.Join(seen, fmt.Errorf("%d were seen on %s of %s", n, watch.Interface, watch.Node))
		}
		spoofErr = errors.Join(spoofErr, err)
	}
	return errors.Join(seen, ownErr), spoofErr
}

// echoSize is the payload of the pings that are watched for: no ordinary ping
// of the guests that they claim to be has it.
const echoSize = 77

// spoofingPing matches echo requests of that size from any of the addresses.
func spoofingPing(sources []netip.Addr) func([]byte) bool {
	return func(frame []byte) bool {
		const header, icmp = 14, 8
		size := len(frame) - header - icmp - echoSize
		return (size == 20 || size == 40) && slices.ContainsFunc(sources, func(a netip.Addr) bool { return lab.FromSource(a)(frame) })
	}
}

// pingFrom has vm1 take the addresses, ping the targets from them, and drop
// them again. That nobody answers is no error here.
func (w *world) pingFrom(ctx context.Context, sources, targets []netip.Addr) error {
	var script strings.Builder
	for _, a := range sources {
		fmt.Fprintf(&script, "ip address add %s/%d dev eth0 nodad\n", a, a.BitLen())
		for _, to := range targets {
			if to.Is4() == a.Is4() && to != a {
				fmt.Fprintf(&script, "ping -n -q -c 1 -W 1 -s %d -I %s %s &\n", echoSize, a, to)
			}
		}
	}
	script.WriteString("wait\n")
	for _, a := range sources {
		fmt.Fprintf(&script, "ip address del %s/%d dev eth0\n", a, a.BitLen())
	}
	_, err := w.Exec(ctx, trying, "sh", "-c", script.String())
	return err
}

// hostServices tries ports of daemons that hosts have, at every address that
// hosts have, where somebody really listens.
func (w *world) hostServices(ctx context.Context) error {
	ports := []uint16{22, 53, 179, 4222, 8222, 9100, 9595}
	for _, device := range []string{"public", "private", ""} {
		s, err := w.Listen(ctx, "hv1", device, 179)
		if err != nil {
			return err
		}
		defer s.Close()
	}
	own := netip.AddrPortFrom(w.Topology.Uplinks(w.Topology.Hypervisors[0])[0].V4.Addr(), 179)
	reached, err := w.Reached(lab.NodeEdge, "a-public", []netip.AddrPort{own}, 5*time.Second)
	if err == nil && len(reached) != 1 {
		err = errors.New("it doesn't")
	}
	w.story.Check("somebody listens at "+own.String()+", and the edge reaches him", err)
	for _, iface := range bothInterfaces {
		targets := w.hostTargets(iface, ports)
		reached, err := w.Reached(trying, iface, targets, time.Second)
		if err == nil && len(reached) > 0 {
			err = fmt.Errorf("it reached %v", reached)
		}
		w.story.Check(fmt.Sprintf("a guest gets no TCP answer on %s from %d ports of %d host addresses", iface, len(ports), len(targets)/len(ports)), err)
		_, n, err := w.port(trying, iface)
		if err != nil {
			return err
		}
		for _, gateway := range []netip.Addr{n.Gateway(false), n.Gateway6} {
			w.story.Check("its gateway "+gateway.String()+" answers pings on "+iface, w.all(ctx, []probe{{from: trying, to: gateway, via: iface}}))
		}
	}
	return nil
}

// hostTargets are ports of all addresses of all hosts but the edge's: gateways,
// uplinks, reflectors, management.
func (w *world) hostTargets(iface string, ports []uint16) []netip.AddrPort {
	addresses := []netip.Addr{netip.MustParseAddr("169.254.0.1"), netip.MustParseAddr("fe80::1"), w.Topology.LogAddress.Addr()}
	if _, n, err := w.port(trying, iface); err == nil {
		addresses = append(addresses, n.Gateway(false))
	}
	for _, h := range w.Topology.Hypervisors {
		addresses = append(addresses, h.Management)
		for _, u := range w.Topology.Uplinks(h) {
			addresses = append(append(addresses, u.V4.Addr(), u.V6.Addr()), u.Reflectors...)
		}
	}
	slices.SortFunc(addresses, netip.Addr.Compare)
	var targets []netip.AddrPort
	for _, a := range slices.Compact(addresses) {
		for _, p := range ports {
			targets = append(targets, netip.AddrPortFrom(a, p))
		}
	}
	return targets
}

// killedAgent watches what vm2 is advertised, on the network where the
// hypervisor is its default router.
func (w *world) killedAgent(ctx context.Context) error {
	const hv, guest = "hv1", "vm2"
	watch, err := w.Watch(guest, "eth0", lab.Advertisement)
	if err != nil {
		return err
	}
	agent, err := w.Daemon(hv, "agent")
	if err != nil {
		return err
	}
	if err := agent.Stop(ctx, syscall.SIGKILL, 5*time.Second); err != nil {
		return err
	}
	seen, err := w.spoofOnce(ctx)
	if err != nil {
		return err
	}
	w.story.Check("with the agent dead, a guest still can't be another, and can be itself", seen)
	w.story.Check("and its guests have what they had", errors.Join(w.Configured(ctx, guest), w.Configured(ctx, trying)))
	if _, err := w.StartAgent(ctx, w.story.Binary, hv); err != nil {
		return err
	}
	w.story.Eventually(ctx, "the agent is healthy again", 3*settle, func() error { return w.healthy(ctx, hv) })
	w.story.Check("a guest renews its lease with the new one", w.renews(ctx, guest, "eth0"))
	if _, err := w.Rdisc6(ctx, guest, "eth0"); err != nil {
		return err
	}
	n, frames, err := watch.Stop()
	w.story.Check("no router advertisement said goodbye", goodbyes(n, frames))
	return err
}

// goodbyes looks for advertisements that end a default router.
func goodbyes(n int, frames [][]byte) error {
	if n == 0 {
		return errors.New("there was none at all")
	}
	for _, f := range frames {
		if lab.RouterLifetime(f) == 0 {
			return fmt.Errorf("of %d, one has a router lifetime of 0", n)
		}
	}
	return nil
}

// drops reads how many frames of a guest a hypervisor has kept as spoofed.
func (w *world) drops(ctx context.Context, hv, guest string) (uint64, error) {
	var guests []struct {
		VM         string `json:"vm"`
		Interfaces []struct {
			Drops struct {
				Spoofed uint64 `json:"spoofed"`
			} `json:"drops"`
		} `json:"interfaces"`
	}
	if err := w.ask(ctx, hv, "guests", &guests); err != nil {
		return 0, err
	}
	var sum uint64
	for _, g := range guests {
		for _, i := range g.Interfaces {
			if g.VM == guest {
				sum += i.Drops.Spoofed
			}
		}
	}
	return sum, nil
}
