package log

import (
	"slices"
	"testing"

	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"

	"github.com/hostroute/hostroute/events"
)

// transport is a live delivery that loses, doubles, delays and reorders.
type transport struct {
	late []*nats.Msg
}

// through gives what arrives of some messages.
func (w *transport) through(r *rapid.T, sent []*nats.Msg) (arrived []*nats.Msg) {
	for _, m := range sent {
		switch rapid.SampledFrom([]string{"", "", "", "lost", "twice", "late"}).Draw(r, "fate") {
		case "lost":
		case "twice":
			arrived = append(arrived, m, m)
		case "late":
			w.late = append(w.late, m)
		default:
			arrived = append(arrived, m)
		}
	}
	if rapid.Bool().Draw(r, "reordered") {
		arrived = rapid.Permutation(arrived).Draw(r, "order")
	}
	if n := len(w.late); n > 0 && rapid.Bool().Draw(r, "arrives late") {
		arrived = append(arrived, w.late...)
		w.late = nil
	}
	return arrived
}

// TestALossyTransportLosesNothing publishes random histories, delivers them
// badly, and has followers ask at random, be restarted from what they kept long
// ago, or not at all: once they have asked they want what replay does.
func TestALossyTransportLosesNothing(t *testing.T) {
	checks(t, 12)
	rapid.Check(t, func(r *rapid.T) {
		scope := &scope{TB: t}
		defer scope.end()
		l := newLab(scope)
		l.base()
		l.serve()
		e := l.listen()
		f, kept := l.still(), FollowerOptions{}
		var wire transport
		for range rapid.IntRange(1, 40).Draw(r, "events") {
			var sent []*nats.Msg
			if _, err := l.ledger.Publish(l.ctx, events.Event{Source: "test", Data: drawEvent(r)}); err == nil {
				sent = e.heard()
			}
			gap := false
			for _, m := range wire.through(r, sent) {
				gap = f.handle(m) || gap
			}
			switch rapid.SampledFrom([]string{"", "", "asks", "keeps", "restarts"}).Draw(r, "then") {
			case "asks":
				gap = true
			case "keeps":
				kept.State, kept.Cursor = f.Checkpoint()
			case "restarts":
				f, gap = NewFollower(l.nc, "hv1", kept), true
			}
			if !gap {
				continue
			}
			if _, err := f.catchUp(l.ctx); err != nil {
				r.Fatal(err)
			}
			if have, want := desired(t, f.State(), "hv1"), desired(t, l.replay(), "hv1"); have != want {
				r.Fatalf("after it has asked the follower wants\n%s\nand replay\n%s", have, want)
			}
		}
		if _, err := f.catchUp(l.ctx); err != nil {
			r.Fatal(err)
		}
		if have, want := desired(t, f.State(), "hv1"), desired(t, l.replay(), "hv1"); have != want {
			r.Fatalf("in the end the follower wants\n%s\nand replay\n%s", have, want)
		}
		if q := f.State().Quarantined(); len(q) > 0 {
			r.Fatalf("a sound log leaves in quarantine %+v", slices.Clone(q))
		}
	})
}
