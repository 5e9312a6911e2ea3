package udp

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/bfd"
	"github.com/hostroute/hostroute/internal/testenv"
)

func TestTwoEnginesMeetInBothFamilies(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	var sets [2][]bfd.Spec
	for i := range sets {
		for _, where := range []string{v4, v6, link} {
			sets[i] = append(sets[i], spec(where, i, patient()))
		}
	}
	a, b := start(t, w.a, sets[0]...), start(t, w.b, sets[1]...)
	for _, where := range []string{v4, v6, link} {
		a.paced(where, 300*ms, 3000*ms)
		b.paced(where, 300*ms, 3000*ms)
	}
	if d := a.Dropped(); d != [bfd.Drops]uint64{} {
		t.Errorf("dropped %v", d)
	}
	ports := map[string]bool{}
	for _, line := range strings.Split(w.a.Run("ss", "-Hlnu"), "\n") {
		if f := strings.Fields(line); len(f) > 3 && !strings.HasSuffix(f[3], fmt.Sprint(":", Port)) {
			port := f[3][strings.LastIndexByte(f[3], ':')+1:]
			if ports[port] || port < fmt.Sprint(firstSource) {
				t.Errorf("source port %s is used twice or out of range:\n%s", port, line)
			}
			ports[port] = true
		}
	}
	if len(ports) != 3 {
		t.Errorf("%d source ports, want one for each session", len(ports))
	}
}

func TestParametersChangeAtRunTime(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	a, b := start(t, w.a, spec(v4, 0, patient())), start(t, w.b, spec(v4, 1, patient()))
	before := a.up(v4)
	b.up(v4)
	for _, p := range []bfd.Params{
		params(50*ms, 50*ms, 20), params(100*ms, 400*ms, 15), params(1000*ms, 1000*ms, 5), params(300*ms, 300*ms, 12), params(300*ms, 300*ms, 10),
	} {
		a.set(spec(v4, 0, p))
		a.paced(v4, max(p.MinTx, 300*ms), 10*max(p.MinRx, 300*ms))
		b.paced(v4, max(p.MinRx, 300*ms), time.Duration(p.Multiplier)*max(p.MinTx, 300*ms))
	}
	if s := a.get(v4); s.Falls != 0 || s.LocalDiscriminator != before.LocalDiscriminator || s.Serial != before.Serial {
		t.Errorf("a change cost the session: %+v", s)
	}
	if s := b.get(v4); s.Falls != 0 {
		t.Errorf("a change cost the session: %+v", s)
	}
}

func TestRemovalIsAdminDown(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	a, b := start(t, w.a, spec(v4, 0, bfd.Default())), start(t, w.b, spec(v4, 1, bfd.Default()))
	first := a.up(v4)
	b.up(v4)
	shut := func(s bfd.Status) bool {
		return s.State == bfd.Down && !s.Failed && s.RemoteState == bfd.AdminDown && s.Reason() == "the peer has shut it"
	}
	a.set()
	b.expect("the end of a session without failure", v4, shut)
	eventually(t, "no socket", func() bool { return !strings.Contains(w.a.Run("ss", "-Hlnu"), ":") }, func() string { return w.a.Run("ss", "-Hlnu") })

	a.set(spec(v4, 0, bfd.Default()))
	b.up(v4)
	if again := a.up(v4); again.Serial == first.Serial || again.LocalDiscriminator == first.LocalDiscriminator {
		t.Errorf("the forgotten session is back: %+v after %+v", again, first)
	}
	held := spec(v4, 0, bfd.Default())
	held.AdminDown = true
	a.set(held)
	b.expect("a session that is held shut", v4, shut)
	a.set(spec(v4, 0, bfd.Default()))
	b.up(v4)
	a.stop()
	s := b.expect("the end of an engine without failure", v4, shut)
	if s.Falls != 3 || s.Diagnostic != bfd.NeighborDown {
		t.Errorf("%+v", s)
	}
}

func TestASetOfTheSameChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	a, b := start(t, w.a, spec(v4, 0, patient())), start(t, w.b, spec(v4, 1, patient()))
	a.up(v4)
	before := b.up(v4)
	b.paced(v4, 300*ms, 3000*ms)
	before = b.get(v4)
	for i := range 20 {
		s := spec(v4, 0, patient())
		s.Name = fmt.Sprint("renamed", i)
		a.set(s)
		a.up(s.Name)
	}
	if after := b.get(v4); after.Falls != 0 || after.Revision != before.Revision {
		t.Errorf("the peer noticed: %+v, before %+v", after, before)
	}
}

func TestRefusesABadSet(t *testing.T) {
	e := New(Options{})
	bad := spec(v4, 0, params(0, 300*ms, 3))
	if err := e.Set([]bfd.Spec{bad}); err == nil || !strings.Contains(err.Error(), "min_tx: 0s: must be 50ms to 1m0s") {
		t.Errorf("%v", err)
	}
}

func TestAnInterfaceThatGoesAndComesBack(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	missing := spec(v6, 0, bfd.Default())
	missing.Interface, missing.Name = "nowhere", "missing"
	a, b := start(t, w.a, spec(v4, 0, bfd.Default()), missing), start(t, w.b, spec(v4, 1, bfd.Default()))
	a.up(v4)
	a.expect("trouble", "missing", func(s bfd.Status) bool {
		return s.State == bfd.Down && s.Trouble == "binding to interface nowhere: no such device"
	})
	w.a.IP("link del port")
	a.expect("trouble", v4, func(s bfd.Status) bool { return s.State == bfd.Down && s.Failed && s.Trouble != "" })
	testenv.Veth(w.a, "port", w.b, "port")
	w.a.IP("addr add 192.0.2.1/24 dev port")
	w.b.IP("addr add 192.0.2.2/24 dev port")
	if s := a.up(v4); s.Trouble != "" || s.Falls != 1 {
		t.Errorf("%+v", s)
	}
	b.up(v4)
}

// TestPacketsAllocateNothing has two loops without their goroutines exchange
// packets over real sockets.
func TestPacketsAllocateNothing(t *testing.T) {
	w := newWire(t)
	loops := [2]*loop{}
	for i, n := range []*testenv.Netns{w.a, w.b} {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		e := New(Options{Log: quiet, In: n.Do})
		l := e.newLoop(fd)
		defer l.closeAll()
		l.reconcile([]bfd.Spec{spec(v4, i, params(50*ms, 50*ms, 20)), spec(v6, i, params(50*ms, 50*ms, 20))})
		loops[i] = l
	}
	step := func() {
		for _, l := range loops {
			if err := l.step(l.now().Add(5 * ms)); err != nil {
				t.Fatal(err)
			}
		}
	}
	state := func(i int) bfd.Report { return loops[i].order[0].session.Report() }
	eventually(t, "up", func() bool { step(); return state(0).TransmitInterval == 50*ms && state(1).TransmitInterval == 50*ms },
		func() string { return fmt.Sprintf("%+v %+v", state(0), state(1)) })
	before := state(0)
	if a := testing.AllocsPerRun(200, step); a != 0 {
		t.Errorf("%v allocations a step", a)
	}
	after := state(0)
	if after.Sent < before.Sent+20 || after.Received < before.Received+20 || after.State != bfd.Up {
		t.Errorf("too little happened: %+v after %+v", after, before)
	}
	t.Logf("%d packets out, %d in", after.Sent-before.Sent, after.Received-before.Received)
}

// TestInAVRF has our end enslaved to a VRF, and another plane with the same
// addresses in the default one.
func TestInAVRF(t *testing.T) {
	testenv.RequireVRF(t)
	t.Parallel()
	w := newWire(t)
	w.a.IP("link add public type vrf table 90", "link set public up", "link set port master public",
		"addr replace 192.0.2.1/24 dev port", "addr replace 2001:db8::1/64 dev port nodad", "addr replace fe80::1/64 dev port nodad")
	testenv.Veth(w.a, "other", w.b, "other")
	w.a.IP("addr add 192.0.2.1/24 dev other", "addr add fe80::1/64 dev other nodad")
	var sets [2][]bfd.Spec
	for i := range sets {
		for _, where := range []string{v4, v6, link} {
			sets[i] = append(sets[i], spec(where, i, bfd.Default()))
		}
	}
	a, b := start(t, w.a, sets[0]...), start(t, w.b, sets[1]...)
	for _, where := range []string{v4, v6, link} {
		a.paced(where, 300*ms, 900*ms)
		b.paced(where, 300*ms, 900*ms)
	}
	if d := a.Dropped(); d != [bfd.Drops]uint64{} {
		t.Errorf("dropped %v", d)
	}
}
