package fake

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/hostroute/hostroute/vrf"
)

var (
	errNoFilter = errors.New("this kernel has no nf_tables")
	errNoSet    = errors.New("no such file or directory")
	errOverlap  = errors.New("the interval overlaps with one that is there")
)

// filter is the filter as it stands: nil, or built.
type filter struct {
	static    vrf.FilterStatic
	tampered  bool // somebody changed a rule
	installed vrf.InstalledFilter
	drops     map[string]vrf.Drops
}

// readFilter gives the filter as a host that desires it sees it.
func (k *Kernel) readFilter(desired vrf.Host) vrf.InstalledFilter {
	if k.filter == nil {
		return vrf.InstalledFilter{}
	}
	f := k.filter.installed
	f.Whole = !k.filter.tampered && k.filter.static.Equal(vrf.StaticFilter(desired))
	return f
}

// buildFilter and changeFilter are transactions: all of it or nothing.
func (k *Kernel) buildFilter(o vrf.BuildFilter) error {
	if k.NoFilter {
		return errNoFilter
	}
	if err := overlapping(o.Elements); err != nil {
		return err
	}
	k.filter = &filter{static: o.Static, installed: vrf.InstalledFilter{Elements: vrf.ByLink(o.Elements)}, drops: map[string]vrf.Drops{}}
	return nil
}

func (k *Kernel) changeFilter(o vrf.ChangeFilter) error {
	if k.filter == nil {
		return errNoSet
	}
	changed := k.filter.installed.Merge(o)
	for _, e := range o.Add {
		if err := overlapping(changed.Elements[e.Link]); err != nil {
			return err
		}
	}
	k.filter.installed = changed
	return nil
}

func overlapping(list []vrf.FilterElement) error {
	for link, of := range vrf.ByLink(list) {
		for i, e := range of {
			for _, other := range of[i+1:] {
				if e.Interval() && other.Interval() && e.Prefix.Overlaps(other.Prefix) {
					return fmt.Errorf("%s: %s and %s: %w", link, e.Prefix, other.Prefix, errOverlap)
				}
			}
		}
	}
	return nil
}

// Passes tells whether a packet from a tap's guest with this MAC and source
// would be forwarded: the tap is up, the host forwards, and nothing filters it.
func (k *Kernel) Passes(tap string, mac [6]byte, source netip.Addr) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.links[tap]
	if l == nil || !l.Up || k.sysctls["ipv4/ip_forward"] != "1" {
		return false
	}
	if k.filter == nil {
		return true
	}
	of := k.filter.installed.Elements[tap]
	has := func(e vrf.FilterElement) bool { e.Link = tap; return slices.Contains(of, e) }
	switch {
	case has(vrf.FilterElement{Set: vrf.SetTaps}):
	case has(vrf.FilterElement{Set: vrf.SetExempt}):
		return true
	case l.Group != vrf.TapGroup:
		return true
	}
	if l.Master == "" && has(vrf.FilterElement{Set: vrf.SetVRFTaps}) {
		return false
	}
	return has(vrf.FilterElement{Set: vrf.SetMACs, MAC: mac}) && slices.ContainsFunc(of, func(e vrf.FilterElement) bool {
		return e.Set == vrf.SetSources && e.Prefix.Contains(source)
	})
}

// FlushFilter does what `nft flush ruleset` does.
func (k *Kernel) FlushFilter() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.filter = nil
}

// DeleteFilterRule deletes a rule of the filter.
func (k *Kernel) DeleteFilterRule() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.filter != nil {
		k.filter.tampered = true
	}
}

// Drops gives what was set with CountDrops.
func (k *Kernel) Drops(context.Context) (map[string]vrf.Drops, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.filter == nil {
		return map[string]vrf.Drops{}, nil
	}
	out := make(map[string]vrf.Drops, len(k.filter.drops))
	for tap, d := range k.filter.drops {
		out[tap] = d
	}
	return out, nil
}

// CountDrops sets a tap's counters.
func (k *Kernel) CountDrops(tap string, d vrf.Drops) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.filter != nil {
		k.filter.drops[tap] = d
	}
}
