package kernel

import (
	"context"
	"errors"
	"fmt"
	"slices"

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
	if n := k.filter.socket; n != nil {
		if !n.spoilt {
			return nil
		}
		_ = n.close()
		k.filter.socket = nil
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
