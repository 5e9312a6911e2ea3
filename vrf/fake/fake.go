package fake

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/hostroute/hostroute/vrf"
)

// Errors as the real kernel has them.
var (
	errNoLink = errors.New("no such device")
	errNoVRF  = errors.New("operation not supported")
	errNoHop  = errors.New("next hop does not exist")
	errDown   = errors.New("network is down")
)

// Kernel is the fake. Make it with New.
type Kernel struct {
	// NoVRF: no VRF device can be made.
	NoVRF bool
	// NoObjects: there are no next-hop objects.
	NoObjects bool
	// NoResilient: there are no resilient groups.
	NoResilient bool
	// NoFilter: there is no nf_tables.
	NoFilter bool
	// NoAddressProtocols: addresses keep no protocol, as before Linux 5.18.
	NoAddressProtocols bool
	// Fault, if set, is asked before every operation of a plan. It may look at
	// the kernel.
	Fault func(vrf.Op) error
	// RouteFault, if set, is asked before every write of a learned route.
	RouteFault func(vrf.RouteWrite) error

	mu         sync.Mutex
	next       int
	links      map[string]*link
	addresses  []vrf.Address
	routes     map[key]entry
	neighbours map[neighbourKey][6]byte
	rules      []vrf.Rule
	sysctls    map[string]string
	hops       map[uint32]vrf.NextHopObject
	writes     int
	filter     *filter
}

type link struct {
	vrf.Link
	carrier bool
}

type key struct {
	table  uint32
	prefix netip.Prefix
	metric uint32
}

type neighbourKey struct {
	link    string
	address netip.Addr
}

// entry is a route of anybody.
type entry struct {
	protocol    uint8
	unreachable bool
	link        string
	via         netip.Addr
	nextHopID   uint32
	hops        []vrf.Hop
	blackhole   bool
	written     bool  // by a plan
	taps        []tap // several, instead of link and via
}

// New makes a kernel as it boots: the rules of the system and no links.
func New() *Kernel {
	k := &Kernel{
		links: map[string]*link{}, routes: map[key]entry{}, neighbours: map[neighbourKey][6]byte{},
		sysctls: map[string]string{}, hops: map[uint32]vrf.NextHopObject{},
	}
	for _, v6 := range []bool{false, true} {
		k.rules = append(k.rules,
			vrf.Rule{IPv6: v6, Priority: 0, Table: 255, Protocol: 2},
			vrf.Rule{IPv6: v6, Priority: 32766, Table: 254, Protocol: 2})
	}
	return k
}

// Read gives what the real kernel's Read gives.
func (k *Kernel) Read(_ context.Context, desired vrf.Host) (vrf.Actual, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	a := vrf.Actual{
		Addresses: slices.Clone(k.addresses), Rules: slices.Clone(k.rules),
		AddressProtocols: !k.NoAddressProtocols, Sysctls: map[string]string{}, Filter: k.readFilter(desired),
	}
	for _, l := range k.links {
		l.Running = l.Up && l.carrier
		a.Links = append(a.Links, l.Link)
	}
	slices.SortFunc(a.Links, func(x, y vrf.Link) int { return cmp.Compare(x.Index, y.Index) })
	for id, e := range k.routes {
		if e.protocol == vrf.Protocol && id.metric != vrf.MetricLearned && desiredTable(desired, id.table) {
			a.Routes = append(a.Routes, e.installed(id))
		}
	}
	for id, mac := range k.neighbours {
		if mac == buried {
			continue // it isn't permanent
		}
		a.Neighbours = append(a.Neighbours, vrf.InstalledNeighbour{Link: id.link, Address: id.address, MAC: mac})
	}
	for _, s := range vrf.Sysctls(desired) {
		if _, exists := k.links[s.Link]; exists || s.Link == "" {
			a.Sysctls[s.Name] = k.sysctls[s.Name]
		}
	}
	return a, nil
}

func desiredTable(h vrf.Host, table uint32) bool {
	return slices.ContainsFunc(h.VRFs, func(v vrf.VRF) bool { return v.Table == table })
}

// Execute carries out a plan as the real kernel's Execute does.
func (k *Kernel) Execute(ctx context.Context, ops []vrf.Op) error {
	return vrf.Run(ctx, ops, func(op vrf.Op) error {
		if k.Fault != nil {
			if err := k.Fault(op); err != nil {
				return err
			}
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		return k.do(op)
	})
}

func (k *Kernel) do(op vrf.Op) error {
	switch o := op.(type) {
	case vrf.CreateVRF:
		return k.createVRF(o)
	case vrf.SetSysctl:
		if o.Link != "" && k.links[o.Link] == nil {
			return errNoLink
		}
		k.sysctls[o.Name] = o.Value
	case vrf.AddRule:
		if !slices.Contains(k.rules, o.Rule) { // the protocol is part of what is equal
			k.rules = append(k.rules, o.Rule)
		}
	case vrf.DeleteRule:
		k.rules = slices.DeleteFunc(k.rules, func(r vrf.Rule) bool { r.Protocol = o.Rule.Protocol; return r == o.Rule })
	case vrf.BuildFilter:
		return k.buildFilter(o)
	case vrf.ChangeFilter:
		return k.changeFilter(o)
	case vrf.AddRoute:
		return k.addRoute(o)
	case vrf.DeleteRoute:
		id := key{o.Route.Table, o.Route.Prefix, o.Route.Metric}
		if k.routes[id].protocol == vrf.Protocol {
			delete(k.routes, id)
		}
	case vrf.AddAddress:
		return k.addAddress(o)
	case vrf.DeleteAddress:
		k.deleteAddress(o.Link, o.Prefix)
	case vrf.SetNeighbour:
		n := o.Neighbour
		if l := k.links[n.Link]; l == nil {
			return errNoLink
		}
		k.neighbours[neighbourKey{n.Link, n.Address}] = n.MAC
	case vrf.DeleteNeighbour:
		delete(k.neighbours, neighbourKey{o.Link, o.Address})
	default:
		return k.onLink(op)
	}
	return nil
}

func (k *Kernel) onLink(op vrf.Op) error {
	name := ""
	switch o := op.(type) {
	case vrf.SetUp:
		name = o.Link
	case vrf.SetDown:
		name = o.Link
	case vrf.SetMaster:
		name = o.Link
	case vrf.SetMAC:
		name = o.Link
	case vrf.SetGroup:
		name = o.Link
	}
	l := k.links[name]
	if l == nil {
		return errNoLink
	}
	switch o := op.(type) {
	case vrf.SetUp:
		k.up(l)
	case vrf.SetDown:
		k.down(l)
	case vrf.SetMaster:
		if m := k.links[o.Master]; o.Master != "" && (m == nil || m.Table == 0) {
			return errNoLink
		}
		l.Master = o.Master
		k.bounce(l)
	case vrf.SetMAC:
		l.MAC = o.MAC
	case vrf.SetGroup:
		l.Group = o.Group
	}
	return nil
}

func (k *Kernel) createVRF(o vrf.CreateVRF) error {
	if k.NoVRF {
		return errNoVRF
	}
	if k.links[o.Name] != nil {
		return nil
	}
	first := true
	for _, l := range k.links {
		first = first && l.Table == 0
	}
	k.addLink(o.Name).Table = o.Table
	for _, v6 := range []bool{false, true} {
		if r := (vrf.Rule{IPv6: v6, Priority: 1000, L3MDev: true, Protocol: 2}); first && !slices.Contains(k.rules, r) {
			k.rules = append(k.rules, r)
		}
	}
	return nil
}

func (k *Kernel) addLink(name string) *link {
	k.next++
	l := &link{Link: vrf.Link{Name: name, Index: k.next, MAC: [6]byte{2, 0, 0, 0, 0, byte(k.next)}}, carrier: true}
	k.links[name] = l
	return l
}

func (k *Kernel) addAddress(o vrf.AddAddress) error {
	if k.links[o.Link] == nil {
		return errNoLink
	}
	a := vrf.Address{Link: o.Link, Prefix: o.Prefix, ScopeLink: o.ScopeLink, Protocol: vrf.Protocol}
	if k.NoAddressProtocols {
		a.Protocol = 0
	}
	if i := slices.IndexFunc(k.addresses, sameAddress(o.Link, o.Prefix)); i >= 0 {
		k.addresses[i] = a
		return nil
	}
	k.addresses = append(k.addresses, a)
	k.revive(o.Link)
	return nil
}

func sameAddress(link string, p netip.Prefix) func(vrf.Address) bool {
	return func(a vrf.Address) bool { return a.Link == link && a.Prefix == p }
}

// deleteAddress: an IPv4 address takes with it the later ones of its subnet,
// and the last one of a link the link's IPv4 routes and
// neighbours.
func (k *Kernel) deleteAddress(name string, p netip.Prefix) {
	i := slices.IndexFunc(k.addresses, sameAddress(name, p))
	if i < 0 {
		return
	}
	first := slices.IndexFunc(k.addresses, func(a vrf.Address) bool {
		return a.Link == name && a.Prefix.Masked() == p.Masked()
	})
	secondaries := p.Addr().Is4() && first == i
	k.addresses = slices.DeleteFunc(k.addresses, func(a vrf.Address) bool {
		return a.Link == name && (a.Prefix == p || secondaries && a.Prefix.Masked() == p.Masked())
	})
	left := slices.ContainsFunc(k.addresses, func(a vrf.Address) bool { return a.Link == name && a.Prefix.Addr().Is4() })
	if p.Addr().Is4() && !left {
		k.flush(func(id key, e entry) bool { return e.link == name && id.prefix.Addr().Is4() })
		k.kill(name, func(id key) bool { return id.prefix.Addr().Is4() })
		maps.DeleteFunc(k.neighbours, func(id neighbourKey, _ [6]byte) bool { return id.link == name && id.address.Is4() })
	}
}

func (k *Kernel) flush(which func(key, entry) bool) {
	for id, e := range k.routes {
		if which(id, e) {
			delete(k.routes, id)
		}
	}
}
