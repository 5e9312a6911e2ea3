package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/arrival"
	"github.com/hostroute/hostroute/internal/arrival/packet"
	"github.com/hostroute/hostroute/internal/dhcp"
	"github.com/hostroute/hostroute/internal/dhcp/server"
	"github.com/hostroute/hostroute/internal/fleet"
	"github.com/hostroute/hostroute/ipv6"
	"github.com/hostroute/hostroute/ipv6/dhcpv6"
	"github.com/hostroute/hostroute/ipv6/ndproxy"
	"github.com/hostroute/hostroute/ipv6/ra"
	"github.com/hostroute/hostroute/projector"
)

// services answer the guests of this hypervisor, tap by tap.
type services struct {
	dhcpv4  *server.Server
	ra      *ra.Server
	ndproxy *ndproxy.Server
	dhcpv6  *dhcpv6.Server
	arrival *packet.Server
	log     *slog.Logger
	saw     func(vm string) // told of guests that have come; set before Run

	mu    sync.Mutex
	ports map[fleet.Port]bool // of the guests that live here or are expected
}

func newServices(log *slog.Logger) *services {
	s := &services{
		dhcpv4:  server.New(server.Options{Log: log.With("task", "dhcpv4")}),
		ndproxy: ndproxy.New(ndproxy.Options{Log: log.With("task", "ndproxy")}),
		dhcpv6:  dhcpv6.New(dhcpv6.Options{Log: log.With("task", "dhcpv6")}),
		log:     log,
	}
	s.ra = ra.New(ra.Options{Log: log.With("task", "ra"), Stays: s.stays})
	s.arrival = packet.New(packet.Options{Log: log.With("task", "arrival"), Seen: func(vm, tap string, kind arrival.Kind) {
		log.Info("a guest that is expected has come", "vm", vm, "tap", tap, "sign", kind)
		s.saw(vm)
	}})
	return s
}

// Run serves until the context ends. A guest is never told that its router
// goes: the end of the agent is a restart.
func (s *services) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, run := range []func(context.Context) error{s.dhcpv4.Run, s.ra.Run, s.ndproxy.Run, s.dhcpv6.Run, s.arrival.Run} {
		group.Go(func() error { return run(ctx) })
	}
	return group.Wait()
}

// Set has the guests served whose taps are present, and those watched for that are
// expected.
func (s *services) Set(host projector.Host, present map[string]bool, expected map[string]arrival.Guest) {
	ports, err := portsOf(present)
	if err != nil {
		s.log.Warn("looking up taps; what is served stays", "err", err)
		return
	}
	s.note(host, ports)
	four := onPorts(host.DHCP, ports, func(d dhcp.Service) string { return d.Tap })
	six := onPorts(host.IPv6, ports, func(i ipv6.Service) string { return i.Tap })
	s.dhcpv4.Set(four)
	s.ra.Set(maps.Clone(six))
	s.ndproxy.Set(maps.Clone(six))
	s.dhcpv6.Set(six)
	awaited := map[fleet.Port]arrival.Guest{}
	for tap, guest := range expected {
		if port, ok := ports[tap]; ok {
			awaited[port] = guest
		}
	}
	s.arrival.Set(awaited)
}

// note keeps which taps have a guest, served or not.
func (s *services) note(host projector.Host, ports map[string]fleet.Port) {
	here := map[fleet.Port]bool{}
	for _, tap := range host.Taps {
		if port, ok := ports[tap.Name]; ok {
			here[port] = true
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ports = here
}

// stays tells whether a tap that lost a service has its guest still. One that
// has moved, or was deleted, is told nothing more: what a guest hears while it
// moves it believes at its new home.
func (s *services) stays(tap fleet.Port) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ports[tap]
}

// status is what happened on each tap, by its name.
func (s *services) status() map[string]GuestServices {
	taps := map[string]GuestServices{}
	for name, status := range s.dhcpv4.Status() {
		t := taps[name]
		t.DHCPv4 = &status
		taps[name] = t
	}
	for name, status := range s.ra.Status() {
		t := taps[name]
		t.RA = &status
		taps[name] = t
	}
	for name, status := range s.ndproxy.Status() {
		t := taps[name]
		t.NDProxy = &status
		taps[name] = t
	}
	for name, status := range s.dhcpv6.Status() {
		t := taps[name]
		t.DHCPv6 = &status
		taps[name] = t
	}
	return taps
}

// facts is what a tap's services remember of its guest; false: none is there.
func (s *services) facts(tap string) (ServiceFacts, bool) {
	known, ok := s.status()[tap]
	var f ServiceFacts
	if d := known.DHCPv4; d != nil && d.Lease != nil {
		f.DHCPv4 = d.Lease.Acknowledged
	}
	if d := known.DHCPv6; d != nil {
		for _, b := range d.Bound {
			if b.AcknowledgedAt.After(f.DHCPv6) {
				f.DHCPv6 = b.AcknowledgedAt
			}
		}
	}
	if known.RA != nil {
		f.Advertised = known.RA.LastAdvertisement
	}
	return f, ok
}

// failures says which services of which taps don't run, by tap.
func failures(taps map[string]GuestServices) (list []string) {
	add := func(tap, service, err string) {
		if err != "" {
			first, _, _ := strings.Cut(err, "\n") // a panic has its stack behind it
			list = append(list, fmt.Sprintf("%s on tap %s: %s", service, tap, first))
		}
	}
	for _, tap := range slices.Sorted(maps.Keys(taps)) {
		s := taps[tap]
		if s.DHCPv4 != nil {
			add(tap, "DHCPv4", s.DHCPv4.Error)
		}
		if s.RA != nil {
			add(tap, "router advertisements", s.RA.Error)
		}
		if s.NDProxy != nil {
			add(tap, "ND proxy", s.NDProxy.Error)
		}
		if s.DHCPv6 != nil {
			add(tap, "DHCPv6", s.DHCPv6.Error)
		}
	}
	return list
}

// onPorts keeps the services whose tap has a port.
func onPorts[S any](list []S, ports map[string]fleet.Port, tap func(S) string) map[fleet.Port]S {
	at := make(map[fleet.Port]S, len(list))
	for _, service := range list {
		if port, ok := ports[tap(service)]; ok {
			at[port] = service
		}
	}
	return at
}

// portsOf looks up the index of each tap that is present: a tap that was made
// anew has another one, and needs other sockets.
func portsOf(present map[string]bool) (map[string]fleet.Port, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening a socket to ask for links: %w", err)
	}
	defer unix.Close(fd)
	ports := make(map[string]fleet.Port, len(present))
	for name, here := range present {
		if !here {
			continue
		}
		request, err := unix.NewIfreq(name)
		if err == nil {
			err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, request)
		}
		switch {
		case errors.Is(err, unix.ENODEV): // gone since; a notice of that is on its way
		case err != nil:
			return nil, fmt.Errorf("looking up the index of %s: %w", name, err)
		default:
			ports[name] = fleet.Port{Name: name, Index: int(request.Uint32())}
		}
	}
	return ports, nil
}
