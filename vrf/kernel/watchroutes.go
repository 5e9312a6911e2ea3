package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/vrf"
)

// Route names a route: no table has two of ours with one prefix and metric.
type Route = vrf.RouteKey

// maxDamaged is how many damaged routes a Notice names. Reading a whole table
// costs about as much as writing some thousand routes.
const maxDamaged = 4096

// subscribeRoutes listens to what others do to the routes of these tables. The
// kernel tells listeners of every route, one by one, which more than halves the
// rate at which routes can be written. The filter is run before anything is
// queued or anybody woken, and leaves about 91 % of it (BenchmarkRouteWatch).
func subscribeRoutes(ns int, tables []uint32) (*netlink.Conn, error) {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{NetNS: ns})
	if err != nil {
		return nil, fmt.Errorf("opening a route netlink socket: %w", err)
	}
	filter, err := bpf.Assemble(damageFilter(tables))
	if err == nil {
		err = conn.SetBPF(filter)
	}
	if err == nil {
		err = conn.SetReadBuffer(replies)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("preparing a route netlink socket: %w", err), conn.Close())
	}
	for _, g := range []uint32{unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE} {
		if err := conn.JoinGroup(g); err != nil {
			return nil, errors.Join(fmt.Errorf("subscribing to changes of routes: %w", err), conn.Close())
		}
	}
	return conn, nil
}

// Offsets in a message about a route.
const (
	offsetType     = 4
	offsetFlags    = 6
	offsetSequence = 8
	offsetPortID   = 12
	offsetTable    = headerLen + 4
	offsetProtocol = headerLen + 5
)

// damageFilter passes what may be damage of ours: in one of the tables, a
// route of protocol 201 deleted, or any route replaced, since that one may have
// been ours; by somebody else than us (who marks what it sends by its number)
// and than the kernel itself (no port id), whose reasons are told as a change
// of a link, an address or a next hop, and which may drop a million at once.
func damageFilter(tables []uint32) []bpf.Instruction {
	var program []bpf.Instruction
	// unless drops what the test doesn't hold for, by a jump to the end.
	var fixups []int
	unless := func(cond bpf.JumpTest, value uint32) {
		fixups = append(fixups, len(program))
		program = append(program, bpf.JumpIf{Cond: cond, Val: value})
	}
	program = append(program,
		bpf.LoadAbsolute{Off: offsetSequence, Size: 4},
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: loaded32(ownSequenceMask)})
	unless(bpf.JumpNotEqual, loaded32(ownSequence))
	program = append(program, bpf.LoadAbsolute{Off: offsetPortID, Size: 4})
	unless(bpf.JumpNotEqual, 0)
	program = append(program,
		bpf.LoadAbsolute{Off: offsetType, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: loaded16(unix.RTM_DELROUTE), SkipFalse: 3},
		bpf.LoadAbsolute{Off: offsetProtocol, Size: 1})
	unless(bpf.JumpEqual, vrf.Protocol)
	program = append(program, bpf.Jump{Skip: 3})
	unless(bpf.JumpEqual, loaded16(unix.RTM_NEWROUTE))
	program = append(program, bpf.LoadAbsolute{Off: offsetFlags, Size: 2})
	unless(bpf.JumpBitsSet, loaded16(unix.NLM_F_REPLACE))
	low := lowTables(tables)
	program = append(program, bpf.LoadAbsolute{Off: offsetTable, Size: 1})
	for i, t := range low {
		program = append(program, bpf.JumpIf{Cond: bpf.JumpEqual, Val: t, SkipTrue: uint8(len(low) - i)})
	}
	drop := len(program)
	program = append(program, bpf.RetConstant{Val: 0}, bpf.RetConstant{Val: 1 << 16})
	for _, at := range fixups {
		jump := program[at].(bpf.JumpIf)
		jump.SkipFalse = uint8(drop - at - 1)
		program[at] = jump
	}
	return program
}

// lowTables are the tables as the byte of a route message has them. Those that
// don't fit share a value, and are told apart when they are received.
func lowTables(tables []uint32) []uint32 {
	var low []uint32
	for _, t := range tables {
		if t > 255 {
			t = unix.RT_TABLE_COMPAT
		}
		low = append(low, t)
	}
	slices.Sort(low)
	return slices.Compact(low)
}

// loaded32 is what a filter loads where the message has this number: the
// message is in the order of the machine, and the filter loads big-endian.
func loaded32(n uint32) uint32 {
	return binary.BigEndian.Uint32(binary.NativeEndian.AppendUint32(nil, n))
}

func loaded16(n uint16) uint32 {
	return uint32(binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, n)))
}

func (w *watcher) routeReceiver(tables []uint32) func(context.Context, *netlink.Conn) error {
	return func(ctx context.Context, conn *netlink.Conn) error {
		var d dumped
		for {
			msgs, err := conn.Receive()
			switch {
			case ctx.Err() != nil:
				return nil
			case errors.Is(err, unix.ENOBUFS):
				w.noteDamage(w.allDamaged)
			case err != nil:
				return fmt.Errorf("receiving changes of routes: %w", err)
			}
			for _, m := range msgs {
				if r, ok := d.damage(m.Data); ok && slices.Contains(tables, r.Table) {
					w.noteDamage(func() { w.damage(r) })
				}
			}
			if w.allInDoubt() && !wait(ctx, holdTime) {
				return nil
			}
		}
	}
}

// Who flushes a table is told on by each route. So what is damaged is gathered for
// a moment, and where all are in doubt anyway nothing is read for a while: the
// kernel then drops what doesn't fit into the socket, at no cost.
const (
	gatherTime = 10 * time.Millisecond
	holdTime   = 100 * time.Millisecond
)

// noteDamage is note for routes. A link doesn't wait for them.
func (w *watcher) noteDamage(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
	if !w.gathering {
		w.gathering = true
		time.AfterFunc(gatherTime, w.tell)
	}
}

func (w *watcher) allInDoubt() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pending.AllRoutes
}

// wait tells whether the context goes on.
func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// damage gives the route that a message is about, if it can be one of ours.
func (d *dumped) damage(payload []byte) (Route, bool) {
	if !d.parse(payload) || payload[3] != 0 { // ours have no TOS
		return Route{}, false
	}
	switch r := (Route{Table: d.table, Prefix: d.prefix, Metric: d.metric}); d.metric {
	case vrf.MetricGuest, vrf.MetricBlackholeOver, vrf.MetricLearned, vrf.MetricBlackhole, vrf.MetricUnreachable:
		return r, true
	default:
		return r, false
	}
}

// damage collects a route. The caller holds the lock.
func (w *watcher) damage(r Route) {
	if w.pending.AllRoutes {
		return
	}
	if w.damaged[r] = true; len(w.damaged) > maxDamaged {
		w.allDamaged()
	}
}

func (w *watcher) allDamaged() {
	w.pending.AllRoutes = true
	clear(w.damaged)
}
