package kernel

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/vrf"
)

// oneTap is a host that needs no VRF device, with a guest on tap0.
func oneTap() vrf.Host {
	return vrf.Host{
		VRFs: []vrf.VRF{{Name: "public", Table: 90, NoDevice: true}},
		Taps: []vrf.Tap{{
			Name: "tap0", VRF: "public", Gateways: []netip.Addr{netip.MustParseAddr("169.254.0.1")},
			Routes:     []vrf.Route{{Prefix: netip.MustParsePrefix("203.0.113.7/32")}, {Prefix: netip.MustParsePrefix("2001:db8::7/128")}},
			Neighbours: []vrf.Neighbour{{Address: netip.MustParseAddr("203.0.113.7"), MAC: [6]byte{2, 5: 7}}},
		}},
	}
}

// wantNothingLeft fails if an unrestricted plan has anything to do.
func wantNothingLeft(t *testing.T, k *target, host vrf.Host) {
	t.Helper()
	actual, err := k.Read(t.Context(), host)
	must(t, err)
	if r := vrf.Plan(host, actual, vrf.Options{Sweep: true}); len(r.Ops) > 0 || len(r.Problems) > 0 {
		t.Errorf("a plan has %v, problems %v", r.Ops, r.Problems)
	}
}

// TestIPv6DisabledOnATap: the kernel's EACCES is about the link, and not about
// the rights of the process, which would end everything.
func TestIPv6DisabledOnATap(t *testing.T) {
	testenv.RequireRoot(t)
	k := newTarget(t, Options{})
	k.AddLink("tap0")
	run(t, "ip", "netns", "exec", k.ns, "sysctl", "-qw", "net.ipv6.conf.tap0.disable_ipv6=1")
	add := vrf.AddAddress{Link: "tap0", Prefix: netip.MustParsePrefix("fe80::1/64")}
	err := k.Execute(t.Context(), []vrf.Op{add})
	if !errors.Is(err, unix.EACCES) || errors.Is(err, ErrNotPermitted) {
		t.Errorf("an address where IPv6 is disabled: %v", err)
	}
	host := oneTap()
	_, err = k.Apply(t.Context(), host, vrf.Options{Sweep: true})
	must(t, err)
	wantNothingLeft(t, k, host)
	if out := k.ip("-6", "addr", "show", "dev", "tap0"); !strings.Contains(out, "fe80::1/64") {
		t.Errorf("tap0 has %s", out)
	}
}

// TestDamagedByHand: what somebody deletes or changes is told by a notice, and a
// plan for the link that it names brings all of it back.
func TestDamagedByHand(t *testing.T) {
	testenv.RequireRoot(t)
	k := newTarget(t, Options{})
	k.AddLink("tap0")
	host := oneTap()
	_, err := k.Apply(t.Context(), host, vrf.Options{Sweep: true})
	must(t, err)
	var log noticeLog
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Watch(ctx, Options{NetNS: k.Kernel.ns}, nil, log.add) }()
	log.wait(t, "the first notice", func(n Notice) bool { return n.Resync })
	for _, c := range []struct{ what, command string }{
		{"the neighbour", "neigh del 203.0.113.7 dev tap0"},
		{"the neighbour's MAC", "neigh replace 203.0.113.7 lladdr 02:00:00:00:00:99 dev tap0 nud permanent"},
		{"all neighbours", "neigh flush nud permanent dev tap0"},
		{"the gateway, and with it the IPv4 route", "addr del 169.254.0.1/32 dev tap0"},
		{"the IPv6 gateway", "addr del fe80::1/64 dev tap0"},
		{"the gateway's having no end", "addr change 169.254.0.1/32 dev tap0 valid_lft 600 preferred_lft 600"},
		{"the IPv6 gateway's having no end", "addr change fe80::1/64 dev tap0 valid_lft 600 preferred_lft 600"},
		{"all addresses", "addr flush dev tap0"},
		{"the link's being up", "link set tap0 down"},
		{"its group", "link set tap0 group 0"},
		{"its reverse path", "sysctl net.ipv4.conf.tap0.rp_filter=0"},
		{"its answers for others", "sysctl net.ipv4.conf.tap0.proxy_arp=0"},
		{"its IPv6 forwarding", "sysctl net.ipv6.conf.tap0.forwarding=0"},
		{"its MAC", "link set tap0 address 02:00:00:00:00:99"},
	} {
		log.clear()
		if setting, ok := strings.CutPrefix(c.command, "sysctl "); ok {
			run(t, "ip", "netns", "exec", k.ns, "sysctl", "-qw", setting)
		} else {
			k.ip(strings.Fields(c.command)...)
		}
		log.wait(t, c.what, about("tap0"))
		result, err := k.Apply(t.Context(), host, vrf.Options{Sweep: true, Links: []string{"tap0"}})
		if err != nil || len(result.Ops) == 0 {
			t.Errorf("%s: %v, %v", c.what, result.Ops, err)
		}
		wantNothingLeft(t, k, host)
	}
	cancel()
	must(t, <-ended)
}

// TestALinkThatGoesWhileItIsRead is no failure: it is not there.
func TestALinkThatGoesWhileItIsRead(t *testing.T) {
	testenv.RequireRoot(t)
	k := newTarget(t, Options{})
	k.AddLink("tap0")
	must(t, k.Kernel.open())
	r := reader{Kernel: k.Kernel, actual: &vrf.Actual{}, names: map[int]string{}}
	port, err := r.link("tap0")
	must(t, err)
	k.DeleteLink("tap0")
	if err := r.portOf(t.Context(), port); err != nil || len(r.actual.Links) > 0 {
		t.Errorf("%v, links %v", err, r.actual.Links)
	}
}

// TestNamesAfterAnOverrun: a link that was renamed in a message that got lost
// is told by its new name.
func TestNamesAfterAnOverrun(t *testing.T) {
	testenv.RequireRoot(t)
	k := newTarget(t, Options{})
	k.AddLink("tap0")
	w := &watcher{ns: k.Kernel.ns, signal: make(chan struct{}, 1)}
	w.empty()
	must(t, w.overrun())
	k.ip("link", "set", "tap0", "name", "tap9")
	must(t, w.overrun())
	for index, name := range w.names {
		if name == "tap0" {
			t.Errorf("link %d is still called %s", index, name)
		}
	}
	if n := w.take(); !n.Resync {
		t.Error("nobody is told to read everything")
	}
}
