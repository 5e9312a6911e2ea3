package log

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/audit"
	"github.com/hostroute/hostroute/projector"
)

// ask answers a question to history from a real log.
func ask[T any](l *lab, question func(*audit.Book) (T, error)) T {
	l.t.Helper()
	b := audit.NewBook()
	for {
		answer, err := question(b)
		var missing *projector.MissingError
		if !errors.As(err, &missing) {
			if err != nil {
				l.t.Fatal(err)
			}
			return answer
		}
		found, err := l.ledger.Histories(l.ctx, missing.Subjects...)
		if err != nil {
			l.t.Fatal(err)
		}
		for subject, list := range found {
			history := make([]audit.Change, len(list))
			for i, c := range list {
				o := audit.Origin{Sequence: c.Sequence, Type: c.Event.Type(), Source: c.Source, Stored: c.Stored, Time: c.Time, ID: c.ID}
				history[i] = audit.Change{Origin: o, Data: c.Event.Data, Value: c.Register, Guests: c.Guests}
			}
			b.Put(subject, history)
		}
		for _, subject := range missing.Subjects {
			b.Looked(subject)
		}
	}
}

// held says who has an address at a moment, as the registers' histories tell.
func (l *lab) held(p netip.Prefix, at uint64) string {
	h := ask(l, func(b *audit.Book) (audit.AddressHistory, error) { return b.Address(p, "", audit.At(at)) })
	var texts []string
	for _, t := range h.Tenures {
		for _, s := range t.Stays {
			texts = append(texts, fmt.Sprint(t.VRF, t.VM, t.Role, s.Hypervisor, s.Tap))
		}
	}
	slices.Sort(texts)
	return strings.Join(texts, "\n")
}

// heldIn says the same of a state.
func heldIn(s *projector.State, p netip.Prefix) string {
	var texts []string
	for _, g := range s.Guests() {
		for _, a := range g.Addresses {
			if a.Prefix.Contains(p.Addr()) {
				f := g.Interfaces[a.Interface]
				texts = append(texts, fmt.Sprint(f.VRF, g.VM, a.Role, g.Hypervisor, f.Tap))
			}
		}
	}
	slices.Sort(texts)
	return strings.Join(texts, "\n")
}

// TestAuditSaysWhatReplaySays publishes random histories by publishers whose
// clocks differ by days, and asks about every moment of them.
func TestAuditSaysWhatReplaySays(t *testing.T) {
	checks(t, 8)
	rapid.Check(t, func(r *rapid.T) {
		scope := &scope{TB: t}
		defer scope.end()
		run := newLab(scope)
		run.base()
		var stored []Stored
		for i := range 60 {
			e := events.Event{Data: drawEvent(r), Source: fmt.Sprint("p", i%3), Time: time.Now().Add(time.Duration(i%3-1) * 50 * time.Hour)}
			s, err := run.ledger.Publish(run.ctx, e)
			var bad *events.Error
			if err != nil && !errors.As(err, &bad) {
				r.Fatalf("publishing: %v", err)
			}
			if err == nil {
				stored = append(stored, s)
			}
		}
		for _, s := range stored {
			state, _, err := run.ledger.Replay(run.ctx, Until{Sequence: s.Sequence})
			if err != nil {
				r.Fatal(err)
			}
			for _, p := range []string{"203.0.1.1/32", "203.0.2.2/32"} {
				p := netip.MustParsePrefix(p)
				if got, want := run.held(p, s.Sequence), heldIn(state, p); got != want {
					r.Fatalf("%s at %d: audit says\n%s\nreplay says\n%s", p, s.Sequence, got, want)
				}
			}
		}
	})
}

// TestHistoriesAreWhole compares what following the chains finds with what the
// log has, for every subject.
func TestHistoriesAreWhole(t *testing.T) {
	l := newLab(t)
	l.base()
	for i := range 5 {
		l.publish(assign(fmt.Sprintf("203.0.113.%d/32", i+1), "vm1"), &events.VMMigrated{VM: "vm1", To: []string{"hv2", "hv1"}[i%2]})
	}
	want := map[string][]uint64{}
	for _, r := range l.all() {
		want[r.Subject] = append(want[r.Subject], r.Sequence)
	}
	for subject, sequences := range want {
		got, err := l.ledger.Histories(l.ctx, subject)
		if err != nil {
			t.Fatal(err)
		}
		list := got[subject]
		if len(got) != 1 || len(list) != len(sequences) {
			t.Fatalf("%s: %d changes, want %d", subject, len(list), len(sequences))
		}
		for i, c := range list {
			if c.Err != nil || c.Broken != nil || c.Sequence > sequences[i] || (c.Register == nil) != (subject == events.SubjectNetTick) {
				t.Errorf("%s at %d: %+v", subject, sequences[i], c)
			}
		}
	}
	got, err := l.ledger.Histories(l.ctx, events.SubjectIP("*", netip.MustParsePrefix("203.0.113.1/32")), "hr.vm.nobody", "hr.ip.*.192-0-2-1")
	if err != nil || len(got) != 1 || len(got["hr.ip.public.203-0-113-1"]) != 1 {
		t.Errorf("got %v, %v", got, err)
	}
}

// TestLongHistoriesAreWhole makes one so long that it is searched, not walked.
func TestLongHistoriesAreWhole(t *testing.T) {
	l := newLab(t)
	l.base()
	const more = 1000
	subject := "hr.feed.hv1.vm1"
	for range more {
		if err := l.nc.PublishMsg(&nats.Msg{Subject: subject, Data: []byte("rubbish")}); err != nil {
			t.Fatal(err)
		}
	}
	l.raw(subject, nil, "rubbish") // is stored behind them
	got, err := l.ledger.Histories(l.ctx, subject)
	if err != nil || len(got[subject]) != more+2 {
		t.Errorf("%d changes, want %d: %v", len(got[subject]), more+2, err)
	}
}

// TestHistoriesShowDamage puts into a history what a chain can't follow; the
// rest is found all the same.
func TestHistoriesShowDamage(t *testing.T) {
	l := newLab(t)
	l.base()
	subject := "hr.ip.public.203-0-113-7"
	first := l.publish(assign("203.0.113.7/32", "vm1"))[0]
	poison := l.raw(subject, nil, "rubbish")
	second := l.publish(&events.IPReleased{Prefix: pfx("203.0.113.7/32"), VM: "vm1"})[0]
	// Somebody writes past the chain: a message that says it is the first one.
	forged := l.raw(subject, good("IPAssigned"), `{"data":{"prefix":"203.0.113.7/32","vm":"vm2","vrf":"public","interface":"vm2-0"},"state":{"owners":[{"vm":"vm2","role":"primary"}]},"prev":{"seq":0}}`)
	third := l.publish(&events.IPReleased{Prefix: pfx("203.0.113.7/32"), VM: "vm2"})[0]
	got, err := l.ledger.Histories(l.ctx, subject)
	if err != nil {
		t.Fatal(err)
	}
	list := got[subject]
	want := []struct {
		sequence    uint64
		err, broken string
	}{
		{first.Sequence, "", ""}, {poison, "ce-id or ce-type is missing", ""}, {second.Sequence, "", ""},
		{forged, "", "fork"}, {third.Sequence, "", ""},
	}
	if len(list) != len(want) {
		t.Fatalf("%d changes, want %d: %+v", len(list), len(want), list)
	}
	for i, w := range want {
		c := list[i]
		if c.Sequence != w.sequence || !says(c.Err, w.err) || !says(c.Broken, w.broken) {
			t.Errorf("change %d: got %d, %v, %v; want %+v", i, c.Sequence, c.Err, c.Broken, w)
		}
	}
}

// TestRubbishAtTheBeginningBreaksNoChain: who publishes behind it names it.
func TestRubbishAtTheBeginningBreaksNoChain(t *testing.T) {
	l := newLab(t)
	l.base()
	subject := "hr.ip.public.203-0-113-7"
	l.raw(subject, nil, "rubbish")
	l.publish(assign("203.0.113.7/32", "vm1"))
	got, err := l.ledger.Histories(l.ctx, subject)
	if list := got[subject]; err != nil || len(list) != 2 || list[0].Err == nil || list[1].Err != nil || list[1].Broken != nil {
		t.Errorf("got %+v, %v", list, err)
	}
}

func says(err error, want string) bool {
	return (err == nil) == (want == "") && (err == nil || strings.Contains(err.Error(), want))
}

// TestBrokenChainsAreNamed gives histories with a message lost, altered and
// strange to the check of the chain.
func TestBrokenChainsAreNamed(t *testing.T) {
	l := newLab(t)
	l.base()
	l.publish(assign("203.0.113.7/32", "vm1"), &events.IPReleased{Prefix: pfx("203.0.113.7/32")}, assign("203.0.113.7/32", "vm2"))
	list, err := l.ledger.get.search(l.ctx, "hr.ip.public.203-0-113-7", 0)
	if err != nil || len(list) != 3 {
		t.Fatalf("%d messages, %v", len(list), err)
	}
	altered := slices.Clone(list)
	altered[1].Body = []byte(strings.Replace(string(altered[1].Body), "null", "null ", 1))
	for name, c := range map[string]struct {
		list []raw
		want []string
	}{
		"whole":      {list, []string{"", "", ""}},
		"altered":    {altered, []string{"", "", "altered"}},
		"lost":       {[]raw{list[0], list[2]}, []string{"", ": lost: "}},
		"beginning":  {list[1:], []string{": lost: ", ""}},
		"everything": {list[2:], []string{": lost: "}},
		"twice":      {[]raw{list[0], list[0]}, []string{"", "fork"}},
	} {
		for i, got := range changes(c.list) {
			if !says(got.Broken, c.want[i]) {
				t.Errorf("%s: change %d: got %v, want %q", name, i, got.Broken, c.want[i])
			}
		}
	}
}

func TestSequenceBefore(t *testing.T) {
	l := newLab(t)
	if n, err := l.ledger.SequenceBefore(l.ctx, time.Now()); n != 0 || err != nil {
		t.Errorf("an empty log: %d, %v", n, err)
	}
	l.base()
	all := l.all()
	for i, r := range all {
		if n, err := l.ledger.SequenceBefore(l.ctx, r.Time); n != uint64(i) || err != nil {
			t.Errorf("before %d: %d, %v", r.Sequence, n, err)
		}
		if n, err := l.ledger.SequenceBefore(l.ctx, r.Time.Add(1)); n != uint64(i+1) || err != nil {
			t.Errorf("behind %d: %d, %v", r.Sequence, n, err)
		}
	}
	if n, err := l.ledger.SequenceBefore(l.ctx, time.Now().Add(time.Hour)); n != uint64(len(all)) || err != nil {
		t.Errorf("in an hour: %d, %v", n, err)
	}
	if n, err := l.ledger.SequenceBefore(l.ctx, time.Time{}); n != 0 || err != nil {
		t.Errorf("at the beginning of time: %d, %v", n, err)
	}
}
