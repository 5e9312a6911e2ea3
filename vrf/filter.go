package vrf

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Filter is the desired anti-spoofing filter of a host: what is the same for
// all guests, and the elements of its sets, which say what each guest may do.
type Filter struct {
	Static FilterStatic
	// Elements are sorted, by the link that they are about.
	Elements map[string][]FilterElement
}

// FilterStatic is what the rules of the filter depend on. It comes from the
// configuration, so that guests coming and going never change a rule.
type FilterStatic struct {
	// Patterns are the sorted Host.TapPatterns.
	Patterns []string
	// Interconnects are what no guest may reach, sorted, none within another.
	Interconnects []netip.Prefix
}

// Equal tells whether two filters have the same rules.
func (s FilterStatic) Equal(o FilterStatic) bool {
	return slices.Equal(s.Patterns, o.Patterns) && slices.Equal(s.Interconnects, o.Interconnects)
}

// InstalledFilter is the filter as the kernel has it.
type InstalledFilter struct {
	// Whole: the rules are those that are desired, all and unchanged.
	Whole    bool
	Elements map[string][]FilterElement // by link, sorted; never written after it was read
}

// FilterSet names a set of the filter.
type FilterSet string

// The sets. What an interface in SetTaps sends is dropped unless the other
// sets allow it; an interface in no set is a guest's by its link group or a
// pattern, and nothing of it passes.
const (
	SetTaps     FilterSet = "taps"     // desired taps, there or not
	SetVRFTaps  FilterSet = "vrftaps"  // those of them that forward in a VRF device only
	SetExempt   FilterSet = "exempt"   // ports of the host that the link group or a pattern must not catch
	SetMACs     FilterSet = "macs"     // what a tap's frames may come from
	SetSources  FilterSet = "sources"  // what its packets may come from, prefixes
	SetGateways FilterSet = "gateways" // its gateways: what it may ping and never send from
)

// FilterElement is an element of a set, about a link.
type FilterElement struct {
	Set    FilterSet
	Link   string
	MAC    [6]byte      // SetMACs
	Prefix netip.Prefix // SetSources, and SetGateways as a single address
}

// String is the element as nft(8) would write it.
func (e FilterElement) String() string {
	switch e.Set {
	case SetMACs:
		return fmt.Sprintf("%s: %s . %s", e.Set, e.Link, mac(e.MAC))
	case SetSources, SetGateways:
		return fmt.Sprintf("%s: %s . %s", e.Set, e.Link, e.Prefix)
	}
	return fmt.Sprintf("%s: %s", e.Set, e.Link)
}

// Compare orders elements.
func (e FilterElement) Compare(o FilterElement) int {
	return cmp.Or(
		cmp.Compare(e.Link, o.Link), cmp.Compare(e.Set, o.Set),
		slices.Compare(e.MAC[:], o.MAC[:]), e.Prefix.Compare(o.Prefix),
	)
}

// Interval tells whether the kernel has the element in a set of intervals. It
// copies such a set with every change, so only unusual prefixes are there; single
// addresses and the /64 of IPv6 (RFC 4291 section 2.5.4) are looked up by hash.
func (e FilterElement) Interval() bool {
	common := e.Prefix.IsSingleIP() || e.Prefix.Addr().Is6() && e.Prefix.Bits() == 64
	return e.Set == SetSources && !common
}

// conflicts tells whether the kernel refuses to have both: intervals of one
// set and link that overlap. Prefixes do so if one is within the other.
func (e FilterElement) conflicts(o FilterElement) bool {
	return e.Interval() && o.Interval() && e.Link == o.Link && e.Prefix.Overlaps(o.Prefix)
}

// FilterOf gives the filter that a host desires. The actual state tells which
// interfaces are the host's own ports.
func FilterOf(desired Host, actual Actual) Filter {
	return newPlanner(desired, actual, Options{}).filterOf(desired)
}

// filterOf leaves out the links that the plan is not about, unless all of the
// filter has to be made.
func (p *planner) filterOf(h Host) Filter {
	f := Filter{Static: StaticFilter(h), Elements: map[string][]FilterElement{}}
	ports := hostPorts(h)
	for name := range ports {
		f.Elements[name] = []FilterElement{{Set: SetExempt, Link: name}}
	}
	all := !p.actual.Filter.Whole
	for _, t := range h.Taps {
		if !all && !p.covers(t.Name) {
			continue
		}
		if _, twice := f.Elements[t.Name]; twice || validName("interface", t.Name) != nil || p.hostOwned(t.Name) {
			continue
		}
		f.Elements[t.Name] = p.tapElements(t)
	}
	for _, l := range p.actual.Links {
		if f.Elements[l.Name] == nil && p.hostOwned(l.Name) && matches(f.Static.Patterns, l.Name) {
			f.Elements[l.Name] = []FilterElement{{Set: SetExempt, Link: l.Name}}
		}
	}
	return f
}

// hostPorts are the interfaces that are the host's by the configuration.
func hostPorts(h Host) map[string]bool {
	ports := map[string]bool{"lo": true}
	for _, v := range h.VRFs {
		if !v.NoDevice {
			ports[v.Name] = true
		}
	}
	for _, u := range h.Uplinks {
		ports[u.Name] = true
	}
	return ports
}

// hostOwned: the link exists and is a port of this host, whatever the log or a
// pattern says.
func (p *planner) hostOwned(name string) bool {
	link, exists := p.links[name]
	if !exists {
		return false
	}
	_, used := p.hostAddress(link)
	return used || link.Table != 0
}

// tapElements are those of a tap. What is not in its VRF device, because it
// isn't yet or the VRF can't be used, SetVRFTaps keeps from forwarding.
func (p *planner) tapElements(t Tap) []FilterElement {
	list := []FilterElement{{Set: SetTaps, Link: t.Name}}
	if v := p.vrfs[t.VRF]; v == nil || !v.NoDevice {
		list = append(list, FilterElement{Set: SetVRFTaps, Link: t.Name})
	}
	for _, g := range append([]netip.Addr{linkLocalGateway.Addr()}, t.Gateways...) {
		if g.IsValid() && !g.Is4In6() {
			list = append(list, FilterElement{Set: SetGateways, Link: t.Name, Prefix: netip.PrefixFrom(g.WithZone(""), g.BitLen())})
		}
	}
	if t.MAC != ([6]byte{}) {
		list = append(list, FilterElement{Set: SetMACs, Link: t.Name, MAC: t.MAC})
	}
	for _, s := range aggregate(t.Sources) {
		list = append(list, FilterElement{Set: SetSources, Link: t.Name, Prefix: s})
	}
	slices.SortFunc(list, FilterElement.Compare)
	return slices.Compact(list)
}

// StaticFilter is what the rules for a host depend on.
func StaticFilter(h Host) FilterStatic {
	refused := slices.Clone(h.Interconnects)
	for _, u := range h.Uplinks {
		refused = append(refused, u.Addresses...)
	}
	var patterns []string
	for _, p := range h.TapPatterns {
		if validPattern(p) == nil {
			patterns = append(patterns, p)
		}
	}
	slices.Sort(patterns)
	return FilterStatic{Patterns: slices.Compact(patterns), Interconnects: aggregate(refused)}
}

// aggregate sorts prefixes and drops those within others, which allow nothing
// more, and which sets of intervals refuse. What is no prefix of one family is
// dropped too: there is nothing that it could allow.
func aggregate(prefixes []netip.Prefix) []netip.Prefix {
	list := make([]netip.Prefix, 0, len(prefixes))
	for _, p := range prefixes {
		if p.IsValid() && !p.Addr().Is4In6() {
			list = append(list, p.Masked())
		}
	}
	// Sorted, a prefix comes before all that is within it.
	slices.SortFunc(list, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	kept := list[:0]
	for _, p := range list {
		if n := len(kept); n == 0 || !kept[n-1].Overlaps(p) {
			kept = append(kept, p)
		}
	}
	return kept
}

// matches tells whether a name fits one of the patterns.
func matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		stem, open := strings.CutSuffix(p, "*")
		return name == p || open && strings.HasPrefix(name, stem)
	})
}

// merge is what a set of changes makes of elements by link.
func merge(have map[string][]FilterElement, add, remove []FilterElement) map[string][]FilterElement {
	out := maps.Clone(have)
	if out == nil {
		out = map[string][]FilterElement{}
	}
	changed := map[string]bool{}
	for _, e := range remove {
		out[e.Link] = slices.DeleteFunc(slices.Clone(out[e.Link]), func(x FilterElement) bool { return x == e })
	}
	for _, e := range add {
		if !slices.Contains(out[e.Link], e) {
			out[e.Link] = append(slices.Clone(out[e.Link]), e)
			changed[e.Link] = true
		}
	}
	for link := range changed {
		slices.SortFunc(out[link], FilterElement.Compare)
	}
	for _, e := range remove {
		if len(out[e.Link]) == 0 {
			delete(out, e.Link)
		}
	}
	return out
}

// Merge is what a change makes of the elements that a kernel has. The result
// shares nothing that is written later.
func (f InstalledFilter) Merge(o ChangeFilter) InstalledFilter {
	return InstalledFilter{Whole: f.Whole, Elements: merge(f.Elements, o.Add, o.Remove)}
}

// ByLink sorts elements by the link that they are about.
func ByLink(list []FilterElement) map[string][]FilterElement {
	return merge(nil, list, nil)
}
