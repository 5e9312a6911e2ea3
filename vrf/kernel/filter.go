package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/vrf"
)

// ErrNoFilter: the kernel can't hold the filter, so no guest may be connected.
var ErrNoFilter = errors.New("this kernel can't filter guests, so they are not connected: it needs nf_tables (CONFIG_NF_TABLES with INET and ARP, module nf_tables) with sets of concatenated intervals, which Linux has since 5.6; boot a newer kernel")

// filterState is the filter as it was read last, or as we made it since.
type filterState struct {
	socket *nft
	// generation is the ruleset's when it was read; 0: read again. Where it is
	// still the same nobody changed anything, and nothing need be read.
	generation uint32
	found      []string // what was found, as describe says it
	torn       bool     // an element is in one of its sets and not in the other
	installed  vrf.InstalledFilter
	rules      *ruleset // those that were desired last
}

// ruleset encodes the rules, once for as long as the configuration stays.
func (f *filterState) ruleset(s vrf.FilterStatic) (*ruleset, error) {
	if f.rules != nil && f.rules.static.Equal(s) {
		return f.rules, nil
	}
	rules, err := newRuleset(s)
	if err == nil {
		f.rules = rules
	}
	return rules, err
}

func (k *Kernel) openFilter() error {
	if k.filter.socket != nil {
		return nil
	}
	s, err := dialNFT(k.ns)
	if err == nil {
		k.filter.socket = s
	}
	return err
}

// readFilter reads the filter if somebody has changed the ruleset since. A
// kernel without nf_tables has none.
func (k *Kernel) readFilter(ctx context.Context, desired vrf.Host) (vrf.InstalledFilter, error) {
	want, err := k.filter.ruleset(vrf.StaticFilter(desired))
	if err != nil {
		return vrf.InstalledFilter{}, err
	}
	if err := k.openFilter(); err != nil {
		return vrf.InstalledFilter{}, ignoreMissing(err)
	}
	generation, err := k.filter.socket.generation(ctx)
	if err != nil {
		return vrf.InstalledFilter{}, ignoreMissing(err)
	}
	if generation != k.filter.generation {
		if err := k.rereadFilter(ctx); err != nil {
			return vrf.InstalledFilter{}, err
		}
	}
	f := k.filter.installed
	f.Whole = !k.filter.torn && slices.Equal(k.filter.found, want.description)
	return f, nil
}

// ignoreMissing: that there can be no filter is for the operation to say that
// would make one.
func ignoreMissing(err error) error {
	switch {
	case noNFT(err):
		return nil
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w: %w", ErrNotPermitted, err)
	}
	return err
}

// rereadFilter reads all of it, and again if it changed meanwhile.
func (k *Kernel) rereadFilter(ctx context.Context) error {
	s := k.filter.socket
	k.filter.generation = 0
	return retry("the filter", func() error {
		before, err := s.generation(ctx)
		if err != nil {
			return err
		}
		k.filter.found, err = s.describe(ctx)
		if err != nil {
			return err
		}
		elements, torn, err := s.elements(ctx)
		if err != nil {
			return err
		}
		after, err := s.generation(ctx)
		if err != nil {
			return err
		}
		if before != after {
			return errInterrupted
		}
		k.filter.installed = vrf.InstalledFilter{Elements: vrf.ByLink(elements)}
		k.filter.generation, k.filter.torn = after, torn
		return nil
	})
}

// buildFilter replaces the tables in one transaction.
func (k *Kernel) buildFilter(o vrf.BuildFilter) error {
	rules, err := k.filter.ruleset(o.Static)
	if err != nil {
		return err
	}
	if err := k.openFilter(); err != nil {
		return explainFilter(err)
	}
	k.filter.generation = 0
	n := k.filter.socket
	n.start(0)
	for _, t := range rules.tables {
		n.table(t.family)
		for i, s := range t.sets {
			n.set(t.family, s, uint32(i+1))
		}
		for _, c := range t.chains {
			if c.hook < 0 {
				n.chain(t.family, c)
			}
		}
		for _, c := range t.chains {
			if c.hook >= 0 {
				n.chain(t.family, c)
			}
		}
		if err := n.rules(t, rules.fingerprint); err != nil {
			return err
		}
	}
	n.putElements(unix.NFT_MSG_NEWSETELEM, o.Elements)
	return explainFilter(n.commit())
}

// explainFilter says what is missing where the kernel refuses what ours is made
// of.
func explainFilter(err error) error {
	if err == nil || !noNFT(err) && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrNoFilter, err)
}

// changeFilter changes elements. It is made for the ruleset that the plan was
// made for; if that has changed, it is tried on what is there, without removing
// what is gone.
func (k *Kernel) changeFilter(ctx context.Context, o vrf.ChangeFilter) error {
	if err := k.openFilter(); err != nil {
		return err
	}
	expected := k.filter.generation
	if expected != 0 {
		err := k.tryChange(expected, o)
		if err == nil {
			k.filter.generation = expected + 1 // the kernel skips 0, and so do we: it means to read again
			k.filter.installed = k.filter.installed.Merge(o)
			return nil
		}
		k.filter.generation = 0
		if !errors.Is(err, errGeneration) && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	there, _, err := k.filter.socket.elements(ctx)
	if err != nil {
		return fmt.Errorf("reading the filter: %w", err)
	}
	o.Remove = slices.DeleteFunc(slices.Clone(o.Remove), func(e vrf.FilterElement) bool { return !slices.Contains(there, e) })
	return k.tryChange(0, o)
}

func (k *Kernel) tryChange(generation uint32, o vrf.ChangeFilter) error {
	n := k.filter.socket
	n.start(generation)
	n.putElements(unix.NFT_MSG_DELSETELEM, o.Remove)
	n.putElements(unix.NFT_MSG_NEWSETELEM, o.Add)
	return n.commit()
}

// place is a set of a table.
type place struct {
	family byte
	set    string
}

// places are the sets of the kernel that an element is in: ARP has its own
// table, and sets of both families have two.
func places(e vrf.FilterElement) []place {
	name := string(e.Set)
	switch e.Set {
	case vrf.SetVRFTaps:
		return []place{{unix.NFPROTO_INET, name}}
	case vrf.SetSources, vrf.SetGateways:
		if e.Prefix.Addr().Is6() {
			return []place{{unix.NFPROTO_INET, name + "6"}}
		}
		name += "4"
	}
	return []place{{unix.NFPROTO_INET, name}, {unix.NFPROTO_ARP, name}}
}

// elementSets are all places of elements of ours.
var elementSets = []place{
	{unix.NFPROTO_INET, "taps"}, {unix.NFPROTO_INET, "vrftaps"}, {unix.NFPROTO_INET, "exempt"}, {unix.NFPROTO_INET, "macs"},
	{unix.NFPROTO_INET, "sources4"}, {unix.NFPROTO_INET, "sources6"}, {unix.NFPROTO_INET, "gateways4"}, {unix.NFPROTO_INET, "gateways6"},
	{unix.NFPROTO_ARP, "taps"}, {unix.NFPROTO_ARP, "exempt"}, {unix.NFPROTO_ARP, "macs"}, {unix.NFPROTO_ARP, "sources4"}, {unix.NFPROTO_ARP, "gateways4"},
}

// elements reads them. torn tells that one is missing in one of its places.
func (n *nft) elements(ctx context.Context) (list []vrf.FilterElement, torn bool, err error) {
	seen := map[vrf.FilterElement]int{}
	for _, p := range elementSets {
		err := n.setElements(ctx, p, func(e *element) {
			f, ok := e.decode(p.set)
			if !ok {
				torn = true
				return
			}
			seen[f]++
		})
		if err != nil {
			return nil, false, err
		}
	}
	list = make([]vrf.FilterElement, 0, len(seen))
	for e, times := range seen {
		list = append(list, e)
		torn = torn || times != len(places(e))
	}
	return list, torn, nil
}

// decode reads an element back.
func (e *element) decode(set string) (vrf.FilterElement, bool) {
	family6 := strings.HasSuffix(set, "6")
	f := vrf.FilterElement{Set: vrf.FilterSet(strings.TrimRight(set, "46"))}
	if len(e.key) < int(typeName.size) {
		return f, false
	}
	f.Link = cString(e.key[:typeName.size])
	rest := e.key[typeName.size:]
	switch f.Set {
	case vrf.SetMACs:
		if len(rest) < 6 {
			return f, false
		}
		copy(f.MAC[:], rest)
	case vrf.SetSources, vrf.SetGateways:
		first, ok := netip.AddrFromSlice(rest)
		if !ok || first.Is6() != family6 {
			return f, false
		}
		last := first
		if len(e.end) == len(e.key) {
			last, _ = netip.AddrFromSlice(e.end[typeName.size:])
		}
		f.Prefix, ok = span(first, last)
		return f, ok
	}
	return f, true
}

// span is the prefix from a first to a last address, if there is one.
func span(first, last netip.Addr) (netip.Prefix, bool) {
	for bits := range first.BitLen() + 1 {
		if p := netip.PrefixFrom(first, bits); p.Masked() == p && lastOf(p) == last {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// key is an element's key, and its end in a set of intervals.
func key(e vrf.FilterElement) (first, last []byte) {
	first = nameBytes(e.Link)
	switch e.Set {
	case vrf.SetMACs:
		first = append(first, e.MAC[:]...)
		first = append(first, 0, 0)
	case vrf.SetGateways:
		first = append(first, e.Prefix.Addr().AsSlice()...)
	case vrf.SetSources:
		last = append(slices.Clone(first), lastOf(e.Prefix).AsSlice()...)
		first = append(first, e.Prefix.Masked().Addr().AsSlice()...)
	}
	return first, last
}

// Drops reads what was kept from each tap's guest. A tap from which nothing
// was dropped for a week starts anew, which bounds what the sets hold.
func (k *Kernel) Drops(ctx context.Context) (map[string]vrf.Drops, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	drops := map[string]vrf.Drops{}
	if err := k.openFilter(); err != nil {
		return drops, ignoreMissing(err)
	}
	for _, f := range []byte{unix.NFPROTO_INET, unix.NFPROTO_ARP} {
		for name, field := range map[string]func(*vrf.Drops) *uint64{
			"spoofed": func(d *vrf.Drops) *uint64 { return &d.Spoofed },
			"refused": func(d *vrf.Drops) *uint64 { return &d.Refused },
			"limited": func(d *vrf.Drops) *uint64 { return &d.Limited },
		} {
			err := k.filter.socket.setElements(ctx, place{f, name}, func(e *element) {
				tap := cString(e.key)
				d := drops[tap]
				*field(&d) += e.packets
				drops[tap] = d
			})
			if err = ignoreMissing(err); err != nil {
				return nil, fmt.Errorf("reading the filter's counters: %w", err)
			}
		}
	}
	return drops, nil
}

// element is an element of a set as it was read.
type element struct {
	key, end []byte
	packets  uint64
}

// setElements reads a set.
func (n *nft) setElements(ctx context.Context, p place, f func(*element)) error {
	return n.list(ctx, unix.NFT_MSG_GETSETELEM, p.family, func() {
		n.text(unix.NFTA_SET_ELEM_LIST_TABLE, filterTable)
		n.text(unix.NFTA_SET_ELEM_LIST_SET, p.set)
	}, func(_ byte, b []byte) {
		attributes(b, func(kind uint16, data []byte) {
			if kind != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
				return
			}
			attributes(data, func(_ uint16, data []byte) {
				var e element
				e.parse(data)
				f(&e)
			})
		})
	})
}

const setElemKeyEnd = 10 // NFTA_SET_ELEM_KEY_END, Linux 5.6

func (e *element) parse(b []byte) {
	attributes(b, func(kind uint16, data []byte) {
		switch kind {
		case unix.NFTA_SET_ELEM_KEY:
			attributes(data, func(_ uint16, v []byte) { e.key = v })
		case setElemKeyEnd:
			attributes(data, func(_ uint16, v []byte) { e.end = v })
		case unix.NFTA_SET_ELEM_EXPR:
			attributes(data, func(kind uint16, v []byte) {
				if kind == unix.NFTA_EXPR_DATA {
					attributes(v, func(kind uint16, v []byte) {
						if kind == unix.NFTA_COUNTER_PACKETS {
							e.packets = be64(v)
						}
					})
				}
			})
		}
	})
}

// mostElements keeps the list of elements of a message below the 64 KiB that
// its length can say.
const mostElements = 256

// putElements writes elements, set by set.
func (n *nft) putElements(kind uint16, list []vrf.FilterElement) {
	bySet := map[place][]vrf.FilterElement{}
	for _, e := range list {
		for _, p := range places(e) {
			bySet[p] = append(bySet[p], e)
		}
	}
	for _, p := range elementSets {
		for part := range slices.Chunk(bySet[p], mostElements) {
			n.change(kind, unix.NLM_F_CREATE, p.family, fmt.Sprintf("set %s with %s", p.set, part[0]), func() {
				n.text(unix.NFTA_SET_ELEM_LIST_TABLE, filterTable)
				n.text(unix.NFTA_SET_ELEM_LIST_SET, p.set)
				n.nested(unix.NFTA_SET_ELEM_LIST_ELEMENTS, func() {
					for _, e := range part {
						n.nested(unix.NFTA_LIST_ELEM, func() { n.putKey(e) })
					}
				})
			})
		}
	}
}

func (n *nft) putKey(e vrf.FilterElement) {
	first, last := key(e)
	n.nested(unix.NFTA_SET_ELEM_KEY, func() { n.attr(unix.NFTA_DATA_VALUE, first) })
	if last != nil {
		n.nested(setElemKeyEnd, func() { n.attr(unix.NFTA_DATA_VALUE, last) })
	}
}
