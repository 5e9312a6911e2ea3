package agent

import (
	"slices"
	"time"

	"github.com/hostroute/hostroute/internal/bfd"
	"github.com/hostroute/hostroute/internal/bfd/control"
	"github.com/hostroute/hostroute/internal/bgp/session"
	"github.com/hostroute/hostroute/internal/config"
)

// watchedPath is the path to one reflector over one uplink.
type watchedPath struct {
	bfd.Path
	told  control.Status // last
	known bool           // it was told at all
	// patience is how long BGP may work without BFD, where there was BFD before,
	// until the reflector is asked anew.
	patience time.Duration
}

// How long patience is at first and at most.
const (
	firstPatience = 30 * time.Second
	mostPatience  = 10 * time.Minute
)

// forgotten tells whether a reflector that did BFD has to be reminded: with a
// new session of BGP it asks for one of BFD again. FRR 8.4 was seen without it
// for good after a plane had come back. What ends with the session isn't in use:
// the path counts as lost.
func (p *watchedPath) forgotten(peer session.PeerStatus, now time.Time) bool {
	switch {
	case p.told.Up():
		p.patience = firstPatience
	case p.Lost() && p.told.Falls > 0 && p.told.RemoteState != adminDown && peer.State == session.Established && now.Sub(peer.Since) > max(p.patience, firstPatience):
		p.patience = min(2*max(p.patience, firstPatience), mostPatience)
		return true
	}
	return false
}

// adminDown is the state of a reflector that has been told to do no BFD, which
// is no failure (RFC 5882, section 3.2).
var adminDown = bfd.AdminDown.String()

// timeExpired is what one says that hears nothing of this side any more.
var timeExpired = bfd.TimeExpired.String()

// hear takes what BFD's process tells of the path. Falls that were missed while
// it was away count: the path was down, be it up again.
func (p *watchedPath) hear(s control.Status, now bfd.Instant) (fell bool) {
	missed := p.known && s.Serial == p.told.Serial && s.Falls > p.told.Falls && !p.Lost() && p.told.Up()
	fell = s.Failed && !p.Lost()
	switch {
	case fell:
		p.Fell(now)
	case s.Failed:
	case s.RemoteState == adminDown:
		p.Excused(now)
	case s.Up() && missed:
		p.Fell(now)
		p.Rose(now)
	case s.Up():
		p.Rose(now)
	}
	p.told, p.known = s, true
	return fell
}

// measure takes the newest counters of a path that is up.
func (p *watchedPath) measure(s control.Status, now bfd.Instant) {
	if p.known && s.Up() && s.Serial == p.told.Serial && s.Revision == p.told.Revision {
		p.told = s
		switch {
		case s.Loss != nil:
			p.Measured(*s.Loss, now)
		case s.LossUnknown != "":
			p.Measured(0, now)
		}
	}
}

// watchedUplink is an uplink with every path over it.
type watchedUplink struct {
	config.Uplink
	paths map[string]*watchedPath // to reflectors that are watched, by session
	// carrier and established are as they were at the last look.
	carrier     bool
	established bool // with any reflector
	witness     witness
	lost        bool // as the FIB was told: nothing is sent over it
	unsound     bool // as the sessions were told: others are to avoid it
}

// silent tells whether every path that is watched has failed.
func (u *watchedUplink) silent() bool {
	for _, p := range u.paths {
		if !p.Lost() {
			return false
		}
	}
	return len(u.paths) > 0
}

// observe takes how the sessions stand.
func (u *watchedUplink) observe(peers []session.PeerStatus, now time.Time) {
	var unwatched []session.PeerStatus
	u.established = false
	for _, p := range peers {
		if p.Uplink != u.Interface {
			continue
		}
		u.established = u.established || p.State == session.Established
		if u.paths[bfdName(p.VRF, p.Plane, p.Address)] == nil {
			unwatched = append(unwatched, p)
		}
	}
	u.witness.look(u.silent(), unwatched, now)
}

// bad tells whether none of the paths that are up is sound, or if none is up,
// none that may work: what one reflector of several sees may be its own cable's
// fault, and one without BFD vouches for nothing.
func (u *watchedUplink) bad(now bfd.Instant) bool {
	var up, may, soundUp, soundMay bool
	for _, p := range u.paths {
		sound := p.Sound(now)
		up, soundUp = up || p.told.Up(), soundUp || p.told.Up() && sound
		may, soundMay = may || !p.Lost(), soundMay || sound
	}
	if up {
		return !soundUp
	}
	return may && !soundMay
}

// sound tells whether all may be sent over the uplink.
func (u *watchedUplink) sound(now bfd.Instant) bool {
	return u.carrier && u.established && !u.bad(now) && (!u.silent() || u.witness.seen)
}

// verdict is what is to be told of an uplink.
type verdict struct{ lost, unsound bool }

// judge decides about the uplinks of one VRF. One that fails is lost. One that
// is unsound is avoided as long as another one is sound: it has its carrier, and
// a reflector that tells its routes.
func judge(uplinks []*watchedUplink, now bfd.Instant) []verdict {
	choice := slices.ContainsFunc(uplinks, func(u *watchedUplink) bool { return u.sound(now) })
	list := make([]verdict, len(uplinks))
	for i, u := range uplinks {
		list[i].unsound = u.bad(now)
		list[i].lost = u.silent() && !u.witness.seen || list[i].unsound && choice
	}
	return list
}

// witness is what the reflectors of an uplink that are not watched by BFD say of
// it when all that are have failed. Packets on their way, or one direction that
// still works, look like a session that is fine; so a session counts that was
// made since, or that is heard though it would have ended for a hold time's
// silence in either direction.
type witness struct {
	since time.Time      // of the silence; zero: there is none
	heard map[int]uint64 // messages at the end of a hold time, by the peer's place in the list
	seen  bool           // somebody is reached
}

// look asks the sessions over an uplink of which the paths are silent. The list
// is the same every time but for what changed in it.
func (w *witness) look(silent bool, unwatched []session.PeerStatus, now time.Time) {
	if !silent {
		w.since, w.heard, w.seen = time.Time{}, nil, false
		return
	}
	if w.since.IsZero() {
		w.since = now
	}
	w.seen = false
	for i, p := range unwatched {
		w.seen = w.testifies(i, p, now) || w.seen
	}
}

func (w *witness) testifies(i int, p session.PeerStatus, now time.Time) bool {
	switch {
	case p.State != session.Established:
		delete(w.heard, i)
		return false
	case p.Since.After(w.since):
		return true
	case now.Sub(w.since) <= p.HoldTime || p.HoldTime == 0:
		return false
	}
	before, ok := w.heard[i]
	if !ok {
		if w.heard == nil {
			w.heard = map[int]uint64{}
		}
		w.heard[i], before = p.MessagesIn, p.MessagesIn
	}
	return p.MessagesIn > before
}
