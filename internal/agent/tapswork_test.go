package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"testing"

	"github.com/hostroute/hostroute/internal/arrival"
	"github.com/hostroute/hostroute/internal/arrival/packet"
	"github.com/hostroute/hostroute/internal/dhcp"
	"github.com/hostroute/hostroute/internal/dhcp/server"
	"github.com/hostroute/hostroute/internal/fleet"
	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/ipv6"
	"github.com/hostroute/hostroute/ipv6/dhcpv6"
	"github.com/hostroute/hostroute/ipv6/ndproxy"
	"github.com/hostroute/hostroute/ipv6/ra"
)

// oneTap is a server of one kind, and what it says of tap0.
type oneTap struct {
	run    func(context.Context) error
	status func() (err string, serves bool)
}

// serversOfOneTap are all kinds, each made for a port whose sockets are opened by in.
var serversOfOneTap = map[string]func(port fleet.Port, in func(func() error) error) oneTap{
	"DHCPv4": func(port fleet.Port, in func(func() error) error) oneTap {
		s := server.New(server.Options{Log: slog.New(slog.DiscardHandler), In: in})
		s.Set(map[fleet.Port]dhcp.Service{port: {Tap: "tap0"}})
		return oneTap{s.Run, func() (string, bool) { x, ok := s.Status()["tap0"]; return x.Error, ok }}
	},
	"RA": func(port fleet.Port, in func(func() error) error) oneTap {
		s := ra.New(ra.Options{Log: slog.New(slog.DiscardHandler), In: in})
		s.Set(map[fleet.Port]ipv6.Service{port: {Tap: "tap0"}})
		return oneTap{s.Run, func() (string, bool) { x, ok := s.Status()["tap0"]; return x.Error, ok }}
	},
	"DHCPv6": func(port fleet.Port, in func(func() error) error) oneTap {
		s := dhcpv6.New(dhcpv6.Options{In: in})
		s.Set(map[fleet.Port]ipv6.Service{port: {Tap: "tap0"}})
		return oneTap{s.Run, func() (string, bool) { x, ok := s.Status()["tap0"]; return x.Error, ok }}
	},
	"ND proxy": func(port fleet.Port, in func(func() error) error) oneTap {
		s := ndproxy.New(ndproxy.Options{Log: slog.New(slog.DiscardHandler), In: in})
		s.Set(map[fleet.Port]ipv6.Service{port: {Tap: "tap0", Proxy: &ipv6.Proxy{Prefixes: []netip.Prefix{netip.MustParsePrefix("2001:db8::/64")}}}})
		return oneTap{s.Run, func() (string, bool) { x, ok := s.Status()["tap0"]; return x.Error, ok }}
	},
	"arrival": func(port fleet.Port, in func(func() error) error) oneTap {
		s := packet.New(packet.Options{Log: slog.New(slog.DiscardHandler), In: in, Seen: func(string, string, arrival.Kind) {}})
		s.Set(map[fleet.Port]arrival.Guest{port: {VM: "a", MAC: [6]byte{2, 5: 1}}})
		return oneTap{s.Run, func() (string, bool) { x, ok := s.Status()["tap0"]; return x.Error, ok }}
	},
}

// TestServingATapCostsTheSameAmongMany: the work to open the socket of a tap doesn't
// grow with the other links of the host. One look at all of them allocates hundreds
// of bytes for each.
func TestServingATapCostsTheSameAmongMany(t *testing.T) {
	few, many := testenv.NewNetns(t), testenv.NewNetns(t)
	for _, ns := range []*testenv.Netns{few, many} {
		ns.IP("link add tap0 type veth peer name guest0", "link set guest0 up", "link set tap0 up", "addr add fe80::1/64 dev tap0 nodad")
	}
	const links = 200
	var others []string
	for i := range links / 2 {
		others = append(others, fmt.Sprintf("link add a%d type veth peer name b%d", i, i))
	}
	many.IP(others...)
	for name, serve := range serversOfOneTap {
		t.Run(name, func(t *testing.T) {
			if a, b := openingCost(t, few, serve), openingCost(t, many, serve); b > a+links*100 {
				t.Errorf("opening allocates %d bytes on a host of few links, and %d with %d more", a, b, links)
			}
		})
	}
}

// openingCost is how many bytes the opening of a socket on tap0 allocates.
func openingCost(t *testing.T, ns *testenv.Netns, serve func(fleet.Port, func(func() error) error) oneTap) (allocated uint64) {
	t.Helper()
	port := fleet.Port{Name: "tap0"}
	err := ns.Do(func() error {
		link, err := net.InterfaceByName(port.Name)
		if err == nil {
			port.Index = link.Index
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	opened := make(chan uint64, 1)
	s := serve(port, func(open func() error) error {
		return ns.Do(func() error {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := open()
			runtime.ReadMemStats(&after)
			opened <- after.TotalAlloc - before.TotalAlloc
			return err
		})
	})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.run(ctx) }()
	allocated = <-opened
	testenv.Eventually(t, "a service without an error", func() bool { err, ok := s.status(); return ok && err == "" })
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	return allocated
}
