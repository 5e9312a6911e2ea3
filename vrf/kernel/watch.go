package kernel

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/vrf"
)

// Notice says what changed in the kernel since the one before, whoever changed
// it, we included. It is a reason to read, not a description.
type Notice struct {
	// Resync: the watch began, or messages were lost. Read everything.
	Resync bool
	// Links are the sorted names of links that appeared, vanished, changed, or
	// whose addresses or settings did.
	Links []string
	// Neighbours are those of links of which a permanent neighbour changed, or any
	// was deleted: on an uplink the kernel itself deletes some all the time.
	Neighbours []string
	// Rules: a routing rule was added or deleted.
	Rules bool
	// NextHops: the kernel or somebody deleted next-hop objects, or somebody else
	// changed ours, or what the kernel knows of a floor's gateway.
	NextHops bool
	// Settings: a setting of all links, or of those to come, changed. Few are told:
	// forwarding, the reverse path, answers for others.
	Settings bool
	// Filter: somebody changed the filter. Our own changes are not told.
	Filter bool
	// Routes, in no order, may be gone, or somebody else's: somebody deleted one
	// of ours there or replaced what was there. Our own changes are not told, nor
	// what the kernel does by itself, which Links and NextHops are about.
	Routes []Route
	// AllRoutes: more of them than can be named, or messages were lost.
	AllRoutes bool
}

// groups are what is watched beside routes.
func groups() []uint32 {
	return []uint32{
		unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_NEIGH,
		unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE, unix.RTNLGRP_NEXTHOP, unix.RTNLGRP_IPV4_NETCONF, unix.RTNLGRP_IPV6_NETCONF,
	}
}

// Watch calls f for changes until the context ends, and then returns nil. Of
// routes it tells those in the tables. The first notice asks for everything.
// While f runs, changes are collected, so f may be slow, and one link's flapping
// can't pile up.
func Watch(ctx context.Context, o Options, tables []uint32, f func(Notice)) error {
	w := &watcher{ns: o.NetNS, writer: o.Writer, deleting: map[neighbourKey]bool{}, signal: make(chan struct{}, 1)}
	w.empty()
	receivers, err := w.subscribe(tables)
	defer func() {
		for _, r := range receivers {
			_ = r.conn.Close()
		}
	}()
	if err != nil {
		return err
	}
	if err := w.overrun(); err != nil {
		return err
	}
	received := make(chan error, len(receivers))
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() {
		for _, r := range receivers {
			_ = r.conn.SetReadDeadline(time.Unix(1, 0))
		}
	})
	defer stop()
	for _, r := range receivers {
		go func() { received <- r.receive(ctx, r.conn) }()
	}
	err = w.deliver(ctx, received, f)
	cancel()
	for range len(receivers) - 1 { // one has ended
		<-received
	}
	return err
}

// receiver works until the context ends and its socket has a deadline.
type receiver struct {
	conn    *netlink.Conn
	receive func(context.Context, *netlink.Conn) error
}

// subscribe opens the sockets. Those that it opened are returned with an error,
// too.
func (w *watcher) subscribe(tables []uint32) (list []receiver, err error) {
	for _, s := range []struct {
		open    func() (*netlink.Conn, error)
		receive func(context.Context, *netlink.Conn) error
	}{
		{func() (*netlink.Conn, error) { return subscribe(w.ns) }, w.receive},
		{func() (*netlink.Conn, error) { return subscribeRoutes(w.ns, tables) }, w.routeReceiver(tables)},
		{func() (*netlink.Conn, error) { return subscribeFilter(w.ns) }, w.receiveFilter},
	} {
		conn, err := s.open()
		if err != nil {
			return list, err
		}
		if conn != nil { // the kernel has no nf_tables
			list = append(list, receiver{conn, s.receive})
		}
	}
	return list, nil
}

// deliver calls f for what is collected until a receiver ends.
func (w *watcher) deliver(ctx context.Context, received <-chan error, f func(Notice)) error {
	for {
		select {
		case err := <-received:
			return err
		case <-w.signal:
			if ctx.Err() == nil {
				f(w.take())
			}
		}
	}
}

func subscribe(ns int) (*netlink.Conn, error) {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{NetNS: ns})
	if err != nil {
		return nil, fmt.Errorf("opening a route netlink socket: %w", err)
	}
	if err := conn.SetReadBuffer(replies); err != nil {
		return nil, errors.Join(fmt.Errorf("preparing a route netlink socket: %w", err), conn.Close())
	}
	for _, g := range groups() {
		// Kernels without next-hop objects have no group for them.
		if err := conn.JoinGroup(g); err != nil && g != unix.RTNLGRP_NEXTHOP {
			return nil, errors.Join(fmt.Errorf("subscribing to the kernel's changes: %w", err), conn.Close())
		}
	}
	return conn, nil
}

// watcher collects changes until they are taken.
type watcher struct {
	ns     int
	writer *Kernel        // nil: none
	names  map[int]string // of links by index; only the receiver uses it
	// deleting are neighbours that the writer is deleting; only the receiver uses it.
	deleting map[neighbourKey]bool
	signal   chan struct{}

	mu      sync.Mutex
	pending Notice
	changed map[string]bool
	// neighbours has the links of changed ones.
	neighbours map[string]bool
	damaged    map[Route]bool
	// gathering: a signal about damaged routes will come.
	gathering bool
}

// empty starts collecting anew. The caller holds the lock, or has the watcher for
// itself.
func (w *watcher) empty() {
	w.pending, w.changed, w.neighbours, w.damaged, w.gathering = Notice{}, map[string]bool{}, map[string]bool{}, map[Route]bool{}, false
}

// nameLinks learns the names of the links that exist.
func (w *watcher) nameLinks() error {
	k := New(Options{NetNS: w.ns})
	defer k.Close()
	if err := k.open(); err != nil {
		return err
	}
	return retry("links", func() error {
		list, err := k.handle.LinkList()
		w.names = make(map[int]string, len(list))
		for _, l := range list {
			w.names[l.Attrs().Index] = l.Attrs().Name
		}
		return err
	})
}

// overrun starts anew after messages were lost, the new names of links among
// them, perhaps.
func (w *watcher) overrun() error {
	clear(w.deleting)
	if err := w.nameLinks(); err != nil {
		return err
	}
	w.note(func() { w.pending.Resync, w.pending.Filter = true, true })
	return nil
}

func (w *watcher) take() Notice {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.pending
	n.Links = slices.Sorted(maps.Keys(w.changed))
	n.Neighbours = slices.Sorted(maps.Keys(w.neighbours))
	n.Routes = slices.Collect(maps.Keys(w.damaged))
	w.empty()
	return n
}

func (w *watcher) note(change func()) {
	w.mu.Lock()
	change()
	w.mu.Unlock()
	w.tell()
}

func (w *watcher) tell() {
	select {
	case w.signal <- struct{}{}:
	default:
	}
}

func (w *watcher) receive(ctx context.Context, conn *netlink.Conn) error {
	for {
		msgs, err := conn.Receive()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENOBUFS):
			if err := w.overrun(); err != nil {
				return err
			}
		case err != nil:
			return fmt.Errorf("receiving the kernel's changes: %w", err)
		}
		for _, m := range msgs {
			own := m.Header.Sequence&ownSequenceMask == ownSequence || w.writer != nil && m.Header.PID != 0 && m.Header.PID == w.writer.port.Load()
			w.message(uint16(m.Header.Type), own, m.Data)
		}
	}
}

// message takes a message, which may be about what we did ourselves.
func (w *watcher) message(kind uint16, own bool, data []byte) {
	switch kind {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		w.link(kind, data)
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		if len(data) >= unix.SizeofIfAddrmsg {
			w.linkChanged(w.names[int(u32(data[4:]))])
		}
	case unix.RTM_DELNEIGH:
		w.neighbourGone(data)
		if aboutFloor(data) {
			w.note(func() { w.pending.NextHops = true })
		}
	case unix.RTM_NEWNEIGH:
		w.noteDeletion(data, own)
		if revived(data) && !own {
			w.note(func() { w.pending.NextHops = true })
		}
		// Those that aren't permanent are the kernel's own learning, which on an
		// uplink never ends.
		if port, _, ok := parseNeighbour(data); ok && !own {
			w.neighbourChanged(port)
		}
	case unix.RTM_NEWNETCONF:
		w.setting(data)
	case unix.RTM_NEWRULE, unix.RTM_DELRULE:
		w.note(func() { w.pending.Rules = true })
	case rtmDelNextHop:
		if !own {
			w.note(func() { w.pending.NextHops = true })
		}
	case rtmNewNextHop:
		if o, ok := parseNextHop(data); ok && !own && vrf.OwnNextHop(o.ID) {
			w.note(func() { w.pending.NextHops = true })
		}
	}
}

// setting takes a change of settings, of a link or of all, which has a negative
// index.
func (w *watcher) setting(data []byte) {
	const header, netconfIfindex = 4, 1 // the family and padding; NETCONFA_IFINDEX
	if len(data) < header {
		return
	}
	attributes(data[header:], func(kind uint16, value []byte) {
		switch index := int32(u32(value)); {
		case kind != netconfIfindex:
		case index < 0:
			w.note(func() { w.pending.Settings = true })
		default:
			w.linkChanged(w.names[int(index)])
		}
	})
}

func (w *watcher) link(kind uint16, data []byte) {
	if len(data) < unix.SizeofIfInfomsg || data[0] != unix.AF_UNSPEC {
		return // a bridge's or another protocol's view of the link
	}
	index := int(u32(data[4:]))
	old := w.names[index]
	if kind == unix.RTM_DELLINK {
		delete(w.names, index)
		w.linkChanged(old)
		return
	}
	attributes(data[unix.SizeofIfInfomsg:], func(kind uint16, value []byte) {
		if kind == unix.IFLA_IFNAME && len(value) > 0 {
			w.names[index] = string(value[:len(value)-1])
		}
	})
	if old != "" && old != w.names[index] {
		w.linkChanged(old)
	}
	w.linkChanged(w.names[index])
}

func (w *watcher) linkChanged(name string) {
	if name != "" {
		w.note(func() { w.changed[name] = true })
	}
}
