package vrf

import (
	"maps"
	"slices"
)

// filterPlan is the part of a plan that is about the filter: what comes before
// everything else, and what comes when the taps are released.
type filterPlan struct {
	add, remove []FilterElement
	released    []FilterElement // names of taps that are let go of in the same plan
	taps        map[string]bool // desired ones that are concerned
}

// filter plans the filter. It comes before all that could let a guest's packet
// pass; only the names of released taps leave it last, when these are down and
// in the group that drops everything.
func (p *planner) filter(h Host) (first, last []Op) {
	want, have := p.filterOf(h), p.actual.Filter
	f := filterPlan{taps: map[string]bool{}}
	for _, link := range p.filterLinks(want, have) {
		p.filterLink(&f, link, want.Elements[link], have.Elements[link])
	}
	if len(f.released) > 0 {
		last = []Op{ChangeFilter{Remove: f.released, After: linksOf(f.released)}}
	}
	switch {
	case !have.Whole:
		kept := merge(have.Elements, f.add, f.remove)
		if p.restricted() { // those of all other links are needed as well
			for link, list := range want.Elements {
				kept[link] = list
			}
		}
		first = []Op{BuildFilter{Static: want.Static, Elements: flatten(kept), Taps: p.desiredTaps(h)}}
	case len(f.add)+len(f.remove) > 0:
		first = []Op{ChangeFilter{Add: f.add, Remove: f.remove, Taps: slices.Sorted(maps.Keys(f.taps))}}
	}
	return first, last
}

// filterLinks are the links that the plan is about and the filter knows or
// must know.
func (p *planner) filterLinks(want Filter, have InstalledFilter) []string {
	if p.restricted() {
		return p.Links
	}
	names := map[string]bool{}
	for link := range want.Elements {
		names[link] = true
	}
	for link := range have.Elements {
		names[link] = true
	}
	return slices.Sorted(maps.Keys(names))
}

func (p *planner) desiredTaps(h Host) []string {
	var list []string
	for _, t := range h.Taps {
		if p.covers(t.Name) {
			list = append(list, t.Name)
		}
	}
	return list
}

// filterLink compares the elements of a link. Removing is for a sweep, but not
// what is in the way of something desired, what spares a link that is no port
// of the host any more, and what would cut the host off.
func (p *planner) filterLink(f *filterPlan, link string, want, have []FilterElement) {
	owned := p.hostOwned(link)
	var kept, missing []FilterElement
	for _, e := range want {
		if !slices.Contains(have, e) {
			missing = append(missing, e)
		}
	}
	for _, e := range have {
		switch {
		case slices.Contains(want, e):
			kept = append(kept, e)
		case p.Sweep && e.Set == SetTaps && !owned && p.exists(link):
			f.released = append(f.released, e)
		case p.Sweep, owned, e.Set == SetExempt, inTheWay(e, missing):
			f.remove = append(f.remove, e)
		default:
			kept = append(kept, e)
		}
	}
	for _, e := range missing {
		if !slices.ContainsFunc(kept, e.conflicts) { // else a wider one is there already
			f.add = append(f.add, e)
			f.taps[link] = f.taps[link] || e.Set == SetTaps || slices.ContainsFunc(want, isTap)
		}
	}
	if !f.taps[link] {
		delete(f.taps, link)
	}
}

func isTap(e FilterElement) bool { return e.Set == SetTaps }

// inTheWay: an element narrower than a desired one.
func inTheWay(e FilterElement, missing []FilterElement) bool {
	return slices.ContainsFunc(missing, func(m FilterElement) bool {
		return m.conflicts(e) && m.Prefix.Bits() < e.Prefix.Bits()
	})
}

func (p *planner) exists(link string) bool { _, ok := p.links[link]; return ok }

func linksOf(list []FilterElement) []string {
	links := map[string]bool{}
	for _, e := range list {
		links[e.Link] = true
	}
	return slices.Sorted(maps.Keys(links))
}

func flatten(byLink map[string][]FilterElement) []FilterElement {
	var list []FilterElement
	for _, link := range slices.Sorted(maps.Keys(byLink)) {
		list = append(list, byLink[link]...)
	}
	return list
}
