package agent

import (
	"fmt"
	"sync"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/projector"
)

// More routes of guests than both of these, gone in one step and without a word
// of the log about their guests, are held back: that is how a log looks that
// lost something, not one in which something happened.
const (
	massRoutes  = 20
	massPercent = 10
)

// massGuard stands between what the log says and what is done about it. A guest
// that has moved leaves a register behind that says so, and of one that was
// deleted the follower tells once; one that is simply missing from the log, or
// whose network is, has not been ended by anybody.
type massGuard struct {
	hypervisor string
	allow      bool

	mu       sync.Mutex
	accepted *projector.State // what was served last; never changed
	held     hold
}

// hold is what is kept although the log doesn't have it any more.
type hold struct {
	routes, of, guests int
	example            string // one of the guests
}

// adopt takes over what a former run served while it held something back, of
// which this one holds back the rest.
func (g *massGuard) adopt(served *projector.State) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.accepted, g.held = served, hold{routes: 1}
}

// admit gives the state to serve: the log's, or that with what it lost. What
// made too much to lose at once stays too much while it gets less, or while
// others get more: it is held until the log accounts for the last of it.
// It is given the subjects of what events have ended since the last state.
func (g *massGuard) admit(now *projector.State, ended ...string) *projector.State {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.accepted != nil && len(ended) > 0 {
		g.accepted = g.accepted.Clone()
		for _, subject := range ended {
			g.accepted.Forget(subject)
		}
	}
	held := hold{}
	if g.accepted != nil && !g.allow && !now.Accounts(g.accepted) {
		held = g.missing(now)
	}
	few := held.routes <= massRoutes || held.routes*100 <= held.of*massPercent
	if held.routes == 0 || few && g.held.routes == 0 {
		g.held, g.accepted = hold{}, now
		return now
	}
	g.held = held
	kept := now.Clone()
	for subject, r := range g.accepted.Registers() {
		if !now.Told(subject) {
			kept.Put(subject, r)
		}
	}
	g.accepted = kept // what goes on happening to others is accepted
	return kept
}

// missing counts the routes of this hypervisor that nothing accounts for.
func (g *massGuard) missing(now *projector.State) (h hold) {
	for _, guest := range g.accepted.Guests() {
		if guest.Duty(g.hypervisor) != projector.DutyHome {
			continue
		}
		h.of += len(guest.Addresses)
		lost := 0
		for _, a := range guest.Addresses {
			if !now.Told(events.SubjectVM(guest.VM)) || !now.Told(events.SubjectNet(guest.Interfaces[a.Interface].Network)) {
				lost++
			}
		}
		if lost > 0 {
			h.routes += lost
			h.guests++
			h.example = guest.VM
		}
	}
	return h
}

// holding tells in words what is held back, and how many routes; empty: nothing.
func (g *massGuard) holding() (text string, routes int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held.routes == 0 {
		return "", 0
	}
	return fmt.Sprintf("%d of %d routes of guests have vanished from the log without an event that ends them (%s, such as %s); they are served on. "+
		"If the log is right, delete or move these guests by events, or start the agent with --allow-mass-withdrawal; if it isn't, restore it",
		g.held.routes, g.held.of, plural(g.held.guests, "guest"), g.held.example), g.held.routes
}
