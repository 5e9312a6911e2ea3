package conformance

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/hostroute/hostroute/vrf"
)

// Chooser draws a number below n: a property test's generator, or a seeded one
// where a shrinking property test would take too long.
type Chooser func(label string, n int) int

// Fatalf is how a walk fails.
type Fatalf func(format string, args ...any)

// Walk does random things to a FIB and the links below it, and checks after
// each that no route leads where it must not; and at the end, with all links
// back, that everything is where it was learned to be.
func Walk(t *testing.T, s Setup, choose Chooser, fatalf Fatalf, steps int) {
	w := &walk{bench: newLearnedBench(t, s), t: t, choose: choose, fatalf: fatalf,
		want: map[netip.Prefix]vrf.Change{}, taken: map[netip.Prefix]bool{}, working: map[string]bool{"u0": true, "u1": true}, told: map[string]bool{"u0": true, "u1": true}}
	acts := []func(){w.apply, w.apply, w.apply, w.carrier, w.tell, w.restart, w.foreign, w.damage, w.repair, w.bounce}
	for range steps {
		acts[choose("action", len(acts))]()
		w.check()
	}
	w.end()
}

type walk struct {
	*bench
	t       *testing.T
	choose  Chooser
	fatalf  Fatalf
	want    map[netip.Prefix]vrf.Change // what was learned
	taken   map[netip.Prefix]bool       // where somebody else's route stands
	working map[string]bool             // carrier
	told    map[string]bool             // what the FIB was told of the planes
}

const pool = 12 // prefixes per family, few, so that they meet again

func (w *walk) prefix() netip.Prefix {
	n := w.choose("prefix", pool)
	if w.choose("family", 2) == 0 {
		return prefix(fmt.Sprintf("192.0.2.%d/32", n))
	}
	return prefix(fmt.Sprintf("2001:db8::%d/128", n))
}

func (w *walk) hops(p netip.Prefix) []vrf.NextHop {
	var list []vrf.NextHop
	for n := range 1 + w.choose("routers", 2) {
		router := ecmp(2 + (n+w.choose("router", 3))%4)
		if p.Addr().Is6() || w.choose("IPv6 gateway", 4) == 0 {
			router = ecmp6(2 + (n+w.choose("router", 3))%4)
		}
		switch w.choose("planes", 4) {
		case 0:
			router = router[:1]
		case 1:
			router = router[1:]
		}
		for _, h := range router {
			if !slices.Contains(list, h) {
				list = append(list, h)
			}
		}
	}
	return list
}

func (w *walk) apply() {
	changes := map[netip.Prefix]vrf.Change{}
	for range 1 + w.choose("changes", 6) {
		c := vrf.Change{Prefix: w.prefix()}
		if w.choose("withdraw", 3) > 0 {
			c.NextHops = w.hops(c.Prefix)
		}
		changes[c.Prefix] = c
	}
	list := slices.Collect(maps.Values(changes))
	slices.SortFunc(list, func(a, b vrf.Change) int { return a.Prefix.Compare(b.Prefix) })
	for _, c := range list {
		w.want[c.Prefix] = c
		if len(c.NextHops) == 0 {
			delete(w.want, c.Prefix)
		}
	}
	w.allow(w.fib.Apply(w.t.Context(), "public", list))
}

// allow fails on any error but that of a place that is taken.
func (w *walk) allow(err error) {
	if err != nil && !(errors.Is(err, vrf.ErrExists) && len(w.taken) > 0) {
		w.fatalf("%v", err)
	}
}

func (w *walk) repair() { w.allow(w.fib.Repair(w.t.Context())) }

func (w *walk) uplink() string { return []string{"u0", "u1"}[w.choose("uplink", 2)] }

func (w *walk) carrier() {
	u := w.uplink()
	w.working[u] = !w.working[u]
	w.SetCarrier(u, w.working[u])
	w.repair()
}

// bounce takes an uplink down and up; the FIB hears of it when it is over.
func (w *walk) bounce() {
	u := w.uplink()
	if !w.working[u] {
		return
	}
	w.SetUp(u, false)
	w.SetUp(u, true)
	w.converge(w.t, sweeping())
	w.SetCarrier(u, true)
	w.repair()
}

func (w *walk) tell() {
	u := w.uplink()
	w.told[u] = !w.told[u]
	w.allow(w.fib.UplinkChanged(w.t.Context(), u, w.told[u]))
}

func (w *walk) restart() {
	w.fib = w.newFIB()
	if _, err := w.fib.Adopt(w.t.Context()); err != nil {
		w.fatalf("adopting: %v", err)
	}
	w.told = map[string]bool{"u0": true, "u1": true}
	all := slices.SortedFunc(maps.Values(w.want), func(a, b vrf.Change) int { return a.Prefix.Compare(b.Prefix) })
	w.allow(w.fib.Apply(w.t.Context(), "public", all))
	if _, err := w.fib.Sweep(w.t.Context(), "public"); err != nil {
		w.fatalf("sweeping: %v", err)
	}
	w.repair()
}

// foreign puts somebody else's route in a place, or takes it away.
func (w *walk) foreign() {
	p := w.prefix()
	switch _, ours := w.learned(w.t, 90)[p]; {
	case w.taken[p]:
		w.DeleteForeignRoute(90, p, vrf.MetricLearned)
		delete(w.taken, p)
	case !ours:
		w.AddForeignRoute(90, p, vrf.MetricLearned)
		w.taken[p] = true
	}
}

// damage deletes routes of ours, or puts somebody else's in their place, and tells
// the FIB of these and of some that are as they were.
func (w *walk) damage() {
	there := w.learned(w.t, 90)
	var told []netip.Prefix
	for range 1 + w.choose("damaged", 4) {
		p := w.prefix()
		told = append(told, p)
		if _, ours := there[p]; !ours {
			continue
		}
		switch w.choose("damage", 4) {
		case 0: // none: somebody undid it
		case 1:
			w.AddForeignRoute(90, p, vrf.MetricLearned)
			w.taken[p] = true
		default:
			w.behind(w.t, vrf.RouteWrite{Prefix: p, Table: 90, Verb: vrf.Delete})
		}
	}
	w.allow(w.fib.Lost(w.t.Context(), "public", told))
}

// usable tells whether an uplink has carrier and nobody said that its plane is
// lost.
func (w *walk) usable(uplink string) bool { return w.working[uplink] && w.told[uplink] }

func (w *walk) check() {
	got := w.learned(w.t, 90)
	for p, c := range w.want {
		if w.taken[p] {
			continue
		}
		all := w.expected([]vrf.Change{c}, "u0", "u1")[p]
		alive := false
		for _, h := range c.NextHops {
			alive = alive || w.usable(h.Uplink)
		}
		for hop := range strings.FieldsSeq(got[p]) {
			_, uplink, _ := strings.Cut(hop, "@")
			if !slices.Contains(strings.Fields(all), hop) {
				w.fatalf("%s goes to %s and was learned from %s", p, hop, all)
			}
			if alive && !w.usable(uplink) {
				w.fatalf("%s goes to %s on a lost plane, with %s to choose from", p, hop, all)
			}
		}
		if alive && got[p] == "" && !w.waiting(p) {
			w.fatalf("%s is not in the kernel, with %s to choose from", p, all)
		}
	}
	for p := range got {
		if _, ok := w.want[p]; !ok {
			w.fatalf("%s is in the kernel, and was not learned", p)
		}
	}
	w.checkOwn()
	if n := len(w.Foreign()); n != len(w.taken) {
		w.fatalf("%d routes of others are there, want %d: %q", n, len(w.taken), w.Foreign())
	}
}

// checkOwn: each anycast prefix has a group of its own, and nothing else has.
func (w *walk) checkOwn() {
	want := 0
	for _, c := range w.want {
		if several(c.NextHops) && !w.Plain && !w.Shared {
			want++
		}
	}
	if n := w.fib.Stats("public").Own; n != want {
		w.fatalf("%d prefixes have a group of their own, want %d", n, want)
	}
}

// waiting: the place was taken, and nobody has told the FIB that it is free.
func (w *walk) waiting(netip.Prefix) bool { return w.fib.Stats("public").Dirty > 0 }

func (w *walk) end() {
	for p := range w.taken {
		w.DeleteForeignRoute(90, p, vrf.MetricLearned)
	}
	w.taken = nil
	for _, u := range []string{"u0", "u1"} {
		w.SetCarrier(u, true)
		w.working[u], w.told[u] = true, true
		w.allow(w.fib.UplinkChanged(w.t.Context(), u, true))
	}
	all := slices.Collect(maps.Values(w.want))
	w.wantLearned(w.t, w.expected(all, "u0", "u1"))
	w.bench.apply(w.t, withdrawn(all))
	if n := w.objects(w.t); n != 0 {
		w.fatalf("%d next hops are left over", n)
	}
}
