package kernel

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/vrf"
)

// TestDamageFilter runs the filter over messages as the kernel makes them.
func TestDamageFilter(t *testing.T) {
	const theirs, portID = 0x68000000, 4711
	message := func(kind, flags uint16, seq, port uint32, table, protocol byte) []byte {
		b := binary.NativeEndian.AppendUint32(nil, headerLen+unix.SizeofRtMsg)
		b = binary.NativeEndian.AppendUint16(b, kind)
		b = binary.NativeEndian.AppendUint16(b, flags)
		b = binary.NativeEndian.AppendUint32(b, seq)
		b = binary.NativeEndian.AppendUint32(b, port)
		return append(b, unix.AF_INET, 32, 0, 0, table, protocol, 0, unix.RTN_UNICAST, 0, 0, 0, 0)
	}
	const add, del, replace = unix.RTM_NEWROUTE, unix.RTM_DELROUTE, unix.NLM_F_REPLACE | unix.NLM_F_CREATE
	for _, c := range []struct {
		what    string
		message []byte
		passes  bool
	}{
		{"ours, deleted", message(del, 0, theirs, portID, 90, vrf.Protocol), true},
		{"ours, deleted in another table of ours", message(del, 0, theirs, portID, 20, vrf.Protocol), true},
		{"ours, deleted in a table with a large number", message(del, 0, theirs, portID, unix.RT_TABLE_COMPAT, vrf.Protocol), true},
		{"ours, deleted in somebody's table", message(del, 0, theirs, portID, 254, vrf.Protocol), false},
		{"ours, deleted by us", message(del, 0, ownSequence+77, portID, 90, vrf.Protocol), false},
		{"ours, deleted by the last of us", message(del, 0, ownSequence|^uint32(ownSequenceMask), portID, 90, vrf.Protocol), false},
		{"ours, deleted by the kernel", message(del, 0, 0, 0, 90, vrf.Protocol), false},
		{"somebody's, deleted", message(del, 0, theirs, portID, 90, 4), false},
		{"replaced by somebody's", message(add, replace, theirs, portID, 90, 4), true},
		{"changed in our name", message(add, unix.NLM_F_REPLACE, theirs, portID, 90, vrf.Protocol), true},
		{"replaced in somebody's table", message(add, replace, theirs, portID, 254, 4), false},
		{"replaced by us", message(add, replace, ownSequence, portID, 90, vrf.Protocol), false},
		{"somebody's, added", message(add, unix.NLM_F_CREATE|unix.NLM_F_EXCL, theirs, portID, 90, 4), false},
		{"no route", message(unix.RTM_NEWLINK, replace, theirs, portID, 90, vrf.Protocol), false},
		{"half a message", message(del, 0, theirs, portID, 90, vrf.Protocol)[:headerLen+2], false},
	} {
		vm, err := bpf.NewVM(damageFilter([]uint32{90, 20, 1000, 2000}))
		must(t, err)
		n, err := vm.Run(c.message)
		if err != nil || n > 0 != c.passes {
			t.Errorf("%s: passes %d bytes, %v; want %v", c.what, n, err, c.passes)
		}
	}
}

// watchedTarget is a kernel with a host that is watched.
type watchedTarget struct {
	*target
	host vrf.Host
	log  noticeLog
}

// newWatchedTarget has a guest on tap0 in a table with a small and in one with a
// large number, and two uplinks.
func newWatchedTarget(t *testing.T) *watchedTarget {
	k := &watchedTarget{target: newTarget(t, Options{}), host: oneTap()}
	k.host.VRFs = append(k.host.VRFs, vrf.VRF{Name: "private", Table: 1000, NoDevice: true})
	for i, table := range []string{"public", "private"} {
		name := fmt.Sprintf("u%d", i)
		k.host.Uplinks = append(k.host.Uplinks, vrf.Uplink{Name: name, VRF: table, Addresses: []netip.Prefix{
			netip.MustParsePrefix(fmt.Sprintf("100.64.%d.1/24", i)), netip.MustParsePrefix(fmt.Sprintf("fd64:%d::1/64", i)),
		}})
		k.AddLink(name)
	}
	k.AddLink("tap0")
	_, err := k.Apply(t.Context(), k.host, vrf.Options{Sweep: true})
	must(t, err)
	k.watch(t)
	return k
}

func (k *watchedTarget) watch(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Watch(ctx, Options{NetNS: k.Kernel.ns}, []uint32{90, 1000}, k.log.add) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	k.log.wait(t, "the first notice", func(n Notice) bool { return n.Resync })
}

// told gives the routes that were told until a last one, which is deleted now.
// They come in the order of their happening, so what is not among them never was.
func (k *watchedTarget) told(t *testing.T) (list []string) {
	t.Helper()
	mark := Route{Table: 90, Prefix: netip.MustParsePrefix("198.51.100.250/32"), Metric: vrf.MetricGuest}
	k.ip("route", "add", "unreachable", mark.Prefix.String(), "table", "90", "metric", "100", "proto", "201")
	k.ip("route", "del", mark.Prefix.String(), "table", "90", "metric", "100", "proto", "201")
	k.log.wait(t, "the last deletion", func(n Notice) bool { return slices.Contains(n.Routes, mark) || n.AllRoutes })
	k.log.mu.Lock()
	defer k.log.mu.Unlock()
	for _, n := range k.log.list {
		if n.AllRoutes {
			list = append(list, "all")
		}
		for _, r := range n.Routes {
			if r != mark {
				list = append(list, fmt.Sprintf("%d %s %d", r.Table, r.Prefix, r.Metric))
			}
		}
	}
	slices.Sort(list)
	k.log.list = nil
	return slices.Compact(list)
}

// routesOf are learned routes through both uplinks' tables, and through objects of
// ours or by themselves.
func learnedOn(uplink int) []vrf.Change {
	name := fmt.Sprintf("u%d", uplink)
	var list []vrf.Change
	for i := range 300 {
		a4, a6 := netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), netip.MustParseAddr(fmt.Sprintf("2001:db8:6::%x", i))
		list = append(list,
			vrf.Change{Prefix: netip.PrefixFrom(a4, 32), NextHops: hopsVia(name, "100.64.%d.%d", uplink, i%2)},
			vrf.Change{Prefix: netip.PrefixFrom(a6, 128), NextHops: hopsVia(name, "fd64:%d::%d", uplink, i%2)})
	}
	return list
}

// hopsVia has one next hop, or two.
func hopsVia(uplink, format string, plane, more int) []vrf.NextHop {
	var list []vrf.NextHop
	for n := range 1 + more {
		list = append(list, vrf.NextHop{Gateway: netip.MustParseAddr(fmt.Sprintf(format, plane, 2+n)), Uplink: uplink})
	}
	return list
}

// TestRoutesDamagedByHand: ip(8) deletes and replaces each kind of route of ours,
// in both families, and routes that are none of our business.
func TestRoutesDamagedByHand(t *testing.T) {
	testenv.RequireRoot(t)
	k := newWatchedTarget(t)
	plain := NewFIB(Options{NetNS: k.Kernel.ns, NoNextHopObjects: true}, k.host.VRFs[1:], k.host.Uplinks[1:])
	defer plain.Close()
	fib := NewFIB(Options{NetNS: k.Kernel.ns}, k.host.VRFs[:1], k.host.Uplinks[:1])
	defer fib.Close()
	must(t, fib.Apply(t.Context(), "public", learnedOn(0)))
	must(t, plain.Apply(t.Context(), "private", learnedOn(1)))
	for _, c := range []struct {
		what, commands string
		want           []string
	}{
		{"a guest's route", "route del 203.0.113.7/32 table 90", []string{"90 203.0.113.7/32 100"}},
		{"a guest's IPv6 route", "-6 route del 2001:db8::7/128 table 90", []string{"90 2001:db8::7/128 100"}},
		{"last resorts", "route del unreachable default table 90 metric 4278198272; -6 route del unreachable default table 1000 metric 4278198272",
			[]string{"1000 ::/0 4278198272", "90 0.0.0.0/0 4278198272"}},
		{"learned routes with next-hop objects", "route del 198.18.0.0/32 table 90; -6 route del 2001:db8:6::1/128 table 90",
			[]string{"90 198.18.0.0/32 200", "90 2001:db8:6::1/128 200"}},
		{"learned routes with their own next hops", "route del 198.18.0.1/32 table 1000; -6 route del 2001:db8:6::1/128 table 1000",
			[]string{"1000 198.18.0.1/32 200", "1000 2001:db8:6::1/128 200"}},
		{"one next hop of two", "-6 route del 2001:db8:6::3/128 via fd64:1::3 dev u1 table 1000", []string{"1000 2001:db8:6::3/128 200"}},
		{"somebody's in place of ours", "route replace unreachable 198.18.0.2/32 table 90 metric 200 proto 99; -6 route replace unreachable 2001:db8:6::2/128 table 90 metric 200 proto 99",
			[]string{"90 198.18.0.2/32 200", "90 2001:db8:6::2/128 200"}},
		{"ours, changed in our name", "route change 198.18.0.3/32 via 100.64.0.9 dev u0 table 90 metric 200 proto 201", []string{"90 198.18.0.3/32 200"}},
		{"somebody's own doing", "route add unreachable 192.0.2.1/32 table 90 metric 200 proto 99; route del unreachable 192.0.2.1/32 table 90 metric 200 proto 99; " +
			"route replace unreachable 192.0.2.1/32 table 77 metric 200; route replace unreachable 192.0.2.1/32 table 90 metric 300; " +
			"route add unreachable 192.0.2.2/32 table 77 metric 200 proto 201; route del unreachable 192.0.2.2/32 table 77 metric 200 proto 201", nil},
		{"what the kernel drops with a link", "link set tap0 down; link set tap0 up; link set u1 down; link set u1 up", nil},
		{"what the kernel drops with next hops", "nexthop flush proto 201", nil},
	} {
		for command := range strings.SplitSeq(c.commands, "; ") {
			k.ip(strings.Fields(command)...)
		}
		if got := k.told(t); !slices.Equal(got, c.want) {
			t.Errorf("%s: told of %q, want %q", c.what, got, c.want)
		}
	}
}

// TestOwnWritesAreNotTold: nothing that Kernel and FIB do is a change to them.
func TestOwnWritesAreNotTold(t *testing.T) {
	testenv.RequireRoot(t)
	for _, objects := range []bool{true, false} {
		k := newWatchedTarget(t)
		fib := NewFIB(Options{NetNS: k.Kernel.ns, NoNextHopObjects: !objects}, k.host.VRFs, k.host.Uplinks)
		changes := learnedOn(0)
		must(t, fib.Apply(t.Context(), "public", changes))
		for i := range changes {
			changes[i].NextHops = changes[(i+2)%4].NextHops
		}
		must(t, fib.Apply(t.Context(), "public", changes))
		must(t, fib.Lost(t.Context(), "public", []netip.Prefix{changes[0].Prefix, changes[1].Prefix})) // deletes and adds
		must(t, fib.UplinkChanged(t.Context(), "u0", false))
		must(t, fib.Verify(t.Context()))
		for i := range changes {
			changes[i].NextHops = nil
		}
		must(t, fib.Apply(t.Context(), "public", changes))
		must(t, fib.Close())
		k.host.Taps = nil
		_, err := k.Apply(t.Context(), k.host, vrf.Options{Sweep: true})
		must(t, err)
		if got := k.told(t); len(got) > 0 {
			t.Errorf("told of our own doing, with objects %v: %q", objects, got)
		}
	}
}

// TestNumbersStayOurs: however many messages a socket sends, Watch knows them, and
// a batch never runs over the end of the numbers.
func TestNumbersStayOurs(t *testing.T) {
	testenv.RequireRoot(t)
	k := newWatchedTarget(t)
	must(t, k.dataplane.open())
	for _, seq := range []uint32{ownSequence - 1, ownSequence + 1<<23 - 1, ownSequence + 1<<23, ownSequence | ^uint32(ownSequenceMask), 0, ^uint32(0)} {
		k.dataplane.socket.seq = seq
		writes := make([]vrf.RouteWrite, 300)
		for _, verb := range []vrf.Verb{vrf.Add, vrf.Delete} {
			for i := range writes {
				p := netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 19, byte(i >> 8), byte(i)}), 32)
				writes[i] = vrf.RouteWrite{Prefix: p, Table: 90, Verb: verb, Hops: []vrf.Hop{{Gateway: netip.MustParseAddr("100.64.0.2"), Port: k.port(t, "u0")}}}
			}
			must(t, k.WriteRoutes(t.Context(), writes, func(i int, err error) { t.Errorf("from %x: %v: %v", seq, writes[i], err) }))
		}
	}
	if got := k.told(t); len(got) > 0 {
		t.Errorf("told of %d of our own doings", len(got))
	}
}

func (k *target) port(t *testing.T, name string) int {
	state, err := k.State(t.Context(), []string{name})
	must(t, err)
	return state.Ports[name].Index
}

// TestManyDamaged: beyond a number that is worth naming, and where messages are
// lost, all routes are in doubt.
func TestManyDamaged(t *testing.T) {
	testenv.RequireRoot(t)
	w := &watcher{signal: make(chan struct{}, 1)}
	w.empty()
	for i := range maxDamaged + 10 {
		w.noteDamage(func() {
			w.damage(Route{Table: 90, Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32), Metric: vrf.MetricLearned})
		})
		if i == maxDamaged-1 && (len(w.damaged) != maxDamaged || w.pending.AllRoutes) {
			t.Errorf("%d routes are kept of %d", len(w.damaged), maxDamaged)
		}
	}
	if n := w.take(); !n.AllRoutes || len(n.Routes) > 0 {
		t.Errorf("got all: %v, and %d names", n.AllRoutes, len(n.Routes))
	}

	k := newTarget(t, Options{})
	conn, err := subscribeRoutes(k.Kernel.ns, []uint32{90})
	must(t, err)
	defer conn.Close()
	must(t, conn.SetReadBuffer(1))
	var add, del []string
	for i := range 200 {
		add = append(add, fmt.Sprintf("route add unreachable 198.18.1.%d/32 table 90 metric 200 proto 201", i))
		del = append(del, fmt.Sprintf("route del unreachable 198.18.1.%d/32 table 90 metric 200 proto 201", i))
	}
	k.batch(add...)
	k.batch(del...)
	go func() { _ = w.routeReceiver([]uint32{90})(t.Context(), conn) }()
	testenv.Eventually(t, "a notice that messages were lost", func() bool { return w.take().AllRoutes })
}

// TestDamageIsGathered: what is flushed route by route is few notices.
func TestDamageIsGathered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watcher{signal: make(chan struct{}, 1)}
		w.empty()
		notices, routes := 0, 0
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			_ = w.deliver(ctx, ended, func(n Notice) { notices, routes = notices+1, routes+len(n.Routes) })
		}()
		for i := range 1000 { // for a second
			w.noteDamage(func() {
				w.damage(Route{Table: 90, Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32), Metric: vrf.MetricLearned})
			})
			<-time.After(time.Millisecond)
		}
		<-time.After(gatherTime)
		synctest.Wait()
		if routes != 1000 || notices < 80 || notices > 101 {
			t.Errorf("%d routes were told by %d notices", routes, notices)
		}
		before := notices
		w.noteDamage(w.allDamaged)
		w.note(func() { w.pending.Rules = true })
		if synctest.Wait(); notices != before+1 {
			t.Error("a rule waits for routes")
		}
		cancel()
		ended <- nil
	})
}
