package log

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"github.com/hostroute/hostroute/events"
)

// EffectState is what is known of an effect on one hypervisor.
type EffectState string

// The states of an effect on a hypervisor.
const (
	EffectThere   EffectState = "has"
	EffectNone    EffectState = "unconcerned" // there is nothing to have, as without the VRF
	EffectMissing EffectState = "lacks"
	EffectSilent  EffectState = "silent" // no agent answers
	EffectSkipped EffectState = "fenced" // wasn't asked
)

// HostEffect is what is known of one hypervisor.
type HostEffect struct {
	Hypervisor string      `json:"hypervisor"`
	State      EffectState `json:"state"`
	// Milliseconds from the event being stored to the word that the effect is
	// there, both by the clock of who asks.
	Milliseconds float64 `json:"ms,omitempty"`
	// Own is how many the hypervisor took after learning of the event, by its
	// own clock; absent where it learned of it by BGP only.
	Own   float64  `json:"own_ms,omitempty"`
	Lacks []string `json:"lacks,omitempty"`
	Drain *Drain   `json:"drain,omitempty"`
}

// AwaitOptions of [Client.Await].
type AwaitOptions struct {
	// Timeout is how long it is waited for, 30 s by default.
	Timeout time.Duration
	// Stored is when the event was stored, from which Milliseconds count; by
	// default the call of Await.
	Stored time.Time
	// Progress is called with each change, from the goroutine of Await; none by
	// default.
	Progress func(HostEffect)
}

// The pace of asking.
const (
	effectPace  = 2 * time.Second // after so long an agent is to say what is missing
	drainPace   = time.Second     // on a drained hypervisor, where that is what people watch
	effectAgain = 500 * time.Millisecond
	effectGrace = time.Second // for an answer to arrive
)

// Effect asks the log service what the event at a sequence is to bring about, as
// [Ledger.Effect] does.
func (c *Client) Effect(ctx context.Context, sequence uint64) (Expectation, error) {
	payload, err := json.Marshal(effectRequest{sequence})
	if err != nil {
		return Expectation{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	m, err := c.nc.RequestWithContext(ctx, SubjectEffect, payload)
	if errors.Is(err, nats.ErrNoResponders) {
		return Expectation{}, noService(c.nc)
	}
	if err != nil {
		return Expectation{}, fmt.Errorf("asking the log service for the effect of %d: %w", sequence, explain(c.nc, err))
	}
	var reply effectReply
	if err := json.Unmarshal(m.Data, &reply); err != nil {
		return Expectation{}, fmt.Errorf("reading the answer of the log service: %w", err)
	}
	switch {
	case reply.Error != nil && reply.Error.Code == codeUnavailable:
		return Expectation{}, fmt.Errorf("the log service can't tell the effect of %d just now: %s", sequence, reply.Error.Reason)
	case reply.Error != nil:
		return Expectation{}, reply.Error
	case reply.Expectation == nil:
		return Expectation{}, &events.Error{Reason: "the log service answers without an effect"}
	}
	return *reply.Expectation, nil
}

// Await asks the agents of an Expectation until each has the effect or the time
// is over, and tells what is known of each, in the order of the Expectation. It
// asks again whom it doesn't hear from. When the context ends it gives what is
// known with the context's error.
func (c *Client) Await(ctx context.Context, x Expectation, o AwaitOptions) ([]HostEffect, error) {
	a := newAsking(c.nc, x, o)
	answers := make(chan *nats.Msg, effectBuffer+4*len(x.Hypervisors))
	sub, err := c.nc.ChanSubscribe(a.inbox("*"), answers)
	if err != nil {
		return nil, fmt.Errorf("listening for answers of agents: %w", err)
	}
	defer sub.Unsubscribe() //nolint:errcheck // the connection may be gone
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	over := time.NewTimer(time.Until(a.end.Add(effectGrace)))
	defer over.Stop()
	for a.ask(time.Now()); a.open > 0 && !a.over(time.Now()); {
		select {
		case <-ctx.Done():
			return a.hosts(), ctx.Err()
		case <-over.C:
			return a.hosts(), nil
		case m := <-answers:
			a.hear(m, time.Now())
			a.ask(time.Now())
		case now := <-look.C:
			a.ask(now)
		}
	}
	return a.hosts(), nil
}

// asking is who was asked and what is known of them.
type asking struct {
	nc      *nats.Conn
	x       Expectation
	o       AwaitOptions
	end     time.Time
	pace    time.Duration
	base    string // of the inbox
	token   string
	open    int // who may have it still
	asked   map[string]*asked
	ordered []*asked
}

type asked struct {
	HostEffect
	at   time.Time // when it was asked last
	due  time.Time // to be asked again
	owes bool      // an answer to that
	done bool      // nothing more is to be heard
}

func newAsking(nc *nats.Conn, x Expectation, o AwaitOptions) *asking {
	now := time.Now()
	if o.Timeout <= 0 {
		o.Timeout = 30 * time.Second
	}
	if o.Stored.IsZero() {
		o.Stored = now
	}
	if o.Progress == nil {
		o.Progress = func(HostEffect) {}
	}
	a := &asking{nc: nc, x: x, o: o, end: now.Add(o.Timeout), pace: effectPace, token: nuid.Next(), open: len(x.Hypervisors), asked: map[string]*asked{}}
	if x.Kind == EffectDrained {
		a.pace = drainPace
	}
	// An inbox is the prefix of the user and something new: agents may answer
	// one token below _INBOX, which is the user's key.
	a.base = strings.Join(strings.SplitN(nc.NewInbox(), ".", 3)[:2], ".")
	for _, name := range x.Hypervisors {
		h := &asked{HostEffect: HostEffect{Hypervisor: name, State: EffectSilent}}
		a.asked[name], a.ordered = h, append(a.ordered, h)
	}
	return a
}

// inbox is where the answer of a hypervisor comes, and only that may write.
func (a *asking) inbox(hypervisor string) string {
	return a.base + "." + hypervisor + "." + a.token
}

// ask asks whom it is time to ask.
func (a *asking) ask(now time.Time) {
	left := a.end.Sub(now)
	if left < 0 {
		return
	}
	wait := min(left, a.pace)
	var payload []byte
	for _, h := range a.ordered {
		if h.done || now.Before(h.due) {
			continue
		}
		if payload == nil {
			payload, _ = json.Marshal(effectQuestion{a.x.Effect, wait.Seconds()}) // has nothing that can't be
		}
		h.at, h.due, h.owes = now, now.Add(wait+effectGrace), true
		if err := a.nc.PublishRequest(SubjectEffect+"."+h.Hypervisor, a.inbox(h.Hypervisor), payload); err != nil {
			h.due, h.owes = now.Add(effectAgain), false
			a.note(h, EffectSilent, "it can't be asked: "+explain(a.nc, err).Error())
		}
	}
}

// over tells whether the time is over and nobody owes an answer.
func (a *asking) over(now time.Time) bool {
	return !now.Before(a.end) && !slices.ContainsFunc(a.ordered, func(h *asked) bool { return h.owes && !h.done })
}

// hear takes an answer. Of who isn't asked, and of one who claims to be another,
// nothing is believed.
func (a *asking) hear(m *nats.Msg, now time.Time) {
	token := strings.Split(m.Subject, ".")
	h := a.asked[token[len(token)-2]]
	if h == nil || h.done {
		return
	}
	h.owes = false
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		h.due = now.Add(2 * effectAgain)
		a.note(h, EffectSilent, "no agent answers")
		return
	}
	var answer EffectAnswer
	h.due = h.at.Add(effectAgain) // at once, if it has waited as it should
	switch err := json.Unmarshal(m.Data, &answer); {
	case err != nil:
		a.note(h, EffectSilent, "what answers is no agent: "+err.Error())
	case answer.Hypervisor != h.Hypervisor:
		a.note(h, EffectSilent, fmt.Sprintf("what answers for it says that it is %q", answer.Hypervisor))
	case answer.Has:
		h.done = true
		a.open--
		h.Drain, h.Milliseconds, h.Own = answer.Drain, ms(now.Sub(a.o.Stored)), answer.After*1000
		if answer.Unconcerned {
			h.Milliseconds = 0
			a.note(h, EffectNone, answer.Lacks...)
			return
		}
		a.note(h, EffectThere)
	default:
		h.Drain = answer.Drain
		a.note(h, EffectMissing, answer.Lacks...)
	}
}

// note keeps what is known of a hypervisor.
func (a *asking) note(h *asked, state EffectState, lacks ...string) {
	h.State, h.Lacks = state, lacks
	a.o.Progress(h.HostEffect)
}

// hosts is what is known of all, also of those who weren't asked.
func (a *asking) hosts() []HostEffect {
	list := make([]HostEffect, 0, len(a.ordered)+len(a.x.Fenced))
	for _, h := range a.ordered {
		if h.State == EffectSilent && len(h.Lacks) == 0 {
			h.Lacks = []string{"no agent answers"}
		}
		list = append(list, h.HostEffect)
	}
	for _, name := range a.x.Fenced {
		list = append(list, HostEffect{Hypervisor: name, State: EffectSkipped})
	}
	return list
}

// ms is a duration as people read it, to the tenth of a millisecond.
func ms(d time.Duration) float64 { return float64(d.Round(100*time.Microsecond)) / 1e6 }
