package log

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/testenv"
)

// drawEvent draws events about a small world, so that many of them meet.
func drawEvent(r *rapid.T) events.Data {
	name := func(prefix string, n int) string {
		return fmt.Sprintf("%s%d", prefix, rapid.IntRange(1, n).Draw(r, prefix))
	}
	vm, hv, net := name("vm", 4), name("hv", 3), name("net", 2)
	prefix := fmt.Sprintf("203.0.%s.%d/32", net[3:], rapid.IntRange(1, 4).Draw(r, "host"))
	role := rapid.SampledFrom([]events.Role{"", events.RoleElastic, events.RoleAnycast, events.RoleAnycast}).Draw(r, "role")
	define := network(net, "public", fmt.Sprintf("203.0.%s.0/24", net[3:]))
	define.MTU = rapid.IntRange(1400, 1402).Draw(r, "mtu")
	return rapid.SampledFrom([]events.Data{
		define,
		&events.NetworkRemoved{Network: net},
		hypervisor(hv), hypervisor(hv),
		&events.HypervisorDrained{Hypervisor: hv}, &events.HypervisorUndrained{Hypervisor: hv},
		&events.HypervisorFenced{Hypervisor: hv}, &events.HypervisorUnfenced{Hypervisor: hv},
		guest(vm, hv, net), guest(vm, hv, net), guest(vm, hv, "net1", "net2"),
		&events.VMDeleted{VM: vm},
		&events.VMMigrationStarted{VM: vm, To: hv}, &events.VMMigrated{VM: vm, To: hv}, &events.VMMigrated{VM: vm, To: hv, Taps: []string{"moved0"}},
		&events.VMMigrationAborted{VM: vm},
		&events.IPAssigned{Prefix: pfx(prefix), VM: vm, Role: role}, &events.IPAssigned{Prefix: pfx(prefix), VM: vm, Role: role},
		&events.IPMoved{Prefix: pfx(prefix), To: vm},
		&events.IPReleased{Prefix: pfx(prefix)}, &events.IPReleased{Prefix: pfx(prefix), VM: vm},
	}).Draw(r, "event")
}

// scope is a test whose cleanups run when it ends, as a part of a test.
type scope struct {
	testing.TB
	undo []func()
}

// Cleanup registers f for the end of the scope.
func (s *scope) Cleanup(f func()) { s.undo = append(s.undo, f) }

func (s *scope) end() {
	for _, f := range slices.Backward(s.undo) {
		f()
	}
}

// checks sets how many random histories are tried, unless the command line
// says: each is a server of its own.
func checks(t *testing.T, n int) {
	t.Helper()
	f := flag.Lookup("rapid.checks")
	if f.Value.String() != f.DefValue {
		return
	}
	if err := f.Value.Set(strconv.Itoa(n)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Value.Set(f.DefValue) })
}

// TestFollowersAgreeWithReplay publishes random histories; followers from the
// start, followers that begin in the middle and followers that begin at the end
// want the same of every hypervisor as a replay of the whole log does.
func TestFollowersAgreeWithReplay(t *testing.T) {
	checks(t, 15)
	rapid.Check(t, func(r *rapid.T) {
		scope := &scope{TB: t}
		defer scope.end()
		run := newLab(scope)
		run.serve()
		hvs := []string{"hv1", "hv2", "hv3"}
		var followers []*Follower
		begin := func() {
			for _, hv := range hvs {
				followers = append(followers, run.follow(hv, FollowerOptions{}))
			}
		}
		begin()
		n := rapid.IntRange(5, 40).Draw(r, "length")
		published := 0
		for i := range n {
			if i == n/2 {
				begin()
			}
			_, err := run.ledger.Publish(run.ctx, events.Event{Data: drawEvent(r)})
			var bad *events.Error
			if err != nil && !errors.As(err, &bad) {
				r.Fatalf("publishing: %v", err)
			}
			if err == nil {
				published++
			}
		}
		begin()
		state := run.replay()
		if q := state.Quarantined(); len(q) > 0 {
			r.Fatalf("replay refuses what was published: %+v", q)
		}
		for i, f := range followers {
			hv := hvs[i%len(hvs)]
			want := desired(t, state, hv)
			testenv.Eventually(t, fmt.Sprintf("follower %d of %s agrees with replay of %d events: %s", i/len(hvs), hv, published, want),
				func() bool { return desired(t, f.State(), hv) == want })
			if s := f.Status(); s.Gaps != 0 {
				r.Errorf("follower %d of %s saw gaps: %+v", i/len(hvs), hv, s)
			}
		}
		checkBatches(t, run.all())
	})
}
