package main

import (
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/audit"
)

// moment writes a time as it was asked for, in its own zone.
func moment(t time.Time) string { return t.Format("2006-01-02 15:04:05.999Z07:00") }

// by says who published an event, and where to find it. The clock of the
// publisher is told where it isn't that of the log.
func by(o audit.Origin) string {
	if o.Type == "" {
		return fmt.Sprintf("by an event that can't be read (#%d)", o.Sequence)
	}
	text := fmt.Sprintf("by %s (#%d, %s", orDefault(o.Source, "somebody without a name"), o.Sequence, o.Type)
	if o.Skew() != 0 {
		text += "; the publisher's clock said " + stamp(o.Time)
	}
	return text + ")"
}

// when says at what time of the log something happened.
func when(o audit.Origin) string {
	if o.Stored.IsZero() {
		return fmt.Sprintf("#%d", o.Sequence)
	}
	return stamp(o.Stored)
}

// period says how long something held.
func period(s audit.Span) string {
	if s.Until == nil {
		return "since " + when(s.From)
	}
	return "from " + when(s.From) + " until " + when(*s.Until)
}

// onset says by whose doing something began, and cause by whose it ended.
func onset(o audit.Origin) string { return verbOf(o.Type, beginnings) + " " + by(o) }
func cause(o audit.Origin) string { return verbOf(o.Type, endings) + " " + by(o) }

// The words for how something began or ended with an event.
var (
	beginnings = map[events.Type]string{
		events.TypeIPAssigned: "assigned", events.TypeIPMoved: "moved here",
		events.TypeVMCreated: "created", events.TypeVMMigrated: "migrated here", events.TypeVMMigrationStarted: "begun",
		events.TypeNetworkDefined: "defined", events.TypeHypervisorRegistered: "registered",
	}
	endings = map[events.Type]string{
		events.TypeIPReleased: "released", events.TypeIPMoved: "moved away",
		events.TypeVMDeleted: "guest deleted", events.TypeVMMigrated: "migrated away", events.TypeVMMigrationAborted: "aborted",
		events.TypeNetworkRemoved: "removed",
	}
)

func verbOf(t events.Type, words map[events.Type]string) string {
	return orDefault(words[t], "changed")
}

// bare writes a prefix, and the address alone where it is one.
func bare(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// tellMarks says when a hypervisor was drained or fenced.
func tellMarks(w io.Writer, indent, what string, marks []audit.Mark) {
	for _, m := range marks {
		fmt.Fprintf(w, "%s%s %s%s, %s", indent, what, period(m.Span), because(m.Reason), by(m.From))
		if m.Until != nil {
			fmt.Fprintf(w, "; ended %s", by(*m.Until))
		}
		fmt.Fprintln(w)
	}
}
