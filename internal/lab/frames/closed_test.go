package frames

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/vrf"
)

// repertoire is a bit of everything that a guest could try, in plain frames. own: what is the guest's own is
// legal; otherwise nothing is.
func repertoire(own bool) []*probe {
	source := func(p *packet, i identity) { p.src = i.value }
	probes := slices.Concat(
		matrix("IPv4", true, sources4, source),
		matrix("IPv6", false, sources6, source),
		matrix("MAC", true, macs, func(p *packet, i identity) { p.from = i.mac }),
		matrix("MAC", false, macs, func(p *packet, i identity) { p.from = i.mac }),
		arpProbes(sources4, func(a *arp, i identity) { a.senderAddr = i.value }),
		ndProbes("NS from", sources6, func(p packet, i identity) packet {
			return p.inTheNameOf(i.value).solicitation(gatewayLL6)
		}),
		ndProbes("NA for", sources6, func(p packet, i identity) packet { return p.advertisement(i.value) }),
		payloads(),
	)
	probes = slices.DeleteFunc(probes, func(p *probe) bool { return p.column != "plain" && p.column != "bad option" })
	for _, p := range probes {
		if !own {
			p.want, p.reason = nil, "nothing of this tap is legal: "+p.reason
		}
	}
	return probes
}

// illegal is the part of the repertoire that no guest may do ever.
func illegal() []*probe {
	return slices.DeleteFunc(repertoire(true), func(p *probe) bool { return len(p.want) > 0 })
}

func TestFailClosed(t *testing.T) {
	testenv.RequireRoot(t)
	failClosed(t, false)
}

func TestFailClosedVRF(t *testing.T) {
	testenv.RequireVRF(t)
	failClosed(t, true)
}

// failClosed: whatever happens to the agent or the tap, nothing illegal passes. Each step of the tap's life puts
// by hand everything else into place that could let a frame through, and happens in a second world without the
// filter as well, where more has to be seen.
func failClosed(t *testing.T, devices bool) {
	w, bare := newWorld(t, devices), newWorld(t, devices)
	anything := func() []*probe { return repertoire(true) }
	nothing := func() []*probe { return repertoire(false) }
	for _, step := range []struct {
		name   string
		probes func() []*probe
		happen func(*world)
	}{
		{"the agent is dead", anything, func(w *world) { w.check(w.kernel.Close()) }},
		{"the tap is made anew, and the agent is dead", illegal, func(w *world) { w.replug(one.tap) }},
		{"the new tap is planned", anything, func(w *world) { w.apply() }},
		{"the tap is made anew, and the agent lives", illegal, func(w *world) { w.replug(one.tap) }},
		{"the tap is released", nothing, func(w *world) { w.release(one.tap) }},
		{"the agent is dead, and the tap was released", nothing, func(w *world) { w.check(w.kernel.Close()) }},
		{"the tap is new, and the log has not named it", nothing, func(w *world) { w.replug("vnet7") }},
	} {
		t.Run(step.name, func(t *testing.T) {
			w.t, bare.t = t, t
			step.happen(w)
			step.happen(bare)
			bare.removeFilter()
			w.loose()
			bare.loose()
			probes, without := step.probes(), step.probes()
			before := w.neighbourTable()
			w.send(probes, two)
			w.believesNothing(step.name, before)
			w.failures(probes)
			bare.send(without, two)
			more := len(slices.DeleteFunc(without, func(p *probe) bool { return len(p.arrived()) == 0 }))
			t.Logf("%d frames, %d legal; without the filter %d are seen", len(probes), legal(probes), more)
			if more <= legal(probes) {
				t.Error("without the filter no more are seen, so nothing is proven")
			}
		})
	}
	w.t, bare.t = t, t
}

func legal(probes []*probe) int {
	n := 0
	for _, p := range probes {
		n += min(1, len(p.want))
	}
	return n
}

// attach does by hand what the agent would do for the first guest, except for the filter.
func (w *world) attach(tap string) {
	w.t.Helper()
	lines := []string{"link set " + tap + " up address " + mac(vrf.TapMAC)}
	if w.devices {
		lines = append(lines, "link set "+tap+" master public")
	}
	for _, a := range []netip.Addr{gateway4, gatewayLL4, gateway6} {
		lines = append(lines, fmt.Sprintf("addr replace %s/%d dev %s", a, a.BitLen(), tap))
	}
	lines = append(lines, "addr replace fe80::1/64 dev "+tap)
	for _, a := range []netip.Addr{one.v4, one.v6} {
		lines = append(lines, fmt.Sprintf("route replace %s dev %s table 90 metric 100 proto 201", a, tap))
	}
	w.ip(lines...)
	if !w.devices && tap != one.tap {
		w.ip("rule add pref 100 iif " + tap + " table 90")
		w.ip6("rule add pref 100 iif " + tap + " table 90")
	}
	conf := "/conf/" + tap + "/"
	w.set(w.hv, "ipv4"+conf+"proxy_arp", "1", "ipv4"+conf+"rp_filter", "0", "ipv6"+conf+"accept_ra", "0", "ipv4/neigh/"+tap+"/proxy_delay", "0")
}

// replug takes the first guest's tap away and connects the guest with one of this name.
func (w *world) replug(tap string) {
	w.t.Helper()
	w.ip("link del " + w.inside[atOne].link)
	testenv.Veth(w.hv, tap, w.outside, tap)
	w.ports[atOne] = newPort(w.life, w.outside, tap)
	w.inside[atOne] = newPort(w.life, w.hv, tap)
	w.inside[atOne].deaf()
	w.attach(tap)
	if w.devices {
		w.listenOn(tap)
	}
	w.check(w.hv.Do(func() error { return w.serveDHCP(tap) }))
}

// release lets the log forget the guest, and brings its tap back into use by hand.
func (w *world) release(tap string) {
	w.t.Helper()
	w.host.Taps = slices.DeleteFunc(w.host.Taps, func(t vrf.Tap) bool { return t.Name == tap })
	w.apply()
	w.attach(tap)
}
