package agent

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/hostroute/hostroute/internal/bfd"
	"github.com/hostroute/hostroute/internal/bgp/session"
)

// tellLoss is the least loss that is worth a word: what is less may be chance
// (see bfd.LossEvidence).
const tellLoss = 0.05

// The states of a plane, worst first.
const (
	planeLost      = "lost"
	planeNoCarrier = "no carrier"
	planePartial   = "partial"
	planeLossy     = "lossy"
	planeUnsteady  = "unsteady"
	planeDegraded  = "degraded"
	planeSound     = "sound"
)

var planeStates = []string{planeLost, planeNoCarrier, planePartial, planeLossy, planeUnsteady, planeDegraded, planeSound}

// surveyor finds in words what is wrong with planes and reflectors: one line for
// what has one cause, worst first.
type surveyor struct {
	status Status
	peers  []Peer
	planes []PlaneStatus
	found  []finding
}

// finding is a problem of a plane; without words it is told as that of all.
type finding struct {
	state string
	problem
}

// survey says what is wrong with the planes, and sets their states.
func survey(s Status, peers []Peer) (list []problem) {
	v := &surveyor{status: s, planes: s.Planes}
	for _, p := range peers {
		if !slices.Contains(s.Kernel.AbsentUplinks, p.Uplink) { // which has a line of its own
			v.peers = append(v.peers, p)
		}
	}
	if everything := v.outOfReach(); everything != "" {
		list = append(list, problem{"plane", everything})
	}
	for i := range v.planes {
		v.plane(&v.planes[i])
	}
	slices.SortStableFunc(v.found, func(a, b finding) int {
		return cmp.Compare(slices.Index(planeStates, a.state), slices.Index(planeStates, b.state))
	})
	for _, f := range v.found {
		if f.text != "" {
			list = append(list, f.problem)
		}
	}
	return list
}

// add notes what is wrong with a plane; the kind is of problemKinds.
func (v *surveyor) add(p *PlaneStatus, state, kind, format string, args ...any) {
	if p.State == "" || slices.Index(planeStates, state) < slices.Index(planeStates, p.State) {
		p.State = state
	}
	v.found = append(v.found, finding{state, problem{kind, fmt.Sprintf(format, args...)}})
}

// plane finds what is wrong with one plane.
func (v *surveyor) plane(p *PlaneStatus) {
	p.State = planeSound
	v.carriers(p)
	peers := v.of(func(q Peer) bool { return q.Plane == p.Plane && p.carrier(q.Uplink) })
	dead := v.deadVRFs(peers)
	v.lost(p, dead, peers)
	rest := filter(peers, func(q Peer) bool { return !slices.Contains(dead, q.VRF) })
	v.reflectors(p, filter(rest, v.dead))
	for _, q := range rest {
		if !v.dead(q) {
			v.sessions(p, q)
		}
	}
	if len(dead) == 0 || len(rest) > 0 {
		v.quality(p, rest)
	}
}

// lost tells of the VRFs in which no reflector is reached over a plane; those in
// which none is reached at all have a line of their own.
func (v *surveyor) lost(p *PlaneStatus, dead []string, peers []Peer) {
	everywhere := v.deadVRFs(v.peers)
	here := slices.DeleteFunc(slices.Clone(dead), func(vrf string) bool { return slices.Contains(everywhere, vrf) })
	in := func(vrfs []string) []Peer {
		return filter(peers, func(q Peer) bool { return slices.Contains(vrfs, q.VRF) })
	}
	state := planePartial
	if len(in(dead)) == len(peers) {
		state = planeLost
	}
	switch silent := in(here); {
	case len(dead) == 0:
	case len(here) == 0:
		v.add(p, state, "plane", "")
	case len(silent) == len(peers):
		v.add(p, state, "plane", "plane %s is lost%s", p.Plane, v.lostBecause(p, silent))
	default:
		v.add(p, state, "plane", "plane %s is lost in VRF %s%s", p.Plane, and(here), v.lostBecause(p, silent))
	}
}

// carriers tells of the uplinks that have none.
func (v *surveyor) carriers(p *PlaneStatus) {
	var names []string
	for _, u := range p.Uplinks {
		if !u.Carrier && !slices.Contains(v.status.Kernel.AbsentUplinks, u.Interface) {
			names = append(names, u.Interface)
		}
	}
	if len(names) > 0 {
		v.add(p, planeNoCarrier, "plane", "plane %s has no carrier on %s: check the cable and the port of the switch; %s", p.Plane, and(names), v.instead(p))
	}
}

func (p *PlaneStatus) carrier(uplink string) bool {
	return !slices.ContainsFunc(p.Uplinks, func(u UplinkStatus) bool { return u.Interface == uplink && !u.Carrier })
}

// reflectors tells of those that are down while others of their plane and VRF
// are not.
func (v *surveyor) reflectors(p *PlaneStatus, down []Peer) {
	if len(down) == 0 {
		return
	}
	noun, verb, them := "reflector", "is", "that host"
	if len(down) > 1 {
		noun, verb, them = "reflectors", "are", "those hosts"
	}
	v.add(p, planeDegraded, "bgp", "%s %s of plane %s %s down, the plane works: %s; check %s", noun, addresses(down), p.Plane, verb, v.why(down), them)
}

// sessions tells of one of both sessions with a reflector that is reached. BGP
// that fails where packets are lost has that for its reason.
func (v *surveyor) sessions(p *PlaneStatus, q Peer) {
	switch bgp := q.State == string(session.Established); {
	case !bgp && v.watched(q) && q.BFD.Loss != nil && *q.BFD.Loss >= tellLoss:
	case !bgp:
		v.add(p, planeDegraded, "bgp", "no BGP session with %s in VRF %s over plane %s (%s), though its path works: %s; check BGP there",
			q.Address, q.VRF, q.Plane, q.State, orUnknown(q.LastError))
	case v.watched(q) && !q.BFD.Up():
		v.add(p, planeDegraded, "bfd", "no BFD session with %s in VRF %s over plane %s (%s), though BGP works: %s; check BFD there, or set bfd: false",
			q.Address, q.VRF, q.Plane, q.BFD.State, orUnknown(cmp.Or(q.BFD.Trouble, q.BFD.Reason)))
	}
}

// quality tells of what is lost and of what comes and goes.
func (v *surveyor) quality(p *PlaneStatus, peers []Peer) {
	paths := filter(peers, func(q Peer) bool { return v.watched(q) && q.BFD.Up() && q.BFD.Loss != nil })
	bad := filter(paths, func(q Peer) bool { return *q.BFD.Loss >= tellLoss })
	switch worst := p.Loss; {
	case len(bad) == 0:
	case len(bad) == len(paths):
		v.add(p, planeLossy, "plane", "plane %s loses about %s of packets (BFD with %s, last %.0f s): check its cables and switches; %s",
			p.Plane, percent(*worst), p.LossPeer, time.Duration(p.LossWindow).Seconds(), v.use(p))
	default:
		v.add(p, planeLossy, "plane", "the path to %s over plane %s loses about %s of packets (BFD, last %.0f s), others of the plane don't: check the cable there; %s",
			addresses(bad), p.Plane, percent(*worst), time.Duration(p.LossWindow).Seconds(), v.use(p))
	}
	for _, u := range p.Uplinks {
		if u.HeldUntil == nil || !u.Carrier {
			continue
		}
		v.add(p, planeUnsteady, "plane", "plane %s comes and goes, %s within 15 minutes%s: check its cables and switches; %s, until it has been up until %s",
			p.Plane, plural(u.Falls, "fall"), lastFall(peers), v.use(p), u.HeldUntil.Format("15:04:05"))
		break // the others of the plane have the same cause
	}
}

// lastFall says why the path fell that did so last.
func lastFall(peers []Peer) string {
	var last *Peer
	for i, q := range peers {
		if q.BFD == nil || q.BFD.LastFallTime == nil {
			continue
		}
		if last == nil || q.BFD.LastFallTime.After(*last.BFD.LastFallTime) {
			last = &peers[i]
		}
	}
	if last == nil {
		return ""
	}
	return fmt.Sprintf(" (last at %s: %s)", last.BFD.LastFallTime.Format("15:04:05"), last.BFD.LastFall)
}

// outOfReach tells of VRFs without any reflector.
func (v *surveyor) outOfReach() string {
	dead := v.deadVRFs(v.peers)
	if len(dead) == 0 {
		return ""
	}
	whose, until := "", time.Time{}
	if v.reached() > 0 {
		whose = " of VRF " + and(dead)
	}
	var planes []string
	for _, p := range v.peers {
		if !slices.Contains(dead, p.VRF) {
			continue
		}
		if !slices.Contains(planes, p.Plane) {
			planes = append(planes, p.Plane)
		}
		for _, k := range p.Kept {
			if k.Until.After(until) {
				until = k.Until
			}
		}
	}
	kept := "nothing that they told is kept"
	if !until.IsZero() {
		kept = "what was learned is kept as stale until " + until.Format("2006-01-02 15:04:05 MST")
	}
	return fmt.Sprintf("all reflectors%s are out of reach: %s; check them, and %s %s", whose, kept, nouns("plane", len(planes)), and(planes))
}

// reached counts the reflectors that are not dead.
func (v *surveyor) reached() int {
	return len(filter(v.peers, func(p Peer) bool { return !v.dead(p) }))
}

// deadVRFs are those of which no reflector among some is reached.
func (v *surveyor) deadVRFs(peers []Peer) (dead []string) {
	for _, p := range peers {
		alive := slices.ContainsFunc(peers, func(q Peer) bool { return q.VRF == p.VRF && !v.dead(q) })
		if !alive && !slices.Contains(dead, p.VRF) {
			dead = append(dead, p.VRF)
		}
	}
	return dead
}

func (v *surveyor) watched(p Peer) bool { return v.status.BFD.Connected && p.BFD != nil }

// dead tells whether a reflector is reached in no way.
func (v *surveyor) dead(p Peer) bool {
	return p.State != string(session.Established) && !(v.watched(p) && p.BFD.Up())
}

func (v *surveyor) of(ok func(Peer) bool) []Peer { return filter(v.peers, ok) }

// lostBecause says why a plane is lost, what to do, and what is used instead.
func (v *surveyor) lostBecause(p *PlaneStatus, peers []Peer) string {
	return fmt.Sprintf(": %s; check its cables, switches and %s; %s", v.why(peers), nouns("reflector", len(peers)), v.instead(p))
}

// why says in words why reflectors aren't reached, and in which direction. A
// reflector that hears nothing of this host says so once, and may be silent then:
// some end BFD with the BGP session.
func (v *surveyor) why(peers []Peer) string {
	all := func(ok func(Peer) bool) bool { return len(filter(peers, ok)) == len(peers) }
	heard := func(p Peer) bool { return p.BFD.DetectionTime > 0 }
	mute := func(p Peer) bool {
		return p.BFD.LastFallDirection == bfd.Sending || heard(p) && p.BFD.RemoteDiagnostic == timeExpired
	}
	switch first := peers[0]; {
	case v.watched(first) && first.BFD.Trouble != "":
		return "this host can't send to " + addresses(peers) + ": " + first.BFD.Trouble
	case all(func(p Peer) bool { return v.watched(p) && mute(p) && heard(p) }):
		return "what is sent to " + addresses(peers) + " doesn't arrive there, though what they send does arrive here"
	case all(func(p Peer) bool { return v.watched(p) && mute(p) }):
		return "what was sent to " + addresses(peers) + " didn't arrive there any more, as they said before they fell silent"
	case all(func(p Peer) bool { return v.watched(p) && !heard(p) }):
		return "nothing arrives from " + addresses(peers)
	default:
		return fmt.Sprintf("no session with %s: %s", addresses(peers), orUnknown(first.LastError))
	}
}

// instead says what is used instead of a plane.
func (v *surveyor) instead(p *PlaneStatus) string {
	var planes []string
	for _, other := range v.planes {
		works := slices.ContainsFunc(other.Uplinks, func(u UplinkStatus) bool { return u.Used && u.Carrier })
		reached := slices.ContainsFunc(v.peers, func(q Peer) bool { return q.Plane == other.Plane && !v.dead(q) })
		if other.Plane != p.Plane && works && reached {
			planes = append(planes, other.Plane)
		}
	}
	if len(planes) == 0 {
		return "no other plane works"
	}
	return fmt.Sprintf("traffic flows over %s %s", nouns("plane", len(planes)), and(planes))
}

// use says whether a plane that is not sound is used.
func (v *surveyor) use(p *PlaneStatus) string {
	unsound, used := 0, 0
	for _, u := range p.Uplinks {
		if u.Unsound {
			unsound++
		}
		if u.Unsound && u.Used {
			used++
		}
	}
	switch {
	case unsound == 0:
		return "it is used"
	case used == 0:
		return "it is avoided"
	}
	return "it is used, since no other plane is sound"
}

func filter(list []Peer, ok func(Peer) bool) []Peer {
	var some []Peer
	for _, p := range list {
		if ok(p) {
			some = append(some, p)
		}
	}
	return some
}

// addresses lists reflectors, each once.
func addresses(peers []Peer) string {
	var list []string
	for _, p := range peers {
		if !slices.Contains(list, p.Address) {
			list = append(list, p.Address)
		}
	}
	return and(list)
}

// and lists names as people do.
func and(list []string) string {
	if len(list) < 2 {
		return strings.Join(list, "")
	}
	return strings.Join(list[:len(list)-1], ", ") + " and " + list[len(list)-1]
}

func nouns(noun string, n int) string {
	if n == 1 {
		return noun
	}
	return noun + "s"
}

func percent(f float64) string { return fmt.Sprintf("%.0f %%", math.Round(f*100)) }
