package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/events/log"
)

// maxLine is the longest line of a file of events; no event of the log is
// longer (the default max_payload of NATS).
const maxLine = 1 << 20

// receipt is a stored event as --json shows it.
type receipt struct {
	log.Stored
	Event events.Event `json:"event"`
}

// publish stores one event and says so.
func (a *app) publish(ctx context.Context, data events.Data) error {
	return a.ask(ctx, data, func(p publisher, e events.Event) error {
		stored, err := p.Publish(ctx, e)
		if err != nil {
			return refusal(err)
		}
		if a.json {
			e.ID = stored.ID
			return writeJSON(a.stdout, receipt{stored, e})
		}
		return a.acknowledge(stored, data)
	})
}

// ask connects to the log for one event. An event that is wrong by itself is
// refused before anybody is asked.
func (a *app) ask(ctx context.Context, data events.Data, do func(publisher, events.Event) error) error {
	e := events.Event{Source: a.source, Data: data}
	if err := e.Validate(); err != nil {
		return found{err}
	}
	p, err := a.publisher(ctx)
	if err != nil {
		return err
	}
	defer p.Close()
	return do(p, e)
}

// refusal tells what the log refuses from what kept it from being asked.
func refusal(err error) error {
	var bad *events.Error
	if errors.As(err, &bad) {
		return found{err}
	}
	return err
}

func (a *app) publishCommand() *cobra.Command {
	c := a.command("publish FILE", "Publish events from JSON lines, in order; - is stdin", "hostroute publish events.jsonl",
		func(ctx context.Context, args []string) error {
			in, err := interruptible(ctx, func() (io.ReadSeekCloser, error) { return a.openEvents(args[0]) })
			if err != nil {
				return err
			}
			defer in.Close()
			return a.publishFile(ctx, in, orDefault(strings.TrimPrefix(args[0], "-"), "stdin"))
		})
	c.Long = "Publish events from JSON lines, in order; - is stdin. Every line is checked before\n" +
		"the first is sent; a line that the log refuses ends it. Events with an id may be\n" +
		"published again: what the log has already is counted as a duplicate."
	return c
}

// openEvents opens a file of events so that it can be read twice.
func (a *app) openEvents(path string) (io.ReadSeekCloser, error) {
	if path == "-" {
		return readTwice(a.stdin)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading events: %w", err)
	}
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
		return f, nil
	}
	defer f.Close()
	return readTwice(f)
}

// readTwice keeps what can be read once only.
func readTwice(r io.Reader) (io.ReadSeekCloser, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("reading events: %w", err)
	}
	return closer{bytes.NewReader(b)}, nil
}

// interruptible does what may wait for somebody, as a read of stdin does, and
// leaves it behind when the context ends.
func interruptible[T any](ctx context.Context, do func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := do()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, fmt.Errorf("reading events: %w", ctx.Err())
	}
}

type closer struct{ *bytes.Reader }

func (closer) Close() error { return nil }

// outcome is what became of a file of events.
type outcome struct {
	Events     int    `json:"events"`
	Stored     int    `json:"stored"`
	Duplicates int    `json:"duplicates"`
	Last       uint64 `json:"last,omitempty"` // sequence
}

// publishFile checks all, then sends all.
func (a *app) publishFile(ctx context.Context, in io.ReadSeeker, name string) error {
	o := outcome{}
	err := eachEvent(in, name, func(int, events.Event) error { o.Events++; return nil })
	if err != nil {
		return fmt.Errorf("%w; nothing was sent", err)
	}
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("reading %s again: %w", name, err)
	}
	p, err := a.publisher(ctx)
	if err != nil {
		return err
	}
	defer p.Close()
	shown := a.progress()
	err = eachEvent(in, name, func(line int, e events.Event) error {
		if e.Source == "" {
			e.Source = a.source
		}
		stored, err := p.Publish(ctx, e)
		if err != nil {
			return fmt.Errorf("%s line %d: %w", name, line, refusal(err))
		}
		if o.Last = stored.Sequence; stored.Duplicate {
			o.Duplicates++
		} else {
			o.Stored++
		}
		shown(fmt.Sprintf("%d of %d published", o.Stored+o.Duplicates, o.Events))
		return nil
	})
	shown("")
	return a.report(o, err)
}

func (a *app) report(o outcome, err error) error {
	if a.json {
		if jsonErr := writeJSON(a.stdout, o); jsonErr != nil {
			return jsonErr
		}
		return err
	}
	text := fmt.Sprintf("%d stored, %s", o.Stored, count(o.Duplicates, "duplicate"))
	if err != nil {
		return fmt.Errorf("%w; of the events before it, %s", err, text)
	}
	_, err = fmt.Fprintln(a.stdout, text)
	return err
}

// eachEvent reads JSON lines; what is wrong with one names its number. Empty
// lines are passed over.
func eachEvent(in io.Reader, name string, do func(line int, e events.Event) error) error {
	s := bufio.NewScanner(in)
	s.Buffer(make([]byte, 64<<10), maxLine)
	n := 0
	for s.Scan() {
		n++
		if len(bytes.TrimSpace(s.Bytes())) == 0 {
			continue
		}
		e, err := events.Parse(s.Bytes())
		if err != nil {
			return found{fmt.Errorf("%s line %d: %w", name, n, err)}
		}
		if err := do(n, e); err != nil {
			return err
		}
	}
	if err := s.Err(); errors.Is(err, bufio.ErrTooLong) {
		return found{fmt.Errorf("%s line %d: longer than %d bytes, the most that an event may have", name, n+1, maxLine)}
	} else if err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	return nil
}

// progress shows, on a terminal, how far something is; empty: it is done.
func (a *app) progress() func(text string) {
	if !isTerminal(a.stderr) || a.env("TERM") == "dumb" {
		return func(string) {}
	}
	var last time.Time
	return func(text string) {
		if now := a.now(); text == "" || now.Sub(last) > 100*time.Millisecond {
			last = now
			fmt.Fprintf(a.stderr, "\r\x1b[K%s", text)
		}
	}
}
