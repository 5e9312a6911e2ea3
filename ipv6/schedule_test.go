package ipv6

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var start = time.Unix(1_700_000_000, 0)

func TestTheBeginningIsThreeAdvertisementsQuickly(t *testing.T) {
	for name, c := range map[string]struct {
		interval time.Duration
		random   float64
		want     []time.Duration // between one and the next
	}{
		"longest":              {600 * time.Second, 0.9999999, []time.Duration{16 * time.Second, 16 * time.Second, 600 * time.Second, 600 * time.Second}},
		"shortest":             {600 * time.Second, 0, []time.Duration{16 * time.Second, 16 * time.Second, 200 * time.Second, 200 * time.Second}},
		"by default":           {0, 0.9999999, []time.Duration{16 * time.Second, 16 * time.Second, 600 * time.Second}},
		"as often as may be":   {time.Second, 0, []time.Duration{3 * time.Second, 3 * time.Second, 3 * time.Second}},
		"as seldom as may be":  {time.Hour, 0.9999999, []time.Duration{16 * time.Second, 16 * time.Second, 1800 * time.Second}},
		"always every 4 s":     {4 * time.Second, 0.9999999, []time.Duration{4 * time.Second, 4 * time.Second, 4 * time.Second}},
		"in the middle of all": {30 * time.Second, 0.5, []time.Duration{16 * time.Second, 16 * time.Second, 20 * time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			s := NewSchedule(start, Router{Interval: c.interval})
			now := start
			if s.Next() != now {
				t.Errorf("the first is due after %v, want at once", s.Next().Sub(now))
			}
			for i, want := range c.want {
				s.Sent(now, c.random)
				if got := s.Next().Sub(now); got.Round(time.Second) != want {
					t.Errorf("the advertisement %d is due after %v, want %v", i+2, got, want)
				}
				now = s.Next()
			}
		})
	}
}

func TestASolicitationIsAnsweredAtOnceOrAsSoonAsItMay(t *testing.T) {
	s := NewSchedule(start, Router{})
	s.Sent(start, 0)
	if !s.Solicited(start, addr("fe80::5")) || s.Next() != start.Add(16*time.Second) {
		t.Error("an answer to one host should go to it at once and leave the schedule alone")
	}
	for _, source := range []netip.Addr{netip.IPv6Unspecified(), addr("2001:db8::5")} {
		if s.Solicited(start.Add(time.Second), source) || s.Next() != start.Add(MinDelayBetweenRAs) {
			t.Errorf("asked by %v the next one is due after %v, want the shortest delay", source, s.Next().Sub(start))
		}
	}
	later := start.Add(MinDelayBetweenRAs)
	s.Sent(later, 0)
	if at := later.Add(10 * time.Second); s.Solicited(at, netip.IPv6Unspecified()) || s.Next() != at {
		t.Error("an answer that may go at once should")
	}
	s.Postpone(later)
	if s.Next() != later.Add(MinDelayBetweenRAs) {
		t.Error("what could not be sent is tried again after the shortest delay")
	}
}

func TestAChangeIsToldThreeTimes(t *testing.T) {
	with := func(dns ...netip.Addr) Router { return Router{DNS: dns} }
	one, two := addr("2001:db8::1"), addr("2001:db8::2")
	s := NewSchedule(start, with(one))
	now := start
	for range initialAdvertisements {
		s.Sent(now, 0)
		now = s.Next()
	}
	now = now.Add(-100 * time.Second)
	before := s.Next()
	if s.Update(now, with(one)); s.Next() != before {
		t.Error("an update that changes nothing made an advertisement due")
	}
	s.Update(now, with(two))
	for i := range initialAdvertisements {
		if i > 0 {
			if wait := s.Next().Sub(now); wait > initialInterval {
				t.Errorf("the change is told again after %v", wait)
			}
			now = s.Next()
		} else if s.Next() != now {
			t.Errorf("the change is due after %v, want at once", s.Next().Sub(now))
		}
		want := []Lasting[netip.Addr]{{one, 0}, {two, 1800 * time.Second}}
		if got := s.Advertisement().DNS; !slices.Equal(got, want) {
			t.Errorf("advertisement %d after the change tells %v, want %v", i+1, got, want)
		}
		s.Sent(now, 0)
	}
	if got, want := s.Advertisement().DNS, []Lasting[netip.Addr]{{two, 1800 * time.Second}}; !slices.Equal(got, want) {
		t.Errorf("the fourth advertisement after the change tells %v, want %v", got, want)
	}
}

// TestScheduleKeepsItsPromises walks at random through changes, questions and
// failures, and checks every advertisement against a record of what was told.
func TestScheduleKeepsItsPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now, router := start, drawRouter(t)
		s := NewSchedule(now, router)
		var last time.Time              // multicast
		told := map[netip.Addr]int{}    // resolver -> how often it was told to have ended since it left
		active := map[netip.Addr]bool{} // resolvers of the router
		set := func(r Router) {
			next := map[netip.Addr]bool{}
			for _, d := range r.DNS {
				next[d] = true
				delete(told, d)
			}
			for d := range active {
				if !next[d] {
					told[d] = 0
				}
			}
			active, router = next, r
		}
		set(router)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0, 1:
				r := drawRouter(t)
				s.Update(now, r)
				set(r)
			case 2:
				s.Solicited(now, netip.IPv6Unspecified())
			case 3:
				now = now.Add(time.Duration(rapid.IntRange(0, 4000).Draw(t, "ms")) * time.Millisecond)
			default:
				_, longest := router.intervals()
				if s.Next().After(now.Add(max(longest, 1800*time.Second))) {
					t.Fatalf("the next is due in %v, with an interval of %v", s.Next().Sub(now), longest)
				}
				if s.Next().After(now) {
					now = s.Next()
				}
				if !last.IsZero() && now.Sub(last) < MinDelayBetweenRAs {
					t.Fatalf("two advertisements within %v", now.Sub(last))
				}
				checkResolvers(t, s.Advertisement(), active, told)
				if rapid.IntRange(0, 5).Draw(t, "fails") == 0 {
					s.Postpone(now)
					continue
				}
				s.Sent(now, rapid.Float64Range(0, 0.999).Draw(t, "random"))
				last = now
				for d := range told {
					told[d]++
				}
			}
		}
	})
}

func checkResolvers(t *rapid.T, a Advertisement, active map[netip.Addr]bool, told map[netip.Addr]int) {
	said := map[netip.Addr]bool{}
	for _, d := range a.DNS {
		if said[d.Value] {
			t.Fatalf("%v is told twice", d.Value)
		}
		said[d.Value] = true
		if times, left := told[d.Value]; active[d.Value] != (d.Lifetime > 0) || left && times >= initialAdvertisements {
			t.Fatalf("%v is told with the lifetime %v; it is active: %v, and was told to have ended %d times", d.Value, d.Lifetime, active[d.Value], times)
		}
	}
	for d := range active {
		if !said[d] {
			t.Fatalf("%v isn't told", d)
		}
	}
	for d, times := range told {
		if times < initialAdvertisements && !said[d] {
			t.Fatalf("%v left and that is told only %d times", d, times)
		}
	}
}
