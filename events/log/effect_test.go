package log

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/testenv"
)

// effectLab is a served log with hypervisors hv1 to hv4, hv4 fenced, and guest
// vm1 on hv1, with an address.
func effectLab(t *testing.T) *lab {
	l := newLab(t)
	l.serve()
	for i := range 4 {
		l.publish(hypervisor(fmt.Sprintf("hv%d", i+1)))
	}
	l.publish(network("web", "public", "203.0.113.0/24", "2001:db8::/64"), guest("vm1", "hv1", "web"), assign("203.0.113.7/32", "vm1"),
		&events.HypervisorFenced{Hypervisor: "hv4"})
	return l
}

// expect is what the service says of an event that was just stored.
func (l *lab) expect(data events.Data) Expectation {
	l.t.Helper()
	x, err := NewClient(l.nc, 0).Effect(l.ctx, l.publish(data)[0].Sequence)
	if err != nil {
		l.t.Fatalf("the effect of %+v: %v", data, err)
	}
	return x
}

// text is an expectation on a line: kind, hypervisor, taps, prefixes, who is asked, who not.
func text(x Expectation) string {
	var prefixes []string
	for _, p := range x.Prefixes {
		shared := ""
		if p.Shared {
			shared = " shared"
		}
		prefixes = append(prefixes, fmt.Sprintf("%s %s %d%s", p.VRF, p.Prefix, p.Preference, shared))
	}
	return fmt.Sprintf("%s %s %s %v %q %v without %v", x.Kind, x.VM, x.Hypervisor, x.Taps, prefixes, x.Hypervisors, x.Fenced)
}

func TestWhatAnEventIsToBringAbout(t *testing.T) {
	l := effectLab(t)
	anycast := func(vm string) *events.IPAssigned {
		d := assign("203.0.113.9/32", vm)
		d.Role = events.RoleAnycast
		return d
	}
	for _, c := range []struct {
		data events.Data
		want string
	}{
		{guest("vm2", "hv2", "web"), `homed vm2 hv2 [vm2-0] [] [hv2] without []`},
		{assign("203.0.113.8/32", "vm2"), `homed vm2 hv2 [vm2-0] ["public 203.0.113.8/32 50"] [hv2 hv1 hv3] without [hv4]`},
		{anycast("vm1"), `homed vm1 hv1 [vm1-0] ["public 203.0.113.9/32 50"] [hv1 hv2 hv3] without [hv4]`},
		{anycast("vm2"), `homed vm2 hv2 [vm2-0] ["public 203.0.113.9/32 50 shared"] [hv2 hv1 hv3] without [hv4]`},
		{&events.IPReleased{Prefix: pfx("203.0.113.9/32"), VM: "vm1"}, `ended vm1 hv1 [vm1-0] ["public 203.0.113.9/32 1050 shared"] [hv1] without []`},
		{&events.IPReleased{Prefix: pfx("203.0.113.8/32")}, `ended vm2 hv2 [vm2-0] ["public 203.0.113.8/32 1050"] [hv2 hv1 hv3] without [hv4]`},
		{&events.VMMigrationStarted{VM: "vm2", To: "hv3", Taps: []string{"t7"}}, `prepared vm2 hv3 [t7] [] [hv3] without []`},
		{&events.VMMigrationAborted{VM: "vm2"}, `ended vm2 hv3 [t7] [] [hv3] without []`},
		{&events.HypervisorDrained{Hypervisor: "hv3"}, `drained  hv3 [] [] [hv3] without []`},
		{&events.HypervisorUndrained{Hypervisor: "hv3"}, `undrained  hv3 [] [] [hv3] without []`},
		{&events.HypervisorFenced{Hypervisor: "hv3"}, `fenced  hv3 [] [] [hv3] without []`},
		{&events.HypervisorUnfenced{Hypervisor: "hv3"}, `unfenced  hv3 [] [] [hv3] without []`},
		{&events.VMDeleted{VM: "vm1"}, `ended vm1 hv1 [vm1-0] ["public 203.0.113.7/32 1050"] [hv1 hv2 hv3] without [hv4]`},
	} {
		if got := text(l.expect(c.data)); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.data.Type(), got, c.want)
		}
	}
}

// TestThePreferenceTellsNewFromOld compares what is expected before and after a
// move with what the homes announce.
func TestThePreferenceTellsNewFromOld(t *testing.T) {
	l := effectLab(t)
	preference := func(data events.Data) uint32 { return l.expect(data).Prefixes[0].Preference }
	l.publish(guest("vm2", "hv2", "web"))
	first := preference(&events.VMMigrated{VM: "vm1", To: "hv3"})
	again := preference(&events.VMMigrated{VM: "vm1", To: "hv1"})
	moved := preference(&events.IPMoved{Prefix: pfx("203.0.113.7/32"), To: "vm2"})
	ended := preference(&events.IPReleased{Prefix: pfx("203.0.113.7/32"), VM: "vm2"})
	if list := []uint32{first, again, moved, ended}; !slices.IsSorted(list) || len(slices.Compact(list)) != 4 {
		t.Errorf("preferences %v don't grow with each move", list)
	}
}

func TestAnEventWithoutEffect(t *testing.T) {
	l := effectLab(t)
	client := NewClient(l.nc, 0)
	stored := l.publish(network("spare", "public", "198.51.100.0/24"))[0]
	for sequence, code := range map[uint64]events.Code{stored.Sequence: events.CodeInvalid, stored.Sequence + 1: events.CodeUnknown, 1 << 40: events.CodeUnknown, 0: events.CodeUnknown} {
		_, err := client.Effect(l.ctx, sequence)
		var bad *events.Error
		if !errors.As(err, &bad) || bad.Code != code {
			t.Errorf("the effect of %d: %v, want %s", sequence, err, code)
		}
	}
	m, err := l.nc.Request(SubjectEffect, []byte("rubbish"), patience)
	if err != nil || !errorReply(m) {
		t.Errorf("rubbish is answered %s, %v", m.Data, err)
	}
}

// agents run a witness each.
func (l *lab) agents(decide func(Effect) EffectAnswer, names ...string) (list []*EffectWitness) {
	l.t.Helper()
	for _, name := range names {
		w, _ := l.agent(name, decide)
		list = append(list, w)
	}
	return list
}

func (l *lab) agent(name string, decide func(Effect) EffectAnswer) (w *EffectWitness, stop func()) {
	l.t.Helper()
	nc := connect(l.t, l.server)
	w = NewEffectWitness(nc, name, func() func(Effect) EffectAnswer { return decide }, testLogger())
	stop = task(l.t, w.Run)
	testenv.Eventually(l.t, name+" listens", func() bool { return nc.NumSubscriptions() == 1 })
	if err := nc.Flush(); err != nil {
		l.t.Fatal(err)
	}
	return w, stop
}

func always() func(Effect) EffectAnswer { return has }

func has(Effect) EffectAnswer { return EffectAnswer{Has: true, After: 0.002} }

func told(list []HostEffect) string {
	var texts []string
	for _, h := range list {
		texts = append(texts, strings.TrimSpace(h.Hypervisor+" "+string(h.State)+" "+strings.Join(h.Lacks, "; ")))
	}
	return strings.Join(texts, ", ")
}

func TestEveryAgentHasIt(t *testing.T) {
	l := effectLab(t)
	l.agents(has, "hv1", "hv2")
	l.agents(func(Effect) EffectAnswer {
		return EffectAnswer{Has: true, Unconcerned: true, Lacks: []string{"no VRF public"}}
	}, "hv3")
	x := l.expect(assign("203.0.113.8/32", "vm1"))
	list, err := NewClient(l.nc, 0).Await(l.ctx, x, AwaitOptions{})
	if got := told(list); err != nil || got != "hv1 has, hv2 has, hv3 unconcerned no VRF public, hv4 fenced" {
		t.Errorf("%s, %v", got, err)
	}
	if h := list[0]; h.Milliseconds <= 0 || h.Own != 2 {
		t.Errorf("%+v has no times", h)
	}
}

// TestASlowAgentAnswersWhenItHasIt: it is asked long before, and answers on
// being woken.
func TestASlowAgentAnswersWhenItHasIt(t *testing.T) {
	l := effectLab(t)
	l.agents(has, "hv1", "hv2")
	var there, looks atomic.Int64
	w, _ := l.agent("hv3", func(Effect) EffectAnswer {
		looks.Add(1)
		return EffectAnswer{Has: there.Load() == 1, Lacks: []string{"its route is still by 192.0.2.1"}}
	})
	x := l.expect(assign("203.0.113.8/32", "vm1"))
	var seen []HostEffect
	list, err := NewClient(l.nc, 0).Await(l.ctx, x, AwaitOptions{Progress: func(h HostEffect) {
		seen = append(seen, h)
		if h.State == EffectMissing { // it said so at the end of a wait, and is asked again
			there.Store(1)
			w.Wake()
		}
	}})
	if got := told(list); err != nil || !strings.HasPrefix(got, "hv1 has, hv2 has, hv3 has,") {
		t.Errorf("%s, %v", got, err)
	}
	if got := told(seen); !strings.Contains(got, "hv3 lacks its route is still by 192.0.2.1, hv3 has") {
		t.Errorf("progress was %s", got)
	}
	if n := looks.Load(); n > 50 {
		t.Errorf("the agent looked %d times in 2 s though nothing happened", n)
	}
}

// TestWhoNeverHasItIsNamed: silent agents, ones that lack it, liars.
func TestWhoNeverHasItIsNamed(t *testing.T) {
	l := effectLab(t)
	l.publish(hypervisor("hv5"), hypervisor("hv6"))
	l.agents(has, "hv1")
	l.agents(func(Effect) EffectAnswer { return EffectAnswer{Lacks: []string{"no session to a reflector"}} }, "hv2")
	deaf := connect(t, l.server)
	for subject, answer := range map[string]string{"hv5": `{"hypervisor":"hv3","has":true}`, "hv6": `nonsense`} {
		if _, err := deaf.Subscribe(SubjectEffect+"."+subject, func(m *nats.Msg) {
			_ = m.Respond([]byte(answer))
			// and as hv3, which it can't know the name of an inbox of but by guessing
			_ = deaf.Publish(strings.Replace(m.Reply, "."+subject+".", ".hv9.", 1), []byte(`{"hypervisor":"hv9","has":true}`))
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := deaf.Flush(); err != nil {
		t.Fatal(err)
	}
	x := l.expect(assign("203.0.113.8/32", "vm1"))
	list, err := NewClient(l.nc, 0).Await(l.ctx, x, AwaitOptions{Timeout: time.Second})
	want := `hv1 has, hv2 lacks no session to a reflector, hv3 silent no agent answers, hv5 silent what answers for it says that it is "hv3", ` +
		`hv6 silent what answers is no agent: invalid character 'o' in literal null (expecting 'u'), hv4 fenced`
	if got := told(list); err != nil || got != want {
		t.Errorf("got  %s, %v\nwant %s", got, err, want)
	}
}

// TestAnAgentThatRestartsIsAskedAgain loses a question that waits.
func TestAnAgentThatRestartsIsAskedAgain(t *testing.T) {
	l := effectLab(t)
	l.agents(has, "hv1", "hv3")
	asked := make(chan struct{}, 64)
	_, stop := l.agent("hv2", func(Effect) EffectAnswer { asked <- struct{}{}; return EffectAnswer{} })
	x := l.expect(assign("203.0.113.8/32", "vm1"))
	done := make(chan string, 1)
	go func() {
		list, err := NewClient(l.nc, 0).Await(l.ctx, x, AwaitOptions{Timeout: patience})
		done <- fmt.Sprint(told(list), err)
	}()
	l.await("the question", asked)
	stop()
	l.agents(has, "hv2")
	if got := <-done; !strings.HasPrefix(got, "hv1 has, hv2 has, hv3 has,") {
		t.Error(got)
	}
}

func TestWhoIsInterruptedGetsWhatIsKnown(t *testing.T) {
	l := effectLab(t)
	l.agents(has, "hv1")
	x := l.expect(assign("203.0.113.8/32", "vm1"))
	ctx, cancel := context.WithCancel(l.ctx)
	list, err := NewClient(l.nc, 0).Await(ctx, x, AwaitOptions{Progress: func(h HostEffect) {
		if h.State == EffectThere {
			cancel()
		}
	}})
	if got := told(list); !errors.Is(err, context.Canceled) || !strings.HasPrefix(got, "hv1 has, hv2 silent") {
		t.Errorf("%s, %v", got, err)
	}
}

// TestAWitnessIsBounded: it doesn't keep more questions than it may, takes none
// without bounds, and writes nowhere but into inboxes that have its name.
func TestAWitnessIsBounded(t *testing.T) {
	l := effectLab(t)
	l.agents(func(Effect) EffectAnswer { return EffectAnswer{Lacks: []string{"nothing"}} }, "hv1")
	nc := connect(t, l.server)
	answers := make(chan *nats.Msg, 1000)
	for _, subject := range []string{"_INBOX.me.hv1.*", "_INBOX.me.hv2.*", "_INBOX.me.hv1.more.*", "hr.net", "hostroute.publish"} {
		if _, err := nc.ChanSubscribe(subject, answers); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(reply string, q effectQuestion) {
		t.Helper()
		payload, err := json.Marshal(q)
		if err != nil {
			t.Fatal(err)
		}
		if err := nc.PublishRequest(SubjectEffect+".hv1", reply, payload); err != nil {
			t.Fatal(err)
		}
	}
	for _, victim := range []string{"hr.net", "hostroute.publish", "_INBOX.me.hv2.x", "_INBOX.me.hv1.more.x", "_INBOX.me", "me.me.hv1.x"} {
		ask(victim, effectQuestion{})
	}
	ask("_INBOX.me.hv1.many", effectQuestion{Effect: Effect{Prefixes: make([]EffectPrefix, 1)}, Wait: 1e9})
	for i := range maxEffects + 1 {
		ask(fmt.Sprintf("_INBOX.me.hv1.%d", i), effectQuestion{Wait: 1e9})
	}
	var got []string
	for len(got) < 2 {
		select {
		case m := <-answers:
			got = append(got, m.Subject)
		case <-time.After(patience):
			t.Fatalf("answers only on %v", got)
		}
	}
	if want := []string{"_INBOX.me.hv1.many", fmt.Sprintf("_INBOX.me.hv1.%d", maxEffects)}; !slices.Equal(got, want) {
		t.Errorf("answers on %v, want %v", got, want)
	}
}
