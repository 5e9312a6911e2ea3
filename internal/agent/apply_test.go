package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/arrival"
	"github.com/hostroute/hostroute/internal/bgp"
	"github.com/hostroute/hostroute/internal/handover"
	"github.com/hostroute/hostroute/projector"
	"github.com/hostroute/hostroute/vrf"
	"github.com/hostroute/hostroute/vrf/fake"
	"github.com/hostroute/hostroute/vrf/kernel"
)

// projection is a State that the test writes.
type projection struct {
	state  *projector.State
	inSync bool
	known  bool // though it isn't in sync
	seq    uint64
}

func (p *projection) State() *projector.State { return p.state.Clone() }
func (p *projection) InSync() bool            { return p.inSync }
func (p *projection) Known() bool             { return p.inSync || p.known }
func (p *projection) Current() bool           { return p.inSync }

func (p *projection) publish(t *testing.T, data events.Data) {
	t.Helper()
	p.seq++
	d, err := projector.Decide(p.state, events.Event{Data: data})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.state.Apply(projector.Record{Sequence: p.seq, Event: d.Event}); err != nil {
		t.Fatal(err)
	}
}

// announcer notes every set that it gets, as the prefixes in it, in one
// journal with the deletions of routes.
type announcer struct{ journal *[]string }

func (a announcer) Announce(set []bgp.Announcement) {
	var prefixes []string
	for _, n := range set {
		prefixes = append(prefixes, n.Prefix.String())
	}
	*a.journal = append(*a.journal, "announce "+strings.Join(prefixes, " "))
}

func (a announcer) Hush() { *a.journal = append(*a.journal, "hush") }

// planned reads, plans and executes on the fake as the real kernel's Apply does.
type planned struct {
	*fake.Kernel
	bed *testbed
}

func (k planned) Read(ctx context.Context, desired vrf.Host) (vrf.Actual, error) {
	if k.bed.unreadable != nil {
		return vrf.Actual{}, k.bed.unreadable
	}
	return k.Kernel.Read(ctx, desired)
}

func (k planned) Apply(ctx context.Context, desired vrf.Host, o vrf.Options) (vrf.Result, error) {
	k.bed.scopes = append(k.bed.scopes, o.Links)
	actual, err := k.Read(ctx, desired)
	if err != nil {
		return vrf.Result{}, err
	}
	result := vrf.Plan(desired, actual, o)
	return result, k.Execute(ctx, result.Ops)
}

func (k planned) Forget(routes []kernel.Route) { k.bed.forgotten = append(k.bed.forgotten, routes...) }

// served is what the guests were to be told last.
type served struct {
	host     projector.Host
	present  map[string]bool
	expected map[string]arrival.Guest
}

func (s *served) Set(host projector.Host, present map[string]bool, expected map[string]arrival.Guest) {
	s.host, s.present, s.expected = host, present, expected
}

// testbed is an applier on the fake kernel with one guest, homed here.
type testbed struct {
	*applier
	kernel     *fake.Kernel
	projection *projection
	journal    []string
	scopes     [][]string // the links of every apply; nil: all
	forgotten  []kernel.Route
	unreadable error // what reading the kernel fails with
	served     served
	elapsed    time.Duration // for what takes its time
}

func newTestbed(t *testing.T) *testbed {
	b := &testbed{kernel: fake.New(), projection: &projection{state: projector.New(), inSync: true}}
	b.kernel.Fault = func(op vrf.Op) error {
		if d, ok := op.(vrf.DeleteRoute); ok && d.Route.Metric == vrf.MetricGuest {
			b.journal = append(b.journal, "delete "+d.Route.Prefix.String())
		}
		return nil
	}
	b.applier = newApplier("hv1", vrf.Host{VRFs: []vrf.VRF{{Name: "public", Table: 90}}}, b.projection, planned{b.kernel, b}, &b.served, slog.New(slog.DiscardHandler))
	b.applier.announcer = announcer{&b.journal}
	b.applier.moving.clock = func() time.Duration { return b.elapsed }
	prefix := func(s string) events.Prefix { return events.PrefixFrom(netip.MustParsePrefix(s)) }
	b.projection.publish(t, &events.HypervisorRegistered{Hypervisor: "hv1"})
	b.projection.publish(t, &events.HypervisorRegistered{Hypervisor: "hv2"})
	b.projection.publish(t, &events.NetworkDefined{Network: "web", VRF: "public", Subnets: []events.Subnet{{Prefix: prefix("203.0.113.0/24")}},
		Gateways: []events.Addr{events.AddrFrom(netip.MustParseAddr("203.0.113.1"))}})
	b.projection.publish(t, &events.VMCreated{VM: "a", Hypervisor: "hv1", Interfaces: []events.Interface{
		{Tap: "tap1", MAC: events.MAC{Octets: [6]byte{2, 0, 0, 0, 0, 1}}, Network: "web"}}})
	for _, p := range []string{"203.0.113.10/32", "203.0.113.11/32"} {
		b.projection.publish(t, &events.IPAssigned{Prefix: prefix(p), VM: "a"})
	}
	return b
}

// round runs one round and gives what was journaled in it.
func (b *testbed) round(t *testing.T) ([]string, error) {
	t.Helper()
	b.journal = nil
	_, err := b.applier.round(context.Background())
	for from := 0; from < len(b.journal); from++ { // the order of deletions is the kernel's
		to := from
		for to < len(b.journal) && strings.HasPrefix(b.journal[to], "delete") {
			to++
		}
		slices.Sort(b.journal[from:to])
	}
	return b.journal, err
}

func (b *testbed) wants(t *testing.T, want ...string) {
	t.Helper()
	got, err := b.round(t)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

// appears adds a link as the kernel would tell it.
func (b *testbed) appears(name string) {
	b.kernel.AddLink(name)
	b.Notice(kernel.Notice{Links: []string{name}})
}

func TestAnnouncedWhenTheTapAppears(t *testing.T) {
	b := newTestbed(t)
	b.wants(t, "announce ") // that there is nothing has to be said, too
	if r := b.snapshot(); !slices.Equal(r.waiting, []string{"tap1"}) {
		t.Errorf("waiting for %v", r.waiting)
	}
	b.appears("tap1")
	b.wants(t, "announce 203.0.113.10/32 203.0.113.11/32")
	b.wants(t) // nothing changed
	b.kernel.DeleteLink("tap1")
	b.Notice(kernel.Notice{Links: []string{"tap1"}})
	b.wants(t, "announce ")
}

func TestOnlyWhatChangedIsLookedAt(t *testing.T) {
	b := newTestbed(t)
	b.kernel.AddLink("tap1")
	for _, step := range []struct {
		what   string
		change func()
		want   string
	}{
		{"the first round", func() {}, "[[]]"},
		{"nothing", func() {}, "[]"},
		{"a foreign link", func() { b.Notice(kernel.Notice{Links: []string{"eth9"}}) }, "[[eth9]]"},
		{"an address of the guest", func() {
			b.projection.publish(t, &events.IPReleased{Prefix: events.PrefixFrom(netip.MustParsePrefix("203.0.113.10/32"))})
		}, "[[tap1]]"},
		{"the VRF device", func() { b.Notice(kernel.Notice{Links: []string{"public"}}) }, "[[]]"},
		{"a drain", func() { b.projection.publish(t, &events.HypervisorDrained{Hypervisor: "hv1"}) }, "[]"},
		{"another address of the guest", func() {
			b.projection.publish(t, &events.IPAssigned{Prefix: events.PrefixFrom(netip.MustParsePrefix("203.0.113.12/32")), VM: "a"})
		}, "[[tap1]]"},
		{"somebody's change of the filter", func() { b.Notice(kernel.Notice{Filter: true}) }, "[[]]"},
		{"a setting of all links", func() { b.Notice(kernel.Notice{Settings: true}) }, "[[]]"},
		{"lost messages", func() { b.Notice(kernel.Notice{Resync: true}) }, "[[]]"},
		{"a move away", func() { b.projection.publish(t, &events.VMMigrated{VM: "a", To: "hv2"}) }, "[[tap1]]"},
	} {
		step.change()
		b.scopes = nil
		if _, err := b.round(t); err != nil {
			t.Errorf("%s: %v", step.what, err)
		}
		if got := fmt.Sprint(b.scopes); got != step.want {
			t.Errorf("%s: looked at %s, want %s", step.what, got, step.want)
		}
	}
}

// TestDamagedRoutes: a round brings back what was deleted, and looks at nothing else.
func TestDamagedRoutes(t *testing.T) {
	b := newTestbed(t)
	b.kernel.AddLink("tap1")
	b.wants(t, "announce 203.0.113.10/32 203.0.113.11/32")
	guest := kernel.Route{Table: 90, Prefix: netip.MustParsePrefix("203.0.113.10/32"), Metric: vrf.MetricGuest}
	last := kernel.Route{Table: 90, Prefix: netip.MustParsePrefix("::/0"), Metric: vrf.MetricUnreachable}
	nobodys := kernel.Route{Table: 90, Prefix: netip.MustParsePrefix("203.0.113.99/32"), Metric: vrf.MetricGuest}
	for _, c := range []struct {
		what   string
		notice kernel.Notice
		links  []string
	}{
		{"a guest's", kernel.Notice{Routes: []kernel.Route{guest}}, []string{"tap1"}},
		{"a last resort", kernel.Notice{Routes: []kernel.Route{last}}, []string{}},
		{"both, and one that nobody wants", kernel.Notice{Routes: []kernel.Route{last, nobodys, guest}}, []string{"tap1"}},
		{"nobody knows which", kernel.Notice{AllRoutes: true}, nil},
	} {
		b.scopes, b.forgotten = nil, nil
		for _, r := range []kernel.Route{guest, last} {
			if c.notice.AllRoutes || slices.Contains(c.notice.Routes, r) {
				b.kernel.DeleteForeignRoute(r.Table, r.Prefix, r.Metric)
			}
		}
		b.Notice(c.notice)
		b.wants(t)
		if len(b.scopes) != 1 || !slices.Equal(b.scopes[0], c.links) || (b.scopes[0] == nil) != (c.links == nil) {
			t.Errorf("%s: looked at %#v, want %#v", c.what, b.scopes, c.links)
		}
		if !slices.Equal(b.forgotten, c.notice.Routes) {
			t.Errorf("%s: %v are in doubt, want %v", c.what, b.forgotten, c.notice.Routes)
		}
		a, err := b.kernel.Read(t.Context(), b.fixed)
		if err != nil || !hasRoute(a, "203.0.113.10/32") || !hasRoute(a, "::/0") {
			t.Errorf("%s: the kernel has %v, %v", c.what, a.Routes, err)
		}
	}
}

// TestATakenPlaceIsNotAnnounced: what somebody put in place of a guest's route stays,
// and the guest is announced again when it is gone.
func TestATakenPlaceIsNotAnnounced(t *testing.T) {
	b := newTestbed(t)
	b.kernel.AddLink("tap1")
	b.wants(t, "announce 203.0.113.10/32 203.0.113.11/32")
	guest := kernel.Route{Table: 90, Prefix: netip.MustParsePrefix("203.0.113.10/32"), Metric: vrf.MetricGuest}
	b.kernel.AddForeignRoute(guest.Table, guest.Prefix, guest.Metric)
	had := b.kernel.Foreign()
	b.Notice(kernel.Notice{Routes: []kernel.Route{guest}})
	got, err := b.round(t)
	if !errors.Is(err, vrf.ErrExists) || !slices.Equal(got, []string{"announce 203.0.113.11/32"}) {
		t.Errorf("got %q, %v", got, err)
	}
	if r := b.snapshot(); len(r.errs) != 1 || !strings.Contains(r.errs[0], guest.Prefix.String()) {
		t.Errorf("reported errors: %q", r.errs)
	}
	if have := b.kernel.Foreign(); !slices.Equal(have, had) {
		t.Errorf("what is somebody else's changed: have %q, had %q", have, had)
	}
	b.kernel.DeleteForeignRoute(guest.Table, guest.Prefix, guest.Metric)
	b.wants(t, "announce 203.0.113.10/32 203.0.113.11/32")
}

func TestWithdrawnBeforeTheRouteGoes(t *testing.T) {
	b := newTestbed(t)
	b.kernel.AddLink("tap1")
	b.wants(t, "announce 203.0.113.10/32 203.0.113.11/32")
	b.projection.publish(t, &events.IPReleased{Prefix: events.PrefixFrom(netip.MustParsePrefix("203.0.113.10/32")), VM: "a"})

	b.wants(t, "delete 203.0.113.10/32") // somebody else may have it now: it is announced on for a moment
	b.wants(t)
	b.elapsed += handover.Parting
	b.wants(t, "announce 203.0.113.11/32")
	b.kernel.DeleteLink("tap1") // so that nothing is announced that could be kept
	b.Notice(kernel.Notice{Links: []string{"tap1"}})
	b.wants(t, "announce ")
	b.kernel.AddLink("tap1")
	b.Notice(kernel.Notice{Links: []string{"tap1"}})
	b.wants(t, "announce 203.0.113.11/32")
	b.projection.publish(t, &events.HypervisorFenced{Hypervisor: "hv1"})
	b.wants(t, "announce ")
	b.projection.publish(t, &events.VMMigrated{VM: "a", To: "hv2"})
	b.wants(t, "delete 203.0.113.11/32")
}

func TestNothingIsSweptOrAnnouncedBeforeTheLogIsCaughtUp(t *testing.T) {
	b := newTestbed(t)
	b.kernel.AddLink("tap1")
	b.wants(t, "announce 203.0.113.10/32 203.0.113.11/32")
	// The agent starts anew and knows nothing yet.
	full := b.projection.state
	b.projection.state, b.projection.inSync = projector.New(), false
	b.wants(t)
	if a, err := b.kernel.Read(context.Background(), b.fixed); err != nil || !hasRoute(a, "203.0.113.10/32") {
		t.Errorf("a guest's route was swept for lack of knowledge (%v)", err)
	}
	b.projection.state, b.projection.inSync = full, true
	b.announced, b.said = nil, false
	b.wants(t, "announce 203.0.113.10/32 203.0.113.11/32")
}

func hasRoute(a vrf.Actual, prefix string) bool {
	return slices.ContainsFunc(a.Routes, func(r vrf.InstalledRoute) bool { return r.Prefix.String() == prefix })
}

func TestARefusedRouteIsNotAnnouncedAndTriedAgain(t *testing.T) {
	b := newTestbed(t)
	b.kernel.AddLink("tap1")
	refuse := errors.New("no buffer space")
	b.kernel.Fault = func(op vrf.Op) error {
		if r, ok := op.(vrf.AddRoute); ok && r.Route.Prefix.String() == "203.0.113.10/32" {
			return refuse
		}
		return nil
	}
	got, err := b.round(t)
	if !errors.Is(err, refuse) || !slices.Equal(got, []string{"announce 203.0.113.11/32"}) {
		t.Errorf("got %q, %v", got, err)
	}
	if r := b.snapshot(); len(r.errs) != 1 || !strings.Contains(r.errs[0], "203.0.113.10/32") {
		t.Errorf("reported errors: %q", r.errs)
	}
	b.kernel.Fault = nil
	b.wants(t, "announce 203.0.113.10/32 203.0.113.11/32")
}

func TestAnErrorIsReportedWithTheOperation(t *testing.T) {
	b := newTestbed(t)
	b.unreadable = &vrf.OpError{Op: vrf.CreateVRF{Name: "public", Table: 90}, Err: fmt.Errorf("%w: %w", kernel.ErrNotPermitted, errors.New("operation not permitted"))}
	if _, err := b.round(t); err == nil {
		t.Fatal("no error")
	}
	want := "creating VRF public with table 90: " + kernel.ErrNotPermitted.Error() + ": operation not permitted"
	if r := b.snapshot(); !slices.Equal(r.errs, []string{want}) {
		t.Errorf("reported errors: %q, want %q", r.errs, want)
	}
}

func TestATapOfAnUnknownVRFIsReported(t *testing.T) {
	b := newTestbed(t)
	b.kernel.AddLink("tap1")
	b.fixed.VRFs = []vrf.VRF{{Name: "other", Table: 91}}
	b.wants(t, "announce ")
	want := "tap tap1: VRF public is not in the configuration of this hypervisor; add it under vrfs"
	if r := b.snapshot(); !slices.Equal(r.problems, []string{want}) {
		t.Errorf("problems: %q", r.problems)
	}
}

func TestAKernelThatCantBeReadWithdrawsNothing(t *testing.T) {
	b := newTestbed(t)
	b.unreadable = errors.New("no buffer space")
	if announced, err := b.applier.round(t.Context()); announced || !errors.Is(err, b.unreadable) || len(b.journal) > 0 {
		t.Errorf("the first round told %q, %v, %v", b.journal, announced, err)
	}
	refuse := b.unreadable
	b.unreadable = nil
	b.kernel.AddLink("tap1")
	b.wants(t, "announce 203.0.113.10/32 203.0.113.11/32")
	b.unreadable = refuse
	b.Notice(kernel.Notice{Links: []string{"tap1"}})
	if got, err := b.round(t); err == nil || len(got) > 0 {
		t.Errorf("got %q, %v", got, err)
	}
	// What the log withdraws is withdrawn all the same.
	b.projection.publish(t, &events.IPReleased{Prefix: events.PrefixFrom(netip.MustParsePrefix("203.0.113.10/32")), VM: "a"})
	if got, err := b.round(t); err == nil || len(got) > 0 {
		t.Errorf("got %q, %v", got, err)
	}
	b.elapsed += handover.Parting
	if got, err := b.round(t); err == nil || !slices.Equal(got, []string{"announce 203.0.113.11/32"}) {
		t.Errorf("got %q, %v", got, err)
	}
	b.unreadable = nil
	b.wants(t, "delete 203.0.113.10/32")
}

func TestAGuestInAVRFThatCantBeUsedIsNotAnnounced(t *testing.T) {
	b := newTestbed(t)
	b.kernel.AddLink("tap1")
	b.wants(t, "announce 203.0.113.10/32 203.0.113.11/32")
	b.fixed.VRFs[0].Table = 91 // the device has 90
	b.Notice(kernel.Notice{Resync: true})
	b.wants(t, "announce ")
	if r := b.snapshot(); len(r.problems) != 1 || len(r.waiting) > 0 {
		t.Errorf("problems %q, waiting for %q", r.problems, r.waiting)
	}
	b.fixed.VRFs[0].Table = 90
	b.Notice(kernel.Notice{Resync: true})
	b.wants(t, "announce 203.0.113.10/32 203.0.113.11/32")
}

// TestEverythingIsComparedThoughSomethingAlwaysChanges: neither many wakes nor
// many failures keep the apply loop from looking at everything, or from rest.
func TestEverythingIsComparedThoughSomethingAlwaysChanges(t *testing.T) {
	for _, c := range []struct {
		what   string
		refuse error
		want   int // comparisons of everything in 5 minutes
	}{
		{"all is well", nil, 1 + 5},
		{"a failure that lasts", errors.New("no buffer space"), 1 + 4 + 17}, // after 0, 1, 3, 7, 15, 31, 47 … s
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newTestbed(t)
			b.kernel.AddLink("tap1")
			b.kernel.Fault = func(op vrf.Op) error {
				if _, ok := op.(vrf.SetNeighbour); ok {
					return c.refuse
				}
				return nil
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute+time.Millisecond)
			defer cancel()
			var busy sync.WaitGroup
			if c.refuse == nil {
				busy.Go(func() {
					ticks := time.NewTicker(700 * time.Millisecond)
					defer ticks.Stop()
					for {
						select {
						case <-ctx.Done():
							return
						case <-ticks.C:
							b.Notice(kernel.Notice{Links: []string{"eth0"}})
						}
					}
				})
			}
			if err := b.Run(ctx); err != nil {
				t.Error(err)
			}
			full := 0
			for _, links := range b.scopes {
				if links == nil {
					full++
				}
			}
			if full != c.want {
				t.Errorf("%s: %d comparisons of everything in 5 minutes, want %d", c.what, full, c.want)
			}
			busy.Wait()
		})
	}
}

func TestRunAppliesOnWakeAndEnds(t *testing.T) {
	b := newTestbed(t)
	b.kernel.AddLink("tap1")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- b.Run(ctx) }()
	<-b.applied
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if fmt.Sprint(b.journal) != "[announce 203.0.113.10/32 203.0.113.11/32]" {
		t.Errorf("journal: %q", b.journal)
	}
}
