package kernel

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/vrf"
)

// remember replaces the memory of routes. The caller holds the lock.
func (k *Kernel) remember(routes []vrf.InstalledRoute) {
	written := map[Route]bool{}
	k.surveyed = nil // this is newer
	k.routes = vrf.NewInstalledRoutes()
	for i, r := range routes {
		if r.Blackhole && k.written[r.Key()] {
			routes[i].Written, written[r.Key()] = true, true
		}
		k.routes.Put(routes[i])
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
			o.Route.Written, k.written[o.Route.Key()] = true, true
		}
		k.routes.Put(o.Route)
		k.surveyed.touch(o.Route.Key())
	case vrf.DeleteRoute:
		k.routes.Delete(o.Route.Key())
		delete(k.written, o.Route.Key())
		k.surveyed.touch(o.Route.Key())
	}
}

// Forget tells that routes may be gone, or somebody else's, so that a restricted
// Apply takes them for missing: it adds them, and replaces nobody's.
func (k *Kernel) Forget(routes []Route) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range routes {
		k.routes.Delete(r)
		k.surveyed.touch(r)
	}
}

func (k *Kernel) hasRead() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.routes != nil
}

// readLinks reads what a plan restricted to some links needs: the links, the
// VRF devices, and the routes from memory, as what is on links that nothing was
// told of; see vrf.Options. It gives the part of the host that this is about.
func (k *Kernel) readLinks(ctx context.Context, desired vrf.Host, links, told []string) (part vrf.Host, actual vrf.Actual, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	actual = vrf.Actual{AddressProtocols: k.protocols, Sysctls: map[string]string{}}
	if err := k.open(); err != nil {
		return desired, actual, err
	}
	r := reader{Kernel: k, actual: &actual, names: map[int]string{}}
	for _, v := range desired.VRFs {
		if _, err := r.link(v.Name); err != nil {
			return desired, actual, err
		}
	}
	part, actual.Routes, links = k.routes.Concerning(desired, links)
	if told == nil {
		told = links
	}
	for _, name := range told {
		delete(k.ports, name)
	}
	read, err := r.ports(ctx, links)
	if err == nil {
		err = r.filtered(ctx, part)
	}
	if err == nil && len(read) > 0 {
		err = r.verify(only(part, read))
	}
	return part, actual, err
}

// verify reads the settings of ports, and remembers all that was read of them.
func (r *reader) verify(part vrf.Host) error {
	settings, err := readSysctls(r.ns, vrf.LinkSysctls(part))
	if err != nil {
		return err
	}
	maps.Copy(r.actual.Sysctls, settings)
	r.rememberPorts(part, r.actual)
	return nil
}

// manyLinks is how many are read by one dump of all: the kernel goes through the
// neighbours of all links for those of one, so a dump for each of many would cost
// the square of them.
const manyLinks = 16

// ports reads links, and what is on them or what is remembered of that. It gives
// those of which nothing was remembered.
func (r *reader) ports(ctx context.Context, links []string) (read []string, err error) {
	unknown := 0
	for _, name := range links {
		if r.Kernel.ports[name] == nil {
			unknown++
		}
	}
	many := unknown > manyLinks
	for _, name := range links {
		port, err := r.link(name)
		if err != nil {
			return nil, err
		}
		if port == 0 {
			delete(r.Kernel.ports, name)
			continue
		}
		if r.recall(name) {
			continue
		}
		if !many {
			err = r.portOf(ctx, port)
		}
		if err != nil {
			return nil, err
		}
		read = append(read, name)
	}
	if !many {
		return read, nil
	}
	return read, r.portsAtOnce(ctx, read)
}

// portsAtOnce reads what is on many links.
func (r *reader) portsAtOnce(ctx context.Context, links []string) error {
	of := make(map[string]bool, len(links))
	for _, name := range links {
		of[name] = true
	}
	a := r.actual
	addresses, neighbours := a.Addresses, a.Neighbours // remembered
	a.Addresses, a.Neighbours = nil, nil
	err := errors.Join(ctx.Err(), r.addressesOf(ctx, 0), r.neighboursOf(ctx, 0))
	for _, x := range a.Addresses {
		if of[x.Link] {
			addresses = append(addresses, x)
		}
	}
	for _, x := range a.Neighbours {
		if of[x.Link] {
			neighbours = append(neighbours, x)
		}
	}
	a.Addresses, a.Neighbours = addresses, neighbours
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
