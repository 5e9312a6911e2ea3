package run

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/events/log"
	"github.com/hostroute/hostroute/internal/bench"
	"github.com/hostroute/hostroute/internal/bench/contender"
	"github.com/hostroute/hostroute/internal/bench/site"
	"github.com/hostroute/hostroute/migrations"
)

const (
	localEvents = 100
	localPace   = 20 * time.Millisecond
	// lossAfter is how many events are on their way before the reflector is lost.
	lossAfter = 5
)

// local gives a guest one address after the other, first with nothing else to do, and
// then while reflector b is lost. The clock of each starts when the log has stored the
// event and stops when reflector a is told.
func (w *world) local(ctx context.Context, s *bench.Sample) error {
	h, ok := w.contender.(*contender.Hostroute)
	if !ok {
		return fmt.Errorf("%s has no routes of its own", w.contender.Name())
	}
	p, err := newPublisher(ctx, w, h)
	if err != nil {
		return err
	}
	defer p.close()
	idle, err := p.measure(ctx, func() {})
	if err != nil {
		return err
	}
	var busy []time.Duration
	act := func(ctx context.Context) (err error) {
		var lost error
		busy, err = p.measure(ctx, func() { lost = w.feeder.Lose(1) })
		return errors.Join(err, lost)
	}
	w.lost = true
	if err := w.measure(ctx, s, act, w.some(nil)); err != nil {
		return err
	}
	// Wall is how long all of it takes; that of a loss alone is Loss.
	s.Idle, s.Delays = delaysOf(idle), delaysOf(busy)
	return nil
}

// publisher publishes to the log of a contender.
type publisher struct {
	world  *world
	client *log.Client
	ledger jetstream.Stream
	close  func()
	next   uint16
}

// inside dials in the namespace of a site.
type inside string

func (namespace inside) Dial(network, address string) (c net.Conn, err error) {
	err = site.Do(string(namespace), func() error {
		c, err = net.DialTimeout(network, address, patience)
		return err
	})
	return c, err
}

func newPublisher(ctx context.Context, w *world, h *contender.Hostroute) (*publisher, error) {
	nc, err := log.Connect("nats://"+h.LogAddress().String(), log.ConnectOptions{Name: "bench", Dialer: inside(w.site.DUT)})
	if err != nil {
		return nil, err
	}
	p := &publisher{world: w, client: log.NewClient(nc, 0), close: nc.Close}
	js, err := jetstream.New(nc)
	if err == nil {
		p.ledger, err = js.Stream(ctx, migrations.Ledger)
	}
	if err == nil {
		err = p.guest(ctx)
	}
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("preparing a guest: %w", err)
	}
	return p, nil
}

const guest, guestTap = "bench", "tap0"

// guest makes the guest, whose first address is announced when this returns.
func (p *publisher) guest(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "ip", "-n", p.world.site.DUT, "tuntap", "add", "dev", guestTap, "mode", "tap")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("making a tap: %w: %s", err, out)
	}
	first := p.address()
	for _, d := range []events.Data{
		&events.NetworkDefined{
			Network: "bench", VRF: "public", Subnets: []events.Subnet{{Prefix: events.Prefix{Prefix: netip.MustParsePrefix("10.0.0.0/8")}}},
			Gateways: []events.Addr{events.AddrFrom(netip.MustParseAddr("10.255.255.254"))},
		},
		&events.VMCreated{VM: guest, Hypervisor: contender.Hypervisor, Interfaces: []events.Interface{
			{Tap: guestTap, MAC: events.MAC{Octets: [6]byte{2, 0, 0, 0, 0, 1}}, Network: "bench"},
		}},
		&events.IPAssigned{Prefix: events.Prefix{Prefix: first}, VM: guest},
	} {
		if _, err := p.publish(ctx, d); err != nil {
			return err
		}
	}
	_, err := p.heard(ctx, first)
	return err
}

// address is one that was not given yet.
func (p *publisher) address() netip.Prefix {
	p.next++
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(p.next >> 8), byte(p.next)}), 32)
}

func (p *publisher) publish(ctx context.Context, d events.Data) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	stored, err := p.client.Publish(ctx, events.Event{Data: d})
	if err != nil {
		return 0, fmt.Errorf("publishing: %w", err)
	}
	return stored.Sequence, nil
}

// heard waits until reflector a has been told of a prefix.
func (p *publisher) heard(ctx context.Context, prefix netip.Prefix) (time.Time, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New(prefix.String()+" isn't announced"))
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		if at, ok := p.world.feeder.Heard(0, prefix); ok {
			return at, nil
		}
		select {
		case <-ctx.Done():
			return time.Time{}, context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// measure is how long each of a number of addresses takes from the log to the reflector. act is
// called after a few of them.
func (p *publisher) measure(ctx context.Context, act func()) ([]time.Duration, error) {
	sequences, prefixes := make([]uint64, localEvents), make([]netip.Prefix, localEvents)
	tick := time.NewTicker(localPace)
	defer tick.Stop()
	for n := range localEvents {
		if n == lossAfter {
			act()
		}
		prefixes[n] = p.address()
		var err error
		sequences[n], err = p.publish(ctx, &events.IPAssigned{Prefix: events.Prefix{Prefix: prefixes[n]}, VM: guest, Role: events.RoleSecondary})
		if err != nil {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-tick.C:
		}
	}
	var list []time.Duration
	for n, prefix := range prefixes {
		at, err := p.heard(ctx, prefix)
		if err != nil {
			return nil, err
		}
		stored, err := p.ledger.GetMsg(ctx, sequences[n])
		if err != nil {
			return nil, fmt.Errorf("reading when an event was stored: %w", err)
		}
		list = append(list, at.Sub(stored.Time))
	}
	return list, nil
}
