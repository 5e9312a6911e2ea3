package session

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"

	"github.com/hostroute/hostroute/internal/bgp"
)

// stream is a connection with bytes to read, and nobody at the other end.
type stream struct {
	net.Conn
	io.Reader
}

func (s stream) Read(b []byte) (int, error)       { return s.Reader.Read(b) }
func (s stream) SetReadDeadline(time.Time) error  { return nil }
func (s stream) SetWriteDeadline(time.Time) error { return nil }
func (s stream) Write(b []byte) (int, error)      { return len(b), nil }
func (s stream) LocalAddr() net.Addr              { return &net.TCPAddr{} }

// FuzzMessages takes any bytes from the connection through framing, decoder and
// RIB as an established session does. Nothing may get past handle but errors.
func FuzzMessages(f *testing.F) {
	frame := func(kind byte, body ...byte) []byte {
		b := append(bytes.Repeat([]byte{0xff}, 16), 0, byte(19+len(body)), kind)
		return append(b, body...)
	}
	f.Add(bytes.Join([][]byte{frame(2, updateBody(attributes)...), frame(4), frame(5, 0, 1, 0, 1), frame(2, 0, 0, 0, 0)}, nil))
	f.Add(frame(2, updateBody(attributes, []byte{0xc0, 8, 200, 1})...))
	f.Add(frame(3, 6, 9, 6, 2))
	f.Add(frame(255))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := New(Config{AS: 65000, RouterID: netip.MustParseAddr("10.0.0.1"), Peers: []Peer{{VRF: "public", Address: netip.MustParseAddr("100.64.0.2")}}},
			newMemoryFIB(), discard)
		p, conn := s.peers[0], stream{Reader: bytes.NewReader(data)}
		neg := &negotiated{families: [2]bool{true, true}, as4: true, hold: time.Second}
		p.setWriter(newWriter(p, conn, neg), neg, conn)
		err := p.read(newReceiver(t.Context(), conn), neg)
		var bad *fault
		if errors.As(err, &bad) && bad.Code == codeCease {
			t.Errorf("a panic: %v", err)
		}
		p.fell(err, neg)
		if n := len(p.rib.take(nil, 1<<16)) + p.status().Received.IPv4 + p.status().Received.IPv6; n > 0 {
			t.Errorf("%d things are left", n)
		}
	})
}

// FuzzOpen takes any bytes for an OPEN. The codec may panic: that must be an
// error, and what it accepts must make sense.
func FuzzOpen(f *testing.F) {
	cfg := Config{AS: 65000, RouterID: netip.MustParseAddr("10.0.0.1"), HoldTime: 9 * time.Second}
	good, err := openMessage(&Config{AS: 65000, RouterID: netip.MustParseAddr("10.0.0.2"), HoldTime: 30 * time.Second, RestartTime: time.Minute}, true, true)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good[packet.BGP_HEADER_LENGTH:])
	f.Add([]byte{4, 0xfd, 0xe8, 0, 30, 10, 0, 0, 2, 4, 2, 2, 64, 0})
	f.Fuzz(func(t *testing.T, body []byte) {
		n, err := negotiate(&cfg, &Peer{AS: 65000}, body)
		var bad *fault
		if err != nil {
			if !errors.As(err, &bad) {
				t.Errorf("error %v is none to tell the peer", err)
			}
			return
		}
		if n.hold > cfg.HoldTime || n.hold != 0 && n.hold < 3*time.Second || n.families == [2]bool{} || !n.routerID.Is4() {
			t.Errorf("negotiated %+v", n)
		}
		n.decoder(&cfg, &Peer{AS: 65000})
	})
}

var _ net.Conn = stream{}

func TestOurOpenReadsBack(t *testing.T) {
	cfg := Config{AS: 4200000001, RouterID: netip.MustParseAddr("10.0.0.2"), HoldTime: 30 * time.Second, RestartTime: 90 * time.Second}
	b, err := openMessage(&cfg, true, false)
	if err != nil {
		t.Fatal(err)
	}
	n, err := negotiate(&Config{AS: 65000, RouterID: netip.MustParseAddr("10.0.0.1"), HoldTime: 9 * time.Second}, &Peer{AS: 4200000001}, b[packet.BGP_HEADER_LENGTH:])
	if err != nil {
		t.Fatal(err)
	}
	want := restartCapability{able: true, restarting: true, notification: true, time: 90 * time.Second, families: [2]bool{true, true}}
	if n.hold != 9*time.Second || n.families != [2]bool{true, true} || !n.as4 || !n.refresh || !n.extended || n.restart != want || n.addPath[bgp.IPv4] {
		t.Errorf("negotiated %+v", n)
	}
}
