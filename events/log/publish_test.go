package log

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hostroute/hostroute/events"
)

// base is a network, two hypervisors and two guests.
func (l *lab) base() {
	l.t.Helper()
	l.publish(network("web", "public", "203.0.113.0/24"), network("lan", "private", "10.0.0.0/16"),
		hypervisor("hv1"), hypervisor("hv2"), guest("vm1", "hv1", "web", "lan"), guest("vm2", "hv2", "web"))
}

// all reads every message of the log as it is.
func (l *lab) all() []raw {
	l.t.Helper()
	var list []raw
	s := scan{stream: l.ledger.ledger, timeout: l.ledger.timeout}
	if err := s.run(l.ctx, func(r raw) error { list = append(list, r); return nil }); err != nil {
		l.t.Fatal(err)
	}
	return list
}

func wantError(t *testing.T, err error, code events.Code, words ...string) {
	t.Helper()
	var bad *events.Error
	if !errors.As(err, &bad) {
		t.Fatalf("got %v; want an *events.Error of code %s", err, code)
	}
	if bad.Code != code {
		t.Errorf("code is %s; want %s (%v)", bad.Code, code, err)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q doesn't mention %q", err, w)
		}
	}
}

func TestPublishRefusesWhatTheLogForbids(t *testing.T) {
	l := newLab(t)
	l.base()
	for _, c := range []struct {
		data  events.Data
		code  events.Code
		words []string
	}{
		{assign("203.0.113.7/32", "nobody"), events.CodeUnknown, []string{"vm", "nobody"}},
		{assign("198.51.100.7/32", "vm1"), events.CodeInvalid, []string{"prefix", "198.51.100.7/32"}},
		{guest("vm3", "hv9", "web"), events.CodeUnknown, []string{"hypervisor", "hv9"}},
		{network("other", "public", "203.0.113.128/25"), events.CodeTaken, []string{"203.0.113.128/25", "web"}},
		{&events.NetworkRemoved{Network: "web"}, events.CodeRefused, []string{"web", "vm1"}},
		{&events.IPAssigned{Prefix: events.Prefix{}, VM: "vm1"}, events.CodeInvalid, []string{"prefix"}},
	} {
		_, err := l.ledger.Publish(l.ctx, events.Event{Data: c.data})
		wantError(t, err, c.code, c.words...)
	}
}

// TestARefusalSaysWhoHoldsItSinceWhen wants it in the text and beside it.
func TestARefusalSaysWhoHoldsItSinceWhen(t *testing.T) {
	l := newLab(t)
	l.base()
	given := l.publish(assign("203.0.113.7/32", "vm1"))[0]
	for _, d := range []events.Data{assign("203.0.113.7/32", "vm2"), assign("203.0.113.7/32", "vm1"),
		&events.IPReleased{Prefix: pfx("203.0.113.7/32"), VM: "vm2"}, &events.IPMoved{Prefix: pfx("203.0.113.7/32"), To: "vm1"}} {
		_, err := l.ledger.Publish(l.ctx, events.Event{Data: d})
		var bad *events.Error
		if !errors.As(err, &bad) || bad.Held == nil {
			t.Errorf("%+v: %v doesn't say who holds it", d, err)
			continue
		}
		if bad.Held.VM != "vm1" || bad.Held.Sequence != given.Sequence || time.Since(bad.Held.Since).Abs() > time.Minute {
			t.Errorf("%+v: it is held by %+v", d, bad.Held)
		}
		if want := bad.Held.Since.Format("2006-01-02 15:04:05Z"); !strings.Contains(err.Error(), want) {
			t.Errorf("%q doesn't say %s", err, want)
		}
	}
}

// TestOneWinnerForEveryAddress has many publishers claim the same addresses.
func TestOneWinnerForEveryAddress(t *testing.T) {
	l := newLab(t)
	l.base()
	const publishers, addresses = 6, 10
	var mu sync.Mutex
	winners := map[string]int{}
	var wg sync.WaitGroup
	for i := range publishers {
		vm := fmt.Sprintf("vm%d", i%2+1)
		wg.Go(func() {
			for a := range addresses {
				prefix := fmt.Sprintf("203.0.113.%d/32", a+1)
				_, err := l.ledger.Publish(l.ctx, events.Event{Data: assign(prefix, vm)})
				var bad *events.Error
				switch {
				case err == nil:
					mu.Lock()
					winners[prefix]++
					mu.Unlock()
				case !errors.As(err, &bad) || bad.Code != events.CodeTaken && bad.Code != events.CodeExists:
					t.Errorf("claiming %s for %s: %v", prefix, vm, err)
				}
			}
		})
	}
	wg.Wait()
	for a := range addresses {
		prefix := fmt.Sprintf("203.0.113.%d/32", a+1)
		if winners[prefix] != 1 {
			t.Errorf("%s has %d winners", prefix, winners[prefix])
		}
	}
	if q := l.replay().Quarantined(); len(q) != 0 {
		t.Errorf("replay refuses what was published: %+v", q)
	}
	checkBatches(t, l.all())
}

// checkBatches verifies what readers rely on: batches are contiguous, the
// first message is the event's register, and every chain is whole.
func checkBatches(t *testing.T, list []raw) {
	t.Helper()
	last := map[string]Link{}
	var first message
	for i, r := range list {
		if r.Sequence != uint64(i+1) {
			t.Fatalf("message %d is at place %d", r.Sequence, i+1)
		}
		m, err := decode(r)
		if err != nil {
			t.Fatalf("message %d: %v", r.Sequence, err)
		}
		if m.Offset == 0 {
			first = m
		}
		if m.event() != first.Sequence || m.ID != first.ID || string(m.Data) != string(first.Data) {
			t.Errorf("message %d (%s, offset %d) isn't of the event at %d", r.Sequence, r.Subject, m.Offset, first.Sequence)
		}
		if m.Prev != nil {
			if err := follows(m, last[r.Subject]); err != nil {
				t.Errorf("%s: %v", r.Subject, err)
			}
		}
		last[r.Subject] = r.link()
	}
}

func TestConcurrentBatchesAreContiguous(t *testing.T) {
	l := newLab(t)
	l.publish(network("web", "public", "203.0.113.0/24"))
	var wg sync.WaitGroup
	for i := range 8 {
		hv := fmt.Sprintf("hv%d", i)
		wg.Go(func() {
			for n, d := range []events.Data{
				hypervisor(hv), guest("vm-"+hv, hv, "web"), assign(fmt.Sprintf("203.0.113.%d/32", i+1), "vm-"+hv),
				&events.HypervisorDrained{Hypervisor: hv}, &events.VMDeleted{VM: "vm-" + hv},
			} {
				if _, err := l.ledger.Publish(l.ctx, events.Event{Data: d}); err != nil {
					t.Errorf("event %d of %s: %v", n, hv, err)
				}
			}
		})
	}
	wg.Wait()
	checkBatches(t, l.all())
	if q := l.replay().Quarantined(); len(q) != 0 {
		t.Errorf("replay refuses what was published: %+v", q)
	}
}

func TestAnIDIsStoredOnce(t *testing.T) {
	l := newLab(t)
	l.base()
	e := events.Event{ID: "order-1", Data: assign("203.0.113.7/32", "vm1")}
	first, err := l.ledger.Publish(l.ctx, e)
	if err != nil || first.Duplicate {
		t.Fatalf("got %+v, %v", first, err)
	}
	// However old: much has happened since, even the guest is gone, so that
	// the event could neither be completed nor applied now.
	l.publish(&events.IPMoved{Prefix: pfx("203.0.113.7/32"), To: "vm2"}, &events.VMDeleted{VM: "vm1"})
	again, err := l.ledger.Publish(l.ctx, e)
	if err != nil || !again.Duplicate || again.Sequence != first.Sequence || again.ID != "order-1" {
		t.Errorf("got %+v, %v; want the first answer %+v as a duplicate", again, err, first)
	}
	e.Data = assign("203.0.113.7/32", "vm2")
	_, err = l.ledger.Publish(l.ctx, e)
	wantError(t, err, events.CodeExists, "id", "order-1", fmt.Sprint(first.Sequence))
}

func TestTheSameIDAtOnceIsStoredOnce(t *testing.T) {
	l := newLab(t)
	l.base()
	var mu sync.Mutex
	var fresh int
	sequences := map[uint64]bool{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			s, err := l.ledger.Publish(l.ctx, events.Event{ID: "retry", Data: assign("203.0.113.9/32", "vm1")})
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			sequences[s.Sequence] = true
			if !s.Duplicate {
				fresh++
			}
		})
	}
	wg.Wait()
	if fresh != 1 || len(sequences) != 1 {
		t.Errorf("%d fresh answers and sequences %v; want one of each", fresh, sequences)
	}
}

// TestALostAnswerIsResolved sends a batch whose answer nobody hears.
func TestALostAnswerIsResolved(t *testing.T) {
	for _, given := range []bool{true, false} {
		l := newLab(t)
		l.base()
		p := publication{ledger: l.ledger, given: given, unsure: true,
			event: events.Event{ID: "lost", Data: assign("203.0.113.9/32", "vm1"), Time: testTime}}
		msgs := l.decide(p.event)
		sequence, o, err := l.ledger.send(l.ctx, msgs)
		if o != outcomeStored {
			t.Fatal(err)
		}
		if _, err := p.send(l.ctx, msgs); !errors.Is(err, ErrConflict) {
			t.Errorf("sending the same batch again: %v; want a conflict", err)
		}
		stored, err := p.run(l.ctx)
		if err != nil || stored.Sequence != sequence || stored.Duplicate {
			t.Errorf("got %+v, %v; want sequence %d, not as a duplicate", stored, err, sequence)
		}
	}
}

// TestALostAnswerIsNeverHidden loses the connection after an answer.
func TestALostAnswerIsNeverHidden(t *testing.T) {
	l := newLab(t)
	l.base()
	p := publication{ledger: l.ledger, given: true, unsure: true,
		event: events.Event{ID: "lost", Data: assign("203.0.113.9/32", "vm1"), Time: testTime}}
	msgs := l.decide(p.event)
	l.nc.Close()
	if _, err := p.run(l.ctx); !errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("run says %v; want that the outcome is unknown", err)
	}
	if _, err := p.send(l.ctx, msgs); err == nil {
		t.Error("sent over a closed connection")
	}
	if _, err := l.ledger.Publish(l.ctx, events.Event{Data: assign("203.0.113.9/32", "vm1")}); err == nil || errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("what was never sent: %v; want no doubt about it", err)
	}
}

// TestALongHistoryIsReadInBulk wants an old id of a register with many events
// found, and the newest too.
func TestALongHistoryIsReadInBulk(t *testing.T) {
	l := newLab(t)
	l.base()
	const rounds = 3 * fewReads
	var first Stored
	for i := range rounds {
		d := events.Data(&events.HypervisorDrained{Hypervisor: "hv1"})
		if i%2 == 1 {
			d = &events.HypervisorUndrained{Hypervisor: "hv1"}
		}
		stored, err := l.ledger.Publish(l.ctx, events.Event{ID: fmt.Sprint("drain-", i), Data: d})
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = stored
		}
	}
	again, err := l.ledger.Publish(l.ctx, events.Event{ID: "drain-0", Data: &events.HypervisorDrained{Hypervisor: "hv1"}})
	if err != nil || !again.Duplicate || again.Sequence != first.Sequence {
		t.Errorf("the first: %+v, %v", again, err)
	}
	last := fmt.Sprint("drain-", rounds-1)
	again, err = l.ledger.Publish(l.ctx, events.Event{ID: last, Data: &events.HypervisorUndrained{Hypervisor: "hv1"}})
	if err != nil || !again.Duplicate {
		t.Errorf("the last: %+v, %v", again, err)
	}
	var read []uint64
	if err := l.ledger.get.history(l.ctx, "hr.hv.hv1", func(r raw) bool { read = append(read, r.Sequence); return true }); err != nil {
		t.Fatal(err)
	}
	if len(read) != rounds+1 || !slices.IsSorted(read) || len(slices.Compact(slices.Clone(read))) != len(read) {
		t.Errorf("%d messages at %v; want %d, each once", len(read), read, rounds+1)
	}
}

// TestAnIDIsFoundWhereverItIs has a retry that leaves the VRF out decide on
// another one than the first attempt did: the guest was made anew elsewhere.
func TestAnIDIsFoundWhereverItIs(t *testing.T) {
	l := newLab(t)
	l.publish(network("web", "public", "203.0.113.0/24"), network("lab", "private", "203.0.113.0/24"), hypervisor("hv1"), guest("vm1", "hv1", "web"))
	e := events.Event{ID: "once", Data: assign("203.0.113.7/32", "vm1")}
	first, err := l.ledger.Publish(l.ctx, e)
	if err != nil {
		t.Fatal(err)
	}
	l.publish(&events.VMDeleted{VM: "vm1"}, guest("vm1", "hv1", "lab"))
	again, err := l.ledger.Publish(l.ctx, e)
	if err != nil || again.Sequence != first.Sequence || !again.Duplicate {
		t.Errorf("again: got %+v, %v; the first was %+v", again, err, first)
	}
}
