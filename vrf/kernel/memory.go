package kernel

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/vrf"
)

func idOf(r vrf.InstalledRoute) Route { return Route{r.Table, r.Prefix, r.Metric} }

// remember replaces the memory of routes. The caller holds the lock.
func (k *Kernel) remember(routes []vrf.InstalledRoute) {
	written := map[Route]bool{}
	k.surveyed = nil // this is newer
	k.routes = make(map[Route]vrf.InstalledRoute, len(routes))
	for i, r := range routes {
		if r.Blackhole && k.written[idOf(r)] {
			routes[i].Written, written[idOf(r)] = true, true
		}
		k.routes[idOf(r)] = routes[i]
	}
	k.written = written
}

// book keeps the memory of routes in step with what was done.
func (k *Kernel) book(op vrf.Op) {
	if k.routes == nil {
		return
	}
	switch o := op.(type) {
	case vrf.AddRoute:
		if o.Route.Blackhole {
			o.Route.Written, k.written[idOf(o.Route)] = true, true
		}
		k.routes[idOf(o.Route)] = o.Route
		k.surveyed.touch(idOf(o.Route))
	case vrf.DeleteRoute:
		delete(k.routes, idOf(o.Route))
		delete(k.written, idOf(o.Route))
		k.surveyed.touch(idOf(o.Route))
	}
}

// Forget tells that routes may be gone, or somebody else's, so that a restricted
// Apply takes them for missing: it adds them, and replaces nobody's.
func (k *Kernel) Forget(routes []Route) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range routes {
		delete(k.routes, r)
		k.surveyed.touch(r)
	}
}

func (k *Kernel) hasRead() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.routes != nil
}

// readLinks reads what a plan restricted to some links needs: the links, the
// VRF devices, and the routes from memory.
func (k *Kernel) readLinks(ctx context.Context, desired vrf.Host, links []string) (vrf.Actual, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	actual := vrf.Actual{AddressProtocols: k.protocols}
	if err := k.open(); err != nil {
		return actual, err
	}
	r := reader{Kernel: k, actual: &actual, names: map[int]string{}}
	for _, v := range desired.VRFs {
		if _, err := r.link(v.Name); err != nil {
			return actual, err
		}
	}
	for _, route := range k.routes {
		actual.Routes = append(actual.Routes, route)
	}
	links = vrf.Sharing(desired, actual.Routes, links)
	if err := r.ports(ctx, links); err != nil {
		return actual, err
	}
	if err := r.filtered(ctx, desired); err != nil {
		return actual, err
	}
	var err error
	actual.Sysctls, err = readSysctls(k.ns, vrf.LinkSysctls(only(desired, links)))
	return actual, err
}

// manyLinks is how many are read by one dump of all: the kernel goes through the
// neighbours of all links for those of one, so a dump for each of many would cost
// the square of them.
const manyLinks = 16

// ports reads links and what is on them.
func (r *reader) ports(ctx context.Context, links []string) error {
	many := len(links) > manyLinks
	read := make(map[string]bool, len(links))
	for _, name := range links {
		port, err := r.link(name)
		if err == nil && port != 0 && !many {
			err = r.portOf(ctx, port)
		}
		if err != nil {
			return err
		}
		read[name] = true
	}
	if !many {
		return nil
	}
	err := errors.Join(ctx.Err(), r.addressesOf(ctx, 0), r.neighboursOf(ctx, 0))
	a := r.actual
	a.Addresses = slices.DeleteFunc(a.Addresses, func(x vrf.Address) bool { return !read[x.Link] })
	a.Neighbours = slices.DeleteFunc(a.Neighbours, func(x vrf.InstalledNeighbour) bool { return !read[x.Link] })
	return err
}

// portOf reads what is on the link that was read last, and forgets that link if
// it is gone since.
func (r *reader) portOf(ctx context.Context, port int) error {
	err := errors.Join(ctx.Err(), r.addressesOf(ctx, port), r.neighboursOf(ctx, port))
	if errors.Is(err, unix.ENODEV) {
		r.actual.Links = r.actual.Links[:len(r.actual.Links)-1]
		return ctx.Err()
	}
	return err
}

// link reads one link and gives its index, 0 if there is none.
func (r *reader) link(name string) (int, error) {
	l, err := r.handle.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("looking up %s: %w", name, err)
	}
	a := l.Attrs()
	r.names[a.Index] = a.Name
	if a.MasterIndex != 0 && r.names[a.MasterIndex] == "" {
		master, err := r.handle.LinkByIndex(a.MasterIndex)
		switch {
		case err == nil:
			r.names[a.MasterIndex] = master.Attrs().Name
		case !errors.As(err, &netlink.LinkNotFoundError{}): // not just gone since
			return 0, fmt.Errorf("looking up the master of %s: %w", name, err)
		}
	}
	r.addLink(l)
	return a.Index, nil
}

// only is the part of a host that is about these links.
func only(h vrf.Host, links []string) vrf.Host {
	var part vrf.Host
	in := make(map[string]bool, len(links))
	for _, name := range links {
		in[name] = true
	}
	for _, u := range h.Uplinks {
		if in[u.Name] {
			part.Uplinks = append(part.Uplinks, u)
		}
	}
	for _, t := range h.Taps {
		if in[t.Name] {
			part.Taps = append(part.Taps, t)
		}
	}
	return part
}
