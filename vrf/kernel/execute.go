package kernel

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/vrf"
)

// Execute carries out a plan. What fails is reported as *vrf.OpError, joined,
// and stops only what depends on it; the lack of permission stops everything.
func (k *Kernel) Execute(ctx context.Context, ops []vrf.Op) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(ops) == 0 {
		return nil
	}
	if err := k.open(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	e := executor{Kernel: k, ctx: ctx, ports: map[string]linkID{}}
	var denied error
	err := vrf.Run(ctx, ops, func(op vrf.Op) error {
		err := e.do(op)
		if err == nil {
			k.book(op)
		}
		k.bookPort(op, err)
		if notPermitted(op, err) {
			denied = &vrf.OpError{Op: op, Err: explain(op, err)}
			cancel() // everything else would say the same
		}
		return explain(op, err)
	})
	if denied != nil {
		return denied
	}
	return err
}

// executor is one execution. It remembers which links the names are.
type executor struct {
	*Kernel
	ctx   context.Context
	ports map[string]linkID
}

// linkID is a link as it was looked up.
type linkID struct {
	index int
	mac   string
}

func (e *executor) do(op vrf.Op) error {
	switch o := op.(type) {
	case vrf.CreateVRF:
		link := &netlink.Vrf{LinkAttrs: netlink.NewLinkAttrs(), Table: o.Table}
		link.Name = o.Name
		return ignore(e.handle.LinkAdd(link), unix.EEXIST)
	case vrf.SetSysctl:
		return writeSysctl(e.ns, o.Name, o.Value)
	case vrf.BuildFilter:
		return e.buildFilter(o)
	case vrf.ChangeFilter:
		return e.changeFilter(e.ctx, o)
	case vrf.AddRule:
		e.socket.reset()
		e.socket.rule(unix.RTM_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, o.Rule)
		return ignore(e.socket.do(), unix.EEXIST)
	case vrf.DeleteRule:
		e.socket.reset()
		e.socket.rule(unix.RTM_DELRULE, 0, o.Rule)
		return ignore(e.socket.do(), unix.ENOENT)
	case vrf.AddRoute:
		return e.addRoute(o)
	case vrf.DeleteRoute:
		return e.writeRoute(o.Route, vrf.Delete)
	default:
		return e.onLink(op)
	}
}

// onLink does the operations that are about an existing link.
func (e *executor) onLink(op vrf.Op) error {
	link := linkOf(op)
	found, err := e.lookUp(link)
	if err != nil {
		return err
	}
	port := found.index
	if p := e.Kernel.ports[link]; p != nil && p.link.Index != port {
		delete(e.Kernel.ports, link)
	}
	dev := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: port, Name: link}}
	switch o := op.(type) {
	case vrf.SetUp:
		return e.handle.LinkSetUp(dev)
	case vrf.SetDown:
		return e.handle.LinkSetDown(dev)
	case vrf.SetMaster:
		return e.setMaster(dev, o.Master)
	case vrf.SetMAC:
		return e.handle.LinkSetHardwareAddr(dev, net.HardwareAddr(o.MAC[:]))
	case vrf.SetGroup:
		if e.ns == 0 && setGroupQuietly(link, found, o.Group) {
			return nil
		}
		return e.handle.LinkSetGroup(dev, int(o.Group))
	case vrf.AddAddress:
		e.socket.reset()
		e.socket.address(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, port, o.Prefix, o.ScopeLink)
		return e.socket.do()
	case vrf.DeleteAddress:
		e.socket.reset()
		e.socket.address(unix.RTM_DELADDR, 0, port, o.Prefix, false)
		return ignore(e.socket.do(), unix.EADDRNOTAVAIL)
	case vrf.SetNeighbour:
		e.socket.reset()
		e.socket.neighbour(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, port, o.Neighbour.Address, o.Neighbour.MAC[:])
		return e.socket.do()
	case vrf.DeleteNeighbour:
		e.socket.reset()
		e.socket.neighbour(unix.RTM_DELNEIGH, 0, port, o.Address, nil)
		return ignore(e.socket.do(), unix.ENOENT)
	}
	return fmt.Errorf("unknown operation %T", op)
}

func linkOf(op vrf.Op) string {
	switch o := op.(type) {
	case vrf.SetUp:
		return o.Link
	case vrf.SetDown:
		return o.Link
	case vrf.SetMaster:
		return o.Link
	case vrf.SetMAC:
		return o.Link
	case vrf.SetGroup:
		return o.Link
	case vrf.AddAddress:
		return o.Link
	case vrf.DeleteAddress:
		return o.Link
	case vrf.SetNeighbour:
		return o.Neighbour.Link
	case vrf.DeleteNeighbour:
		return o.Link
	}
	return ""
}

func (e *executor) setMaster(dev netlink.Link, master string) error {
	if master == "" {
		return e.handle.LinkSetNoMaster(dev)
	}
	index, err := e.port(master)
	if err != nil {
		return err
	}
	return e.handle.LinkSetMasterByIndex(dev, index)
}

func (e *executor) lookUp(name string) (linkID, error) {
	if p, ok := e.ports[name]; ok {
		return p, nil
	}
	link, err := e.handle.LinkByName(name)
	if err != nil {
		return linkID{}, fmt.Errorf("looking up %s: %w", name, err)
	}
	p := linkID{link.Attrs().Index, link.Attrs().HardwareAddr.String()}
	e.ports[name] = p
	return p, nil
}

func (e *executor) port(name string) (int, error) {
	p, err := e.lookUp(name)
	return p.index, err
}

// addRoute adds or replaces. A route in the way of an exclusive add may be
// ours, if it was written after the plan was made: it goes away by a delete
// that can only hit ours.
func (e *executor) addRoute(o vrf.AddRoute) error {
	if o.Replace {
		return e.writeRoute(o.Route, vrf.Replace)
	}
	err := e.writeRoute(o.Route, vrf.Add)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	if err := e.writeRoute(o.Route, vrf.Delete); err != nil {
		return err
	}
	err = e.writeRoute(o.Route, vrf.Add)
	if errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("%w: %w", vrf.ErrExists, err)
	}
	return err
}

func (e *executor) writeRoute(r vrf.InstalledRoute, verb vrf.Verb) error {
	m := route{prefix: r.Prefix, table: r.Table, metric: r.Metric, kind: unix.RTN_UNICAST}
	switch {
	case r.Unreachable:
		m.kind = unix.RTN_UNREACHABLE
	case r.Blackhole:
		m.kind = unix.RTN_BLACKHOLE
	case verb != vrf.Delete:
		if err := e.lead(&m, r); err != nil {
			return err
		}
	}
	e.socket.reset()
	e.socket.route(&m, verb)
	err := e.socket.do()
	if verb == vrf.Delete {
		return ignore(err, unix.ESRCH, unix.ENOENT)
	}
	return err
}

// lead says where a route leads to.
func (e *executor) lead(m *route, r vrf.InstalledRoute) (err error) {
	direct := !r.Via.IsValid()
	if len(r.Hops) == 0 {
		if m.port, err = e.port(r.Link); err != nil {
			return err
		}
		m.via = r.Via
	}
	for _, h := range r.Hops {
		port, err := e.port(h.Link)
		if err != nil {
			return err
		}
		m.hops = append(m.hops, vrf.Hop{Gateway: h.Via, Port: port})
		direct = direct && !h.Via.IsValid()
	}
	// A tap is a wire to one guest: what is behind it is there, whatever the table
	// says meanwhile about the way to the gateway.
	m.onLink = !direct && !r.Via.IsLinkLocalUnicast()
	if direct && r.Prefix.Addr().Is4() {
		m.scope = unix.RT_SCOPE_LINK
	}
	return nil
}

// ignore drops errors that mean that it is done already.
func ignore(err error, harmless ...error) error {
	for _, h := range harmless {
		if errors.Is(err, h) {
			return nil
		}
	}
	return err
}
