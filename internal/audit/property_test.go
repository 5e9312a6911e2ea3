package audit

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/projector"
)

// moments lists sequences worth asking about: every event, just before it, and
// beyond the end.
func (w *world) moments() []uint64 {
	list := []uint64{0, w.next + 100}
	for _, r := range w.records {
		list = append(list, r.Sequence-1, r.Sequence)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func sorted(list []string) string {
	slices.Sort(list)
	return strings.Join(list, "\n")
}

// holdersOf says in a line each who has what contains an address.
func holdersOf(s *projector.State, p netip.Prefix) string {
	var list []string
	for _, g := range s.Guests() {
		for _, a := range g.Addresses {
			if a.Prefix.Bits() <= p.Bits() && a.Prefix.Contains(p.Addr()) {
				f := g.Interfaces[a.Interface]
				fenced := s.Hypervisor(g.Hypervisor).Fenced
				list = append(list, fmt.Sprint(a.Prefix, f.VRF, g.VM, a.Role, f.Network, f.MAC, g.Hypervisor, f.Tap, fenced))
			}
		}
	}
	return sorted(list)
}

func TestAddressIsWhatTheStateSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		offset := rapid.IntRange(0, 8).Draw(t, "offset")
		for _, text := range append(prefixes(), "198.51.100.5/32", "2001:db8:0:1::9/128", "192.0.2.1/32") {
			p := netip.MustParsePrefix(text)
			for i, m := range w.moments() {
				if (i+offset)%(1+p.Bits()/16) > 0 {
					continue // each asks for as many registers as the prefix has bits
				}
				h, _ := answer(w, func(b *Book) (AddressHistory, error) { return b.Address(p, "", At(m)) })
				var list []string
				for _, x := range h.Tenures {
					if len(x.Stays) != 1 {
						t.Fatalf("%s at %d: %d stays of %+v", p, m, len(x.Stays), x)
					}
					s := x.Stays[0]
					list = append(list, fmt.Sprint(x.Prefix, x.VRF, x.VM, x.Role, x.Network, x.MAC, s.Hypervisor, s.Tap, len(s.Fenced) > 0))
				}
				if got, want := sorted(list), holdersOf(w.at(m), p); got != want {
					t.Fatalf("%s at %d:\n%s\n--- want:\n%s", p, m, got, want)
				}
				if len(h.Tenures) > 0 && h.Before == nil && h.After == nil {
					continue
				}
				if b := h.Before; b != nil && (b.Until == nil || b.Until.Sequence > m) || h.After != nil && h.After.From.Sequence <= m {
					t.Fatalf("%s at %d: neighbours %+v and %+v", p, m, h.Before, h.After)
				}
			}
		}
	})
}

// guestText says in one text what a guest is, but for its interfaces' taps.
func guestText(s *projector.State, vm string) string {
	g := s.Guest(vm)
	if g == nil {
		return ""
	}
	list := []string{fmt.Sprint(g.Hypervisor, g.Epoch, g.Hostname, s.Hypervisor(g.Hypervisor).Fenced)}
	for _, f := range g.Interfaces {
		list = append(list, fmt.Sprint("port", f.Tap, f.MAC, f.Network, f.VRF))
	}
	for _, a := range g.Addresses {
		list = append(list, fmt.Sprint(a.Prefix, g.Interfaces[a.Interface].VRF, a.Role, a.Interface))
	}
	if g.Next != nil {
		list = append(list, fmt.Sprint("next", g.Next.Hypervisor, g.Next.Taps))
	}
	return sorted(list)
}

func lifeText(t *rapid.T, h GuestHistory) string {
	if len(h.Lives) == 0 {
		return ""
	}
	l := h.Lives[0]
	if len(h.Lives) != 1 || len(l.Homes) != 1 || len(l.Preparations) > 1 {
		t.Fatalf("not one life and home at one moment: %+v", h.Lives)
	}
	home := l.Homes[0]
	list := []string{fmt.Sprint(home.Hypervisor, home.Epoch, l.Hostname, len(home.Fenced) > 0)}
	for i, f := range l.Interfaces {
		list = append(list, fmt.Sprint("port", home.Taps[i], f.MAC, f.Network, f.VRF))
	}
	for _, a := range l.Addresses {
		list = append(list, fmt.Sprint(a.Prefix, a.VRF, a.Role, a.Interface))
	}
	for _, p := range l.Preparations {
		list = append(list, fmt.Sprint("next", p.Hypervisor, p.Taps))
	}
	return sorted(list)
}

func TestGuestIsWhatTheStateSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		for _, vm := range []string{"vm1", "vm2", "vm3", "vm4", "vm5"} {
			for _, m := range w.moments() {
				h, _ := answer(w, func(b *Book) (GuestHistory, error) { return b.Guest(vm, At(m)) })
				if got, want := lifeText(t, h), guestText(w.at(m), vm); got != want {
					t.Fatalf("%s at %d:\n%s\n--- want:\n%s", vm, m, got, want)
				}
			}
		}
	})
}

func hypervisorText(s *projector.State, name string) string {
	h := s.Hypervisor(name)
	if h == nil {
		return ""
	}
	list := []string{fmt.Sprint("marks", h.Drained, h.Fenced)}
	for _, g := range s.Guests() {
		if g.Hypervisor != name {
			continue
		}
		text := []string{}
		for _, a := range g.Addresses {
			text = append(text, fmt.Sprint(a.Prefix, g.Interfaces[a.Interface].VRF, a.Role))
		}
		list = append(list, fmt.Sprint(g.VM, taps(g), sorted(text)))
	}
	return sorted(list)
}

func TestHypervisorIsWhatTheStateSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		for _, hv := range []string{"hv1", "hv2", "hv3", "hv4"} {
			for _, m := range w.moments() {
				h, _ := answer(w, func(b *Book) (HypervisorHistory, error) { return b.Hypervisor(hv, At(m)) })
				var list []string
				if h.Registered != nil {
					list = append(list, fmt.Sprint("marks", len(h.Drained) > 0, len(h.Fenced) > 0))
				}
				for _, r := range h.Guests {
					text := []string{}
					for _, a := range r.Addresses {
						text = append(text, fmt.Sprint(a.Prefix, a.VRF, a.Role))
					}
					list = append(list, fmt.Sprint(r.VM, r.Taps, sorted(text)))
				}
				if got, want := sorted(list), hypervisorText(w.at(m), hv); got != want {
					t.Fatalf("%s at %d:\n%s\n--- want:\n%s", hv, m, got, want)
				}
			}
		}
	})
}

// TestWindowsAreTheirMoments asks about a window and wants what was so at any
// moment of it, and nothing else.
func TestWindowsAreTheirMoments(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		all := w.moments()
		a, z := rapid.SampledFrom(all).Draw(t, "after"), rapid.SampledFrom(all).Draw(t, "upto")
		window := Window{min(a, z), max(a, z)}
		p := netip.MustParsePrefix("203.0.113.1/32")
		tenure := func(x Tenure) string { return fmt.Sprint(x.Prefix, x.VRF, x.VM, x.From.Sequence) }
		stay := func(x Tenure, s Stay) string { return fmt.Sprint(tenure(x), s.Hypervisor, s.From.Sequence) }
		want := map[string]bool{}
		for _, m := range all {
			if m < window.After || m > window.Upto {
				continue
			}
			h, _ := answer(w, func(b *Book) (AddressHistory, error) { return b.Address(p, "", At(m)) })
			for _, x := range h.Tenures {
				want[tenure(x)], want[stay(x, x.Stays[0])] = true, true
			}
		}
		h, _ := answer(w, func(b *Book) (AddressHistory, error) { return b.Address(p, "", window) })
		got := map[string]bool{}
		for _, x := range h.Tenures {
			got[tenure(x)] = true
			for _, s := range x.Stays {
				got[stay(x, s)] = true
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%+v: got\n%v\nwant\n%v", window, got, want)
		}
	})
}

// TestOriginsAreTheEvents wants every origin in an answer to be an event that
// was published, as it was published.
func TestOriginsAreTheEvents(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		published := map[uint64]string{}
		for _, o := range w.origins {
			published[o.Sequence] = fmt.Sprint(o.Type, o.Source, o.ID, o.Time)
		}
		check := func(s Span) {
			for _, o := range []*Origin{&s.From, s.Until} {
				if o != nil && published[o.Sequence] != fmt.Sprint(o.Type, o.Source, o.ID, o.Time) {
					t.Fatalf("origin %+v; published was %s", o, published[o.Sequence])
				}
			}
		}
		for _, text := range prefixes() {
			p := netip.MustParsePrefix(text)
			h, _ := answer(w, func(b *Book) (AddressHistory, error) { return b.Address(p, "", Always()) })
			for _, x := range h.Tenures {
				check(x.Span)
				for _, s := range x.Stays {
					check(s.Span)
				}
			}
		}
	})
}

// TestComparisonLeadsFromOneStateToTheOther applies a difference to the earlier
// state and wants the later one.
func TestComparisonLeadsFromOneStateToTheOther(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		all := w.moments()
		a, z := rapid.SampledFrom(all).Draw(t, "from"), rapid.SampledFrom(all).Draw(t, "to")
		from, to := min(a, z), max(a, z)
		c := NewComparison(from)
		n := uint64(0)
		for i, r := range w.records {
			if r.Sequence <= to {
				c.Add(w.origins[i], r.Event)
			}
			if r.Sequence > from && r.Sequence <= to {
				n++
			}
		}
		d := c.Result(to)
		if d.Events != n {
			t.Fatalf("%d events between, want %d", d.Events, n)
		}
		facts := factsOf(w.at(from))
		for _, x := range d.Addresses {
			exchange(t, facts, "ip "+x.VRF+" "+x.Prefix.String(), text(x.Before, len(x.Before) > 0), text(x.After, len(x.After) > 0))
		}
		for _, x := range d.Guests {
			exchange(t, facts, "vm "+x.VM, x.Before, x.After)
			if (x.Verb == Moved) != (x.Before != "" && x.After != "" && x.Verb != Recreated) || x.By.Type == "" || x.By.Sequence <= from {
				t.Fatalf("guest %+v", x)
			}
		}
		for _, x := range d.Networks {
			exchange(t, facts, "net "+x.Network, text(x.Before, x.Before != nil), text(x.After, x.After != nil))
		}
		for _, x := range d.Hypervisors {
			exchange(t, facts, "hv "+x.Hypervisor, marksText(x.Before), marksText(x.After))
		}
		if got, want := fmt.Sprint(facts), fmt.Sprint(factsOf(w.at(to))); got != want {
			t.Fatalf("from %d to %d:\n%s\n--- want:\n%s", from, to, got, want)
		}
	})
}

func text(v any, there bool) string {
	if !there {
		return ""
	}
	b, _ := json.Marshal(v)
	return string(b)
}

func marksText(h *projector.Hypervisor) string {
	if h == nil {
		return ""
	}
	return fmt.Sprint(h.Drained, h.Fenced)
}

// factsOf is what a difference is about.
func factsOf(s *projector.State) map[string]string {
	facts := map[string]string{}
	for subject, r := range s.Registers() {
		if !r.Exists() {
			continue
		}
		switch r := r.(type) {
		case *projector.Claim:
			p, _ := events.ParseSubject(subject)
			facts["ip "+p.Name+" "+p.Prefix.String()] = text(holders(r), true)
		case *projector.Guest:
			facts["vm "+r.VM] = r.Hypervisor
		case *projector.Network:
			facts["net "+r.Network] = text(r.NetworkDefined, true)
		case *projector.Hypervisor:
			facts["hv "+r.Name] = marksText(r)
		}
	}
	return facts
}

func exchange(t *rapid.T, facts map[string]string, key, before, after string) {
	if facts[key] != before {
		t.Fatalf("%s was %q, and the difference says %q", key, facts[key], before)
	}
	if facts[key] = after; after == "" {
		delete(facts, key)
	}
}
