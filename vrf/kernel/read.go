package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/vrf"
)

// interruptedTries is how often a dump is repeated that changed meanwhile. Few
// are ever needed; the limit is there for a kernel that never comes to rest.
const interruptedTries = 20

// Read reads what Plan needs to compare with a desired host: all links and
// addresses, and of routes and sysctls what concerns that host. A Kernel that
// shares the FIB's readings (FIB.Share) reads routes only the first time.
func (k *Kernel) Read(ctx context.Context, desired vrf.Host) (vrf.Actual, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var actual vrf.Actual
	if err := k.open(); err != nil {
		return actual, err
	}
	k.ports = nil
	r := reader{Kernel: k, actual: &actual, names: map[int]string{}}
	steps := []func(context.Context, vrf.Host) error{r.links, r.addresses, r.neighbours, r.rules, r.routes, r.filtered}
	for _, step := range steps {
		if err := ctx.Err(); err != nil {
			return actual, err
		}
		if err := step(ctx, desired); err != nil {
			return actual, err
		}
	}
	var err error
	actual.Sysctls, err = readSysctls(k.ns, vrf.Sysctls(desired))
	if err == nil {
		k.rememberPorts(desired, &actual)
	}
	return actual, err
}

func (r *reader) filtered(ctx context.Context, desired vrf.Host) (err error) {
	r.actual.Filter, err = r.readFilter(ctx, desired)
	return err
}

// reader fills an Actual.
type reader struct {
	*Kernel
	actual *vrf.Actual
	names  map[int]string
}

// retry repeats a dump that was interrupted by a change.
func retry(what string, read func() error) error {
	var err error
	for range interruptedTries {
		err = read()
		if !errors.Is(err, netlink.ErrDumpInterrupted) && !errors.Is(err, errInterrupted) && !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", what, err)
	}
	return nil
}

func (r *reader) links(context.Context, vrf.Host) error {
	var list []netlink.Link
	if err := retry("links", func() (err error) { list, err = r.handle.LinkList(); return err }); err != nil {
		return err
	}
	for _, l := range list {
		r.names[l.Attrs().Index] = l.Attrs().Name
	}
	for _, l := range list {
		r.addLink(l)
	}
	return nil
}

func (r *reader) addLink(l netlink.Link) {
	a := l.Attrs()
	link := vrf.Link{
		Name: a.Name, Index: a.Index, Master: r.names[a.MasterIndex], Group: a.Group,
		Up: a.RawFlags&unix.IFF_UP != 0, Running: running(a),
	}
	copy(link.MAC[:], a.HardwareAddr)
	if v, ok := l.(*netlink.Vrf); ok {
		link.Table = v.Table
	}
	r.actual.Links = append(r.actual.Links, link)
}

func running(a *netlink.LinkAttrs) bool {
	const both = unix.IFF_UP | unix.IFF_LOWER_UP
	return a.RawFlags&both == both
}

func (r *reader) addresses(ctx context.Context, _ vrf.Host) error { return r.addressesOf(ctx, 0) }

// addressesOf reads the addresses of a link, or of all if it is 0.
func (r *reader) addressesOf(ctx context.Context, port int) error {
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		kept := len(r.actual.Addresses)
		err := retry("addresses", func() error {
			r.actual.Addresses = r.actual.Addresses[:kept]
			s := r.socket
			s.reset()
			at := s.begin(unix.RTM_GETADDR, unix.NLM_F_DUMP)
			s.out = append(s.out, family, 0, 0, 0)
			s.out = binary.NativeEndian.AppendUint32(s.out, uint32(port))
			s.end(at)
			return s.dump(ctx, func(_ uint16, payload []byte) {
				if a, ok := parseAddress(payload); ok && (port == 0 || a.port == port) {
					a.Link = r.names[a.port]
					r.protocols = r.protocols || a.Protocol != 0
					r.actual.Addresses = append(r.actual.Addresses, a.Address)
				}
			})
		})
		if err != nil {
			return err
		}
	}
	r.actual.AddressProtocols = r.protocols
	return nil
}

func (r *reader) neighbours(ctx context.Context, _ vrf.Host) error { return r.neighboursOf(ctx, 0) }

// neighboursOf reads the permanent neighbours of a link, or of all if it is 0.
func (r *reader) neighboursOf(ctx context.Context, port int) error {
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		kept := len(r.actual.Neighbours)
		err := retry("neighbours", func() error {
			r.actual.Neighbours = r.actual.Neighbours[:kept]
			s := r.socket
			s.reset()
			at := s.begin(unix.RTM_GETNEIGH, unix.NLM_F_DUMP)
			s.out = append(s.out, family, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
			if port != 0 {
				s.attr32(unix.NDA_IFINDEX, uint32(port))
			}
			s.end(at)
			return s.dump(ctx, func(_ uint16, payload []byte) {
				if on, n, ok := parseNeighbour(payload); ok && (port == 0 || on == port) {
					n.Link = r.names[on]
					r.actual.Neighbours = append(r.actual.Neighbours, n)
				}
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) rules(ctx context.Context, _ vrf.Host) error {
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		kept := len(r.actual.Rules)
		err := retry("rules", func() error {
			r.actual.Rules = r.actual.Rules[:kept]
			s := r.socket
			s.reset()
			at := s.begin(unix.RTM_GETRULE, unix.NLM_F_DUMP)
			s.out = append(s.out, family, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
			s.end(at)
			return s.dump(ctx, func(_ uint16, payload []byte) {
				if rule, ok := parseRule(payload); ok {
					r.actual.Rules = append(r.actual.Rules, rule)
				}
			})
		})
		if err != nil && !errors.Is(err, unix.EAFNOSUPPORT) && !errors.Is(err, unix.EOPNOTSUPP) {
			return err
		}
	}
	return nil
}

// routes dumps them, or takes those that are known where the FIB reads them.
func (r *reader) routes(ctx context.Context, desired vrf.Host) error {
	if r.shared && r.Kernel.routes != nil {
		for _, route := range r.Kernel.routes.All() {
			r.actual.Routes = append(r.actual.Routes, route)
		}
		return nil
	}
	var d dumped
	for _, v := range desired.VRFs {
		err := r.socket.routes(ctx, v.Table, func(g *glance, payload []byte) {
			if apart(g.metric) && d.parse(payload) {
				r.actual.Routes = append(r.actual.Routes, r.route(&d))
			}
		})
		if err != nil {
			return err
		}
	}
	r.remember(r.actual.Routes)
	return nil
}

// route names a route's devices. An IPv6 route to nowhere stands on lo.
func (r *reader) route(d *dumped) vrf.InstalledRoute {
	route := vrf.InstalledRoute{Table: d.table, Prefix: d.prefix, Metric: d.metric}
	switch {
	case d.kind == unix.RTN_UNREACHABLE:
		route.Unreachable = true
	case d.kind == unix.RTN_BLACKHOLE:
		route.Blackhole = true
	case d.several:
		var hops []vrf.RouteHop
		for i, h := range d.hops {
			if d.dead[i] {
				route.Dead = true
				continue
			}
			hops = append(hops, vrf.RouteHop{Link: r.names[h.Port], Via: h.Gateway})
		}
		route.SetHops(hops)
	default:
		route.Link, route.Via = r.names[d.port], d.via
	}
	return route
}

// noTable: the kernel makes a table with its first route.
func noTable(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EAFNOSUPPORT)
}
