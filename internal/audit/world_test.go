package audit

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/projector"
)

// world is a log in memory: what was published, and the messages that it made.
type world struct {
	t       fataler
	state   *projector.State
	records []projector.Record
	origins []Origin
	log     map[string][]Change
	next    uint64
	states  map[uint64]*projector.State // by sequence, see at
}

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

func newWorld(t fataler) *world {
	return &world{t: t, state: projector.New(), log: map[string][]Change{}, next: 1, states: map[uint64]*projector.State{}}
}

// epoch is when the clock of the log began; it ticks once per message.
var epoch = time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)

// publish stores an event as package log does, with the state of each message
// as it comes off the wire. Not ok: it is refused.
func (w *world) publish(source string, skew time.Duration, data events.Data) (uint64, bool) {
	w.t.Helper()
	e := events.Event{ID: fmt.Sprintf("id%d", w.next), Source: source, Data: data}
	e.Time = epoch.Add(time.Duration(w.next)*time.Second + skew)
	d, err := projector.Decide(w.state, e)
	var bad *events.Error
	if errors.As(err, &bad) {
		return 0, false
	}
	if err != nil {
		w.t.Fatalf("deciding on %+v: %v", data, err)
	}
	sequence := w.next
	for _, m := range d.Messages {
		o := Origin{Sequence: sequence, Type: e.Type(), Source: source, ID: e.ID, Time: e.Time, Stored: epoch.Add(time.Duration(w.next) * time.Second)}
		c := Change{Origin: o, Data: d.Event.Data, Guests: m.Feed}
		if m.Subject != events.SubjectNetTick {
			b, err := projector.EncodeRegister(m.State)
			if err == nil {
				c.Value, err = projector.DecodeRegister(m.Subject, b, sequence)
			}
			if err != nil {
				w.t.Fatalf("%s: %v", m.Subject, err)
			}
		}
		w.log[m.Subject] = append(w.log[m.Subject], c)
		w.next++
	}
	r := projector.Record{Sequence: sequence, Event: d.Event}
	w.records = append(w.records, r)
	w.origins = append(w.origins, w.log[d.Messages[0].Subject][len(w.log[d.Messages[0].Subject])-1].Origin)
	if _, err := w.state.Apply(r); err != nil {
		w.t.Fatalf("applying %+v: %v", data, err)
	}
	return sequence, true
}

// must publishes what isn't refused.
func (w *world) must(source string, data events.Data) uint64 {
	w.t.Helper()
	sequence, ok := w.publish(source, 0, data)
	if !ok {
		_, err := projector.Decide(w.state, events.Event{Data: data})
		w.t.Fatalf("refused: %+v: %v", data, err)
	}
	return sequence
}

// poison puts something unreadable behind what a subject has.
func (w *world) poison(subject string) uint64 {
	sequence := w.next
	w.next++
	w.log[subject] = append(w.log[subject], Change{
		Origin: Origin{Sequence: sequence, Stored: epoch.Add(time.Duration(sequence) * time.Second)}, Damage: "rubbish",
	})
	return sequence
}

// at is the state when everything up to a sequence had happened.
func (w *world) at(sequence uint64) *projector.State {
	if s := w.states[sequence]; s != nil {
		return s
	}
	s := projector.New()
	for _, r := range w.records {
		if r.Sequence <= sequence {
			s.Fold(r)
		}
	}
	w.states[sequence] = s
	return s
}

// answer reads what a question asks for until it has its answer, and says
// which subjects that took.
func answer[T any](w *world, ask func(*Book) (T, error)) (T, []string) {
	w.t.Helper()
	b := NewBook()
	var read []string
	for range 5 {
		result, err := ask(b)
		var missing *projector.MissingError
		if !errors.As(err, &missing) {
			if err != nil {
				w.t.Fatalf("asking: %v", err)
			}
			return result, read
		}
		read = append(read, missing.Subjects...)
		for _, pattern := range missing.Subjects {
			for _, vrf := range []string{"public", "private"} {
				subject := strings.Replace(pattern, "*", vrf, 1)
				if history, ok := w.log[subject]; ok {
					b.Put(subject, history)
				}
			}
			b.Looked(pattern)
		}
	}
	w.t.Fatalf("still asks after reading %v", read)
	panic("unreachable")
}

func pfx(s string) events.Prefix { return events.PrefixFrom(netip.MustParsePrefix(s)) }

func network(name, vrf string, subnets ...events.Subnet) *events.NetworkDefined {
	return &events.NetworkDefined{Network: name, VRF: vrf, Subnets: subnets, DHCP: events.DHCP{Style: events.DHCPHost}}
}

func guest(vm, hv string, networks ...string) *events.VMCreated {
	d := &events.VMCreated{VM: vm, Hypervisor: hv}
	for i, n := range networks {
		d.Interfaces = append(d.Interfaces, events.Interface{
			Tap: fmt.Sprintf("%s-%d", vm, i), MAC: events.MAC{Octets: [6]byte{0x52, 0x54, 0, 0, 0, byte(i + 1)}}, Network: n,
		})
	}
	return d
}

// defined are the networks of the drawn histories: single addresses and blocks,
// and the same addresses in two VRFs.
func defined() []events.Data {
	return []events.Data{
		network("web", "public", events.Subnet{Prefix: pfx("203.0.113.0/24")}, events.Subnet{Prefix: pfx("2001:db8::/56"), Allocation: 64}),
		network("blocks", "public", events.Subnet{Prefix: pfx("198.51.100.0/24"), Allocation: 30}),
		network("lan", "private", events.Subnet{Prefix: pfx("203.0.113.0/24")}),
		network("lan2", "private", events.Subnet{Prefix: pfx("2001:db8::/56")}),
	}
}

// dice draws evenly, which package rapid doesn't: most of what it draws first
// is refused, and histories would be short.
type dice struct{ *rand.Rand }

func pick[T any](d dice, list ...T) T { return list[d.IntN(len(list))] }

func (d dice) name(prefix string, n int) string { return fmt.Sprintf("%s%d", prefix, d.IntN(n)+1) }

// event draws an event about a small world, so that many of them meet.
func (d dice) event() events.Data {
	vm, hv := d.name("vm", 4), d.name("hv", 3)
	prefix, vrf := pfx(pick(d, prefixes()...)), pick(d, "", "", "public", "private")
	role := pick(d, "", events.RoleElastic, events.RoleAnycast, events.RoleAnycast)
	switch d.IntN(10) {
	case 0, 1, 2, 3:
		return &events.IPAssigned{Prefix: prefix, VM: vm, VRF: vrf, Role: role}
	case 4:
		return pick[events.Data](d, &events.IPMoved{Prefix: prefix, To: vm, VRF: vrf}, &events.IPReleased{Prefix: prefix, VM: vm, VRF: vrf})
	case 5:
		return pick[events.Data](d, guest(vm, hv, "web", "lan"), guest(vm, hv, "web", "blocks"), guest(vm, hv, "lan", "web", "lan2", "blocks"))
	case 6:
		return pick[events.Data](d, &events.VMMigrationStarted{VM: vm, To: hv}, &events.VMMigrated{VM: vm, To: hv}, &events.VMMigrationAborted{VM: vm})
	case 7:
		return pick[events.Data](d, &events.HypervisorFenced{Hypervisor: hv}, &events.HypervisorUnfenced{Hypervisor: hv}, &events.HypervisorUnfenced{Hypervisor: hv})
	case 8:
		return pick[events.Data](d, &events.HypervisorDrained{Hypervisor: hv, Reason: "disk"}, &events.HypervisorUndrained{Hypervisor: hv}, &events.HypervisorRegistered{Hypervisor: hv})
	}
	return pick(d, append(defined(), &events.NetworkRemoved{Network: "lan2"}, &events.VMDeleted{VM: vm}, &events.VMDeleted{VM: vm}, &events.VMDeleted{VM: vm})...)
}

func prefixes() []string {
	return []string{"203.0.113.1/32", "203.0.113.2/32", "198.51.100.0/30", "198.51.100.4/30", "2001:db8:0:1::/64", "2001:db8:0:1::7/128"}
}

// drawWorld draws a history; every publisher has a clock of its own.
func drawWorld(t *rapid.T) *world {
	w := newWorld(t)
	for _, d := range defined()[:rapid.IntRange(2, 4).Draw(t, "networks")] {
		w.must("setup", d)
	}
	for _, hv := range []string{"hv1", "hv2"} {
		w.must("setup", &events.HypervisorRegistered{Hypervisor: hv})
	}
	w.must("setup", guest("vm1", "hv1", "web"))
	w.must("setup", guest("vm2", "hv2", "web", "blocks"))
	d := dice{rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))}
	for range d.IntN(200) {
		publisher := d.IntN(3)
		skew := []time.Duration{0, -3 * time.Hour, 1000 * time.Hour}[publisher]
		w.publish(fmt.Sprintf("p%d", publisher), skew, d.event())
	}
	return w
}

var _ fataler = (*testing.T)(nil)
