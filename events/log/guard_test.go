package log

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/projector"
)

var testTime = time.Date(2026, 11, 22, 3, 12, 0, 0, time.UTC)

// decide makes the batch of an event without sending it.
func (l *lab) decide(e events.Event) []*nats.Msg {
	l.t.Helper()
	for _, whole := range []bool{false, true} {
		v, err := l.ledger.newView(l.ctx, whole)
		if err != nil {
			l.t.Fatal(err)
		}
		d, err := v.decide(l.ctx, e)
		if err == nil {
			var msgs []*nats.Msg
			if msgs, err = v.batch(l.ctx, d); err == nil {
				return msgs
			}
		}
		if err != errWhole {
			l.t.Fatal(err)
		}
	}
	l.t.Fatal("no view is enough")
	return nil
}

// overtaken lists decisions that rest on something which changes before they
// are sent, though no subject that they write does.
func overtaken() map[string][2]events.Data {
	gateway := network("web", "public", "203.0.113.0/24")
	gateway.Gateways = []events.Addr{events.AddrFrom(pfx("203.0.113.9/32").Addr())}
	lan := network("lan", "private", "10.0.0.0/16", "10.1.0.0/16")
	return map[string][2]events.Data{
		"an address that becomes a gateway": {assign("203.0.113.9/32", "vm2"), gateway},
		"a gateway that becomes an address": {gateway, assign("203.0.113.9/32", "vm2")},
		"the same with two networks":        {assign("203.0.113.9/32", "vm1"), gateway},
		"the second of two networks":        {assign("203.0.113.9/32", "vm1"), lan},
		"a guest in a network that ends":    {guest("vm3", "hv1", "spare"), &events.NetworkRemoved{Network: "spare"}},
		"a network that gets a guest":       {&events.NetworkRemoved{Network: "spare"}, guest("vm3", "hv1", "spare")},
		"a guest on a fenced hypervisor":    {guest("vm3", "hv1", "web"), &events.HypervisorFenced{Hypervisor: "hv1"}},
		"a move to a fenced hypervisor":     {&events.VMMigrated{VM: "vm1", To: "hv2"}, &events.HypervisorFenced{Hypervisor: "hv2"}},
	}
}

func TestADecisionHoldsOnlyOnWhatItRead(t *testing.T) {
	for name, c := range overtaken() {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.base()
			l.publish(network("spare", "public", "198.51.100.0/24"))
			msgs := l.decide(events.Event{ID: "late", Time: testTime, Data: c[0]})
			l.publish(c[1])
			if _, o, err := l.ledger.send(l.ctx, msgs); o != outcomeConflict {
				t.Errorf("the batch was accepted or failed otherwise (%d, %v); want a conflict", o, err)
			}
		})
	}
}

// TestWithoutGuardsADecisionIsOvertaken shows that the test above can fail.
func TestWithoutGuardsADecisionIsOvertaken(t *testing.T) {
	l := newLab(t)
	l.base()
	c := overtaken()["an address that becomes a gateway"]
	msgs := l.decide(events.Event{ID: "late", Time: testTime, Data: c[0]})
	for _, m := range msgs {
		if m.Header.Get(headerGuardSubject) != "" {
			delete(m.Header, headerGuardSubject)
			delete(m.Header, nats.ExpectedLastSubjSeqHdr)
		}
	}
	l.publish(c[1])
	if _, o, err := l.ledger.send(l.ctx, msgs); o != outcomeStored {
		t.Fatalf("not stored: %v", err)
	}
	if q := l.replay().Quarantined(); len(q) != 1 {
		t.Errorf("replay accepts it: %+v", q)
	}
}

// TestGuardsUnderRace publishes claims and the changes that forbid them at once.
func TestGuardsUnderRace(t *testing.T) {
	l := newLab(t)
	l.base()
	var wg sync.WaitGroup
	for vm := 1; vm <= 2; vm++ {
		wg.Go(func() {
			for a := 10; a < 22; a++ {
				_, err := l.ledger.Publish(l.ctx, events.Event{Data: assign(fmt.Sprintf("203.0.113.%d/32", 2*a+vm), fmt.Sprintf("vm%d", vm))})
				if _, ok := err.(*events.Error); err != nil && !ok {
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() {
		d := network("web", "public", "203.0.113.0/24")
		for a := 45; a > 30; a-- {
			d.Gateways = []events.Addr{events.AddrFrom(pfx(fmt.Sprintf("203.0.113.%d/32", a)).Addr())}
			_, err := l.ledger.Publish(l.ctx, events.Event{Data: d})
			var bad *events.Error // it is a guest's already
			if err != nil && (!errors.As(err, &bad) || bad.Code != events.CodeTaken) {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	s := l.replay()
	for _, g := range s.Network("web").Gateways {
		for _, vm := range s.Guests() {
			if slices.ContainsFunc(vm.Addresses, func(a projector.Address) bool { return a.Prefix.Contains(g.Addr) }) {
				t.Errorf("guest %s holds the gateway %s", vm.VM, g)
			}
		}
	}
	if q := l.replay().Quarantined(); len(q) != 0 {
		t.Errorf("replay refuses what was published: %+v", q)
	}
	checkBatches(t, l.all())
}

// TestAnOvertakenViewIsBroughtUpToDate instead of being read again, which in a
// large log takes so long that it is always overtaken.
func TestAnOvertakenViewIsBroughtUpToDate(t *testing.T) {
	l := newLab(t)
	l.base()
	l.publish(network("spare", "public", "198.51.100.0/24"))
	remove := events.Event{ID: "remove", Time: testTime, Data: &events.NetworkRemoved{Network: "spare"}}
	v, err := l.ledger.newView(l.ctx, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.decide(l.ctx, remove); err != nil {
		t.Fatal(err)
	}
	for _, change := range []struct {
		data []events.Data
		want string
	}{
		{nil, ""},
		{[]events.Data{guest("vm3", "hv1", "spare")}, `guest "vm3" has an interface in it`},
		{[]events.Data{&events.VMDeleted{VM: "vm3"}, guest("vm4", "hv1", "spare")}, `guest "vm4" has an interface in it`},
		{[]events.Data{&events.VMDeleted{VM: "vm4"}, network("other", "public", "192.0.2.0/24")}, ""},
	} {
		l.publish(change.data...)
		if err := v.refresh(l.ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := v.decide(l.ctx, remove); (err == nil) != (change.want == "") || err != nil && !strings.Contains(err.Error(), change.want) {
			t.Errorf("after %+v: %v; want %q", change.data, err, change.want)
		}
	}
	d, err := v.decide(l.ctx, remove)
	if err != nil {
		t.Fatal(err)
	}
	msgs, err := v.batch(l.ctx, d)
	if err != nil {
		t.Fatal(err)
	}
	if _, o, err := l.ledger.send(l.ctx, msgs); o != outcomeStored {
		t.Fatalf("the batch isn't stored: %v", err)
	}
	s := l.replay()
	if len(s.Quarantined()) != 0 || s.Network("spare") != nil || s.Network("other") == nil {
		t.Errorf("replay: %+v, networks %+v", s.Quarantined(), s.Networks())
	}
	checkBatches(t, l.all())
	l.publish(network("later", "public", "198.51.100.0/24")) // the VRF's register has forgotten spare, and nothing else
	_, err = l.ledger.Publish(l.ctx, events.Event{Data: network("overlap", "public", "192.0.2.0/25")})
	wantError(t, err, events.CodeTaken, `overlaps 192.0.2.0/24 of network "other"`)
}
