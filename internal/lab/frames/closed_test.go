package frames

import (
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
	probes = slices.DeleteFunc(probes, func(p *probe) bool { return p.column != "plain" })
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

// failClosed: whatever happens to the agent or the tap, nothing illegal passes. Each case puts by hand
// everything else into place that could let a frame through.
func failClosed(t *testing.T, devices bool) {
	for _, c := range []struct {
		name   string
		probes func() []*probe
		happen func(*world)
	}{
		{"the agent is dead", func() []*probe { return repertoire(true) }, func(w *world) {
			w.check(w.kernel.Close())
		}},
		{"the tap is released", func() []*probe { return repertoire(false) }, func(w *world) {
			w.host.Taps = w.host.Taps[1:]
			w.apply()
			w.attach(one.tap)
		}},
		{"the agent is dead and the tap released", func() []*probe { return repertoire(false) }, func(w *world) {
			w.host.Taps = w.host.Taps[1:]
			w.apply()
			w.check(w.kernel.Close())
			w.attach(one.tap)
		}},
		{"the tap is new, and the log has not named it", func() []*probe { return repertoire(false) }, func(w *world) {
			w.replug("vnet7")
			w.attach("vnet7")
		}},
		{"the tap is made anew", illegal, func(w *world) {
			w.replug(one.tap)
			w.attach(one.tap)
		}},
		{"the tap is made anew, and the agent is dead", illegal, func(w *world) {
			w.check(w.kernel.Close())
			w.replug(one.tap)
			w.attach(one.tap)
		}},
		{"the tap is made anew, and planned", func() []*probe { return repertoire(true) }, func(w *world) {
			w.replug(one.tap)
			w.apply()
			w.check(w.hv.Do(func() error { return w.serveDHCP(one.tap) }))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, devices)
			c.happen(w)
			w.loose()
			probes := c.probes()
			before := w.neighbourTable()
			w.send(probes, two)
			w.believesNothing(c.name, before)
			w.failures(probes)
			t.Logf("%d frames, of which %d are legal", len(probes), legal(probes))

			w.removeFilter()
			bare := c.probes()
			w.send(bare, two)
			if seen := len(slices.DeleteFunc(bare, func(p *probe) bool { return len(p.arrived()) == 0 })); seen <= legal(probes) {
				t.Errorf("without the filter only %d are seen, so nothing is proven", seen)
			}
		})
	}
}

func legal(probes []*probe) int {
	n := 0
	for _, p := range probes {
		n += min(1, len(p.want))
	}
	return n
}

// attach does by hand what the agent would do for a guest, except for the filter.
func (w *world) attach(tap string) {
	w.t.Helper()
	if w.devices {
		w.hv.IP("link set " + tap + " master public")
	} else if tap != one.tap {
		w.hv.IP("rule add pref 100 iif " + tap + " table 90")
		w.ip6("rule add pref 100 iif " + tap + " table 90")
	}
	w.hv.IP("link set "+tap+" up", "link set "+tap+" address "+mac(vrf.TapMAC))
	w.hv.Sysctl("net.ipv4.conf."+tap+".proxy_arp=1", "net.ipv4.conf."+tap+".rp_filter=0", "net.ipv6.conf."+tap+".accept_ra=0")
	w.hv.IP("addr replace "+gateway4.String()+"/32 dev "+tap, "addr replace "+gatewayLL4.String()+"/32 dev "+tap,
		"addr replace "+gateway6.String()+"/128 dev "+tap+" nodad", "addr replace fe80::1/64 dev "+tap+" nodad",
		"route replace "+one.v4.String()+" dev "+tap+" table 90 metric 100", "route replace "+one.v6.String()+" dev "+tap+" table 90 metric 100")
}

// replug takes the first guest's tap away and connects the guest with one of this name.
func (w *world) replug(tap string) {
	w.t.Helper()
	w.hv.IP("link del " + one.tap)
	testenv.Veth(w.hv, tap, w.outside, tap)
	w.ports[atOne] = newPort(w.t, w.outside, tap)
	w.inside[atOne] = newPort(w.t, w.hv, tap)
	w.inside[atOne].deaf()
}
