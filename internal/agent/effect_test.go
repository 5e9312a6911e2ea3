package agent

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/events/log"
	"github.com/hostroute/hostroute/internal/bgp/session"
	"github.com/hostroute/hostroute/internal/config"
	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/projector"
	"github.com/hostroute/hostroute/vrf"
	"github.com/hostroute/hostroute/vrf/fake"
	"github.com/hostroute/hostroute/vrf/kernel"
)

var theAddress = target{"public", netip.MustParsePrefix("203.0.113.10/32")}

// history is a log with hv1 to hv3 and guest a on hv1 with theAddress and on no
// tap but tap1, and what else the test says happened.
func history(t *testing.T, more ...events.Data) *projection {
	t.Helper()
	p := &projection{state: projector.New(), inSync: true}
	prefix := func(s string) events.Prefix { return events.PrefixFrom(netip.MustParsePrefix(s)) }
	for _, d := range append([]events.Data{
		&events.HypervisorRegistered{Hypervisor: "hv1"}, &events.HypervisorRegistered{Hypervisor: "hv2"}, &events.HypervisorRegistered{Hypervisor: "hv3"},
		&events.NetworkDefined{Network: "web", VRF: "public", Subnets: []events.Subnet{{Prefix: prefix("203.0.113.0/24")}}},
		&events.VMCreated{VM: "a", Hypervisor: "hv1", Interfaces: []events.Interface{{Tap: "tap1", MAC: events.MAC{Octets: [6]byte{2, 0, 0, 0, 0, 1}}, Network: "web"}}},
		&events.IPAssigned{Prefix: events.PrefixFrom(theAddress.prefix), VM: "a"},
	}, more...) {
		p.publish(t, d)
	}
	return p
}

// held is a hypervisor that has everything as that history wants it.
func held(p *projection, hypervisor string) *holdings {
	h := &holdings{
		hypervisor: hypervisor, state: p.state, tick: p.seq, connected: true,
		vrfs: map[string]reflectors{"public": {2, 2}}, present: map[string]bool{"tap1": true},
		learned: func(target) learnedRoute { return learnedRoute{} },
	}
	host := projector.Desired(p.state, hypervisor)
	h.set(host, host.Announcements)
	return h
}

func homedAt(hypervisor string, preference uint32) log.Effect {
	return log.Effect{Sequence: 6, Kind: log.EffectHomed, VM: "a", Hypervisor: hypervisor, Taps: []string{"tap1"},
		Prefixes: []log.EffectPrefix{{VRF: theAddress.vrf, Prefix: theAddress.prefix, Preference: preference}}}
}

// wants compares what is missing; nothing: the effect is there.
func (h *holdings) wants(t *testing.T, name string, e log.Effect, lacks ...string) {
	t.Helper()
	a := h.answer(e)
	if !slices.Equal(a.Lacks, lacks) || a.Has != (len(lacks) == 0) {
		t.Errorf("%s: %+v, want %q", name, a, lacks)
	}
}

func TestTheHomeHasIt(t *testing.T) {
	moved := &events.VMMigrated{VM: "a", To: "hv2"}
	for name, c := range map[string]struct {
		more   []events.Data
		change func(*holdings)
		effect log.Effect
		lacks  []string
	}{
		"all is there":        {effect: homedAt("hv1", 50)},
		"it hasn't read it":   {change: func(h *holdings) { h.tick = 5 }, effect: homedAt("hv1", 50), lacks: []string{"its log is at sequence 5"}},
		"its log is away":     {change: func(h *holdings) { h.tick, h.connected = 5, false }, effect: homedAt("hv1", 50), lacks: []string{"its log is out of reach, and at sequence 5"}},
		"no tap":              {change: func(h *holdings) { h.present = nil }, effect: homedAt("hv1", 50), lacks: []string{"tap tap1 is not on it"}},
		"no round since":      {change: func(h *holdings) { h.set(projector.Host{}, nil) }, effect: homedAt("hv1", 50), lacks: []string{"it has no route to the guest for 203.0.113.10/32"}},
		"not announced":       {change: func(h *holdings) { clear(h.announced) }, effect: homedAt("hv1", 50), lacks: []string{"203.0.113.10/32 is not announced"}},
		"announced as before": {effect: homedAt("hv1", 1050), lacks: []string{"203.0.113.10/32 is announced with preference 100 instead of 1050"}},
		"the kernel refuses":  {change: func(h *holdings) { clear(h.announced); h.errs = []string{"no space"} }, effect: homedAt("hv1", 50), lacks: []string{"the kernel refuses: no space"}},
		"no session":          {change: func(h *holdings) { h.vrfs["public"] = reflectors{2, 0} }, effect: homedAt("hv1", 50), lacks: []string{"no session to a reflector in VRF public"}},
		"alone":               {change: func(h *holdings) { h.vrfs["public"] = reflectors{} }, effect: homedAt("hv1", 50)},
		"no such VRF":         {change: func(h *holdings) { clear(h.vrfs) }, effect: homedAt("hv1", 50), lacks: []string{"VRF public is not in its configuration"}},
		"somebody has a newer one": {change: func(h *holdings) {
			clear(h.announced)
			h.claims = map[target]netip.Addr{theAddress: netip.MustParseAddr("192.0.2.2")}
		}, effect: homedAt("hv1", 50), lacks: []string{"203.0.113.10/32 is announced by 192.0.2.2, as by a newer home"}},
		"fenced":                    {more: []events.Data{&events.HypervisorFenced{Hypervisor: "hv1"}}, change: func(h *holdings) { h.host.Fenced = true }, effect: homedAt("hv1", 50), lacks: []string{"it is fenced, and announces nothing"}},
		"the guest has moved":       {more: []events.Data{moved}, effect: homedAt("hv1", 50), lacks: []string{"the log has moved on: guest a is homed on hv2"}},
		"the guest is deleted":      {more: []events.Data{&events.VMDeleted{VM: "a"}}, effect: homedAt("hv1", 50), lacks: []string{"the log has moved on: guest a is deleted"}},
		"a guest without addresses": {effect: log.Effect{Sequence: 5, Kind: log.EffectHomed, VM: "a", Hypervisor: "hv1", Taps: []string{"tap1"}}},
	} {
		h := held(history(t, c.more...), "hv1")
		if c.change != nil {
			c.change(h)
		}
		h.wants(t, name, c.effect, c.lacks...)
	}
	held(history(t, moved), "hv2").wants(t, "the new home", homedAt("hv2", 1050))
}

func TestOthersHaveIt(t *testing.T) {
	by := func(l learnedRoute) func(*holdings) {
		l.from = netip.MustParseAddr("192.0.2.1")
		return func(h *holdings) { h.learned = func(target) learnedRoute { return l } }
	}
	end := homedAt("hv1", 1050)
	end.Kind = log.EffectEnded
	for name, c := range map[string]struct {
		change func(*holdings)
		effect log.Effect
		lacks  []string
	}{
		"the new path":      {by(learnedRoute{known: true, preference: 1100}), homedAt("hv1", 1050), nil},
		"a drained home":    {by(learnedRoute{known: true, preference: 1050}), homedAt("hv1", 1050), nil},
		"the old path":      {by(learnedRoute{known: true, preference: 100}), homedAt("hv1", 1050), []string{"the route to 203.0.113.10/32 is still by 192.0.2.1, with preference 100 instead of 1050"}},
		"no path":           {nil, homedAt("hv1", 1050), []string{"no route to 203.0.113.10/32"}},
		"not written":       {by(learnedRoute{known: true, preference: 1100, waiting: true}), homedAt("hv1", 1050), []string{"the route to 203.0.113.10/32 is still to be written"}},
		"refused":           {by(learnedRoute{known: true, preference: 1100, refused: true}), homedAt("hv1", 1050), []string{"the kernel refuses the route to 203.0.113.10/32"}},
		"no session":        {func(h *holdings) { h.vrfs["public"] = reflectors{2, 0} }, homedAt("hv1", 50), []string{"no route to 203.0.113.10/32, and no session to a reflector in VRF public"}},
		"no reflector":      {func(h *holdings) { h.vrfs["public"] = reflectors{} }, homedAt("hv1", 50), []string{"no reflector is configured in VRF public"}},
		"ended, gone":       {nil, end, nil},
		"ended, still":      {by(learnedRoute{known: true, preference: 100}), end, []string{"the route to 203.0.113.10/32 is still by 192.0.2.1"}},
		"ended, removing":   {by(learnedRoute{waiting: true}), end, []string{"the route to 203.0.113.10/32 is still to be removed"}},
		"ended, given anew": {by(learnedRoute{known: true, preference: 1100}), end, nil},
	} {
		h := held(history(t), "hv3")
		if c.change != nil {
			c.change(h)
		}
		h.wants(t, name, c.effect, c.lacks...)
	}
	h := held(history(t), "hv3")
	clear(h.vrfs)
	if a := h.answer(homedAt("hv1", 50)); !a.Has || !a.Unconcerned {
		t.Errorf("without the VRF: %+v", a)
	}
}

// TestTheOldHomeHasIt: where the guest was, its own route to the tap must go first.
func TestTheOldHomeHasIt(t *testing.T) {
	p := history(t)
	h := held(p, "hv1")
	h.wants(t, "it delivers still", homedAt("hv2", 1050), "203.0.113.10/32 is still delivered to its own tap tap1")
	h.claims = map[target]netip.Addr{theAddress: netip.MustParseAddr("192.0.2.2")}
	clear(h.announced)
	h.learned = func(target) learnedRoute { return learnedRoute{known: true, preference: 1100} }
	h.wants(t, "it has yielded, and hears nothing of the log", homedAt("hv2", 1050))
	p.publish(t, &events.VMMigrated{VM: "a", To: "hv2"})
	h = held(p, "hv1")
	h.wants(t, "and has no path yet", homedAt("hv2", 1050), "no route to 203.0.113.10/32")
	h.learned = func(target) learnedRoute { return learnedRoute{known: true, preference: 1100} }
	h.wants(t, "it has", homedAt("hv2", 1050))
	p.publish(t, &events.VMMigrated{VM: "a", To: "hv1"})
	held(p, "hv1").wants(t, "the guest is back already", homedAt("hv2", 1050))
}

func TestWhatIsPreparedAndWhatEnds(t *testing.T) {
	started := &events.VMMigrationStarted{VM: "a", To: "hv2", Taps: []string{"t7"}}
	prepare := log.Effect{Sequence: 7, Kind: log.EffectPrepared, VM: "a", Hypervisor: "hv2", Taps: []string{"t7"}}
	h := held(history(t, started), "hv2")
	h.wants(t, "no tap", prepare, "tap t7 is not on it")
	h.present["t7"] = true
	h.wants(t, "all is ready", prepare)
	h.failing = []string{"DHCPv4 on tap t7: no socket"}
	h.wants(t, "a service fails", prepare, "DHCPv4 on tap t7: no socket")
	h.failing, h.problems = nil, []string{"guest a, tap t7: guest \"b\" has this tap already"}
	h.wants(t, "the tap is another's", prepare, h.problems[0])
	h.problems, h.host.Taps = nil, nil
	h.wants(t, "no round since", prepare, "tap t7 isn't set up yet")

	abort := prepare
	abort.Kind, abort.Sequence = log.EffectEnded, 8
	after := history(t, started, &events.VMMigrationAborted{VM: "a"})
	held(after, "hv2").wants(t, "undone", abort)
	held(after, "hv2").wants(t, "the log has moved on", prepare, "the log has moved on: it has nothing to prepare for guest a")
	h = held(history(t, started), "hv2")
	h.state, h.tick = after.state, after.seq
	h.wants(t, "no round since", abort, "tap t7 is still set up for it")

	deleted := homedAt("hv1", 1050)
	deleted.Kind = log.EffectEnded
	h = held(history(t), "hv1")
	h.wants(t, "announced still", deleted, "203.0.113.10/32 is still announced")
	clear(h.announced)
	h.wants(t, "delivered still", deleted, "203.0.113.10/32 is still delivered to the guest")
	held(history(t, &events.VMDeleted{VM: "a"}), "hv1").wants(t, "gone", deleted)
}

func TestWhatServiceIsInForce(t *testing.T) {
	of := func(kind log.EffectKind) log.Effect { return log.Effect{Sequence: 7, Kind: kind, Hypervisor: "hv1"} }
	drained, fenced := &events.HypervisorDrained{Hypervisor: "hv1"}, &events.HypervisorFenced{Hypervisor: "hv1"}
	before := held(history(t), "hv1")

	h := held(history(t, drained), "hv1")
	h.wants(t, "nothing watched", of(log.EffectDrained), "what its guests are sent isn't watched yet")
	h.drain = &log.Drain{Guests: 1, Delivered: 2, Window: 5, Known: true}
	h.wants(t, "a guest is left", of(log.EffectDrained), "1 guest homed there", "2 packets delivered in 5 s")
	h.drain = &log.Drain{Members: 2, Window: 3}
	h.wants(t, "too early", of(log.EffectDrained), "what its guests are sent is watched for 3 s only")
	h.drain = &log.Drain{Members: 2, Window: 5, Known: true}
	h.wants(t, "members without traffic", of(log.EffectDrained))
	h.announced = before.announced
	h.wants(t, "announced as before", of(log.EffectDrained), "203.0.113.10/32 is announced with preference 100 instead of 50")
	h.wants(t, "undrained", of(log.EffectUndrained), "the log has moved on: that is taken back")

	undrained := history(t, drained, &events.HypervisorUndrained{Hypervisor: "hv1"})
	held(undrained, "hv1").wants(t, "undrained", of(log.EffectUndrained))
	h = held(undrained, "hv1")
	h.announced[theAddress] = 50
	h.wants(t, "not yet", of(log.EffectUndrained), "203.0.113.10/32 is announced with preference 50 instead of 100")

	h = held(history(t, fenced), "hv1")
	h.wants(t, "fenced", of(log.EffectFenced))
	h.announced = before.announced
	h.wants(t, "not yet", of(log.EffectFenced), "1 prefix still announced")
	unfenced := history(t, fenced, &events.HypervisorUnfenced{Hypervisor: "hv1"})
	held(unfenced, "hv1").wants(t, "unfenced", of(log.EffectUnfenced))
	h = held(unfenced, "hv1")
	clear(h.announced)
	h.wants(t, "not yet", of(log.EffectUnfenced), "203.0.113.10/32 is not announced")
	h.present = nil
	h.wants(t, "its tap isn't there", of(log.EffectUnfenced))
}

func TestAnAnswerIsBounded(t *testing.T) {
	e := homedAt("hv2", 50)
	e.Prefixes = slices.Repeat(e.Prefixes, 900)
	h := held(history(t), "hv3")
	if a := h.answer(e); len(a.Lacks) != maxReasons+1 || a.Lacks[maxReasons] != "and 895 more" {
		t.Errorf("%q", a.Lacks)
	}
}

// TestAnAgentAnswersForItsEvents asks an agent through a real log about what it
// has brought into the fake kernel, and hears of it when that is so.
func TestAnAgentAnswersForItsEvents(t *testing.T) {
	k := fake.New()
	bed := &testbed{kernel: k}
	quiet := slog.New(slog.DiscardHandler)
	host := vrf.Host{VRFs: []vrf.VRF{{Name: "public", Table: 90}}}
	a := &Agent{
		cfg: &config.Config{Hypervisor: "hv1", VRFs: []config.VRF{{Name: "public", Table: 90}}}, log: quiet,
		guests: newServices(quiet), speaker: session.New(session.Config{}, nil, quiet), written: newWrittenFIB(nil, func() {}),
	}
	a.effects = &effects{hypervisor: "hv1", look: a.holdings}
	task, stop := runLog(t, t.TempDir(), t.TempDir(), func(l *logTask) {
		l.connected = a.effects.serve
		a.ledger = l
		a.apply = newApplier("hv1", host, l, planned{k, bed}, &bed.served, quiet)
		a.apply.announcer, a.apply.rounded = announcer{&bed.journal}, a.effects.Wake
		a.drain = newDrainWatch("hv1", l.State, a.effects.Wake, quiet)
	})
	t.Cleanup(stop)
	testenv.Eventually(t, "the log to be caught up with", func() bool { return task.status().InSync })
	ctx, cancel := context.WithCancel(t.Context())
	applied := make(chan error, 1)
	go func() { applied <- runBoth(ctx, a.forwardChanges, a.apply.Run) }()
	defer func() { cancel(); <-applied }()

	nc, err := log.Connect(task.status().URL, log.ConnectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	client := log.NewClient(nc, 0)
	publish := func(data events.Data) log.Expectation {
		t.Helper()
		stored, err := client.Publish(t.Context(), events.Event{Data: data})
		if err != nil {
			t.Fatal(err)
		}
		x, err := client.Effect(t.Context(), stored.Sequence)
		if err != nil && !strings.Contains(err.Error(), "no effect") {
			t.Fatal(err)
		}
		return x
	}
	publish(&events.HypervisorRegistered{Hypervisor: "hv1"})
	publish(&events.NetworkDefined{Network: "web", VRF: "public", Subnets: []events.Subnet{{Prefix: events.PrefixFrom(netip.MustParsePrefix("203.0.113.0/24"))}}})
	x := publish(&events.VMCreated{VM: "a", Hypervisor: "hv1", Interfaces: []events.Interface{{Tap: "tap1", MAC: events.MAC{Octets: [6]byte{2, 0, 0, 0, 0, 1}}, Network: "web"}}})
	appeared := false
	list, err := client.Await(t.Context(), x, log.AwaitOptions{Progress: func(h log.HostEffect) {
		if h.State == log.EffectMissing && !appeared {
			appeared = true
			k.AddLink("tap1")
			a.apply.Notice(kernel.Notice{Links: []string{"tap1"}})
		}
	}})
	if err != nil || len(list) != 1 || list[0].State != log.EffectThere || !appeared {
		t.Errorf("%+v, %v; the tap was missing: %t", list, err, appeared)
	}
	x = publish(&events.IPAssigned{Prefix: events.PrefixFrom(theAddress.prefix), VM: "a"})
	list, err = client.Await(t.Context(), x, log.AwaitOptions{Timeout: time.Minute})
	if err != nil || len(list) != 1 || list[0].State != log.EffectThere {
		t.Errorf("%+v, %v", list, err)
	}
}

// runBoth runs two tasks until both have ended.
func runBoth(ctx context.Context, first, second func(context.Context) error) error {
	ended := make(chan error, 1)
	go func() { ended <- first(ctx) }()
	return errors.Join(second(ctx), <-ended)
}
