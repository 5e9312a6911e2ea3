package kernel

import (
	"net/netip"
	"slices"

	"github.com/hostroute/hostroute/vrf"
)

// portState is what a link and what is on it were when they were read, and what Execute
// made of them since. Whatever else happens to them is told by a notice, all but
// some settings, for which an unrestricted Apply has to look.
type portState struct {
	link       vrf.Link
	addresses  []vrf.Address
	neighbours []vrf.InstalledNeighbour
	settings   map[string]string
}

// recall takes the link that was read last, and what is on it, from memory. It does
// not if the link isn't what it was: another one may have its name since, and the
// notice of that may be on its way.
func (r *reader) recall(name string) bool {
	p, ok := r.Kernel.ports[name]
	if !ok || len(r.actual.Links) == 0 || r.actual.Links[len(r.actual.Links)-1] != p.link {
		delete(r.Kernel.ports, name)
		return false
	}
	a := r.actual
	a.Addresses = append(a.Addresses, p.addresses...)
	a.Neighbours = append(a.Neighbours, p.neighbours...)
	for file, value := range p.settings {
		a.Sysctls[file] = value
	}
	return true
}

// rememberPorts keeps what was read of the uplinks and taps of a host. The caller
// holds the lock.
func (k *Kernel) rememberPorts(part vrf.Host, actual *vrf.Actual) {
	if k.ports == nil {
		k.ports = map[string]*portState{}
	}
	fresh := make(map[string]*portState, len(part.Taps)+len(part.Uplinks))
	for _, u := range part.Uplinks {
		fresh[u.Name] = &portState{settings: map[string]string{}}
	}
	for _, t := range part.Taps {
		fresh[t.Name] = &portState{settings: map[string]string{}}
	}
	for _, l := range actual.Links {
		if p := fresh[l.Name]; p != nil {
			p.link = l
			k.ports[l.Name] = p
		}
	}
	for _, a := range actual.Addresses {
		if p := fresh[a.Link]; p != nil {
			p.addresses = append(p.addresses, a)
		}
	}
	for _, n := range actual.Neighbours {
		if p := fresh[n.Link]; p != nil {
			p.neighbours = append(p.neighbours, n)
		}
	}
	for _, s := range vrf.LinkSysctls(part) {
		if value, ok := actual.Sysctls[s.Name]; ok {
			fresh[s.Link].settings[s.Name] = value
		}
	}
}

// bookPort keeps the memory of links in step with what was done. What an event of a
// guest does to one is neighbours; after all else the link is read again.
func (k *Kernel) bookPort(op vrf.Op, err error) {
	link := linkOf(op)
	if s, ok := op.(vrf.SetSysctl); ok {
		link = s.Link
	}
	p := k.ports[link]
	if p == nil {
		return
	}
	without := func(a netip.Addr) []vrf.InstalledNeighbour {
		return slices.DeleteFunc(p.neighbours, func(n vrf.InstalledNeighbour) bool { return n.Address == a })
	}
	switch o := op.(type) {
	case vrf.SetNeighbour:
		p.neighbours = append(without(o.Neighbour.Address), o.Neighbour)
	case vrf.DeleteNeighbour:
		p.neighbours = without(o.Address)
	default:
		delete(k.ports, link)
	}
	if err != nil {
		delete(k.ports, link)
	}
}
