package agent

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/hostroute/hostroute/events/log"
	"github.com/hostroute/hostroute/internal/bgp"
	"github.com/hostroute/hostroute/projector"
	"github.com/hostroute/hostroute/vrf"
)

// holdings is what a hypervisor has, and nothing but that decides whether it has
// the effect of an event.
type holdings struct {
	hypervisor string
	state      *projector.State
	tick       uint64 // of the log, the last that concerns this hypervisor
	connected  bool   // to the log
	vrfs       map[string]reflectors
	host       projector.Host // of the last round
	present    map[string]bool
	errs       []string // of the last round
	problems   []string
	failing    []string // services that don't run, each with its tap
	claims     map[target]netip.Addr
	announced  map[target]uint32   // preference
	routes     map[target][]string // taps
	learned    func(target) learnedRoute
	drain      *log.Drain
}

// reflectors are those of a VRF.
type reflectors struct{ configured, established int }

// learnedRoute is the best learned path of a prefix.
type learnedRoute struct {
	known      bool
	preference uint32
	from       netip.Addr // its originator, else its next hop
	refused    bool       // the kernel didn't take it
	waiting    bool       // it isn't written yet, or its end isn't
}

// set takes over what the last round had in view.
func (h *holdings) set(host projector.Host, announced []bgp.Announcement) {
	h.host, h.announced, h.routes = host, map[target]uint32{}, map[target][]string{}
	for _, n := range announced {
		h.announced[target{n.VRF, n.Prefix}] = n.Preference
	}
	for _, tap := range host.Taps {
		for _, r := range tap.Routes {
			t := target{tap.VRF, r.Prefix}
			h.routes[t] = append(h.routes[t], tap.Name)
		}
	}
}

// maxReasons is how many reasons an answer has room for.
const maxReasons = 5

// answer says whether the effect is there, and what is instead.
func (h *holdings) answer(e log.Effect) log.EffectAnswer {
	a := log.EffectAnswer{Tick: h.tick}
	if e.Hypervisor == h.hypervisor {
		a.Lacks = h.own(e)
		if e.Kind == log.EffectDrained {
			a.Drain = h.drain
		}
	} else if a.Unconcerned = !h.concerned(e); a.Unconcerned {
		a.Has, a.Lacks = true, []string{"it has none of these VRFs"}
		return a
	} else {
		for _, p := range e.Prefixes {
			if reason := h.other(e, p); reason != "" {
				a.Lacks = append(a.Lacks, reason)
			}
		}
	}
	a.Has = len(a.Lacks) == 0
	if n := len(a.Lacks); n > maxReasons {
		a.Lacks = append(a.Lacks[:maxReasons:maxReasons], fmt.Sprintf("and %d more", n-maxReasons))
	}
	return a
}

func (h *holdings) concerned(e log.Effect) bool {
	return slices.ContainsFunc(e.Prefixes, func(p log.EffectPrefix) bool { _, ok := h.vrfs[p.VRF]; return ok })
}

// own is what the hypervisor lacks that has to do it.
func (h *holdings) own(e log.Effect) []string {
	if h.tick < e.Sequence {
		if !h.connected {
			return []string{fmt.Sprintf("its log is out of reach, and at sequence %d", h.tick)}
		}
		return []string{fmt.Sprintf("its log is at sequence %d", h.tick)}
	}
	switch e.Kind {
	case log.EffectHomed:
		return h.homed(e)
	case log.EffectPrepared:
		return h.prepared(e)
	case log.EffectEnded:
		return h.ended(e)
	}
	return h.service(e.Kind)
}

// movedOn says that a later event rules.
func movedOn(format string, args ...any) []string {
	return []string{"the log has moved on: " + fmt.Sprintf(format, args...)}
}

func (h *holdings) homed(e log.Effect) (lacks []string) {
	g := h.state.Guest(e.VM)
	if g == nil {
		return movedOn("guest %s is deleted", e.VM)
	}
	if g.Duty(h.hypervisor) != projector.DutyHome {
		return movedOn("guest %s is homed on %s", e.VM, g.Hypervisor)
	}
	if len(e.Prefixes) == 0 {
		return h.ready(e.Taps)
	}
	for _, p := range e.Prefixes {
		if reason := h.delivered(e, p); reason != "" {
			lacks = append(lacks, reason)
		}
	}
	return lacks
}

// delivered is why a prefix isn't delivered and announced here; empty: it is.
func (h *holdings) delivered(e log.Effect, p log.EffectPrefix) string {
	t := target{p.VRF, p.Prefix}
	taps := h.routes[t]
	if !p.Shared {
		taps = slices.DeleteFunc(slices.Clone(taps), func(tap string) bool { return !slices.Contains(e.Taps, tap) })
	}
	preference, announced := h.announced[t]
	sessions, configured := h.vrfs[p.VRF]
	from, claimed := h.claims[t]
	switch {
	case !configured:
		return fmt.Sprintf("VRF %s is not in its configuration", p.VRF)
	case len(taps) == 0:
		return fmt.Sprintf("it has no route to the guest for %s", p.Prefix)
	case !slices.ContainsFunc(taps, func(tap string) bool { return h.present[tap] }):
		return fmt.Sprintf("tap %s is not on it", strings.Join(taps, ", "))
	case claimed && (!announced || preference < p.Preference):
		return fmt.Sprintf("%s is announced by %s, as by a newer home", p.Prefix, from)
	case h.host.Fenced:
		return "it is fenced, and announces nothing"
	case !announced && len(h.errs) > 0:
		return "the kernel refuses: " + h.errs[0]
	case !announced:
		return fmt.Sprintf("%s is not announced", p.Prefix)
	case preference < p.Preference:
		return fmt.Sprintf("%s is announced with preference %d instead of %d", p.Prefix, preference, p.Preference)
	case sessions.configured > 0 && sessions.established == 0:
		return fmt.Sprintf("no session to a reflector in VRF %s", p.VRF)
	}
	return ""
}

// prepared is what is missing for a guest that comes.
func (h *holdings) prepared(e log.Effect) []string {
	g := h.state.Guest(e.VM)
	if duty := g.Duty(h.hypervisor); duty != projector.DutyPrepare && duty != projector.DutyHome {
		return movedOn("it has nothing to prepare for guest %s", e.VM)
	}
	return h.ready(e.Taps)
}

// ready is why taps aren't there with all that belongs to them.
func (h *holdings) ready(taps []string) (lacks []string) {
	for _, name := range taps {
		about := func(text string) bool { return strings.Contains(text, "tap "+name+":") }
		here := slices.ContainsFunc(h.host.Taps, func(t vrf.Tap) bool { return t.Name == name })
		switch i := slices.IndexFunc(h.problems, about); {
		case i >= 0:
			lacks = append(lacks, h.problems[i])
		case !here:
			lacks = append(lacks, fmt.Sprintf("tap %s isn't set up yet", name))
		case !h.present[name]:
			lacks = append(lacks, fmt.Sprintf("tap %s is not on it", name))
		}
		if i := slices.IndexFunc(h.failing, about); i >= 0 {
			lacks = append(lacks, h.failing[i])
		}
	}
	if len(h.errs) > 0 {
		lacks = append(lacks, "the kernel refuses: "+h.errs[0])
	}
	return lacks
}

// ended is what is still there of a guest, or of its prefixes.
func (h *holdings) ended(e log.Effect) (lacks []string) {
	if len(e.Prefixes) == 0 {
		others := h.tapsOfOthers(e.VM)
		for _, t := range h.host.Taps {
			if slices.Contains(e.Taps, t.Name) && !others[t.Name] {
				lacks = append(lacks, fmt.Sprintf("tap %s is still set up for it", t.Name))
			}
		}
		return lacks
	}
	for _, p := range e.Prefixes {
		t := target{p.VRF, p.Prefix}
		preference, announced := h.announced[t]
		switch {
		case announced && preference >= p.Preference: // it came back
		case !p.Shared && announced:
			lacks = append(lacks, fmt.Sprintf("%s is still announced", p.Prefix))
		case slices.ContainsFunc(h.routes[t], func(tap string) bool { return !p.Shared && slices.Contains(e.Taps, tap) }):
			lacks = append(lacks, fmt.Sprintf("%s is still delivered to the guest", p.Prefix))
		}
	}
	return lacks
}

func (h *holdings) tapsOfOthers(vm string) map[string]bool {
	taps := map[string]bool{}
	for _, g := range h.state.Guests() {
		duty := g.Duty(h.hypervisor)
		for i, f := range g.Interfaces {
			switch {
			case duty == projector.DutyHome:
				taps[f.Tap] = true
			case duty == projector.DutyPrepare && g.VM != vm:
				taps[g.Next.Taps[i]] = true
			}
		}
	}
	return taps
}

// service is what a hypervisor lacks to be drained, fenced, or neither.
func (h *holdings) service(kind log.EffectKind) []string {
	hv := h.state.Hypervisor(h.hypervisor)
	if hv == nil {
		return movedOn("it isn't registered")
	}
	switch {
	case (kind == log.EffectDrained || kind == log.EffectUndrained) && hv.Drained != (kind == log.EffectDrained):
		return movedOn("that is taken back")
	case (kind == log.EffectFenced || kind == log.EffectUnfenced) && hv.Fenced != (kind == log.EffectFenced):
		return movedOn("that is taken back")
	case kind == log.EffectFenced && len(h.announced) > 0:
		return []string{plural(len(h.announced), "prefix") + " still announced"}
	case kind == log.EffectFenced:
		return nil
	}
	lacks := h.asWanted()
	if kind == log.EffectDrained {
		lacks = append(lacks, leftOver(h.drain)...)
	}
	return lacks
}

// asWanted compares what is announced with what the log wants announced now.
func (h *holdings) asWanted() (lacks []string) {
	want := projector.Desired(h.state, h.hypervisor).Announcements
	for _, n := range want {
		t := target{n.VRF, n.Prefix}
		_, configured := h.vrfs[n.VRF]
		reachable := configured && slices.ContainsFunc(h.routes[t], func(tap string) bool { return h.present[tap] })
		switch preference, announced := h.announced[t]; {
		case announced && preference != n.Preference:
			lacks = append(lacks, fmt.Sprintf("%s is announced with preference %d instead of %d", n.Prefix, preference, n.Preference))
		case !announced && reachable:
			lacks = append(lacks, fmt.Sprintf("%s is not announced", n.Prefix))
		}
	}
	return lacks
}

// leftOver is why a drain isn't over.
func leftOver(d *log.Drain) (lacks []string) {
	if d == nil {
		return []string{"what its guests are sent isn't watched yet"}
	}
	if d.Guests > 0 {
		lacks = append(lacks, plural(d.Guests, "guest")+" homed there")
	}
	switch {
	case d.Delivered > 0:
		lacks = append(lacks, fmt.Sprintf("%s delivered in %.0f s", plural(int(d.Delivered), "packet"), d.Window))
	case !d.Known:
		lacks = append(lacks, fmt.Sprintf("what its guests are sent is watched for %.0f s only", d.Window))
	}
	return lacks
}

// other is why a hypervisor's route to a prefix isn't as it is to be; empty: it is.
func (h *holdings) other(e log.Effect, p log.EffectPrefix) string {
	t := target{p.VRF, p.Prefix}
	sessions, configured := h.vrfs[p.VRF]
	preference, announced := h.announced[t]
	_, yielded := h.claims[t] // to a newer home, before the log said so
	here := len(h.routes[t]) > 0 && (announced || !yielded)
	switch {
	case !configured, p.Shared && (here || e.Kind == log.EffectEnded):
		return ""
	case here && announced && preference >= p.Preference: // it has come here since
		return ""
	case here:
		return fmt.Sprintf("%s is still delivered to its own tap %s", p.Prefix, h.routes[t][0])
	}
	l := h.learned(t)
	if e.Kind == log.EffectEnded {
		switch {
		case l.known && l.preference < p.Preference:
			return fmt.Sprintf("the route to %s is still by %s", p.Prefix, l.from)
		case l.waiting && !l.known:
			return fmt.Sprintf("the route to %s is still to be removed", p.Prefix)
		}
		return ""
	}
	switch {
	case sessions.configured == 0:
		return fmt.Sprintf("no reflector is configured in VRF %s", p.VRF)
	case !l.known && sessions.established == 0:
		return fmt.Sprintf("no route to %s, and no session to a reflector in VRF %s", p.Prefix, p.VRF)
	case !l.known:
		return fmt.Sprintf("no route to %s", p.Prefix)
	case l.preference < p.Preference:
		return fmt.Sprintf("the route to %s is still by %s, with preference %d instead of %d", p.Prefix, l.from, l.preference, p.Preference)
	case l.refused:
		return fmt.Sprintf("the kernel refuses the route to %s", p.Prefix)
	case l.waiting:
		return fmt.Sprintf("the route to %s is still to be written", p.Prefix)
	}
	return ""
}
