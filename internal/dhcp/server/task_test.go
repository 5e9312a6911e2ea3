package server

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/hostroute/hostroute/internal/dhcp"
	"github.com/hostroute/hostroute/internal/fleet"
)

// outbox takes answers in place of a socket.
type outbox struct {
	sent func(packet []byte, source, to netip.Addr) error
}

func (o outbox) write(packet []byte, source, to netip.Addr) error { return o.sent(packet, source, to) }

// handler is a task without a socket, and what it logs.
func handler(service dhcp.Service) (*task, *bytes.Buffer) {
	var log bytes.Buffer
	s := New(Options{Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	return s.build(fleet.Port{Name: service.Tap, Index: 1}, service), &log
}

// from makes a message of a guest.
func from(t testing.TB, kind dhcpv4.MessageType, hardware net.HardwareAddr, modifiers ...dhcpv4.Modifier) []byte {
	t.Helper()
	m, err := dhcpv4.New(append([]dhcpv4.Modifier{dhcpv4.WithMessageType(kind), dhcpv4.WithHwAddr(hardware)}, modifiers...)...)
	if err != nil {
		t.Fatal(err)
	}
	return m.ToBytes()
}

func option(code uint8, value []byte) dhcpv4.Modifier {
	return dhcpv4.WithGeneric(dhcpv4.GenericOptionCode(code), value)
}

// TestAHundredThousandIdentitiesGetOneAddress has one tap claim to be that many
// guests. Nothing but the tap's own address is ever told, and nothing is kept.
func TestAHundredThousandIdentitiesGetOneAddress(t *testing.T) {
	const identities = 100_000
	service := classic(7)
	k, log := handler(service)
	k.log = slog.New(slog.DiscardHandler)
	offered := map[netip.Addr]int{}
	back := outbox{func(packet []byte, _, to netip.Addr) error {
		offered[netip.AddrFrom4([4]byte(packet[16:20]))]++
		if to != service.Address {
			t.Fatalf("an answer goes to %v", to)
		}
		return nil
	}}
	template := from(t, dhcpv4.MessageTypeDiscover, mac(service))
	send := func(i int) {
		packet := template[:optionsAt:optionsAt]
		name := fmt.Appendf(nil, "client %d", i)
		packet = append(packet, 53, 1, 1)
		for _, code := range []byte{12, 60, 61} {
			packet = append(append(packet, code, byte(len(name))), name...)
		}
		packet = append(packet, 255)
		copy(packet[28:34], service.MAC[:])
		if i%2 == 1 {
			copy(packet[28:34], []byte{2, 0, byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)})
		}
		k.handle(packet, packetFrom{to: everybody}, back)
	}
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	for i := range 100 {
		send(i)
	}
	before := heap()
	for i := 100; i < identities; i++ {
		send(i)
	}
	if grown := heap() - before; grown > 256<<10 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
	status := k.status()
	if len(offered) != 1 || offered[service.Address] != identities/2 {
		t.Errorf("offered %v, want %v to one half of the identities", offered, service.Address)
	}
	if c := status.Counters; c.Offers != identities/2 || c.Ignored[dhcp.OtherMAC] != identities/2 {
		t.Errorf("counted %+v", c)
	}
	runtime.KeepAlive(log)
}

func TestWhatGuestsSayOfThemselvesIsHarmless(t *testing.T) {
	service := classic(7)
	k, log := handler(service)
	evil := []byte("\x1b[2J\nlevel=ERROR msg=\"\xff\u202e" + strings.Repeat("x", 200))
	own := net.IP(service.Address.AsSlice())
	for range 10 {
		k.handle(from(t, dhcpv4.MessageTypeDecline, mac(service), option(12, evil), option(60, evil), option(61, evil),
			option(50, own), option(54, service.Gateway.AsSlice())), packetFrom{}, outbox{})
	}
	k.handle([]byte("not a message"), packetFrom{}, outbox{})
	status := k.status()
	for name, said := range map[string]string{"hostname": status.Hostname, "vendor class": status.VendorClass} {
		if !strings.HasPrefix(said, `\x1b[2J\nlevel=ERROR msg=\"\xff\u202exxx`) || len(said) > 4*longestText {
			t.Errorf("the %s is told as %s", name, said)
		}
	}
	if status.Counters.Declines != 10 || status.Counters.Ignored[unparsable] != 1 {
		t.Errorf("counted %+v", status.Counters)
	}
	if strings.Contains(log.String(), "\x1b") || strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("the log has what the guest said:\n%s", log)
	}
	if n := strings.Count(log.String(), "level=WARN"); n != 1 {
		t.Errorf("%d warnings for the declines of a moment, want one:\n%s", n, log)
	}
}

func TestALeaseIsToldAsLongAsItIsOne(t *testing.T) {
	service := classic(7)
	k, _ := handler(service)
	back := outbox{func([]byte, netip.Addr, netip.Addr) error { return nil }}
	own, server := option(50, service.Address.AsSlice()), option(54, service.Gateway.AsSlice())
	ciaddr := dhcpv4.WithClientIP(service.Address.AsSlice())
	for _, step := range []struct {
		name   string
		packet []byte
		lease  bool
	}{
		{"discover", from(t, dhcpv4.MessageTypeDiscover, mac(service)), false},
		{"inform", from(t, dhcpv4.MessageTypeInform, mac(service), ciaddr), false},
		{"request", from(t, dhcpv4.MessageTypeRequest, mac(service), own, server), true},
		{"a release of something else", from(t, dhcpv4.MessageTypeRelease, mac(service), server), true},
		{"release", from(t, dhcpv4.MessageTypeRelease, mac(service), server, ciaddr), false},
		{"rapid", from(t, dhcpv4.MessageTypeDiscover, mac(service), option(80, nil)), true},
		{"nak", from(t, dhcpv4.MessageTypeRequest, mac(service), option(50, []byte{192, 0, 2, 1})), false},
	} {
		k.handle(step.packet, packetFrom{to: everybody}, back)
		lease := k.status().Lease
		if (lease != nil) != step.lease {
			t.Errorf("after %s the lease is %v", step.name, lease)
		}
		if lease != nil && (lease.Address != service.Address || lease.Expires.Sub(lease.Acknowledged) != service.Lease) {
			t.Errorf("after %s the lease is %+v", step.name, lease)
		}
	}
}

func TestWhatAnotherGuestDidIsForgotten(t *testing.T) {
	service := classic(7)
	k, _ := handler(service)
	back := outbox{func([]byte, netip.Addr, netip.Addr) error { return nil }}
	k.handle(from(t, dhcpv4.MessageTypeDiscover, mac(service), option(80, nil), option(12, []byte("old"))), packetFrom{}, back)
	service.Lease *= 2
	k.Update(service)
	if status := k.status(); status.Lease == nil || status.Hostname != "old" {
		t.Errorf("a change of the guest's service made it forgotten: %+v", status)
	}
	service.VM = "new"
	k.Update(service)
	if status := k.status(); status.VM != "new" || status.Lease != nil || status.Hostname != "" || status.Counters.Acks != 0 {
		t.Errorf("the new guest of the tap has the status %+v", status)
	}
}

func TestAnAnswerThatCannotGoToTheGuestGoesToEverybody(t *testing.T) {
	k, _ := handler(classic(7))
	discover := from(t, dhcpv4.MessageTypeDiscover, mac(classic(7)))
	unreachable := errors.New("network is unreachable")
	var tried []netip.Addr
	k.handle(discover, packetFrom{}, outbox{func(_ []byte, _, to netip.Addr) error {
		if tried = append(tried, to); to != everybody {
			return unreachable
		}
		return nil
	}})
	if len(tried) != 2 || tried[1] != everybody || k.status().Counters.Offers != 1 {
		t.Errorf("tried %v, counted %+v", tried, k.status().Counters)
	}
	k.handle(discover, packetFrom{}, outbox{func([]byte, netip.Addr, netip.Addr) error { return unreachable }})
	if c := k.status().Counters; c.Offers != 1 || c.Unsent != 1 {
		t.Errorf("an answer that could not be sent is counted as %+v", c)
	}
}
