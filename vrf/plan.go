package vrf

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// Options say how far a plan may go.
type Options struct {
	// Sweep lets the plan remove what is ours and no longer desired. Keep it
	// off until the log is caught up: before that, not desired may only mean
	// not known yet.
	Sweep bool
	// Links, if not nil, restricts the plan to these uplinks and taps, for a
	// change of few guests on a host of many. Actual then needs the links'
	// state and that of the VRF devices; its routes may be from memory, and
	// those of the links are written whether they seem to be there or not. The
	// plan is also about the taps that share a route with one of the links (see
	// Sharing), and about all blackholes. The host may be the part of it that
	// InstalledRoutes.Concerning gives, with its routes.
	// VRFs but for their last resort, rules and global settings are left to an
	// unrestricted plan.
	Links []string
	// Told, if not nil, are the links that the kernel told of since the last plan.
	// The state of all others may be from memory, too.
	Told []string
}

// Result is a plan and what it could not cover.
type Result struct {
	Ops []Op
	// Waiting names the desired links that do not exist yet. Their part of the
	// plan follows when they appear.
	Waiting []string
	// LeftOut names the desired links whose VRF can't be used, so that nothing
	// of theirs is in the plan.
	LeftOut []string
	// Problems are desires that contradict each other or the kernel. They are
	// left out of the plan.
	Problems []error
}

const (
	priorityL3MDev = 1000
	priorityLocal  = 32765
	tableLocal     = 255
	protocolKernel = 2
)

var linkLocalGateway = netip.MustParsePrefix("fe80::1/64")

// Plan compares the desired with the actual state and gives the operations, in
// order, that lead from one to the other. Executed without failure, they leave
// nothing for a second plan.
func Plan(desired Host, actual Actual, o Options) Result {
	p := newPlanner(desired, actual, o)
	if p.restricted() {
		p.needVRFs(desired.VRFs)
	} else {
		p.sysctls(globalSysctls)
		for _, v := range desired.VRFs {
			p.vrf(v)
		}
		p.rules()
	}
	p.blackholes(desired.Blackholes)
	p.share(desired.Taps)
	for _, u := range desired.Uplinks {
		if !p.covers(u.Name) {
			continue
		}
		p.uplink(u)
	}
	for _, t := range desired.Taps {
		if !p.covers(t.Name) {
			p.claim(t)
			continue
		}
		p.tap(t)
	}
	p.sharedRoutes()
	if o.Sweep {
		p.sweep()
	} else {
		p.clear()
	}
	p.fillBlackholes()
	p.result.Ops = append(p.result.Ops, p.forgotten...)
	first, last := p.filter(desired)
	p.result.Ops = slices.Concat(first, p.result.Ops, last)
	return p.result
}

// planner holds the actual state by key while a plan is made.
type planner struct {
	Options
	about      map[string]bool // Options.Links, of a restricted plan
	actual     Actual
	vrfs       map[string]*VRF // desired; nil if it contradicts the kernel
	links      map[string]Link
	addresses  map[string][]Address
	routes     map[RouteKey]*InstalledRoute // of actual
	neighbours map[string][]InstalledNeighbour
	desired    map[RouteKey]string // link that gets the route
	managed    map[string]bool     // desired uplinks and taps that the plan is about
	holders    map[string]bool     // links with guests' routes that it isn't about
	fresh      map[string]bool     // taps from which the kernel drops what they had
	shared     map[RouteKey]*sharedRoute
	gone       map[RouteKey]bool // planned to be removed already
	// sharedOrder are those of which at least one tap can be used.
	sharedOrder []*sharedRoute
	// forgotten are neighbours that are deleted when no route to them by their tap
	// is left: the kernel would ask for the address of what is still sent there,
	// and tell the senders when nobody answers.
	forgotten []Op
	result    Result
}

func newPlanner(desired Host, actual Actual, o Options) *planner {
	if o.Links != nil {
		o.Links = Sharing(desired, actual.Routes, o.Links)
	}
	p := &planner{
		Options: o, actual: actual,
		about:      make(map[string]bool, len(o.Links)),
		vrfs:       map[string]*VRF{},
		links:      make(map[string]Link, len(actual.Links)),
		addresses:  map[string][]Address{},
		routes:     make(map[RouteKey]*InstalledRoute, len(actual.Routes)),
		neighbours: map[string][]InstalledNeighbour{},
		desired:    make(map[RouteKey]string, len(actual.Routes)),
		fresh:      map[string]bool{},
		shared:     map[RouteKey]*sharedRoute{},
		gone:       map[RouteKey]bool{},
		managed:    make(map[string]bool, len(actual.Links)),
		holders:    map[string]bool{},
	}
	for _, name := range o.Links {
		p.about[name] = true
	}
	for _, v := range desired.VRFs {
		p.vrfs[v.Name] = &v
	}
	for _, l := range actual.Links {
		p.links[l.Name] = l
	}
	for _, a := range actual.Addresses {
		p.addresses[a.Link] = append(p.addresses[a.Link], a)
	}
	for i := range actual.Routes {
		r := &actual.Routes[i]
		p.routes[r.Key()] = r
		if r.Metric == MetricGuest && r.Link != "" && !p.covers(r.Link) {
			p.holders[r.Link] = true
		}
	}
	for _, n := range actual.Neighbours {
		p.neighbours[n.Link] = append(p.neighbours[n.Link], n)
	}
	return p
}

func (p *planner) restricted() bool { return p.Links != nil }

// covers tells whether the plan is about a link.
func (p *planner) covers(link string) bool { return !p.restricted() || p.about[link] }

// needVRFs rules out the VRFs that an unrestricted plan has to make first. Of the
// others it wants the last resort, which costs nothing where the memory has it.
func (p *planner) needVRFs(vrfs []VRF) {
	for _, v := range vrfs {
		if l := p.links[v.Name]; !v.NoDevice && (l.Table != v.Table || !l.Up) {
			p.vrfs[v.Name] = nil
			continue
		}
		p.lastResort(v)
	}
}

// claim books what a tap that the plan is not about has.
func (p *planner) claim(t Tap) {
	if !p.holders[t.Name] {
		return
	}
	v := p.vrfs[t.VRF]
	if v == nil {
		return
	}
	for _, r := range t.Routes {
		key := RouteKey{v.Table, r.Prefix, MetricGuest}
		if r := p.routes[key]; r != nil && r.Link == t.Name {
			p.desired[key] = t.Name
		}
	}
}

func (p *planner) add(op Op) { p.result.Ops = append(p.result.Ops, op) }

func (p *planner) problem(format string, args ...any) {
	p.result.Problems = append(p.result.Problems, fmt.Errorf(format, args...))
}

// sysctls plans only what the kernel knows: a setting of a feature that it
// lacks has no file, and that is for `doctor` to say.
func (p *planner) sysctls(list []Sysctl) {
	for _, s := range list {
		if value, known := p.actual.Sysctls[s.Name]; known && !s.satisfied(value) {
			p.add(SetSysctl{Link: s.Link, Name: s.Name, Value: s.Value})
		}
	}
}

func (p *planner) vrf(v VRF) {
	if !v.NoDevice && !p.vrfDevice(v) {
		p.vrfs[v.Name] = nil
		return
	}
	p.lastResort(v)
}

// lastResort ends the lookup in a table. Without it what has no route there would
// be looked up in the host's own table.
func (p *planner) lastResort(v VRF) {
	for _, prefix := range []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)} {
		last := InstalledRoute{Table: v.Table, Prefix: prefix, Metric: MetricUnreachable, Unreachable: true}
		p.desired[last.Key()] = v.Name
		if have, ok := p.routes[last.Key()]; !ok || !have.Equal(last) {
			p.add(AddRoute{Route: last, VRF: v.Name, Replace: ok})
		}
	}
}

// vrfDevice plans the device and tells whether the VRF can be used.
func (p *planner) vrfDevice(v VRF) bool {
	have, ok := p.links[v.Name]
	switch {
	case !ok:
		p.add(CreateVRF{Name: v.Name, Table: v.Table})
		p.add(SetUp{Link: v.Name})
	case have.Table == 0:
		p.problem("VRF %s: an interface of that name exists and is no VRF: rename one of them", v.Name)
		return false
	case have.Table != v.Table:
		p.problem("VRF %s: the device has table %d, the configuration says %d: a VRF can't change its table, delete the device or change the configuration", v.Name, have.Table, v.Table)
		return false
	case !have.Up:
		p.add(SetUp{Link: v.Name})
	}
	return true
}

// rules puts the lookup of local addresses behind the lookup in the VRF.
// Otherwise a guest reaches every address of the hypervisor.
func (p *planner) rules() {
	devices := false
	for _, v := range p.vrfs {
		devices = devices || v != nil && !v.NoDevice
	}
	if !devices {
		return
	}
	for _, v6 := range []bool{false, true} {
		has := func(r Rule) bool {
			return slices.ContainsFunc(p.actual.Rules, func(a Rule) bool {
				return a.IPv6 == v6 && a.Priority == r.Priority && a.L3MDev == r.L3MDev && a.Table == r.Table
			})
		}
		// The kernel makes this one with the first VRF, and never again. It is
		// named exactly as the kernel does, so that there can't be two.
		vrf := Rule{IPv6: v6, Priority: priorityL3MDev, L3MDev: true, Protocol: protocolKernel}
		if !has(vrf) {
			p.add(AddRule{vrf})
		}
		late := Rule{IPv6: v6, Priority: priorityLocal, Table: tableLocal, Protocol: Protocol}
		if !has(late) {
			p.add(AddRule{late})
		}
		if first := (Rule{IPv6: v6, Table: tableLocal}); has(first) {
			p.add(DeleteRule{first})
		}
	}
}

// port plans what uplinks and taps have in common, up to the link being up in
// its VRF. fresh tells that the kernel drops on the way what the link had.
func (p *planner) port(name, vrf string, settings []Sysctl, tap bool) (table uint32, fresh, ok bool) {
	v, known := p.vrfs[vrf]
	if p.managed[name] {
		p.problem("interface %s: it is desired twice", name)
		return 0, false, false
	}
	p.managed[name] = true
	if v == nil {
		if !known {
			p.problem("interface %s: VRF %q is not defined", name, vrf)
		}
		p.result.LeftOut = append(p.result.LeftOut, name)
		return 0, false, false
	}
	link, exists := p.links[name]
	if err := validName("interface", name); err != nil || link.Table != 0 {
		if err == nil {
			err = fmt.Errorf("interface %s: it is a VRF device", name)
		}
		p.problem("%w", err)
		p.result.LeftOut = append(p.result.LeftOut, name)
		return 0, false, false
	}
	if !exists {
		p.result.Waiting = append(p.result.Waiting, name)
		return 0, false, false
	}
	if a, used := p.hostAddress(link); tap && used {
		p.problem("interface %s: it has %s, which makes it a port of this host and no guest's tap: correct the guest's interface in the log", name, a)
		p.result.LeftOut = append(p.result.LeftOut, name)
		return 0, false, false
	}
	p.sysctls(settings)
	if tap && link.Group != TapGroup {
		p.add(SetGroup{name, TapGroup})
	}
	if tap && link.MAC != TapMAC {
		p.add(SetMAC{name, TapMAC})
	}
	if !v.NoDevice && link.Master != vrf {
		p.add(SetMaster{name, vrf})
		fresh = true
	}
	if !link.Up {
		p.add(SetUp{name})
		fresh = true
	}
	return v.Table, fresh, true
}

// hostAddress finds an address that this host uses on a link that was never a
// tap of ours. A log that names such a link must not cut the host off.
func (p *planner) hostAddress(link Link) (netip.Prefix, bool) {
	if link.Group == TapGroup {
		return netip.Prefix{}, false
	}
	for _, a := range p.addresses[link.Name] {
		gateway := a.Prefix.IsSingleIP() // as ours look, whose protocol old kernels don't keep
		if !gateway && !a.Prefix.Addr().IsLinkLocalUnicast() && a.Protocol != Protocol {
			return a.Prefix, true
		}
	}
	return netip.Prefix{}, false
}

func (p *planner) uplink(u Uplink) {
	_, fresh, ok := p.port(u.Name, u.VRF, uplinkSysctls(u.Name), false)
	if !ok {
		return
	}
	p.setAddresses(u.Name, u.Addresses, fresh, false)
}

// setAddresses adds what is desired and then removes what of ours is not, so
// that a link is never for a moment without an IPv4 address. It tells whether
// that happens nevertheless, because none is desired any more.
func (p *planner) setAddresses(link string, desired []netip.Prefix, fresh, scopeLink bool) (lastIPv4Gone bool) {
	have := p.addresses[link]
	left := 0
	for _, prefix := range desired {
		i := slices.IndexFunc(have, func(a Address) bool { return a.Prefix == prefix })
		if prefix.Addr().Is4() {
			left++
		}
		if i >= 0 && have[i].Failed {
			p.add(DeleteAddress{link, prefix})
		}
		if i < 0 || fresh || have[i].Failed || have[i].Expires {
			p.add(AddAddress{link, prefix, scopeLink && prefix.Addr().Is4()})
		}
	}
	for _, a := range have {
		switch {
		case slices.Contains(desired, a.Prefix):
		case p.Sweep && p.ours(a):
			p.add(DeleteAddress{link, a.Prefix})
			p.readdSecondaries(link, a.Prefix, desired, scopeLink)
			lastIPv4Gone = lastIPv4Gone || a.Prefix.Addr().Is4()
		case a.Prefix.Addr().Is4():
			left++
		}
	}
	return lastIPv4Gone && left == 0
}

// readdSecondaries adds again what the kernel drops together with the first
// IPv4 address of a subnet: every other address of it.
func (p *planner) readdSecondaries(link string, gone netip.Prefix, desired []netip.Prefix, scopeLink bool) {
	for _, d := range desired {
		if d.Addr().Is4() && d.Masked() == gone.Masked() {
			p.add(AddAddress{link, d, scopeLink})
		}
	}
}

// ours recognises an address of ours: by its protocol where the kernel keeps
// one, else by its shape on a link that is, or once was, a tap of ours.
func (p *planner) ours(a Address) bool {
	if p.actual.AddressProtocols || a.Protocol != 0 {
		return a.Protocol == Protocol
	}
	if p.links[a.Link].Group != TapGroup {
		return false
	}
	if a.Prefix.Addr().Is4() {
		return a.Prefix.IsSingleIP() && a.ScopeLink
	}
	return a.Prefix == linkLocalGateway
}

func (p *planner) sortedLinks() []Link {
	links := slices.Clone(p.actual.Links)
	slices.SortFunc(links, func(a, b Link) int { return cmp.Compare(a.Name, b.Name) })
	return links
}
