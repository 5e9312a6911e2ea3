package handover

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/hostroute/hostroute/internal/bgp"
)

var (
	prefix = netip.MustParsePrefix("203.0.113.7/32")
	theKey = Key{"public", prefix}
	other  = netip.MustParseAddr("10.0.0.2")
)

// bench is a Machine with one prefix in virtual time. What it keeps announced and
// what it serves is announced, as the agent does.
type bench struct {
	*Machine
	now       Instant
	in        Input
	path      *Path
	preparing []string
	preview   Output
}

func newBench() *bench {
	b := &bench{Machine: New()}
	b.in.Current, b.in.Known = true, true
	b.in.Path = func(Key) (Path, bool) {
		if b.path == nil {
			return Path{}, false
		}
		return *b.path, true
	}
	return b
}

// home makes the prefix ours, with so many moves.
func (b *bench) home(moves uint32) {
	b.in.Departures = nil
	b.in.Own = []Own{{Key: theKey, VM: "vm1", Epoch: uint64(moves) + 1, Preference: bgp.Preference(moves, false), Came: moves > 0, Served: true}}
}

// away makes it one that left with its guest, which has moved so often.
func (b *bench) away(moves uint32) {
	b.in.Own = nil
	b.in.Departures = []Departure{{theKey, "vm1", "hv2", uint64(moves) + 1, bgp.Preference(moves, false)}}
}

// hears has a path known; written or not.
func (b *bench) hears(preference uint32, written bool) {
	b.path = &Path{preference, preference, other, written}
}

// says is what the machine wants at a time since the start, in words.
func (b *bench) says(at time.Duration) string {
	b.now = Instant(at)
	arrived := b.Arrived(b.now, b.preparing)
	out := b.Step(b.now, b.in)
	b.preview = out
	b.in.Announced = nil
	var words []string
	for _, o := range b.in.Own {
		switch {
		case out.Withheld[o.Key]:
			words = append(words, "withheld")
		case !o.Served && len(out.Keep) > 0 || !o.Served && o.Leaving:
			words = append(words, "lost")
		default:
			words = append(words, "ours")
			b.in.Announced = append(b.in.Announced, bgp.Announcement{VRF: o.VRF, Prefix: o.Prefix, Preference: o.Preference})
		}
	}
	for _, a := range out.Keep {
		words = append(words, fmt.Sprint("kept ", a.Preference))
		b.in.Announced = append(b.in.Announced, a)
	}
	for _, hole := range out.Blackholes {
		word := "blackhole"
		if hole.Over {
			word = "blackhole over"
		}
		words = append(words, word)
	}
	for _, vm := range b.preparing {
		if arrived(vm) {
			words = append(words, vm+" arrived")
		}
	}
	if out.Next != Never {
		words = append(words, "until "+time.Duration(out.Next).String())
	}
	return strings.Join(words, ", ")
}

func TestMachine(t *testing.T) {
	type step struct {
		at   time.Duration
		do   func(*bench)
		want string
	}
	nothing := func(*bench) {}
	for name, steps := range map[string][]step{
		"a guest leaves, and its new home is heard of": {
			{0, func(b *bench) { b.home(0) }, "ours"},
			{time.Second, func(b *bench) { b.away(1) }, "kept 100, blackhole, until 31s"},
			{1010 * time.Millisecond, func(b *bench) { b.hears(1100, false) }, "kept 100, blackhole, until 31s"},
			{1020 * time.Millisecond, func(b *bench) { b.hears(1100, true) }, "blackhole, until 31s"},
			{1030 * time.Millisecond, func(b *bench) { b.path = nil }, "blackhole, until 31s"}, // said no more
			{31 * time.Second, func(b *bench) { b.hears(1049, true) }, ""},
			{40 * time.Second, func(b *bench) { b.path = nil }, ""},
			{50 * time.Second, func(b *bench) { b.home(2) }, "ours, blackhole, until 1m20s"},
		},
		"it leaves twice": {
			{0, func(b *bench) { b.home(0) }, "ours"},
			{time.Second, func(b *bench) { b.away(1) }, "kept 100, blackhole, until 31s"},
			{2 * time.Second, func(b *bench) { b.away(2); b.hears(1100, true) }, "kept 100, blackhole, until 32s"},
			{3 * time.Second, func(b *bench) { b.hears(2050, true) }, "blackhole, until 32s"},
		},
		"it comes back before anybody has heard of its new home": {
			{0, func(b *bench) { b.home(0) }, "ours"},
			{time.Second, func(b *bench) { b.away(1) }, "kept 100, blackhole, until 31s"},
			{2 * time.Second, func(b *bench) { b.home(2); b.in.Own[0].Served, b.in.Own[0].Leaving = false, true }, "lost, kept 100, blackhole, until 12s"},
			{3 * time.Second, func(b *bench) { b.in.Own[0].Leaving = false }, "lost, kept 100, blackhole, until 32s"},
			{4 * time.Second, func(b *bench) { b.in.Own[0].Served = true }, "ours, blackhole, until 32s"},
		},
		"it leaves and comes back at once, and the path to where it was first is still there": {
			{0, func(b *bench) { b.home(1); b.hears(100, true) }, "ours"},
			{time.Second, func(b *bench) { b.away(2) }, "kept 1100, blackhole over, until 31s"},
			{2 * time.Second, func(b *bench) { b.home(3); b.in.Own[0].Served = false }, "lost, kept 1100, blackhole over, until 32s"},
			{3 * time.Second, func(b *bench) { b.in.Own[0].Served = true }, "ours, blackhole, until 32s"},
		},
		"it comes and goes back before it is forgotten where it was": {
			{0, func(b *bench) { b.home(1); b.hears(100, true) }, "ours"},
			{time.Second, func(b *bench) { b.away(2) }, "kept 1100, blackhole over, until 31s"},
			{2 * time.Second, func(b *bench) { b.hears(2100, false) }, "kept 1100, blackhole over, until 31s"},
			{3 * time.Second, func(b *bench) { b.hears(2100, true) }, "blackhole, until 31s"},
		},
		"it comes and goes back, and who forgot where it was isn't believed before the kernel has": {
			{0, func(b *bench) { b.home(1); b.hears(100, true) }, "ours"},
			{time.Second, func(b *bench) { b.away(2) }, "kept 1100, blackhole over, until 31s"},
			{2 * time.Second, func(b *bench) { b.path = nil }, "kept 1100, blackhole over, until 31s"},
			{32 * time.Second, nothing, "blackhole, until 5m1s"},
		},
		"it leaves, and moves on from there": {
			{0, func(b *bench) { b.home(0) }, "ours"},
			{time.Second, func(b *bench) { b.away(1) }, "kept 100, blackhole, until 31s"},
			{2 * time.Second, func(b *bench) { b.in.Departures = nil }, "kept 100, blackhole, until 31s"},
			{31 * time.Second, nothing, ""},
		},
		"the new home is never heard of": {
			{0, func(b *bench) { b.home(0) }, "ours"},
			{time.Second, func(b *bench) { b.away(1); b.hears(99, true) }, "kept 100, blackhole over, until 31s"},
			{31 * time.Second, nothing, "blackhole, until 5m1s"},
			{5*time.Minute + time.Second, nothing, ""},
		},
		"this run never announced it": {
			{0, func(b *bench) { b.away(1) }, "blackhole, until 30s"},
			{30 * time.Second, func(b *bench) { b.hears(1100, true) }, ""},
		},
		"what was withdrawn meanwhile isn't announced again": {
			{0, func(b *bench) { b.home(0) }, "ours"},
			{time.Second, func(b *bench) { b.away(1) }, "kept 100, blackhole, until 31s"},
			{2 * time.Second, func(b *bench) { b.in.Announced = nil }, "blackhole, until 31s"},
		},
		"what is missing for lack of knowledge hasn't left": {
			{0, func(b *bench) { b.home(0) }, "ours"},
			{time.Second, func(b *bench) { b.in.Own, b.in.Known = nil, false }, ""},
		},
		"a fenced hypervisor goes on with nothing": {
			{0, func(b *bench) { b.home(0) }, "ours"},
			{time.Second, func(b *bench) { b.away(1); b.in.Fenced = true }, "blackhole, until 31s"},
		},
		"released, or moved to a guest elsewhere": {
			{0, func(b *bench) { b.home(0) }, "ours"},
			{time.Second, func(b *bench) { b.in.Own = nil }, "kept 100, blackhole, until 2s"},
			{2 * time.Second, nothing, "blackhole, until 6s"},
			{6 * time.Second, nothing, ""},
			{7 * time.Second, func(b *bench) { b.home(1) }, "ours, blackhole, until 37s"},
			{8 * time.Second, func(b *bench) { b.in.Own = nil }, "kept 1100, blackhole, until 9s"},
			{8100 * time.Millisecond, func(b *bench) { b.hears(2100, true) }, "blackhole, until 13s"},
		},
		"an old home that comes back without the log": {
			{0, func(b *bench) { b.home(0); b.in.Current = false }, "ours"},
			{time.Second, func(b *bench) { b.hears(1100, false) }, "withheld, blackhole"},
			{time.Hour, nothing, "withheld, blackhole"},
			{time.Hour + time.Second, func(b *bench) { b.path = nil }, "ours"},
			{time.Hour + 2*time.Second, func(b *bench) { b.hears(1100, true) }, "withheld, blackhole"},
			{time.Hour + 3*time.Second, func(b *bench) { b.away(1); b.in.Current = true }, "blackhole, until 1h0m33s"},
		},
		"a guest that somebody else claims for nothing": {
			{0, func(b *bench) { b.home(0) }, "ours"},
			{time.Second, func(b *bench) { b.hears(1100, true) }, "withheld, blackhole, until 11s"},
			{11 * time.Second, func(b *bench) { b.in.Current = false }, "withheld, blackhole"},
			{12 * time.Second, func(b *bench) { b.in.Current = true }, "ours"},
			{13 * time.Second, func(b *bench) { b.in.Current = false }, "ours"}, // it has ruled on that
			{14 * time.Second, func(b *bench) { b.hears(2100, true) }, "withheld, blackhole"},
			{15 * time.Second, func(b *bench) { b.in.Current = true; b.hears(50, true) }, "ours"},
		},
		"its tap goes before the log says that it has moved": {
			{0, func(b *bench) { b.home(0) }, "ours"},
			{time.Second, func(b *bench) { b.in.Own[0].Leaving = true }, "ours, kept 100, blackhole"},
			{time.Minute, func(b *bench) { b.in.Own[0].Served = false }, "lost, kept 100, blackhole, until 1m10s"},
			{61 * time.Second, func(b *bench) { b.in.Own[0].Served = true }, "ours, kept 100, blackhole"},
			{2 * time.Minute, func(b *bench) { b.in.Own[0].Served = false }, "lost, kept 100, blackhole, until 2m10s"},
			{121 * time.Second, func(b *bench) { b.hears(1100, false) }, "withheld, blackhole"},
			{122 * time.Second, func(b *bench) { b.away(1) }, "blackhole, until 2m32s"},
		},
		"and doesn't come back": {
			{0, func(b *bench) { b.home(0); b.in.Own[0].Leaving = true }, "ours, blackhole"},
			{time.Second, func(b *bench) { b.in.Own[0].Served = false }, "lost, kept 100, blackhole, until 11s"},
			{11 * time.Second, nothing, "lost"},
		},
		"what is no newer home": {
			{0, func(b *bench) { b.home(1) }, "ours"},
			{1, func(b *bench) { b.hears(1101, true) }, "ours"},
			{2, func(b *bench) { b.in.Own[0].Preference = bgp.Preference(1, true) }, "ours"},
			{3, func(b *bench) { b.hears(9100, true); b.in.Own[0].Anycast = true }, "ours"},
		},
		"the tap of the new home comes late": {
			{0, func(b *bench) {}, ""},
			{time.Second, func(b *bench) { b.home(1); b.in.Own[0].Served = false }, "ours, blackhole, until 31s"},
			{2 * time.Second, func(b *bench) { b.in.Own[0].Served = true }, "ours, blackhole, until 31s"},
			{31 * time.Second, nothing, "ours"},
		},
		"or isn't known at the start": {
			{0, func(b *bench) { b.home(1); b.in.Own[0].Served = false }, "ours, until 0s"},
			{1, func(b *bench) { b.in.Own[0].Served = true }, "ours"},
			{2, func(b *bench) { b.in.Own[0].Served = false }, "ours, blackhole, until 30s"},
			{3, func(b *bench) { b.home(2) }, "ours, blackhole, until 30.000000003s"},
		},
		"a guest is seen before the log says so": {
			{0, func(b *bench) { b.preparing = []string{"vm1", "vm2"} }, ""},
			{time.Second, func(b *bench) { b.Seen("vm1"); b.Seen("vm3") }, "vm1 arrived, until 11s"},
			{2 * time.Second, func(b *bench) { b.Seen("vm1"); b.home(1); b.in.Own[0].Early = true }, "ours, blackhole, vm1 arrived, until 11s"},
			{3 * time.Second, func(b *bench) { b.preparing = nil; b.home(1) }, "ours, blackhole, until 32s"},
		},
		"one that was here before is seen, and doesn't come": {
			{0, func(b *bench) { b.away(1) }, "blackhole, until 30s"},
			{time.Minute, func(b *bench) { b.hears(1100, true) }, ""},
			{2 * time.Minute, func(b *bench) { b.preparing = []string{"vm1"}; b.Seen("vm1"); b.home(2); b.in.Own[0].Early = true }, "ours, blackhole, vm1 arrived, until 2m10s"},
			{130 * time.Second, func(b *bench) { b.preparing = nil; b.away(1) }, ""},
		},
		"and this run doesn't know": {
			{0, func(b *bench) { b.preparing = []string{"vm1"}; b.Seen("vm1"); b.home(2); b.in.Own[0].Early = true }, "ours, vm1 arrived, until 10s"},
			{1, nothing, "ours, vm1 arrived, until 10s"},
			{10 * time.Second, func(b *bench) { b.preparing = nil; b.away(1) }, "blackhole, until 40s"},
		},
		"and the log doesn't confirm it": {
			{0, func(b *bench) { b.preparing = []string{"vm1"}; b.Seen("vm1") }, "vm1 arrived, until 10s"},
			{1, func(b *bench) { b.home(1); b.in.Own[0].Early = true }, "ours, blackhole, vm1 arrived, until 10s"},
			{10 * time.Second, nothing, "ours, blackhole, vm1 arrived, until 30.000000001s"},
			{time.Minute, nothing, "ours, vm1 arrived"},
			{61 * time.Second, func(b *bench) { b.preparing = nil; b.in.Own = nil }, "blackhole, until 1m6s"}, // not announced on
			{70 * time.Second, nothing, ""},
			{71 * time.Second, func(b *bench) { b.preparing = []string{"vm1"}; b.Seen("vm1") }, "vm1 arrived, until 1m21s"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench()
			for _, s := range steps {
				s.do(b)
				if got := b.says(s.at); got != s.want {
					t.Errorf("after %v: %q, want %q", s.at, got, s.want)
				}
			}
		})
	}
}

// TestStaleForLong: a newer home that is out of reach of its reflectors is still
// the newer one, though others are used first where there are any.
func TestStaleForLong(t *testing.T) {
	b := newBench()
	b.home(0)
	b.path = &Path{Preference: 100, Highest: 1100, Originator: other, Written: true}
	if got := b.says(0); got != "withheld, blackhole over, until 10s" {
		t.Errorf("%q", got)
	}
	b.away(1)
	if got := b.says(time.Second); got != "blackhole over, until 31s" {
		t.Errorf("%q", got)
	}
}

func TestReport(t *testing.T) {
	b := newBench()
	b.home(0)
	b.hears(1100, true)
	b.preparing = []string{"vm2"}
	b.Seen("vm2")
	b.says(time.Second)
	got := fmt.Sprintf("%+v", b.Report())
	want := "{Moves:[] Claims:[{Key:{VRF:public Prefix:203.0.113.7/32} VM:vm1 Since:1000000000 Originator:10.0.0.2 Overruled:false}] " +
		"Arrivals:[{VM:vm2 Since:1000000000 Unconfirmed:false}]}"
	if got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	b.path = nil
	b.says(2 * time.Second)
	b.away(1)
	b.says(12 * time.Second)
	got = fmt.Sprintf("%+v", b.Report())
	want = "{Moves:[{VM:vm1 To:hv2 Since:12000000000 Prefixes:[{VRF:public Prefix:203.0.113.7/32}] Announced:1 Unheard:1}] Claims:[] " +
		"Arrivals:[{VM:vm2 Since:1000000000 Unconfirmed:true}]}"
	if got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}
