package scenarios

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/hostroute/hostroute/internal/lab"
)

// guestPause is how long a guest stands still while its last pages are copied.
const guestPause = 100 * time.Millisecond

// moves is a guest under way: who talks with it, and what each of its moves cost.
type moves struct {
	*world
	guest   string
	control *control
	traffic *lab.Traffic
	talks   []*lab.Conversation
	peers   []string // who sends to it and is sent to
	extra   map[netip.Addr]string
	told    map[string]lab.ICMPErrors // what each node had been told at the start
	sent    map[string]lab.ICMPErrors // and what each hypervisor had sent
	gaps    *gaps
	ended   bool
}

// probing is how often a packet is sent on each flow. An emulated machine carries
// far fewer packets, and has longer gaps.
func probing() time.Duration {
	if lab.TimeFactor() > 1 {
		return stretched(10 * time.Millisecond)
	}
	return 4 * time.Millisecond
}

// startMoves has everybody talk with a guest: the internet, and a guest on each
// hypervisor.
func (w *world) startMoves(ctx context.Context, guest string, peers ...string) (*moves, error) {
	m := &moves{world: w, guest: guest, peers: append([]string{lab.NodeEdge}, peers...), extra: map[netip.Addr]string{}, gaps: newGaps()}
	return m, m.start(ctx)
}

// start begins the traffic and the connections.
func (m *moves) start(ctx context.Context) (err error) {
	if m.control, err = m.connect(ctx); err != nil {
		return err
	}
	var flows []lab.Flow
	for _, peer := range m.peers {
		both, err := m.between(peer)
		if err != nil {
			return err
		}
		flows = append(flows, both...)
	}
	for a := range m.extra {
		flows = append(flows, lab.Flow{From: lab.NodeEdge, To: m.guest, Source: m.internet(a), Target: a})
	}
	for _, f := range flows[:4*min(2, len(m.peers))] {
		if f.To != m.guest {
			continue // a connection has both directions
		}
		c, err := m.StartConversation(ctx, f)
		if err != nil {
			return err
		}
		m.talks = append(m.talks, c)
	}
	if m.traffic, err = m.StartTraffic(probing(), flows...); err != nil {
		return err
	}
	m.story.Say("A packet is sent each %v on each of %d flows to and from %s; %d TCP connections carry data both ways.", probing(), len(flows), m.guest, len(m.talks))
	if err := m.settled(ctx); err != nil {
		return err
	}
	return m.countErrors()
}

// between lists the flows of a peer and the guest, both ways, both families.
func (m *moves) between(peer string) ([]lab.Flow, error) {
	if peer != lab.NodeEdge {
		return m.Topology.Both(peer, m.guest, "public")
	}
	var flows []lab.Flow
	for _, family := range families {
		a := m.address(m.guest, "public", family)
		flows = append(flows, lab.Flow{From: peer, To: m.guest, Source: m.internet(a), Target: a}, lab.Flow{From: m.guest, To: peer, Source: a, Target: m.internet(a)})
	}
	return flows, nil
}

// internet is the edge's address of the family of another.
func (w *world) internet(a netip.Addr) netip.Addr {
	if a.Is4() {
		return w.Topology.Internet4
	}
	return w.Topology.Internet6
}

func (m *moves) countErrors() error {
	m.told, m.sent = map[string]lab.ICMPErrors{}, map[string]lab.ICMPErrors{}
	for _, h := range m.Topology.Hypervisors {
		if count, err := m.ICMPSent(h.Name); err == nil { // it may be switched off
			m.sent[h.Name] = count
		}
	}
	for _, node := range append([]string{m.guest}, m.peers...) {
		count, err := m.ICMPReceived(node)
		if err != nil {
			return err
		}
		m.told[node] = count
	}
	return nil
}

// settled waits until everything arrives, on every flow and every connection.
func (m *moves) settled(ctx context.Context) error {
	err := lab.Eventually(ctx, "everything to arrive", settle, m.traffic.Flows)
	for _, c := range m.talks {
		err = errors.Join(err, c.Alive(ctx))
	}
	if err != nil {
		m.whereIs(ctx)
	}
	return err
}

// whereIs shows what everybody has of the guest's IPv4 address, for when it went
// astray.
func (m *moves) whereIs(ctx context.Context) { m.showRoutes(ctx, m.address(m.guest, "public", 4)) }

// showRoutes shows what kernels and a reflector have of an address.
func (w *world) showRoutes(ctx context.Context, a netip.Addr) {
	for _, h := range w.Topology.Hypervisors {
		out, err := w.Exec(ctx, h.Name, "ip", "route", "show", "table", "all", a.String())
		w.story.Show("ip route show table all "+a.String()+"    (on "+h.Name+")", fmt.Sprint(out, errText(err)))
		w.showStatus(ctx, h.Name)
	}
	out, err := w.Exec(ctx, lab.NodeEdge, "ip", "route", "show", a.String())
	w.story.Show("ip route show "+a.String()+"    (at the edge)", fmt.Sprint(out, errText(err)))
	out, err = w.BIRD(ctx, "rra", "show", "route", "all", "for", a.String(), "table", "public4")
	w.story.Show("birdc show route all for "+a.String()+" table public4    (on rra)", fmt.Sprint(out, errText(err)))
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// unharmed ends all that watches, and wants the connections to have lived and
// nobody to have been told an error.
func (m *moves) unharmed(ctx context.Context) {
	m.connected()
	m.story.Check("no sender was told that its packets don't arrive, or to go another way", m.untold())
	m.end(ctx)
}

// connected wants the connections to have lived, and ends them.
func (m *moves) connected() {
	var broken error
	for _, c := range m.talks {
		broken = errors.Join(broken, c.Stop())
	}
	if len(m.talks) > 0 {
		m.story.Check(fmt.Sprintf("the %d TCP connections live", len(m.talks)), broken)
	}
}

// end ends all that watches, once.
func (m *moves) end(ctx context.Context) {
	if m.ended {
		return
	}
	m.ended = true
	for _, c := range m.talks {
		_ = c.Stop() // what mattered was looked at before
	}
	m.traffic.Stop(ctx)
	m.control.close()
}

func (m *moves) untold() error {
	var told []error
	for _, node := range append([]string{m.guest}, m.peers...) {
		now, err := m.ICMPReceived(node)
		if err == nil && now.Sub(m.told[node]) != (lab.ICMPErrors{}) {
			err = fmt.Errorf("%s was told of %s", node, now.Sub(m.told[node]))
		}
		told = append(told, err)
	}
	if errors.Join(told...) == nil {
		return nil
	}
	for _, h := range m.Topology.Hypervisors {
		// One that has been switched off meanwhile begins anew.
		if now, err := m.ICMPSent(h.Name); err == nil && now != m.sent[h.Name] {
			told = append(told, fmt.Errorf("%s sent %s", h.Name, now.Sub(m.sent[h.Name])))
		}
	}
	return errors.Join(told...)
}

// role tells where a peer is during a move.
func (m *moves) role(peer, from, to string) string {
	switch {
	case peer == lab.NodeEdge:
		return "the internet"
	case m.homes[peer] == from:
		return "a guest on the old host"
	case m.homes[peer] == to:
		return "a guest on the new host"
	default:
		return "a guest on a third host"
	}
}

// lost notes what a move cost.
func (m *moves) lost(first int, from, to string, pause time.Duration) {
	m.gaps.pauses = append(m.gaps.pauses, pause)
	for _, l := range m.traffic.Since(first) {
		peer, way := l.From, "to it"
		if l.From == m.guest {
			peer, way = l.To, "from it"
		}
		who, family := m.role(peer, from, to), 4
		if l.Target.Is6() {
			family = 6
		}
		if what, ok := m.extra[l.Target]; ok {
			who = "the internet, its " + what + " prefix"
		}
		m.gaps.add(who, family, way, l)
	}
}

// prepared wants a hypervisor to have all that a guest needs on its taps.
func (w *world) prepared(ctx context.Context, guest, hv string) error {
	g, err := w.Topology.Guest(guest)
	if err != nil {
		return err
	}
	for _, i := range g.Interfaces {
		out, err := w.Exec(ctx, hv, "ip", "-j", "neighbour", "show", "dev", i.Tap, "nud", "permanent")
		if err != nil {
			return err
		}
		var known []struct {
			Dst netip.Addr `json:"dst"`
		}
		if err := json.Unmarshal([]byte(out), &known); err != nil {
			return fmt.Errorf("reading the neighbours of %s: %w", hv, err)
		}
		if len(known) < 2 { // both families
			return fmt.Errorf("%s of %s has the neighbours %v", i.Tap, hv, known)
		}
	}
	return nil
}

// gatewayMACs wants a guest to know its gateways, and all that it reaches by one,
// at the hardware address that every tap has.
func (w *world) gatewayMACs(ctx context.Context, guest string) error {
	out, err := w.Exec(ctx, guest, "ip", "-j", "neighbour", "show", "dev", "eth0")
	if err != nil {
		return err
	}
	var known []struct {
		Dst    string `json:"dst"`
		LLAddr string `json:"lladdr"`
	}
	if err := json.Unmarshal([]byte(out), &known); err != nil {
		return fmt.Errorf("reading the neighbours of %s: %w", guest, err)
	}
	at := map[string]string{}
	for _, n := range known {
		if at[n.Dst] = n.LLAddr; n.LLAddr != "" && n.LLAddr != tapMAC {
			return fmt.Errorf("%s is at %s", n.Dst, n.LLAddr)
		}
	}
	for _, gateway := range []string{"203.0.113.1", "fe80::1"} {
		if at[gateway] == "" {
			return fmt.Errorf("it doesn't know %s: %v", gateway, at)
		}
	}
	return nil
}

// carrierChanges counts how often a guest's interface lost its carrier or got it.
func (w *world) carrierChanges(ctx context.Context, guest string) (string, error) {
	out, err := w.Exec(ctx, guest, "cat", "/sys/class/net/eth0/carrier_changes")
	return strings.TrimSpace(out), err
}
