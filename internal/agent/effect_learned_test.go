package agent

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"

	"github.com/hostroute/hostroute/internal/bgp/session"
	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/vrf"
)

// gate is a FIB that takes what it gets when it is let.
type gate struct {
	let     chan error // what each write ends with
	entered atomic.Int64
}

func (g *gate) Apply(ctx context.Context, _ string, _ []vrf.Change) error {
	g.entered.Add(1)
	select {
	case err := <-g.let:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// tell has a reflector send what it has to say, on the one session to it.
func tell(t *testing.T, conn net.Conn, list ...*packet.BGPMessage) {
	t.Helper()
	for _, m := range list {
		b, err := m.Serialize()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(b); err != nil {
			t.Fatal(err)
		}
	}
}

// reflect accepts the session of a speaker.
func reflect(t *testing.T, l net.Listener) net.Conn {
	t.Helper()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() { _, _ = io.Copy(io.Discard, conn) }()
	tell(t, conn, packet.NewBGPOpenMessage(65000, 90, "192.0.2.1", []packet.OptionParameterInterface{
		packet.NewOptionParameterCapability([]packet.ParameterCapabilityInterface{
			packet.NewCapMultiProtocol(packet.RF_IPv4_UC), packet.NewCapFourOctetASNumber(65000)})}),
		packet.NewBGPKeepAliveMessage())
	return conn
}

func pathBy(nextHop string, preference uint32) *packet.BGPMessage {
	return packet.NewBGPUpdateMessage(nil, []packet.PathAttributeInterface{
		packet.NewPathAttributeOrigin(0), packet.NewPathAttributeAsPath(nil), packet.NewPathAttributeNextHop(nextHop),
		packet.NewPathAttributeLocalPref(preference), packet.NewPathAttributeOriginatorId("192.0.2.11"),
	}, []*packet.IPAddrPrefix{packet.NewIPAddrPrefix(32, theAddress.prefix.Addr().String())})
}

// TestARouteCountsWhenTheKernelHasIt learns from a reflector over a real session,
// with a FIB that is slow, and then refuses.
func TestARouteCountsWhenTheKernelHasIt(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	at := l.Addr().(*net.TCPAddr).AddrPort()
	fib := &gate{let: make(chan error)}
	var woken atomic.Int64
	a := &Agent{written: newWrittenFIB(fib, func() { woken.Add(1) })}
	a.speaker = session.New(session.Config{
		AS: 65000, RouterID: netip.MustParseAddr("192.0.2.12"), HoldTime: 90 * time.Second, ConnectRetry: 50 * time.Millisecond,
		Peers: []session.Peer{{Name: "r", VRF: "public", Plane: "a", Address: at.Addr(), Port: at.Port(), LocalV4: netip.MustParseAddr("100.64.0.12"), NoTTLSecurity: true}},
	}, a.written, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.speaker.Run(ctx) }()
	defer func() { stop(); <-ended }()

	from := netip.MustParseAddr("192.0.2.11")
	is := func(want learnedRoute) {
		t.Helper()
		testenv.Eventually(t, "the route to be as wanted", func() bool { return a.learnedRoute(theAddress) == want })
	}
	is(learnedRoute{})
	conn := reflect(t, l)
	end := packet.NewBGPUpdateMessage(nil, nil, nil) // End-of-RIB
	tell(t, conn, pathBy("100.64.0.11", 100), end)
	is(learnedRoute{known: true, preference: 100, from: from, waiting: true})
	testenv.Eventually(t, "the write to begin", func() bool { return fib.entered.Load() == 1 })
	is(learnedRoute{known: true, preference: 100, from: from, waiting: true})
	fib.let <- nil
	is(learnedRoute{known: true, preference: 100, from: from})
	if woken.Load() == 0 {
		t.Error("nobody is told that it is written")
	}
	tell(t, conn, pathBy("100.64.0.13", 1100))
	testenv.Eventually(t, "the next write to begin", func() bool { return fib.entered.Load() == 2 })
	is(learnedRoute{known: true, preference: 1100, from: from, waiting: true})
	fib.let <- errors.New("no buffer space")
	testenv.Eventually(t, "it to be tried again", func() bool { return fib.entered.Load() == 3 })
	if got := a.learnedRoute(theAddress); !got.waiting {
		t.Errorf("while it is tried again: %+v", got)
	}
	fib.let <- nil
	is(learnedRoute{known: true, preference: 1100, from: from})
	tell(t, conn, packet.NewBGPUpdateMessage([]*packet.IPAddrPrefix{packet.NewIPAddrPrefix(32, theAddress.prefix.Addr().String())}, nil, nil))
	testenv.Eventually(t, "the deletion to begin", func() bool { return fib.entered.Load() == 4 })
	is(learnedRoute{waiting: true})
	fib.let <- nil
	is(learnedRoute{})
}
