package udp

import (
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/bfd"
	"github.com/hostroute/hostroute/internal/testenv"
)

// forger sends datagrams to our end from the far end of the wire, as anybody
// there may who isn't the peer's BFD.
type forger struct {
	t  *testing.T
	fd int
	to unix.Sockaddr
}

func newForger(t *testing.T, n *testenv.Netns, from, to string) *forger {
	t.Helper()
	f := &forger{t: t, to: sockaddr(netip.MustParseAddr(to), Port, 0)}
	if err := n.Do(func() (err error) {
		domain := unix.AF_INET
		if netip.MustParseAddr(from).Is6() {
			domain = unix.AF_INET6
		}
		if f.fd, err = unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return unix.Bind(f.fd, sockaddr(netip.MustParseAddr(from), 0, 0))
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(f.fd) })
	return f
}

func (f *forger) send(hops int, b []byte) {
	f.t.Helper()
	level, option := unix.IPPROTO_IP, unix.IP_TTL
	if _, v6 := f.to.(*unix.SockaddrInet6); v6 {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS
	}
	if err := set(f.fd, level, option, hops); err != nil {
		f.t.Fatal(err)
	}
	if err := unix.Sendto(f.fd, b, 0, f.to); err != nil {
		f.t.Fatal(err)
	}
}

// TestForgedPacketsChangeNothing sends to a session that is up everything that a
// packet may be refused for, in both families. Nothing but counters may move.
func TestForgedPacketsChangeNothing(t *testing.T) {
	t.Parallel()
	for _, where := range []string{v4, v6} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			forgeries(t, where)
		})
	}
}

func forgeries(t *testing.T, where string) {
	w := newWire(t)
	a, b := start(t, w.a, spec(where, 0, patient())), start(t, w.b, spec(where, 1, patient()))
	old := record(t, a, b, where) // of a former session
	a.paced(where, 300*ms, 3000*ms)
	b.paced(where, 300*ms, 3000*ms)
	before, dropped := a.get(where), a.Dropped()
	if where == v4 {
		w.b.IP("addr add 192.0.2.9/24 dev port")
	} else {
		w.b.IP("addr add 2001:db8::9/64 dev port nodad")
	}
	peer, other := newForger(t, w.b, where+"2", where+"1"), newForger(t, w.b, where+"9", where+"1")
	good := bfd.Packet{
		State: bfd.Down, Diagnostic: bfd.TimeExpired, Multiplier: 3, DesiredMinTx: bfd.SlowTx, RequiredMinRx: bfd.SlowTx,
		MyDiscriminator: before.RemoteDiscriminator, YourDiscriminator: before.LocalDiscriminator,
	}
	raw := func(change func(p *bfd.Packet, b *[bfd.Size]byte)) []byte {
		p := good
		var b [bfd.Size]byte
		change(&p, &b)
		if b == [bfd.Size]byte{} {
			p.Encode(&b)
		}
		return b[:]
	}
	field := func(change func(p *bfd.Packet)) []byte {
		return raw(func(p *bfd.Packet, _ *[bfd.Size]byte) { change(p) })
	}
	octet := func(i int, mask byte, value byte) []byte {
		return raw(func(p *bfd.Packet, b *[bfd.Size]byte) { p.Encode(b); b[i] = b[i]&^mask | value })
	}
	same := field(func(*bfd.Packet) {})
	var want [bfd.Drops]uint64
	for _, c := range []struct {
		from   *forger
		hops   int
		packet []byte
		reason bfd.Drop
	}{
		{peer, 254, same, bfd.DropTTL},
		{peer, 1, same, bfd.DropTTL},
		{other, 255, same, bfd.DropForeignSession},
		{other, 255, field(func(p *bfd.Packet) { p.YourDiscriminator = 0 }), bfd.DropUnknownSession},
		{peer, 255, field(func(p *bfd.Packet) { p.YourDiscriminator++ }), bfd.DropUnknownSession},
		{peer, 255, field(func(p *bfd.Packet) { p.YourDiscriminator, p.MyDiscriminator = 0, 99 }), bfd.DropStranger},
		{peer, 255, field(func(p *bfd.Packet) { p.YourDiscriminator, p.MyDiscriminator, p.State = 0, 99, bfd.AdminDown }), bfd.DropStranger},
		{peer, 255, field(func(p *bfd.Packet) { p.YourDiscriminator, p.State = 0, bfd.Init }), bfd.DropYourDiscriminator},
		{peer, 255, field(func(p *bfd.Packet) { p.MyDiscriminator = 0 }), bfd.DropMyDiscriminator},
		{peer, 255, field(func(p *bfd.Packet) { p.Multiplier = 0 }), bfd.DropMultiplier},
		{peer, 255, octet(0, 0xe0, 0), bfd.DropVersion},
		{peer, 255, octet(0, 0xe0, 2<<5), bfd.DropVersion},
		{peer, 255, octet(1, 0, 1), bfd.DropMultipoint},
		{peer, 255, octet(1, 0, 4), bfd.DropLength}, // authentication that doesn't fit
		{peer, 255, append(octet(3, 0xff, bfd.Size+4), 1, 4, 1, 'x')[:bfd.Size+4], bfd.Drops},
		{peer, 255, octet(3, 0xff, bfd.Size-1), bfd.DropLength},
		{peer, 255, octet(3, 0xff, bfd.Size+1), bfd.DropLength},
		{peer, 255, same[:bfd.Size-1], bfd.DropLength},
		{peer, 255, nil, bfd.DropLength},
		{peer, 255, make([]byte, 1400), bfd.DropVersion},
		{peer, 255, old, bfd.DropUnknownSession}, // replayed from before
	} {
		if c.reason == bfd.Drops { // with an authentication section that fits
			c.packet[1] |= 4
			c.reason = bfd.DropAuthentication
		}
		c.from.send(c.hops, c.packet)
		want[c.reason]++
	}
	total := func() (n [bfd.Drops]uint64) {
		for i, d := range a.Dropped() {
			n[i] = d - dropped[i]
		}
		return n
	}
	eventually(t, "the counters of refusals", func() bool { return total() == want }, func() string { return fmt.Sprintf("%v, want %v", total(), want) })
	after := a.get(where)
	if after.Revision != before.Revision || after.State != bfd.Up || after.Falls != before.Falls {
		t.Errorf("something changed: %+v\nbefore: %+v", after, before)
	}

	// A replay of what the peer says now is no refusal, and changes nothing either.
	now := field(func(p *bfd.Packet) {
		p.State, p.Diagnostic, p.ControlIndependent = bfd.Up, bfd.NoDiagnostic, true
		p.DesiredMinTx, p.RequiredMinRx, p.Multiplier = patient().MinTx, patient().MinRx, patient().Multiplier
	})
	for range 100 {
		peer.send(255, now)
	}
	after = a.expect("the replays", where, func(s bfd.Status) bool { return s.Received >= before.Received+100 })
	if after.Revision != before.Revision || after.State != bfd.Up {
		t.Errorf("a replay changed something: %+v\nbefore: %+v", after, before)
	}
	// And it is real: the same packet, all of it right, is the peer's own word.
	peer.send(255, same)
	a.expect("a right packet", where, func(s bfd.Status) bool { return s.Falls == before.Falls+1 })
}

// record has a session come up and go, and gives a packet that could have been
// its last one.
func record(t *testing.T, a, b *running, where string) []byte {
	t.Helper()
	s := a.up(where)
	b.up(where)
	p := bfd.Packet{
		State: bfd.Down, Multiplier: 3, DesiredMinTx: bfd.SlowTx, RequiredMinRx: bfd.SlowTx,
		MyDiscriminator: s.RemoteDiscriminator, YourDiscriminator: s.LocalDiscriminator,
	}
	var raw [bfd.Size]byte
	p.Encode(&raw)
	a.set()
	eventually(t, "the end of the former session", func() bool { return len(a.Status()) == 0 && b.get(where).RemoteState == bfd.AdminDown },
		func() string { return fmt.Sprint(a.Status()) })
	// It is forgotten with the answer of its peer; only then is a new session new.
	eventually(t, "a new session", func() bool {
		a.set(spec(where, 0, patient()))
		again := a.expect("a session", where, func(bfd.Status) bool { return true })
		if again.Serial != s.Serial {
			return true
		}
		a.set()
		return false
	}, func() string { return "the same" })
	return raw[:]
}

// TestAFloodDoesNotSilenceUs floods our end while a session runs.
func TestAFloodDoesNotSilenceUs(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	a, b := start(t, w.a, spec(v4, 0, patient())), start(t, w.b, spec(v4, 1, patient()))
	a.paced(v4, 300*ms, 3000*ms)
	b.paced(v4, 300*ms, 3000*ms)
	before := b.get(v4)
	f := newForger(t, w.b, "192.0.2.2", "192.0.2.1")
	junk := make([]byte, bfd.Size)
	eventually(t, "20 packets of ours during the flood", func() bool {
		for range 2000 {
			f.send(255, junk)
		}
		return b.get(v4).Received >= before.Received+20
	}, func() string { return fmt.Sprintf("%+v", b.get(v4)) })
	if s := b.get(v4); s.Falls != 0 {
		t.Errorf("the flood took the session down: %s", s.Reason())
	}
	t.Logf("%d packets refused in a time of 20 of ours", a.Dropped()[bfd.DropVersion])
}
