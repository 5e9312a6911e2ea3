package log

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/hostroute/hostroute/events"
)

// SubjectEffect is where the log service is asked what effect an event is to
// have. With a dot and the name of a hypervisor behind it, it is where that
// hypervisor's agent is asked whether it has it.
const SubjectEffect = "hostroute.effect"

// EffectKind is what an event is to bring about.
type EffectKind string

// The kinds of effects.
const (
	// EffectHomed: the guest's hypervisor delivers the prefixes and announces
	// them, and the routes of all others lead there.
	EffectHomed EffectKind = "homed"
	// EffectPrepared: the hypervisor has everything ready for the guest, its taps
	// included, and announces nothing.
	EffectPrepared EffectKind = "prepared"
	// EffectEnded: the hypervisor neither delivers nor announces the prefixes, and
	// no route of the others leads there.
	EffectEnded EffectKind = "ended"
	// EffectDrained: what the hypervisor announces is the last choice, no guest is
	// left there that isn't one of several, and none is sent anything.
	EffectDrained EffectKind = "drained"
	// EffectUndrained: it announces what it has as everybody else does.
	EffectUndrained EffectKind = "undrained"
	// EffectFenced: the hypervisor announces nothing.
	EffectFenced EffectKind = "fenced"
	// EffectUnfenced: it announces what it has.
	EffectUnfenced EffectKind = "unfenced"
)

// Effect is what an event is to bring about on hypervisors.
type Effect struct {
	Sequence   uint64         `json:"sequence"` // of the event
	Kind       EffectKind     `json:"kind"`
	VM         string         `json:"vm,omitempty"`
	Hypervisor string         `json:"hypervisor"`     // which has to do it
	Taps       []string       `json:"taps,omitempty"` // of the guest there
	Prefixes   []EffectPrefix `json:"prefixes,omitempty"`
}

// EffectPrefix is a prefix whose routes change.
type EffectPrefix struct {
	VRF    string       `json:"vrf"`
	Prefix netip.Prefix `json:"prefix"`
	// Preference is the least LOCAL_PREF (RFC 4271 section 5.1.5) of a path that
	// is from after the event. It tells the new home of a prefix from the old one,
	// but for a prefix that several guests hold.
	Preference uint32 `json:"preference"`
	// Shared is set if several guests hold the prefix: that the others have a
	// route then says nothing of this one.
	Shared bool `json:"shared,omitempty"`
}

// Expectation is an Effect and who is to be asked for it.
type Expectation struct {
	Effect
	// Hypervisors are those that are concerned, the one that has to do it first,
	// then the others by name.
	Hypervisors []string `json:"hypervisors"`
	// Fenced are those that would be, but nobody waits for them.
	Fenced []string `json:"fenced,omitempty"`
}

// EffectAnswer is what an agent says. The shape is the same for all kinds.
type EffectAnswer struct {
	Hypervisor string `json:"hypervisor"`
	Has        bool   `json:"has"`
	// Unconcerned is set where there is nothing to have, as without the VRF; Has
	// is set then, too.
	Unconcerned bool     `json:"unconcerned,omitempty"`
	Lacks       []string `json:"lacks,omitempty"` // what is missing and why, as sentences for people
	// Tick is the last sequence of the log that the hypervisor knows to concern it.
	Tick uint64 `json:"tick,omitempty"`
	// After is how many seconds after it had learned of the event the hypervisor
	// had the effect, by its own clock; absent where it didn't learn from the log.
	After float64 `json:"after,omitempty"`
	Drain *Drain  `json:"drain,omitempty"`
}

// Drain says what is left on a drained hypervisor.
type Drain struct {
	Guests  int `json:"guests"`  // homed there, without the members
	Members int `json:"members"` // guests that hold nothing but anycast prefixes
	// Delivered counts the packets to the taps of both within the last Window
	// seconds; Known is not set before so much time was watched.
	Delivered uint64  `json:"delivered"`
	Window    float64 `json:"window"`
	Known     bool    `json:"known"`
}

// effectQuestion is what an agent is asked.
type effectQuestion struct {
	Effect
	Wait float64 `json:"wait"` // seconds until it answers in any case
}

// effectRequest asks the log service, effectReply is its answer.
type effectRequest struct {
	Sequence uint64 `json:"sequence"`
}

type effectReply struct {
	*Expectation
	Error *events.Error `json:"error,omitempty"`
}

// Bounds of what an agent takes from anybody who may ask.
const (
	maxEffectPrefixes = 2000
	maxEffectWait     = time.Minute
)

// readQuestion reads what an agent is asked, and bounds it.
func readQuestion(data []byte) (q effectQuestion, err error) {
	if err := json.Unmarshal(data, &q); err != nil {
		return q, fmt.Errorf("reading the question: %w", err)
	}
	if len(q.Prefixes)+len(q.Taps) > maxEffectPrefixes {
		return q, fmt.Errorf("%d prefixes and taps; at most %d", len(q.Prefixes)+len(q.Taps), maxEffectPrefixes)
	}
	if i := slices.IndexFunc(q.Prefixes, func(p EffectPrefix) bool { return !p.Prefix.IsValid() }); i >= 0 {
		return q, fmt.Errorf("prefixes[%d] is missing", i)
	}
	q.Wait = min(max(q.Wait, 0), maxEffectWait.Seconds())
	return q, nil
}

// own tells whether an agent may answer there: in the inbox of whoever asks, at
// the place that has the agent's name, where nobody else can; or where a server
// leads it into another account. With any other subject the asker would write
// through the agent.
func own(reply, hypervisor string) bool {
	token := strings.Split(reply, ".")
	return token[0] == "_R_" || len(token) == 4 && token[0] == "_INBOX" && token[2] == hypervisor
}

// seconds is a number of seconds as a duration.
func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
