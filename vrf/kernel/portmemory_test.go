package kernel

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/vrf"
)

// guestOf is a tap with so many addresses.
func guestOf(i, addresses int) vrf.Tap {
	t := vrf.Tap{
		Name: fmt.Sprintf("tap%d", i), VRF: "public", MAC: [6]byte{2, 4: byte(i >> 8), 5: byte(i)},
		Gateways: []netip.Addr{netip.MustParseAddr("169.254.0.1")},
	}
	for j := range addresses {
		a := netip.AddrFrom4([4]byte{10, byte(j), byte(i >> 8), byte(i)})
		t.Sources = append(t.Sources, netip.PrefixFrom(a, 32))
		t.Routes = append(t.Routes, vrf.Route{Prefix: netip.PrefixFrom(a, 32)})
		t.Neighbours = append(t.Neighbours, vrf.Neighbour{Address: a, MAC: t.MAC})
	}
	return t
}

// remembering is a host whose kernel has all that is desired, and is known to.
type remembering struct {
	*target
	host vrf.Host
}

func newRemembering(t *testing.T, taps int) *remembering {
	m := &remembering{target: newTarget(t, Options{}), host: vrf.Host{VRFs: []vrf.VRF{{Name: "public", Table: 90, NoDevice: true}}}}
	for i := range taps {
		g := guestOf(i, 2)
		m.AddLink(g.Name)
		m.host.Taps = append(m.host.Taps, g)
	}
	for range 2 { // the second finds what the first has done
		_, err := m.Apply(t.Context(), m.host, vrf.Options{Sweep: true})
		must(t, err)
	}
	return m
}

// apply has a plan for the first tap.
func (m *remembering) apply(told ...string) vrf.Result {
	m.t.Helper()
	result, err := m.Apply(m.t.Context(), m.host, vrf.Options{Sweep: true, Links: []string{"tap0"}, Told: append([]string{}, told...)})
	must(m.t, err)
	return result
}

// right compares all with what the kernel has, by somebody who remembers nothing.
func (m *remembering) right(what string) {
	m.t.Helper()
	k := New(Options{NetNS: m.Kernel.ns})
	defer k.Close()
	actual, err := k.Read(m.t.Context(), m.host)
	must(m.t, err)
	if ops := vrf.Plan(m.host, actual, vrf.Options{Sweep: true}).Ops; len(ops) > 0 {
		m.t.Errorf("after %s these are left to do: %v", what, ops)
	}
}

// TestEventCostsOneTap: what an event of a guest asks of the kernel is the same
// beside few taps and many. What is on the tap is not read again, nor its settings,
// as one shows that is changed and not told of.
func TestEventCostsOneTap(t *testing.T) {
	testenv.RequireRoot(t)
	var want []uint32
	for _, taps := range []int{10, 100} {
		m := newRemembering(t, taps)
		must(t, writeSysctl(m.Kernel.ns, "ipv4/conf/tap0/accept_redirects", "1"))
		var requests []uint32
		for _, addresses := range []int{3, 2, 1, 2} {
			m.host.Taps[0] = guestOf(0, addresses)
			before := m.Kernel.socket.seq
			result := m.apply()
			if n := m.Kernel.socket.seq - before; int(n) > len(result.Ops) {
				t.Errorf("%d requests for %d operations", n, len(result.Ops))
			}
			requests = append(requests, m.Kernel.socket.seq-before)
		}
		if want == nil {
			want = requests
		}
		if !slices.Equal(requests, want) {
			t.Errorf("%d taps: events take %d requests, and %d beside few", taps, requests, want)
		}
		if len(vrf.Plan(m.host, m.read(), vrf.Options{Sweep: true}).Ops) != 1 {
			t.Error("the setting is not found when all is compared")
		}
		_, err := m.Apply(t.Context(), m.host, vrf.Options{Sweep: true})
		must(t, err)
		m.right("the comparison of everything")
	}
}

func (m *remembering) read() vrf.Actual {
	m.t.Helper()
	actual, err := m.Kernel.Read(m.t.Context(), m.host)
	must(m.t, err)
	return actual
}

// TestToldOfIsReadAgain: what others do to a tap is mended when it was told of, and
// what events did before and between is known.
func TestToldOfIsReadAgain(t *testing.T) {
	testenv.RequireRoot(t)
	m := newRemembering(t, 2)
	var log noticeLog
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Watch(ctx, Options{NetNS: m.Kernel.ns, Writer: m.Kernel}, nil, log.add) }()
	log.wait(t, "the first notice", func(n Notice) bool { return n.Resync })
	event := 0
	for _, c := range []struct {
		what   string
		damage func()
	}{
		{"a deleted neighbour", func() { m.ip("neigh", "del", "10.0.0.0", "dev", "tap0") }},
		{"another MAC address", func() {
			m.ip("neigh", "replace", "10.0.0.0", "lladdr", "02:00:00:00:00:99", "dev", "tap0", "nud", "permanent")
		}},
		{"a neighbour too many", func() {
			m.ip("neigh", "replace", "10.9.9.9", "lladdr", "02:00:00:00:00:99", "dev", "tap0", "nud", "permanent")
		}},
		{"a deleted address", func() { m.ip("addr", "del", "169.254.0.1/32", "dev", "tap0") }},
		{"a setting", func() { must(t, writeSysctl(m.Kernel.ns, "ipv4/conf/tap0/forwarding", "0")) }},
		{"a group", func() { m.ip("link", "set", "tap0", "group", "7") }},
		{"a bounce", func() { m.batch("link set tap0 down", "link set tap0 up") }},
		{"another link of that name", func() { m.DeleteLink("tap0"); m.AddLink("tap0") }},
	} {
		event++
		m.host.Taps[0] = guestOf(0, 2+event%2)
		m.apply()
		m.right("an event before " + c.what)
		log.clear()
		c.damage()
		log.wait(t, c.what, about("tap0"))
		m.apply("tap0")
		m.right(c.what)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestAnotherLinkIsNotTakenForTheFormer: a link made anew under the same name is read
// at once, whenever its notice comes; so is one that is not what it was.
func TestAnotherLinkIsNotTakenForTheFormer(t *testing.T) {
	testenv.RequireRoot(t)
	m := newRemembering(t, 2)
	m.DeleteLink("tap0")
	m.AddLink("tap0")
	m.apply()
	m.right("another link")
	m.DeleteLink("tap0")
	if got := m.apply(); !slices.Equal(got.Waiting, []string{"tap0"}) {
		t.Errorf("a link that is gone: %v are missing", got.Waiting)
	}
	m.AddLink("tap0")
	m.apply()
	m.right("a link that was gone")
	m.apply("tap0")
	m.SetUp("tap0", false)
	m.apply()
	m.right("a link that is down")
}
