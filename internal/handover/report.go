package handover

import (
	"net/netip"
	"slices"
	"strings"
)

// Report is how things stand, for people.
type Report struct {
	Moves    []Move
	Claims   []Claim
	Arrivals []Arrival
}

// Move is a guest that has left, or a prefix that no guest here has any more.
type Move struct {
	VM        string
	To        string // empty: only prefixes of it are gone
	Since     Instant
	Prefixes  []Key
	Announced int // of them, how many still are, since no path to the new home is in the kernel
	Unheard   int // of them, of how many no path to the new home is known
}

// Claim is a prefix of ours that somebody else announces as the newer home.
type Claim struct {
	Key
	VM         string
	Since      Instant
	Originator netip.Addr
	// Overruled is set when the log, in sync, still says that the home is here: it
	// is delivered and announced here, too.
	Overruled bool
}

// Arrival is a guest that was seen on its prepared tap before the log said so.
type Arrival struct {
	VM    string
	Since Instant
	// Unconfirmed is set when the log still says nothing of it after Patience.
	Unconfirmed bool
}

// Report tells what goes on as of the last Step, in a fixed order.
func (m *Machine) Report() Report {
	r := Report{Moves: m.moves()}
	for key, h := range m.own {
		if h.claim != unclaimed {
			r.Claims = append(r.Claims, Claim{key, h.VM, h.claimed, h.from, h.claim == overruled})
		}
	}
	for vm, a := range m.arrivals {
		r.Arrivals = append(r.Arrivals, Arrival{vm, a.since, a.late})
	}
	slices.SortFunc(r.Claims, func(a, b Claim) int { return a.Compare(b.Key) })
	slices.SortFunc(r.Arrivals, func(a, b Arrival) int { return strings.Compare(a.VM, b.VM) })
	return r
}

// moves gathers what has left and is still looked after, by guest.
func (m *Machine) moves() (list []Move) {
	type journey struct{ vm, to string }
	at := map[journey]int{}
	for key, d := range m.left {
		if !d.blackholed && d.kept == nil {
			continue
		}
		j := journey{d.vm, d.to}
		i, ok := at[j]
		if !ok {
			i = len(list)
			at[j] = i
			list = append(list, Move{VM: d.vm, To: d.to, Since: d.since})
		}
		list[i].Since = min(list[i].Since, d.since)
		list[i].Prefixes = append(list[i].Prefixes, key)
		if d.kept != nil {
			list[i].Announced++
		}
		if !d.heard {
			list[i].Unheard++
		}
	}
	for i := range list {
		slices.SortFunc(list[i].Prefixes, Key.Compare)
	}
	slices.SortFunc(list, func(a, b Move) int {
		return strings.Compare(a.VM+"\x00"+a.To, b.VM+"\x00"+b.To)
	})
	return list
}
