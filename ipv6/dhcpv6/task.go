package dhcpv6

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/hostroute/hostroute/internal/fleet"
	"github.com/hostroute/hostroute/internal/receive"
	"github.com/hostroute/hostroute/ipv6"
)

// Why packets are ignored before their meaning is looked at; the other reasons
// are those of ipv6.DHCPIgnored.
const (
	ignoredSource      ipv6.DHCPIgnored = "not from a link-local address"
	ignoredDestination ipv6.DHCPIgnored = "sent to another group"
	ignoredMalformed   ipv6.DHCPIgnored = "malformed"
)

// task serves one tap.
type task struct {
	port  fleet.Port
	in    func(func() error) error
	rate  receive.Rate
	log   *slog.Logger
	stats receive.Stats
	seen  record

	mu    sync.Mutex
	lease ipv6.Lease
}

// Update implements fleet.Task. The next message is answered by it; nothing is
// sent for it, since guests accept Reconfigure only with keys that they never
// have (RFC 8415, section 20.4).
func (t *task) Update(s ipv6.Service) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lease = s.Lease
	t.seen.prune(s.Lease, time.Now())
}

func (t *task) current() ipv6.Lease {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lease
}

// Run implements fleet.Task. It has nothing to say to the guest when it ends.
func (t *task) Run(ctx context.Context) (err error) {
	var s *socket
	opening := t.in(func() (err error) {
		s, err = listen(t.port.Name, t.port.Index)
		return err
	})
	if opening != nil {
		return opening
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	err = receive.Serve(ctx, s, t.rate, &t.stats, t.log, func(packet []byte, who sender) {
		t.handle(packet, who, s.send)
	})
	if err != nil {
		return fmt.Errorf("serving DHCPv6 on %s: %w", t.port.Name, err)
	}
	return nil
}

// handle answers one packet.
func (t *task) handle(packet []byte, who sender, send func([]byte, netip.Addr) error) {
	lease, now := t.current(), time.Now()
	reply, a, m, why := respond(lease, packet, who)
	t.seen.received(m, why, now)
	if why != "" {
		return
	}
	if err := send(reply, who.from); err != nil {
		t.log.Debug("an answer could not be sent", "err", err)
		t.seen.unsent()
		return
	}
	t.seen.answered(m, a, now)
}

// respond is everything between the bytes that came and those that go.
func respond(lease ipv6.Lease, packet []byte, who sender) (reply []byte, a ipv6.DHCPAnswer, m ipv6.DHCPMessage, why ipv6.DHCPIgnored) {
	m, err := decode(packet)
	if err != nil {
		return nil, a, m, ignoredMalformed
	}
	switch {
	case !who.from.IsLinkLocalUnicast(): // clients have to (RFC 8415, section 13.1)
		return nil, a, m, ignoredSource
	case who.to.IsMulticast() && who.to != allServers():
		return nil, a, m, ignoredDestination
	}
	m.Unicast = !who.to.IsMulticast()
	if a, why = lease.Answer(m); why != "" {
		return nil, a, m, why
	}
	return encode(a), a, m, ""
}
