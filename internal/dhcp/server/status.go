package server

import (
	"maps"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hostroute/hostroute/internal/dhcp"
)

// Status is what happened on a tap. Times are zero for what never happened.
type Status struct {
	VM      string     `json:"vm"`
	Address netip.Addr `json:"address"` // the one that is offered
	// LastKind is that of the guest's last message that was not ignored, and
	// LastState the state that its client was in, if it was a request.
	LastKind  string     `json:"last_kind,omitempty"`
	LastState dhcp.State `json:"last_state,omitempty"`
	LastTime  time.Time  `json:"last_time,omitzero"`
	Lease     *Lease     `json:"lease,omitempty"`
	// Hostname and VendorClass are what the guest says of itself (options 12
	// and 60): printable ASCII, escaped like a string of Go, and not believed.
	Hostname    string   `json:"hostname,omitempty"`
	VendorClass string   `json:"vendor_class,omitempty"`
	Counters    Counters `json:"counters"`
	Error       string   `json:"error,omitempty"` // why the tap isn't served just now
}

// Lease is an address as it was last acknowledged. It is told for people only:
// no answer depends on it, and a restart forgets it.
type Lease struct {
	Address      netip.Addr `json:"address"`
	Acknowledged time.Time  `json:"acknowledged"`
	Expires      time.Time  `json:"expires"`
}

// Counters count messages since the tap was first served for its guest.
type Counters struct {
	Discovers uint64 `json:"discovers"`
	Offers    uint64 `json:"offers"`
	Requests  uint64 `json:"requests"`
	Acks      uint64 `json:"acks"`
	Naks      uint64 `json:"naks"`
	Informs   uint64 `json:"informs"`
	Releases  uint64 `json:"releases"`
	Declines  uint64 `json:"declines"`
	// Ignored are messages without an answer, by reason.
	Ignored map[dhcp.Reason]uint64 `json:"ignored,omitempty"`
	// Dropped are options for which an answer had no room.
	Dropped uint64 `json:"dropped_options"`
	// Unsent are answers that could not be sent.
	Unsent uint64 `json:"unsent"`
	// Of the tap, whatever guest it had: Packets were handled, Limited is how
	// often the rate was reached, and Panics are packets that were lost to one.
	Packets uint64 `json:"packets"`
	Limited uint64 `json:"limited"`
	Panics  uint64 `json:"panics"`
}

// unparsable is the reason that the codec has.
const unparsable dhcp.Reason = "not parsable"

// longestText is how much is kept of what a guest says of itself, in bytes
// before escaping.
const longestText = 64

// record is the part of a Status that a task writes.
type record struct {
	mu sync.Mutex
	Status
}

func newRecord() *record {
	r := &record{}
	r.reset()
	return r
}

// reset forgets everything.
func (r *record) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Status = Status{Counters: Counters{Ignored: map[dhcp.Reason]uint64{}}}
}

// copy is a status that nobody else writes to.
func (r *record) copy() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	status := r.Status
	status.Counters.Ignored = maps.Clone(status.Counters.Ignored)
	if r.Lease != nil {
		lease := *r.Lease
		status.Lease = &lease
	}
	return status
}

// ignored counts a message without an answer. Reasons are few and fixed.
func (r *record) ignored(reason dhcp.Reason) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Counters.Ignored[reason]++
}

// received notes a message that was not ignored.
func (r *record) received(m dhcp.Request, v dhcp.Verdict, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.LastKind, r.LastState, r.LastTime = v.Received.String(), v.State, now
	if name, ok := m.Options[12]; ok {
		r.Hostname = escaped(name)
	}
	if class, ok := m.Options[60]; ok {
		r.VendorClass = escaped(class)
	}
	switch v.Received {
	case dhcp.KindDiscover:
		r.Counters.Discovers++
	case dhcp.KindRequest:
		r.Counters.Requests++
	case dhcp.KindInform:
		r.Counters.Informs++
	case dhcp.KindRelease:
		r.Counters.Releases++
		r.Lease = nil
	case dhcp.KindDecline:
		r.Counters.Declines++
		r.Lease = nil
	}
}

// answered notes an answer that was sent. One without an address of the guest
// makes no lease (DHCPINFORM).
func (r *record) answered(a dhcp.Reply, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Counters.Dropped += uint64(len(a.Dropped))
	switch a.Kind {
	case dhcp.KindOffer:
		r.Counters.Offers++
	case dhcp.KindNak:
		r.Counters.Naks++
		r.Lease = nil
	case dhcp.KindAck:
		r.Counters.Acks++
		if a.Your.IsValid() {
			r.Lease = &Lease{Address: a.Your, Acknowledged: now, Expires: now.Add(a.Lease)}
		}
	}
}

func (r *record) unsent() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Counters.Unsent++
}

// escaped is what a guest said, cut, with nothing in it that a terminal, a log
// or a web page would act on.
func escaped(text []byte) string {
	quoted := strconv.QuoteToASCII(string(text[:min(len(text), longestText)]))
	return strings.TrimSuffix(strings.TrimPrefix(quoted, `"`), `"`)
}
