package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hostroute/hostroute/events/log"
	"github.com/hostroute/hostroute/internal/audit"
	"github.com/hostroute/hostroute/projector"
)

func (a *app) auditCommand() *cobra.Command {
	return group("audit", "Answer from the log who had what, when, where, and by whose doing",
		a.auditIP(), a.auditVM(), a.auditHypervisor(), a.auditDiff(),
		a.auditVerify(), a.auditCheckpoint(), a.auditKey())
}

// asked is the part of the log that a question is about.
type asked struct {
	at, since, until momentText // as on the command line

	At     *place `json:"at,omitempty"`
	Since  *place `json:"since,omitempty"`
	Until  *place `json:"until,omitempty"`
	window audit.Window
}

// place is a moment in the log: what had happened up to a sequence. Time is
// what was asked for, if it was a time.
type place struct {
	Sequence uint64     `json:"sequence"`
	Time     *time.Time `json:"time,omitempty"`
}

// question makes a command that asks about a part of the log.
func (a *app) question(use, short, example string, run func(ctx context.Context, name string, q *asked) error) *cobra.Command {
	q := &asked{}
	c := a.command(use, short, example, func(ctx context.Context, args []string) error { return run(ctx, args[0], q) })
	flags := c.Flags()
	flags.Var(&q.at, "at", "at this moment only, `TIME|SEQ`: \"2026-11-22 03:12 +0100\", yesterday, -2h, 4711 …")
	flags.Var(&q.since, "since", "what was so from this `TIME|SEQ` on")
	flags.Var(&q.until, "until", "what was so before this TIME, or up to this `SEQ`")
	c.MarkFlagsMutuallyExclusive("at", "since")
	c.MarkFlagsMutuallyExclusive("at", "until")
	c.Long = short + ".\n\n" +
		"Times are those at which the log stored events; without a zone they are local. A time\n" +
		"means what was stored before it. The order of the log decides, never the clock of who\n" +
		"published: where that differs, it is told. Exit status: 0 with an answer, 1 where the\n" +
		"log has none or part of it is damaged, 2 where it could not be asked."
	return c
}

// parseMoment reads a moment of the log, as a sequence or a time.
func (a *app) parseMoment(what, s string) (log.Until, error) {
	if n, err := strconv.ParseUint(strings.TrimPrefix(s, "#"), 10, 64); err == nil && n > 0 {
		return log.Until{Sequence: n}, nil
	}
	t, err := parseTime(s, a.now())
	if err != nil {
		return log.Until{}, fmt.Errorf("%s is no sequence, and %w", what, err)
	}
	return log.Until{Time: t}, nil
}

// locate finds a moment in the log. What hasn't been yet is refused: nobody
// knows how it will be.
func (a *app) locate(ctx context.Context, l ledger, what, s string) (*place, error) {
	m, err := a.parseMoment(what, s)
	if err != nil {
		return nil, err
	}
	if m.Sequence > 0 {
		last, err := l.LastSequence(ctx)
		if err == nil && m.Sequence > last {
			err = fmt.Errorf("%s: the log has no sequence %d yet; its last is %d", what, m.Sequence, last)
			if m.Sequence > 1e9 {
				err = fmt.Errorf("%w; seconds since 1970 are written @%d", err, m.Sequence)
			}
		}
		return &place{Sequence: m.Sequence}, err
	}
	if m.Time.After(a.now()) {
		return nil, fmt.Errorf("%s: %s is still to come", what, moment(m.Time))
	}
	sequence, err := l.SequenceBefore(ctx, m.Time)
	return &place{Sequence: sequence, Time: &m.Time}, err
}

// locate turns what the command line says into sequences.
func (q *asked) locate(ctx context.Context, a *app, l ledger) error {
	q.window = audit.Always()
	for _, f := range []struct {
		flag, text string
		place      **place
	}{{"--at", q.at.String(), &q.At}, {"--since", q.since.String(), &q.Since}, {"--until", q.until.String(), &q.Until}} {
		if f.text == "" {
			continue
		}
		var err error
		if *f.place, err = a.locate(ctx, l, f.flag, f.text); err != nil {
			return err
		}
	}
	switch {
	case q.At != nil:
		q.window = audit.At(q.At.Sequence)
	case q.Since != nil && q.Since.Time != nil:
		q.window.After = q.Since.Sequence
	case q.Since != nil:
		q.window.After = q.Since.Sequence - 1
	}
	if q.Until != nil {
		if q.window.Upto = q.Until.Sequence; q.window.Upto < q.window.After {
			return fmt.Errorf("--until %s is before --since %s", q.until, q.since)
		}
	}
	return nil
}

// String says which part of the log it is, as the end of a sentence.
func (q *asked) String() string {
	switch {
	case q.At != nil:
		return " at " + q.At.String()
	case q.Since != nil && q.Until != nil:
		return " from " + q.Since.String() + " until " + q.Until.String()
	case q.Since != nil:
		return " since " + q.Since.String()
	case q.Until != nil:
		return " until " + q.Until.String()
	}
	return ""
}

func (p place) String() string {
	if p.Time != nil {
		return moment(*p.Time)
	}
	return fmt.Sprintf("#%d", p.Sequence)
}

// histories answers a question to the log: it reads what the question turns
// out to need, and asks again.
func histories[T any](ctx context.Context, a *app, q *asked, ask func(*audit.Book, audit.Window) (T, error)) (T, error) {
	var none T
	l, err := a.ledger(ctx)
	if err != nil {
		return none, err
	}
	defer l.Close()
	if err := q.locate(ctx, a, l); err != nil {
		return none, err
	}
	show := a.progress()
	defer show("")
	book := audit.NewBook()
	for {
		answer, err := ask(book, q.window)
		var missing *projector.MissingError
		if !errors.As(err, &missing) {
			return answer, err
		}
		show(fmt.Sprintf("reading %d histories …", len(missing.Subjects)))
		found, err := l.Histories(ctx, missing.Subjects...)
		if err != nil {
			return none, err
		}
		for subject, list := range found {
			book.Put(subject, changesOf(list))
		}
		for _, subject := range missing.Subjects {
			book.Looked(subject)
		}
	}
}

func changesOf(list []log.Change) []audit.Change {
	all := make([]audit.Change, len(list))
	for i, c := range list {
		all[i] = audit.Change{Origin: originOf(c.Entry), Data: c.Event.Data, Value: c.Register, Guests: c.Guests}
		switch {
		case c.Err != nil:
			all[i].Damage = "can't be read: " + c.Err.Error()
		case c.Broken != nil:
			all[i].Damage = c.Broken.Error()
		}
	}
	return all
}

func originOf(e log.Entry) audit.Origin {
	return audit.Origin{Sequence: e.Sequence, Type: e.Event.Type(), Source: e.Source, Stored: e.Stored, Time: e.Time, ID: e.ID}
}

// verdict tells of the damage that an answer rests on, and makes the exit
// status: an answer that isn't there, or not whole, is something found.
func (a *app) verdict(damaged []audit.Damage, answered bool) error {
	if len(damaged) > 0 {
		if !a.json {
			fmt.Fprintln(a.stdout)
			for _, d := range damaged {
				fmt.Fprintf(a.stdout, "DAMAGED #%d on %s, stored %s: %s\n", d.Sequence, d.Subject, stamp(d.Stored), d.Reason)
			}
		}
		return found{fmt.Errorf("%s in these histories: what was said there is missing above", count(len(damaged), "damaged change"))}
	}
	if !answered {
		return found{}
	}
	return nil
}
