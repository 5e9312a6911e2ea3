package handover

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/hostroute/hostroute/internal/bgp"
)

// How long things last.
const (
	// Forwarding is how long a prefix that has moved is looked after at its old
	// home: every reflector and hypervisor has heard of the new one by then.
	Forwarding = 30 * time.Second
	// Longest is how long it is at most, where the new home isn't heard of.
	Longest = 5 * time.Minute
	// Parting is how long a prefix is announced on that no guest here has any more,
	// and of which nobody else is heard: it may have moved to a guest elsewhere,
	// which the log doesn't tell us.
	Parting = time.Second
	// Quiet is how long what comes for such a prefix is dropped without a word.
	Quiet = 5 * time.Second
	// Patience is how long the log has to say that a guest has moved that was heard
	// of elsewhere by BGP, or seen here.
	Patience = 10 * time.Second
)

// Instant is a point in time: nanoseconds since an origin that the caller
// chooses and that never changes. It must not go back.
type Instant int64

// Never is later than everything.
const Never Instant = math.MaxInt64

// Add gives the instant that is d later.
func (i Instant) Add(d time.Duration) Instant { return i + Instant(d) }

// Sub gives the time from another instant to this one.
func (i Instant) Sub(earlier Instant) time.Duration { return time.Duration(i - earlier) }

// Key is a prefix of a VRF.
type Key struct {
	VRF    string
	Prefix netip.Prefix
}

// Compare orders keys by VRF and prefix.
func (k Key) Compare(l Key) int {
	return cmp.Or(strings.Compare(k.VRF, l.VRF), k.Prefix.Compare(l.Prefix))
}

// Own is a prefix whose home this hypervisor is.
type Own struct {
	Key
	VM         string
	Epoch      uint64
	Preference uint32
	Anycast    bool // it has other homes, too
	Came       bool // the guest was homed elsewhere before
	Leaving    bool // the guest is about to move, as the log says
	Early      bool // it was seen here, and the log doesn't say yet that it moved
	Served     bool // its tap was there when that was looked at last
}

// Departure is a prefix that has left this hypervisor with its guest.
type Departure struct {
	Key
	VM         string
	To         string // the guest's home
	Epoch      uint64 // of that home
	Preference uint32 // with which it announces the prefix
}

// Path is the best learned path of a prefix.
type Path struct {
	Preference uint32     // of what is used
	Highest    uint32     // of all that is known
	Originator netip.Addr // of the latter
	Written    bool       // what is used is in the kernel
}

// Input is what is known when the Machine is asked.
type Input struct {
	// Own is not written again.
	Own        []Own
	Departures []Departure
	// Announced is what this run has announcing now; sorted, it costs least.
	Announced []bgp.Announcement
	// Known is unset while what is missing from Own and Departures may be so for lack
	// of knowledge.
	Known bool
	// Current is set while nothing of the log is known to be missing.
	Current bool
	// Fenced hypervisors announce nothing, nor go on with it.
	Fenced bool
	// Path gives the best learned path of exactly this prefix; false: none.
	Path func(Key) (Path, bool)
	// Paths is another number whenever Path may give another answer for a prefix that
	// is watched; 0: it may at any time.
	Paths uint64
}

// Blackhole is a prefix whose packets are dropped without a word.
type Blackhole struct {
	Key
	// Over: even where there is a learned route. Unset: where there is none.
	Over bool
}

// Output is what is to be done.
type Output struct {
	// Withheld are own prefixes that are neither delivered nor announced.
	Withheld map[Key]bool
	// Keep is announced although nothing here may serve it any more.
	Keep []bgp.Announcement
	// Blackholes are what is dropped without a word.
	Blackholes []Blackhole
	// Next is when to ask again if nothing happens.
	Next Instant
}

// Machine remembers what this run of the agent has seen leave, arrive and be
// contested. It is not safe for concurrent use.
type Machine struct {
	own      map[Key]*own
	left     map[Key]*departure
	seen     map[string]bool
	arrivals map[string]*arrival
	asked    bool
	step     uint64
	next     Instant
	watching watching
	thorough bool // nothing rests; for tests
	// listed are the last step's, in the order of its list: nil where several guests
	// hold the prefix.
	listed, spare []*own
}

// New makes a Machine that has seen nothing.
func New() *Machine {
	return &Machine{own: map[Key]*own{}, left: map[Key]*departure{}, seen: map[string]bool{}, arrivals: map[string]*arrival{}}
}

// Step decides what is to be done now. Arrived is to be asked before it.
func (m *Machine) Step(now Instant, in Input) Output {
	out := Output{Withheld: map[Key]bool{}}
	m.next = m.arrivalsNext(now)
	m.step++
	announced := &announcements{list: in.Announced}
	m.holdAll(now, in, announced, &out)
	m.part(now, in, announced)
	out.Blackholes = slices.Grow(out.Blackholes, len(m.left))
	for key, d := range m.left {
		if !m.has(key) {
			m.leave(now, key, d, in, announced, &out)
		}
	}
	m.asked = true
	out.Next = m.next
	slices.SortFunc(out.Blackholes, func(a, b Blackhole) int { return a.Key.Compare(b.Key) })
	slices.SortFunc(out.Keep, compareAnnouncements)
	return out
}

// has tells whether a prefix is homed here, as of the step under way.
func (m *Machine) has(key Key) bool {
	h := m.own[key]
	return h != nil && h.step == m.step
}

func compareAnnouncements(a, b bgp.Announcement) int { return keyOf(a).Compare(keyOf(b)) }

func keyOf(a bgp.Announcement) Key { return Key{a.VRF, a.Prefix} }

// announcements are looked up for few prefixes of many.
type announcements struct {
	list   []bgp.Announcement
	sorted bool
}

func (a *announcements) find(key Key) (n bgp.Announcement, ok bool) {
	if !a.sorted && !slices.IsSortedFunc(a.list, compareAnnouncements) {
		a.list = slices.SortedFunc(slices.Values(a.list), compareAnnouncements)
	}
	a.sorted = true
	i, ok := slices.BinarySearchFunc(a.list, key, func(n bgp.Announcement, key Key) int { return keyOf(n).Compare(key) })
	if ok {
		n = a.list[i]
	}
	return n, ok
}

// watching is what Watch has asked for.
type watching struct {
	keys  map[Key]bool
	own   []Own // all of which are among these
	loose bool  // some may not matter any more
	since Instant
}

// rewatch is how long prefixes are watched that don't matter any more, at least:
// listing all of them anew costs what all of them cost.
const rewatch = time.Second

// Watch tells of which prefixes the paths matter for the next Step with this input,
// beside those of before; or, if all is set, of which alone. To be woken by them they
// have to be watched before they are looked at.
func (m *Machine) Watch(now Instant, in Input) (list []Key, all bool) {
	w := &m.watching
	if w.keys == nil || w.loose && now >= w.since.Add(rewatch) {
		*w = watching{keys: map[Key]bool{}, since: now}
		all = true
	}
	add := func(key Key) {
		if !w.keys[key] {
			w.keys[key] = true
			list = append(list, key)
		}
	}
	if len(in.Own) > 0 && (len(in.Own) != len(w.own) || &in.Own[0] != &w.own[0]) { // a list is never written again
		for _, o := range changedOwn(w.own, in.Own) {
			add(o.Key)
		}
		w.own = in.Own
	}
	for _, d := range in.Departures {
		if have := m.left[d.Key]; have == nil || !have.over || have.vm != d.VM || have.epoch != d.Epoch {
			add(d.Key)
		}
	}
	if !all {
		return list, false
	}
	for key := range m.own { // what isn't ours any more is watched, too
		add(key)
	}
	for key, d := range m.left {
		if !d.over {
			add(key)
		}
	}
	slices.SortFunc(list, Key.Compare)
	return list, true
}

// changedOwn leaves out what is the same at the beginning and at the end of two lists.
func changedOwn(before, after []Own) []Own {
	for len(before) > 0 && len(after) > 0 && before[0].Key == after[0].Key {
		before, after = before[1:], after[1:]
	}
	for len(before) > 0 && len(after) > 0 && before[len(before)-1].Key == after[len(after)-1].Key {
		before, after = before[:len(before)-1], after[:len(after)-1]
	}
	return after
}

// anew tells whether a path may be another one than when it was looked at, with this
// number of Input.Paths.
func (m *Machine) anew(looked uint64, in Input) bool {
	return m.thorough || in.Paths == 0 || looked != in.Paths
}

// due has the Machine asked at an instant, and tells whether that is to come.
func (m *Machine) due(now, at Instant) bool {
	if now >= at {
		return false
	}
	m.next = min(m.next, at)
	return true
}
