package session

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"

	"github.com/hostroute/hostroute/internal/bgp"
)

// handshake exchanges OPENs and the KEEPALIVEs that confirm them.
func (p *peer) handshake(conn net.Conn, in *receiver) (_ *negotiated, err error) {
	defer recoverInto(&err, "opening the session")
	cfg := &p.s.cfg
	open, err := openMessage(cfg, p.restarting(), cfg.Restarting || p.wasUp)
	if err != nil {
		return nil, err
	}
	if err := send(conn, cfg.HoldTime, open); err != nil {
		return nil, err
	}
	p.setState(OpenSent)
	wait := max(cfg.HoldTime, cfg.openWait)
	body, err := expect(in, wait, packet.BGP_MSG_OPEN)
	if err != nil {
		return nil, fmt.Errorf("waiting for the OPEN: %w", p.explain(err))
	}
	neg, err := negotiate(cfg, &p.cfg, body)
	if err != nil {
		return nil, err
	}
	alive, err := serialize(nil, packet.NewBGPKeepAliveMessage())
	if err != nil {
		return nil, err
	}
	if err := send(conn, cfg.HoldTime, alive); err != nil {
		return nil, err
	}
	p.setState(OpenConfirm)
	if _, err := expect(in, wait, packet.BGP_MSG_KEEPALIVE); err != nil {
		return nil, fmt.Errorf("waiting for the confirmation of our OPEN: %w", err)
	}
	return neg, nil
}

// expect reads a message of one type.
func expect(in *receiver, hold time.Duration, want uint8) ([]byte, error) {
	kind, body, err := in.next(hold)
	switch {
	case err != nil:
		return nil, err
	case kind == packet.BGP_MSG_NOTIFICATION:
		return nil, readNotification(body)
	case kind != want:
		return nil, newFault(codeFSM, 0, nil, "a message of type %d instead of %d", kind, want)
	}
	return body, nil
}

func readNotification(body []byte) *notification {
	return &notification{code: body[0], subcode: body[1], data: append([]byte(nil), body[2:]...)}
}

// established speaks until the session falls. Its paths are gone, or marked
// as stale, when it returns.
func (p *peer) established(ctx context.Context, conn net.Conn, in *receiver, neg *negotiated) error {
	p.revive(neg)
	p.rib.tells(p.source, neg)
	w := newWriter(p, conn, neg)
	p.setWriter(w, neg, conn)
	p.setState(Established)
	p.log.Info("session established", "hold", neg.hold.String())

	writing, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		err := w.run(writing)
		if err != nil {
			p.kill(err) // ends the reader
		}
		ended <- err
	}()
	err := p.read(in, neg)
	for _, f := range bgp.Families {
		p.rib.told(p.source, f)
	}
	stop()
	_ = conn.SetWriteDeadline(time.Now().Add(time.Second)) // a write that hangs may not hang us
	if e := <-ended; e != nil {
		err = e
	}
	p.setWriter(nil, nil, nil)
	err = because(ctx, err)
	switch said := w.departed.Load(); {
	case said && took(err):
		return errLeft
	case errors.Is(err, ErrStopped):
		if p.s.leaving() && !said {
			w.farewell()
		}
		return err
	}
	p.mu.Lock()
	p.lastFall = reason{err.Error(), time.Now()}
	p.mu.Unlock()
	p.counters.falls.Add(1)
	p.setState(Idle)
	p.fell(err, neg)
	var down peerDown
	if errors.As(err, &down) && down.tell {
		w.notify(ceaseBFDDown)
	}
	return err
}

func (p *peer) setWriter(w *writer, neg *negotiated, conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writer, p.neg = w, neg
	if w == nil {
		p.counters.announced[bgp.IPv4].Store(0)
		p.counters.announced[bgp.IPv6].Store(0)
		return
	}
	p.counters.established.Add(1)
	if a, ok := conn.LocalAddr().(*net.TCPAddr); ok {
		p.local = a.AddrPort().Addr().Unmap().WithZone("")
		p.rib.view(func(r *bgp.RIB) { r.AddLocal(p.local) })
	}
}

// read applies messages until one is an error.
func (p *peer) read(in *receiver, neg *negotiated) error {
	decoder := neg.decoder(&p.s.cfg, &p.cfg)
	for {
		kind, body, err := in.next(neg.hold)
		if err != nil {
			return err
		}
		p.counters.messagesIn.Add(1)
		if err := p.handle(kind, body, decoder, neg); err != nil {
			return err
		}
	}
}

// handle applies one message. Whatever goes wrong in it costs this session,
// never the process.
func (p *peer) handle(kind uint8, body []byte, d *bgp.Decoder, neg *negotiated) (err error) {
	defer recoverInto(&err, "handling a message")
	switch kind {
	case packet.BGP_MSG_KEEPALIVE:
		p.quiet(neg)
		return nil
	case packet.BGP_MSG_UPDATE:
		return p.update(body, d, neg)
	case packet.BGP_MSG_NOTIFICATION:
		return readNotification(body)
	case packet.BGP_MSG_ROUTE_REFRESH:
		return p.refreshed(body, neg)
	}
	return newFault(codeFSM, 3, nil, "an unexpected message of type %d", kind)
}

func (p *peer) update(body []byte, d *bgp.Decoder, neg *negotiated) error {
	began := time.Now()
	u, err := d.Decode(body)
	if err != nil {
		return err
	}
	p.counters.updatesIn.Add(1)
	if u.Tolerated != nil {
		p.tolerated(u.Tolerated)
	}
	p.rib.update(p.source, u)
	p.s.cfg.Steps.Decided(time.Since(began))
	for _, f := range bgp.Families {
		if u.EndOfRIB(f) && neg.families[f] {
			p.endOfRIB(f, neg)
		}
	}
	return nil
}

// tolerated notes a malformed message that the session survived.
func (p *peer) tolerated(err error) {
	if p.counters.tolerated.Add(1) == 1 {
		p.log.Warn("malformed update", "error", err)
	}
	text := err.Error()
	p.counters.lastTolerated.Store(&text)
}

// quiet takes a KEEPALIVE for the End-of-RIB of a peer that doesn't have it: who
// finds the time for one has told what it knew, as a rule.
func (p *peer) quiet(neg *negotiated) {
	if neg.restart.able || p.counters.complete.Load() {
		return
	}
	for _, f := range bgp.Families {
		if neg.families[f] {
			p.endOfRIB(f, neg)
		}
	}
}

// endOfRIB ends what the previous connection left, and notes that the peer has
// told everything.
func (p *peer) endOfRIB(f bgp.Family, neg *negotiated) {
	p.toldAll(f)
	p.rib.told(p.source, f)
	p.ended[f] = true
	for _, f := range bgp.Families {
		if neg.families[f] && !p.ended[f] {
			return
		}
	}
	p.counters.complete.Store(true)
	p.once.Do(func() { close(p.delivered) })
}

// refreshed tells the peer everything again (RFC 2918 section 4). What we did
// not negotiate is ignored.
func (p *peer) refreshed(body []byte, neg *negotiated) error {
	if len(body) != 4 {
		return newFault(7, 1, nil, "a ROUTE-REFRESH of %d bytes", len(body))
	}
	f, ok := codecFamily(binary.BigEndian.Uint16(body), body[3])
	if !ok || !neg.families[f] || body[2] != 0 {
		return nil
	}
	p.counters.refreshes.Add(1)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writer.request(&p.writer.resend, f)
	return nil
}
