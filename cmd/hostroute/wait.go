package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/events/log"
)

// defaultWait is how long --wait waits without saying how long.
const defaultWait = "30s"

// waiting adds the flag that has a command wait for its effect.
func waiting(c *cobra.Command, wait *time.Duration) *cobra.Command {
	c.Flags().DurationVar(wait, "wait", 0, "wait until every hypervisor has the effect, or for so `LONG` ("+defaultWait+" if --wait alone)")
	c.Flags().Lookup("wait").NoOptDefVal = defaultWait
	return c
}

// effected is a stored event and its effect, as --json shows them. Without a
// sequence nothing was stored, since it was so already.
type effected struct {
	receipt
	Effect log.Expectation  `json:"effect"`
	Hosts  []log.HostEffect `json:"hosts"`
	Done   bool             `json:"done"` // all have it
}

// publishAndWait stores one event, says so, and waits for its effect; 0: not at all.
func (a *app) publishAndWait(ctx context.Context, data events.Data, wait time.Duration) error {
	if wait < 0 {
		return fmt.Errorf("--wait %s: must be more than 0", wait)
	}
	if wait == 0 {
		return a.publish(ctx, data)
	}
	return a.ask(ctx, data, func(p publisher, e events.Event) error { return a.storeAndAwait(ctx, p, e, wait) })
}

func (a *app) storeAndAwait(ctx context.Context, p publisher, e events.Event, wait time.Duration) (err error) {
	r := effected{receipt: receipt{Event: e}}
	r.Stored, err = p.Publish(ctx, e)
	at := time.Now()
	if x, ok := already(e.Data, err); ok {
		r.Effect, r.Duplicate = x, true
		if !a.json {
			fmt.Fprintln(a.stdout, err)
		}
		return a.await(ctx, p, r, at, wait)
	}
	if err != nil {
		return refusal(err)
	}
	r.Event.ID = r.ID
	if !a.json {
		if err := a.acknowledge(r.Stored, e.Data); err != nil {
			return err
		}
	}
	if r.Effect, err = p.Effect(ctx, r.Sequence); err != nil {
		return errors.Join(a.onlyStored(r), fmt.Errorf("it is stored, but not known to be in effect: %w", err))
	}
	return a.await(ctx, p, r, at, wait)
}

// await waits for an effect and says who has it.
func (a *app) await(ctx context.Context, p publisher, r effected, at time.Time, wait time.Duration) error {
	shown := a.showEffect(r.Effect, at)
	var failed error
	r.Hosts, failed = p.Await(ctx, r.Effect, log.AwaitOptions{Timeout: wait, Stored: at, Progress: shown.progress})
	shown.line("")
	if failed != nil && !errors.Is(failed, context.Canceled) {
		return errors.Join(a.onlyStored(r), failed)
	}
	r.Hosts = unserved(r.Effect, r.Hosts)
	r.Done = !slices.ContainsFunc(r.Hosts, lacking)
	return a.showHosts(r, wait, failed)
}

// already gives the effect of what is refused since the hypervisor is so already:
// a drain lasts, and who says it again wants to know how far it is.
func already(data events.Data, err error) (log.Expectation, bool) {
	var bad *events.Error
	if !errors.As(err, &bad) || bad.Code != events.CodeExists {
		return log.Expectation{}, false
	}
	of := func(kind log.EffectKind, hypervisor string) (log.Expectation, bool) {
		return log.Expectation{Effect: log.Effect{Kind: kind, Hypervisor: hypervisor}, Hypervisors: []string{hypervisor}}, true
	}
	switch d := data.(type) {
	case *events.HypervisorDrained:
		return of(log.EffectDrained, d.Hypervisor)
	case *events.HypervisorUndrained:
		return of(log.EffectUndrained, d.Hypervisor)
	case *events.HypervisorFenced:
		return of(log.EffectFenced, d.Hypervisor)
	case *events.HypervisorUnfenced:
		return of(log.EffectUnfenced, d.Hypervisor)
	}
	return log.Expectation{}, false
}

// acknowledge says that an event is stored.
func (a *app) acknowledge(stored log.Stored, data events.Data) error {
	verb := "stored"
	if stored.Duplicate {
		verb = "stored already as"
	}
	_, err := fmt.Fprintf(a.stdout, "%s %d: %s\n", verb, stored.Sequence, sentence(data))
	return err
}

// onlyStored says in JSON that an event is stored, where nothing more is known.
func (a *app) onlyStored(r effected) error {
	if !a.json {
		return nil
	}
	return writeJSON(a.stdout, r.receipt)
}

// lacking tells whether a hypervisor hasn't what it is to have.
func lacking(h log.HostEffect) bool {
	return h.State == log.EffectMissing || h.State == log.EffectSilent
}

// unserved marks a home that is fenced: it wasn't asked, and it won't do it.
func unserved(x log.Expectation, hosts []log.HostEffect) []log.HostEffect {
	for i, h := range hosts {
		if h.State == log.EffectSkipped && h.Hypervisor == x.Hypervisor && x.Kind == log.EffectHomed {
			hosts[i].State, hosts[i].Lacks = log.EffectMissing, []string{"it is fenced, and announces nothing"}
		}
	}
	return hosts
}

// effectView shows how far an effect is.
type effectView struct {
	a      *app
	line   func(string) // one line of a terminal that changes
	plain  bool         // no terminal: a line for each change
	at     time.Time
	states map[string]log.HostEffect
	names  []string
}

func (a *app) showEffect(x log.Expectation, at time.Time) *effectView {
	v := &effectView{a: a, line: a.progress(), plain: !isTerminal(a.stderr), at: at, states: map[string]log.HostEffect{}, names: x.Hypervisors}
	return v
}

// progress takes what is heard of one hypervisor.
func (v *effectView) progress(h log.HostEffect) {
	before, known := v.states[h.Hypervisor]
	v.states[h.Hypervisor] = h
	switch {
	case !v.plain:
		v.line(v.summary())
	case !v.a.json && !(known && before.State == h.State && slices.Equal(before.Lacks, h.Lacks)):
		fmt.Fprintf(v.a.stderr, "%s %s\n", h.Hypervisor, heard(h))
	}
}

// namedWaiting is how many hypervisors that are waited for a line has room for.
const namedWaiting = 3

// summary is how far it is, on a line, with those that are waited for.
func (v *effectView) summary() string {
	var open []string
	n := 0
	for _, name := range v.names {
		h, ok := v.states[name]
		switch {
		case ok && !lacking(h):
			n++
		case ok && len(h.Lacks) > 0:
			open = append(open, name+" ("+h.Lacks[0]+")")
		default:
			open = append(open, name)
		}
	}
	text := fmt.Sprintf("%d of %s after %.1f s", n, count(len(v.names), "hypervisor"), time.Since(v.at).Seconds())
	if more := len(open) - namedWaiting; more > 0 {
		open = append(open[:namedWaiting], fmt.Sprintf("%d more", more))
	}
	if len(open) > 0 {
		text += "; not yet: " + strings.Join(open, ", ")
	}
	return text
}

// heard is what is known of a hypervisor, in words.
func heard(h log.HostEffect) string {
	switch h.State {
	case log.EffectThere:
		return fmt.Sprintf("has it after %.1f ms", h.Milliseconds)
	case log.EffectNone, log.EffectSkipped:
		return "isn't concerned: " + orDefault(strings.Join(h.Lacks, "; "), "fenced")
	}
	return "not yet: " + strings.Join(h.Lacks, "; ")
}

// showHosts says who has it and who has not.
func (a *app) showHosts(r effected, wait time.Duration, interrupted error) error {
	if a.json {
		if err := writeJSON(a.stdout, r); err != nil {
			return err
		}
	} else if err := a.hostTable(r); err != nil {
		return err
	}
	n := 0
	for _, h := range r.Hosts {
		if lacking(h) {
			n++
		}
	}
	switch {
	case r.Done:
		return nil
	case interrupted != nil:
		return found{fmt.Errorf("interrupted: on %s it isn't known to be in effect; it is stored, and goes on", count(n, "hypervisor"))}
	}
	return found{fmt.Errorf("not in effect on %s after %s; it is stored, and goes on", count(n, "hypervisor"), wait)}
}

// hostTable lists the hypervisors, those first that haven't it, then the slowest.
func (a *app) hostTable(r effected) error {
	hosts := slices.Clone(r.Hosts)
	slices.SortStableFunc(hosts, func(x, y log.HostEffect) int {
		if lx, ly := lacking(x), lacking(y); lx != ly {
			if lx {
				return -1
			}
			return 1
		}
		return int(y.Milliseconds - x.Milliseconds)
	})
	t := newTable(a.stdout, "HYPERVISOR", "IN EFFECT", "MS", "REASON")
	for _, h := range hosts {
		word, ms := "no", ""
		switch h.State {
		case log.EffectThere:
			word, ms = "yes", fmt.Sprintf("%.1f", h.Milliseconds)
		case log.EffectNone, log.EffectSkipped:
			word = "not concerned"
		}
		reasons := h.Lacks
		if h.State == log.EffectSkipped {
			reasons = []string{"fenced"}
		}
		if h.Drain != nil && h.State == log.EffectThere {
			reasons = []string{left(*h.Drain)}
		}
		t.row(h.Hypervisor, word, ms, strings.Join(reasons, "; "))
	}
	return t.flush()
}

// left says what is left on a drained hypervisor.
func left(d log.Drain) string {
	text := fmt.Sprintf("%s homed, %s, ", count(d.Guests, "guest"), count(d.Members, "anycast member"))
	return text + fmt.Sprintf("%s delivered in %.0f s", count(int(d.Delivered), "packet"), d.Window)
}
