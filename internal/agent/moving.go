package agent

import (
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/arrival"
	"github.com/hostroute/hostroute/internal/bgp"
	"github.com/hostroute/hostroute/internal/bgp/session"
	"github.com/hostroute/hostroute/internal/handover"
	"github.com/hostroute/hostroute/projector"
	"github.com/hostroute/hostroute/vrf"
)

// Paths is what was learned of the prefixes that may move.
type Paths interface {
	// Watch names those whose changes wake the apply loop, by VRF.
	Watch(prefixes map[string][]netip.Prefix)
	// WatchAlso names further ones.
	WatchAlso(prefixes map[string][]netip.Prefix)
	// Path gives the best learned path of exactly this prefix; false: none.
	Path(vrf string, prefix netip.Prefix) (session.Path, bool)
	// PathVersion is another number whenever Path may give another answer for a
	// watched prefix.
	PathVersion() uint64
}

// checkAgain is how soon a prefix that was yielded is looked at again while the
// log isn't in sync, which wakes nobody when it is.
const checkAgain = time.Second

// moving carries to the handover machine what a round knows, and keeps what it
// says for those who ask.
type moving struct {
	hypervisor string
	paths      Paths                // nil: nothing is learned
	clock      func() time.Duration // since any origin; never goes back
	next       handover.Instant
	homed      homed
	awaited    bool // it matters for a prefix that its tap comes or goes

	mu      sync.Mutex
	machine *handover.Machine
}

func newMoving(hypervisor string) *moving {
	start := time.Now()
	return &moving{
		hypervisor: hypervisor, machine: handover.New(), next: handover.Never,
		clock: func() time.Duration { return time.Since(start) },
	}
}

// sinceBoot is the time that this host is up, also while it slept.
func sinceBoot() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic("CLOCK_BOOTTIME: " + err.Error()) // which Linux has since 2.6.39
	}
	return time.Duration(t.Nano())
}

func (m *moving) now() handover.Instant { return handover.Instant(m.clock()) }

// saw notes that a guest has spoken on its prepared tap.
func (m *moving) saw(vm string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.machine.Seen(vm) // for the next round
}

// arrived tells which guests that this hypervisor prepares for are here already.
func (m *moving) arrived(now handover.Instant, s *projector.State) func(vm string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	var preparing []string
	for g := range s.EachGuest() {
		if g.Duty(m.hypervisor) == projector.DutyPrepare {
			preparing = append(preparing, g.VM)
		}
	}
	return m.machine.Arrived(now, preparing)
}

// step asks the machine.
func (m *moving) step(now handover.Instant, in handover.Input) handover.Output {
	in.Path = m.path
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.paths != nil {
		in.Paths = m.paths.PathVersion() + 1 // before any is looked at
		m.watch(now, in)
	}
	out := m.machine.Step(now, in)
	m.next = out.Next
	if len(out.Withheld) > 0 && !in.Current {
		m.next = min(m.next, now.Add(checkAgain))
	}
	return out
}

// watch has the paths watched that matter for the next step. What is new is added before
// they are looked at; what matters no more is left out within a second.
func (m *moving) watch(now handover.Instant, in handover.Input) {
	byVRF := func(keys []handover.Key) map[string][]netip.Prefix {
		prefixes := map[string][]netip.Prefix{}
		for _, key := range keys {
			prefixes[key.VRF] = append(prefixes[key.VRF], key.Prefix)
		}
		return prefixes
	}
	switch more, all := m.machine.Watch(now, in); {
	case all:
		m.paths.Watch(byVRF(more))
	case len(more) > 0:
		m.paths.WatchAlso(byVRF(more))
	}
}

func (m *moving) path(key handover.Key) (handover.Path, bool) {
	if m.paths == nil {
		return handover.Path{}, false
	}
	p, ok := m.paths.Path(key.VRF, key.Prefix)
	return handover.Path{Preference: p.Preference, Highest: p.Highest, Originator: p.Originator, Written: p.Written}, ok
}

// leastPause is how long a round is put off at least for what is due by time alone: that is so
// after seconds, but for a look behind the first round, and what many moves leave to be done
// is done together.
const leastPause = 20 * time.Millisecond

// pause is how long a round may be put off for the machine.
func (m *moving) pause() time.Duration {
	if m.next == handover.Never {
		return resyncInterval
	}
	return max(leastPause, min(resyncInterval, m.next.Sub(m.now())))
}

// homed is what own found last, and what from.
type homed struct {
	guests  []*projector.Guest
	early   bool // one was among them
	version uint64
	list    []handover.Own
	ends    []int // where each guest's prefixes end in the list
}

// of gives what a guest had, if it is the same one; next is where to look first.
func (h *homed) of(next int, g *projector.Guest) (list []handover.Own, at int) {
	for _, at := range [...]int{next, next + 1, next - 1} { // one that is gone, or new, puts the others off by one
		if at >= 0 && at < len(h.guests) && h.guests[at] == g {
			from := 0
			if at > 0 {
				from = h.ends[at-1]
			}
			return h.list[from:h.ends[at]], at
		}
	}
	return nil, -1
}

// own lists the prefixes that are homed here, those of guests that have arrived
// early among them. The version is that of the presence of taps.
func (m *moving) own(s *projector.State, arrived func(string) bool, present map[string]bool, version uint64) []handover.Own {
	h := &m.homed
	guests := s.Guests()
	if !h.early && h.version == version && slices.Equal(guests, h.guests) && !slices.ContainsFunc(guests, func(g *projector.Guest) bool { return m.early(g, arrived) }) {
		return h.list
	}
	last := m.homed
	if last.early || last.version != version {
		last = homed{} // whose prefixes may be others
	}
	list := make([]handover.Own, 0, len(h.list)+len(guests)/8+8)
	*h = homed{guests: guests, version: version, ends: make([]int, 0, len(guests))}
	next := 0
	for _, g := range guests {
		early := m.early(g, arrived)
		h.early = h.early || early
		had, at := last.of(next, g)
		next = max(next, at) + 1
		switch {
		case at >= 0 && !early:
			list = append(list, had...)
		case early || g.Duty(m.hypervisor) == projector.DutyHome:
			list = appendOwn(list, g, early, present)
		}
		h.ends = append(h.ends, len(list))
	}
	h.list = list
	m.awaited = slices.ContainsFunc(list, func(o handover.Own) bool { return o.Came || o.Leaving })
	return list
}

// early tells whether a guest is here before the log says so.
func (m *moving) early(g *projector.Guest, arrived func(string) bool) bool {
	return g.Duty(m.hypervisor) == projector.DutyPrepare && arrived(g.VM)
}

func appendOwn(list []handover.Own, g *projector.Guest, early bool, present map[string]bool) []handover.Own {
	for _, a := range g.Addresses {
		f := &g.Interfaces[a.Interface]
		moves, tap := g.MovesOf(a), f.Tap
		if early {
			moves, tap = moves+1, g.Next.Taps[a.Interface]
		}
		list = append(list, handover.Own{
			Key: handover.Key{VRF: f.VRF, Prefix: a.Prefix}, VM: g.VM, Epoch: g.Epoch, Preference: bgp.Preference(moves, false),
			Anycast: a.Role == events.RoleAnycast, Came: g.Previous != nil || early, Leaving: g.Next != nil && !early, Early: early, Served: present[tap],
		})
	}
	return list
}

// expected lists the guests that this hypervisor prepares for, by their taps.
func expected(s *projector.State, host projector.Host, hypervisor string) map[string]arrival.Guest {
	taps := map[string]arrival.Guest{}
	if host.Fenced {
		return taps
	}
	for g := range s.EachGuest() {
		if g.Duty(hypervisor) == projector.DutyPrepare {
			for i, tap := range g.Next.Taps {
				guest := arrival.Guest{VM: g.VM, MAC: g.Interfaces[i].MAC.Octets}
				if prepared(host, tap, guest.MAC) {
					taps[tap] = guest
				}
			}
		}
	}
	return taps
}

// prepared tells whether a tap is a guest's, as the filter holds it to be: on one
// that another guest has already, that one could speak with any MAC.
func prepared(host projector.Host, tap string, mac [6]byte) bool {
	return slices.ContainsFunc(host.Taps, func(t vrf.Tap) bool { return t.Name == tap && t.MAC == mac })
}

// departures is what has left, for the machine.
func departures(host projector.Host) []handover.Departure {
	list := make([]handover.Departure, len(host.Departures))
	for i, d := range host.Departures {
		list[i] = handover.Departure{Key: handover.Key{VRF: d.VRF, Prefix: d.Prefix}, VM: d.VM, To: d.To, Epoch: d.Epoch, Preference: d.Preference}
	}
	return list
}

// withhold leaves the routes of withheld prefixes out. The rest of their taps
// stays as it is: the filter, the neighbours, what the guest is told.
func withhold(taps []vrf.Tap, withheld map[handover.Key]bool) []vrf.Tap {
	if len(withheld) == 0 {
		return taps
	}
	taps = slices.Clone(taps)
	for i, t := range taps {
		taps[i].Routes = slices.DeleteFunc(slices.Clone(t.Routes), func(r vrf.Route) bool {
			return withheld[handover.Key{VRF: t.VRF, Prefix: r.Prefix}]
		})
	}
	return taps
}

// blackholes gives those of VRFs that this hypervisor has.
func (a *applier) blackholes(drop []handover.Blackhole) (list []vrf.Blackhole) {
	for _, b := range drop {
		if slices.ContainsFunc(a.fixed.VRFs, func(v vrf.VRF) bool { return v.Name == b.VRF }) {
			list = append(list, vrf.Blackhole{VRF: b.VRF, Prefix: b.Prefix, Over: b.Over})
		}
	}
	return list
}

// account adds to what is withheld what has left: routes of these in the kernel
// are nobody's orphans.
func account(withheld map[handover.Key]bool, gone []handover.Departure) map[handover.Key]bool {
	accounted := maps.Clone(withheld)
	for _, d := range gone {
		accounted[d.Key] = true
	}
	return accounted
}

// Saw has the next round know that an expected guest has come.
func (a *applier) Saw(vm string) {
	a.moving.saw(vm)
	a.Wake()
}
