package session

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"

	"github.com/hostroute/hostroute/internal/bgp"
)

// writer is the sending half of an established session. It knows what the peer
// was told (its Adj-RIB-Out) and brings that to what is to be announced.
type writer struct {
	p     *peer
	conn  net.Conn
	neg   *negotiated
	style style
	hops  [2]netip.Addr // next hop of each family, invalid if it can't be announced
	told  [2]adjOut
	ended bool // End-of-RIB was sent
	wake  chan struct{}

	saidAt time.Time // when that was said which the peer was told last

	departed atomic.Bool // the peer was told that we leave

	mu     sync.Mutex
	resend [2]bool // the peer asked for a family again
	ask    [2]bool // we are to ask for a family again
}

func newWriter(p *peer, conn net.Conn, neg *negotiated) *writer {
	w := &writer{
		p: p, conn: conn, neg: neg, wake: make(chan struct{}, 1),
		style: style{as: p.s.cfg.AS, ebgp: p.cfg.AS != p.s.cfg.AS, as4: neg.as4},
		hops:  p.ownHops(conn, neg), saidAt: p.s.saidSince(),
	}
	w.poke()
	return w
}

// poke makes the writer look at what there is to do.
func (w *writer) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *writer) request(set *[2]bool, f bgp.Family) {
	w.mu.Lock()
	set[f] = true
	w.mu.Unlock()
	w.poke()
}

// run sends until ctx ends, or an error that ends the session.
func (w *writer) run(ctx context.Context) (err error) {
	defer recoverInto(&err, "telling what is announced")
	var tick <-chan time.Time
	if every := w.neg.keepalive(); every > 0 {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		tick = ticker.C
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.wake:
			leaving := w.p.s.leaving() // from before we look at what to announce
			if err := w.work(); err != nil {
				return err
			}
			if leaving {
				return w.depart(ctx)
			}
		case <-tick:
			if err := w.write(packet.NewBGPKeepAliveMessage()); err != nil {
				return err
			}
		}
	}
}

func (w *writer) write(m *packet.BGPMessage) error {
	b, err := serialize(nil, m)
	if err != nil {
		return err
	}
	w.p.counters.messagesOut.Add(1)
	return send(w.conn, w.neg.hold, b)
}

// work does what was asked for and tells the peer what has changed.
func (w *writer) work() error {
	w.mu.Lock()
	resend, ask := w.resend, w.ask
	w.resend, w.ask = [2]bool{}, [2]bool{}
	w.mu.Unlock()
	for _, f := range bgp.Families {
		if ask[f] {
			afi, safi := packet.RouteFamilyToAfiSafi(codecFamilies[f])
			if err := w.write(packet.NewBGPRouteRefreshMessage(afi, 0, safi)); err != nil {
				return err
			}
		}
	}
	saidAt, before := w.p.s.saidSince(), w.p.counters.updatesOut.Load()
	set, ok := w.p.s.announced(w.p.cfg.VRF)
	if !ok {
		return nil // nobody said yet what to announce: no End-of-RIB either
	}
	for _, f := range bgp.Families {
		if err := w.tell(f, set, resend[f]); err != nil {
			return err
		}
	}
	w.sent(saidAt, w.p.counters.updatesOut.Load()-before)
	return w.end()
}

// end sends the End-of-RIB of every family, once (RFC 4724 section 4.1).
func (w *writer) end() error {
	if w.ended {
		return nil
	}
	for _, f := range bgp.Families {
		if w.neg.families[f] {
			if err := w.write(packet.NewEndOfRib(codecFamilies[f])); err != nil {
				return err
			}
		}
	}
	w.ended = true
	w.p.announcedAll()
	return nil
}

// tell brings one family of what the peer was told to what it is to know; all
// has it told again what it knows.
func (w *writer) tell(f bgp.Family, set []bgp.Announcement, all bool) error {
	want := w.wanted(f, set)
	b, err := w.style.difference(f, w.told[f], want, all)
	if err != nil {
		return err
	}
	if len(b) == 0 {
		w.told[f] = want // the same, but for the memory that holds it
		return nil
	}
	n := countMessages(b)
	w.p.counters.messagesOut.Add(n)
	w.p.counters.updatesOut.Add(n)
	if err := send(w.conn, w.neg.hold, b); err != nil {
		return err
	}
	w.told[f] = want
	w.p.counters.announced[f].Store(int64(len(want.list)))
	return nil
}

// wanted is what the peer is to know of one family.
func (w *writer) wanted(f bgp.Family, set []bgp.Announcement) adjOut {
	if !w.hops[f].IsValid() {
		return adjOut{}
	}
	six, _ := slices.BinarySearchFunc(set, bgp.IPv6, func(a bgp.Announcement, f bgp.Family) int {
		return cmp.Compare(bgp.FamilyOf(a.Prefix), f)
	})
	list := set[:six]
	if f == bgp.IPv6 {
		list = set[six:]
	}
	return adjOut{list: list, nextHop: w.hops[f], unsound: w.p.lossy()}
}

// farewell is what is left to do for a peer that could not be waited for.
func (w *writer) farewell() {
	for _, f := range bgp.Families {
		if w.tell(f, nil, false) != nil {
			return
		}
	}
	w.notify(ceaseShutdown)
}

// notify tells the peer why the session ends, if it still hears anything.
func (w *writer) notify(subcode uint8) {
	n := w.cease(subcode).Body.(*packet.BGPNotification)
	notify(w.conn, n.ErrorCode, n.ErrorSubcode, n.Data)
}
