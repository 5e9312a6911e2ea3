package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hostroute/hostroute/vrf"
	"github.com/hostroute/hostroute/vrf/kernel"
)

func TestRest(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		before, took time.Duration
		quiet        bool
		want         time.Duration
	}{
		{0, 0, true, 100 * ms},
		{500 * ms, 3 * ms, true, 100 * ms},
		{100 * ms, 3 * ms, false, 200 * ms},
		{200 * ms, 3 * ms, false, 400 * ms},
		{400 * ms, 3 * ms, false, 500 * ms},
		{500 * ms, 3 * ms, false, 500 * ms},
		{0, 180 * ms, true, 180 * ms},
		{400 * ms, 2 * time.Second, false, 2 * time.Second},
		{2 * time.Second, 3 * ms, false, 500 * ms},
	} {
		if got := rest(c.before, c.took, c.quiet); got != c.want {
			t.Errorf("after a rest of %v and %v of work, quiet: %v: %v, want %v", c.before, c.took, c.quiet, got, c.want)
		}
	}
}

func TestVerifyAfter(t *testing.T) {
	for took, want := range map[time.Duration]time.Duration{
		0: time.Minute, 20 * time.Millisecond: time.Minute, time.Second: time.Minute,
		time.Minute / 49: time.Minute, 2 * time.Second: 98 * time.Second, time.Minute: 49 * time.Minute,
	} {
		got := verifyAfter(took)
		if got != want {
			t.Errorf("after %v: %v, want %v", took, got, want)
		}
		if share := float64(took) / float64(took+got); share > 0.02 {
			t.Errorf("%v each %v is %.1f %% of the time", took, took+got, 100*share)
		}
	}
}

// mendbed is a mender whose doings are in a journal.
type mendbed struct {
	*mender
	mu      sync.Mutex
	journal []string
	takes   time.Duration // each Verify
	fails   error
	lost    []netip.Prefix
}

func newMendbed() *mendbed {
	b := &mendbed{}
	b.mender = newMender([]vrf.VRF{{Name: "public", Table: 90}, {Name: "private", Table: 20}}, b,
		func(n kernel.Notice) { b.note("apply %d %v", len(n.Routes), n.AllRoutes) },
		func(_ context.Context, err error) { b.note("report %v", err) }, slog.New(slog.DiscardHandler))
	return b
}

func (b *mendbed) note(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.journal = append(b.journal, fmt.Sprintf(format, args...))
}

func (b *mendbed) Lost(_ context.Context, vrf string, prefixes []netip.Prefix) error {
	b.note("lost %s %d", vrf, len(prefixes))
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lost = append(b.lost, prefixes...)
	return b.fails
}

func (b *mendbed) Verify(ctx context.Context) error {
	b.note("verify")
	b.mu.Lock()
	takes, fails := b.takes, b.fails
	b.mu.Unlock()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(takes):
		return fails
	}
}

func (b *mendbed) set(takes time.Duration, fails error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.takes, b.fails = takes, fails
}

// during runs for some time, of the bubble, and gives what was done.
func (b *mendbed) during(d time.Duration) []string {
	<-time.After(d)
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	done := b.journal
	b.journal = nil
	return done
}

// mending runs a test in a bubble, with a mender that runs.
func mending(t *testing.T, f func(*mendbed)) {
	synctest.Test(t, func(t *testing.T) {
		b := newMendbed()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- b.Run(ctx) }()
		f(b)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func damagedRoutes(table uint32, metric uint32, from, n int) (list []kernel.Route) {
	for i := from; i < from+n; i++ {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
		list = append(list, kernel.Route{Table: table, Prefix: p, Metric: metric})
	}
	return list
}

// TestMend: what is whose, and that it is done at once, guests first.
func TestMend(t *testing.T) {
	for _, c := range []struct {
		name   string
		notice kernel.Notice
		want   []string
	}{
		{"nothing", kernel.Notice{Links: []string{"tap1"}}, nil},
		{"of each", kernel.Notice{Routes: slices.Concat(damagedRoutes(90, vrf.MetricLearned, 0, 3), damagedRoutes(20, vrf.MetricLearned, 0, 2),
			damagedRoutes(90, vrf.MetricGuest, 0, 1), damagedRoutes(20, vrf.MetricUnreachable, 0, 1), damagedRoutes(77, vrf.MetricLearned, 0, 1))},
			[]string{"apply 2 false", "lost private 2", "lost public 3"}},
		{"nobody knows which", kernel.Notice{AllRoutes: true}, []string{"apply 0 true", "verify"}},
		{"messages about links were lost", kernel.Notice{Resync: true}, []string{"verify"}},
		{"a VRF device changed", kernel.Notice{Links: []string{"tap1", "private"}}, []string{"verify"}},
		{"too many", kernel.Notice{Routes: damagedRoutes(90, vrf.MetricLearned, 0, maxNamed+1)}, []string{"apply 0 true", "verify"}},
	} {
		mending(t, func(b *mendbed) {
			b.Notice(c.notice)
			if got := b.during(0); !slices.Equal(got, c.want) {
				t.Errorf("%s: %q, want %q", c.name, got, c.want)
			}
		})
	}
}

// TestMendIsNeverBusy: somebody deletes without end, a few routes or very many.
// Everything is mended within a second or so, and there is time for other things.
func TestMendIsNeverBusy(t *testing.T) {
	mending(t, func(b *mendbed) {
		for i := range 10_000 { // one each millisecond
			b.Notice(kernel.Notice{Routes: damagedRoutes(90, vrf.MetricLearned, i%2000, 1)})
			<-time.After(time.Millisecond)
		}
		if done := b.during(longestRest); len(done) < 20 || len(done) > 30 {
			t.Errorf("ten seconds of damage had %d repairs", len(done))
		}
		seen := map[netip.Prefix]bool{}
		for _, p := range b.lost {
			seen[p] = true
		}
		if len(seen) != 2000 {
			t.Errorf("%d of 2000 routes were mended", len(seen))
		}
	})
	mending(t, func(b *mendbed) {
		b.set(400*time.Millisecond, nil)
		for range 10_000 {
			b.Notice(kernel.Notice{AllRoutes: true})
			<-time.After(time.Millisecond)
		}
		verified := 0
		for _, what := range b.during(2 * time.Second) {
			if what == "verify" {
				verified++
			}
		}
		if verified < 10 || verified > 14 { // 0.4 s of work, and as much of rest or more
			t.Errorf("ten seconds of damage had %d verifications", verified)
		}
	})
}

// TestVerifyIsRegular, sooner after an interruption, and what it fails with is tried
// again by others.
func TestVerifyIsRegular(t *testing.T) {
	mending(t, func(b *mendbed) {
		if got := b.during(3*time.Minute + time.Second); len(got) != 3 {
			t.Errorf("three minutes had %q", got)
		}
		b.set(3*time.Second, nil) // 147 s of rest then
		if got := b.during(time.Minute + 150*time.Second); len(got) != 2 {
			t.Errorf("with much to read, three and a half minutes had %q", got)
		}
		b.set(0, kernel.ErrInterrupted)
		if got := b.during(150*time.Second + 4*longestRest); len(got) < 4 || slices.Contains(got, "report "+kernel.ErrInterrupted.Error()) {
			t.Errorf("interrupted, it did %q", got)
		}
		b.set(0, errors.New("no buffer space"))
		if got := b.during(longestRest); !slices.Equal(got, []string{"verify", "report no buffer space"}) {
			t.Errorf("failing, it did %q", got)
		}
		b.Notice(kernel.Notice{Routes: damagedRoutes(90, vrf.MetricLearned, 0, 1)})
		if got := b.during(time.Second); !slices.Equal(got, []string{"lost public 1", "report no buffer space"}) {
			t.Errorf("failing, it did %q", got)
		}
		b.set(0, kernel.ErrBusy)
		b.during(2 * time.Minute) // until the first of them
		if got := b.during(6 * busyRest); len(got) < 5 || len(got) > 7 || slices.Contains(got, "report "+kernel.ErrBusy.Error()) {
			t.Errorf("with much being written, it did %q", got)
		}
	})
}
