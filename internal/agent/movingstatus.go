package agent

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/hostroute/hostroute/internal/handover"
)

// HandoverStatus is what leaves this hypervisor, comes to it, and is claimed by
// somebody else too. What is over is not in it.
type HandoverStatus struct {
	Moves    []MoveStatus    `json:"moves,omitempty"`
	Claims   []ClaimStatus   `json:"claims,omitempty"`
	Arrivals []ArrivalStatus `json:"arrivals,omitempty"`
}

// The states of what is handed over, as metrics and status have them.
const (
	// moveAnnouncing: it is announced on, since no path to the new home is in the kernel.
	moveAnnouncing = "announcing"
	moveForwarding = "forwarding"  // by the learned route
	moveDropping   = "dropping"    // since nobody has heard of the new home
	claimYielded   = "yielded"     // to somebody newer
	claimContested = "contested"   // the log says that it is here all the same
	arrivalSeen    = "seen"        // and believed
	arrivalLate    = "unconfirmed" // the log should have said so by now
)

// MoveStatus is a guest, or some prefixes of it, that this hypervisor had.
type MoveStatus struct {
	VM        string    `json:"vm"`
	To        string    `json:"to,omitempty"` // empty: released, deleted, or of a guest elsewhere
	Since     time.Time `json:"since"`
	State     string    `json:"state"` // announcing, forwarding, dropping
	Prefixes  int       `json:"prefixes"`
	Announced int       `json:"announced"`
	Text      string    `json:"text"`
}

// ClaimStatus is a prefix of this hypervisor that somebody else announces as the
// newer home.
type ClaimStatus struct {
	VM         string       `json:"vm"`
	VRF        string       `json:"vrf"`
	Prefix     netip.Prefix `json:"prefix"`
	Originator string       `json:"originator"` // its router ID, or its next hop
	Since      time.Time    `json:"since"`
	State      string       `json:"state"` // yielded, contested
	Text       string       `json:"text"`
}

// ArrivalStatus is a guest that was seen on its prepared tap.
type ArrivalStatus struct {
	VM    string    `json:"vm"`
	Since time.Time `json:"since"`
	State string    `json:"state"` // seen, unconfirmed
	Text  string    `json:"text"`
}

// status words what the machine has told last.
func (m *moving) status() HandoverStatus { return m.words(m.told()) }

func (m *moving) told() handover.Report {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.machine.Report()
}

func (m *moving) words(r handover.Report) HandoverStatus {
	at, now := m.now(), time.Now()
	since := func(i handover.Instant) (time.Time, string) {
		ago := at.Sub(i)
		return now.Add(-ago), ago.Round(time.Second).String() + " ago"
	}
	var s HandoverStatus
	for _, v := range r.Moves {
		t, ago := since(v.Since)
		state := moveForwarding
		switch {
		case v.Announced > 0:
			state = moveAnnouncing
		case v.Unheard == len(v.Prefixes):
			state = moveDropping
		}
		s.Moves = append(s.Moves, MoveStatus{v.VM, v.To, t, state, len(v.Prefixes), v.Announced, v.VM + " " + wordMove(v, state, ago)})
	}
	for _, c := range r.Claims {
		t, ago := since(c.Since)
		s.Claims = append(s.Claims, m.claim(c, t, ago))
	}
	for _, a := range r.Arrivals {
		t, ago := since(a.Since)
		state, text := arrivalSeen, fmt.Sprintf("%s was seen on its prepared tap %s: served here as if the log had said that it moved", a.VM, ago)
		if a.Unconfirmed {
			state, text = arrivalLate, fmt.Sprintf("%s was seen on its prepared tap %s, and the log doesn't say that it moved here: it is served here all the same. "+
				"If it runs here, `hostroute vm migrate %s --to %s`, else `hostroute vm abort %s`", a.VM, ago, a.VM, m.hypervisor, a.VM)
		}
		s.Arrivals = append(s.Arrivals, ArrivalStatus{a.VM, t, state, text})
	}
	return s
}

func wordMove(v handover.Move, state, ago string) string {
	text := fmt.Sprintf("moved to %s %s", v.To, ago)
	if v.To == "" {
		text = fmt.Sprintf("has %s no longer, since %s", prefixList(v.Prefixes), ago)
	}
	switch state {
	case moveAnnouncing:
		return text + fmt.Sprintf(": %s of it announced on until the route to where it is now is in the kernel", ofAll(v.Announced, len(v.Prefixes)))
	case moveDropping:
		return text + ": nobody has told where it is now, so what still comes here is dropped"
	}
	return text + ": forwarding what still comes here"
}

// ofAll counts the prefixes of a guest.
func ofAll(n, all int) string {
	switch {
	case n < all:
		return fmt.Sprintf("%d of %d prefixes", n, all)
	case n == 1:
		return "the prefix"
	}
	return fmt.Sprintf("%d prefixes", n)
}

// prefixList names the first of them.
func prefixList(keys []handover.Key) string {
	if len(keys) == 1 {
		return keys[0].Prefix.String()
	}
	return fmt.Sprintf("%s and %d more", keys[0].Prefix, len(keys)-1)
}

func (m *moving) claim(c handover.Claim, t time.Time, ago string) ClaimStatus {
	s := ClaimStatus{c.VM, c.VRF, c.Prefix, c.Originator.String(), t, claimYielded,
		fmt.Sprintf("%s in VRF %s (%s): %s announces it with a higher preference, as its newer home: yielded %s", c.Prefix, c.VRF, c.VM, c.Originator, ago)}
	if c.Overruled {
		s.State = claimContested
		s.Text = fmt.Sprintf("%s in VRF %s (%s) is announced by %s, too, as if it had moved there %s, and the log says that its home is here: "+
			"here it is delivered, and others send to %s. If the guest runs there, `hostroute vm migrate %s` with that hypervisor; else restart the agent there, or fence it",
			c.Prefix, c.VRF, c.VM, c.Originator, ago, c.Originator, c.VM)
	}
	return s
}

// problems are what has to be seen to.
func (h HandoverStatus) problems() (list []problem) {
	for _, c := range h.Claims {
		if c.State == claimContested {
			list = append(list, problem{"contested", c.Text})
		}
	}
	for _, a := range h.Arrivals {
		if a.State == arrivalLate {
			list = append(list, problem{"arrival", a.Text})
		}
	}
	return list
}

// of says what goes on with a guest; empty: nothing.
func (h HandoverStatus) of(vm string) string {
	for _, a := range h.Arrivals {
		if a.VM == vm {
			return a.Text
		}
	}
	for _, c := range h.Claims {
		if c.VM == vm {
			return c.Text
		}
	}
	for _, m := range h.Moves {
		if m.VM == vm {
			return m.Text
		}
	}
	return ""
}

// on says what goes on with the prefix that an address is in.
func (m *moving) on(vrf string, address netip.Addr) (texts []string) {
	r := m.told()
	status := m.words(r)
	for i, v := range r.Moves {
		for _, key := range v.Prefixes {
			if key.VRF == vrf && key.Prefix.Contains(address) {
				texts = append(texts, status.Moves[i].Text)
			}
		}
	}
	for _, c := range status.Claims {
		if c.VRF == vrf && c.Prefix.Contains(address) {
			texts = append(texts, c.Text)
		}
	}
	return texts
}
