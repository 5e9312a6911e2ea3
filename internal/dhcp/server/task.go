package server

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/hostroute/hostroute/internal/dhcp"
	"github.com/hostroute/hostroute/internal/fleet"
	"github.com/hostroute/hostroute/internal/receive"
)

// task serves one tap. What it keeps does not grow with what the guest sends.
type task struct {
	tap    fleet.Port
	in     func(func() error) error
	rate   receive.Rate
	log    *slog.Logger
	stats  receive.Stats
	record *record

	mu      sync.Mutex
	service dhcp.Service

	warned time.Time // when a warning about the guest was logged last; Run's only
}

var _ fleet.Task[dhcp.Service] = (*task)(nil)

// quiet is how long a guest that gave reason for a warning gives no other one.
const quiet = time.Minute

var everybody = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// Update changes what the guest is told from its next message on. What another
// guest did on the tap is forgotten.
func (t *task) Update(s dhcp.Service) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.service.VM != s.VM || t.service.MAC != s.MAC {
		t.record.reset()
	}
	t.service = s
}

func (t *task) current() dhcp.Service {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.service
}

// Run answers the guest until the context ends. A guest is told nothing at the
// end, whatever its cause: its lease goes on.
func (t *task) Run(ctx context.Context) error {
	var conn *socket
	err := t.in(func() (err error) {
		conn, err = open(ctx, t.tap)
		return err
	})
	if err != nil {
		return err
	}
	defer func() { _ = conn.udp.Close() }()
	return receive.Serve(ctx, conn, t.rate, &t.stats, t.log, func(packet []byte, from packetFrom) {
		t.handle(packet, from, conn)
	})
}

// sender is the way back to the guest.
type sender interface {
	write(packet []byte, source, to netip.Addr) error
}

func (t *task) handle(packet []byte, from packetFrom, back sender) {
	request, err := decode(packet)
	if err != nil {
		t.record.ignored(unparsable)
		t.log.Debug("a message was not parsable", "err", err)
		return
	}
	service := t.current()
	request.Unicast = from.to.IsValid() && from.to != everybody
	reply, verdict := dhcp.Decide(service, request)
	if verdict.Ignored != "" {
		t.record.ignored(verdict.Ignored)
		t.log.Debug("a message was ignored", "vm", service.VM, "kind", verdict.Received.String(), "reason", string(verdict.Ignored))
		return
	}
	now := time.Now()
	t.record.received(request, verdict, now)
	if verdict.Received == dhcp.KindDecline {
		t.warn(now, "the guest says that somebody else uses its address", "vm", service.VM, "address", service.Address)
	}
	if reply.Kind == 0 {
		return
	}
	t.log.Debug("answering the guest", "vm", service.VM, "received", verdict.Received.String(), "state", string(verdict.State),
		"answer", reply.Kind.String(), "address", service.Address, "to", reply.To, "dropped", len(reply.Dropped))
	if err := answer(reply, service.Gateway, back); err != nil {
		t.record.unsent()
		t.warn(now, "an answer was not sent", "vm", service.VM, "err", err)
		return
	}
	t.record.answered(reply, now)
}

// answer sends a reply. One that can't be sent to the guest's address, because
// the VRF has no route to it, is sent to everybody on the tap.
func answer(reply dhcp.Reply, source netip.Addr, back sender) error {
	packet := encode(reply)
	err := back.write(packet, source, reply.To)
	if err != nil && reply.To != everybody {
		err = back.write(packet, source, everybody)
	}
	return err
}

// warn logs what the guest can make happen as often as it likes.
func (t *task) warn(now time.Time, message string, fields ...any) {
	if now.Sub(t.warned) < quiet {
		return
	}
	t.warned = now
	t.log.Warn(message, fields...)
}

func (t *task) status() Status {
	service, status := t.current(), t.record.copy()
	status.VM, status.Address = service.VM, service.Address
	status.Counters.Packets = t.stats.Packets.Load()
	status.Counters.Limited = t.stats.Limited.Load()
	status.Counters.Panics = t.stats.Panics.Load()
	return status
}
