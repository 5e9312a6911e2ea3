package projector

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/bgp"
	"pgregory.net/rapid"
)

// migrating is a world of four hypervisors and a guest with two prefixes on hv1.
func migrating(t *testing.T) *State {
	t.Helper()
	s := New()
	for i, data := range []events.Data{
		&events.HypervisorRegistered{Hypervisor: "hv1"}, &events.HypervisorRegistered{Hypervisor: "hv2"},
		&events.HypervisorRegistered{Hypervisor: "hv3"}, &events.HypervisorRegistered{Hypervisor: "hv4"},
		network("web"), network("db"), vmOn("vm1", "hv1"), vmOn("vm2", "hv4"),
		&events.IPAssigned{Prefix: prefix("203.0.113.10"), VM: "vm1"}, &events.IPAssigned{Prefix: prefix("2001:db8:0:1::/64"), VM: "vm1"},
	} {
		publish(t, s, uint64(i+1), data)
	}
	return s
}

// brief says in one line what a hypervisor does for vm1: its taps with routes
// (r), what it announces with which preference, and what has departed.
func brief(s *State, hv string) string {
	h, word := Desired(s, hv), []string{string(s.Guest("vm1").Duty(hv))}
	for _, tap := range h.Taps {
		if strings.HasPrefix(tap.Name, "vm1") {
			word = append(word, fmt.Sprintf("%s:%d", tap.Name, len(tap.Routes)))
		}
	}
	short := strings.NewReplacer("203.0.113.", ".", "2001:db8:0:", ":", "/32", "")
	for _, a := range h.Announcements {
		word = append(word, short.Replace(a.Prefix.String())+"="+fmt.Sprint(a.Preference))
	}
	for _, d := range h.Departures {
		word = append(word, fmt.Sprintf("%s→%s@%d≥%d", short.Replace(d.Prefix.String()), d.To, d.Epoch, d.Preference))
	}
	return strings.Join(word, " ")
}

// step is an event, and what hypervisors have to do behind it.
type step struct {
	data events.Data
	want map[string]string
}

var (
	started  = func(to string) events.Data { return &events.VMMigrationStarted{VM: "vm1", To: to} }
	migrated = func(to string) events.Data { return &events.VMMigrated{VM: "vm1", To: to} }
	aborted  = &events.VMMigrationAborted{VM: "vm1"}
)

// TestMigrations goes through migrations step by step. The first event has the
// sequence 11.
func TestMigrations(t *testing.T) {
	const home1, ready = "home vm1a:2 vm1b:0 .10=100 :1::/64=100", "preparing vm1a:0 vm1b:0"
	home := func(preference int) string {
		return fmt.Sprintf("home vm1a:2 vm1b:0 .10=%d :1::/64=%[1]d", preference)
	}
	left := func(to string, epoch, least int) string {
		return fmt.Sprintf("forwarding .10→%s@%d≥%d :1::/64→%[1]s@%d≥%d", to, epoch, least, epoch, least)
	}
	for name, steps := range map[string][]step{
		"there and back": {
			{started("hv2"), map[string]string{"hv1": home1, "hv2": ready}},
			{migrated("hv2"), map[string]string{"hv1": left("hv2", 12, 1050), "hv2": home(1100)}},
			{started("hv1"), map[string]string{"hv1": ready + strings.TrimPrefix(left("hv2", 12, 1050), "forwarding"), "hv2": home(1100)}},
			{aborted, map[string]string{"hv1": left("hv2", 12, 1050), "hv2": home(1100)}},
			{migrated("hv1"), map[string]string{"hv1": home(2100), "hv2": left("hv1", 15, 2050)}},
		},
		"on before all know": { // who was the home before last has nothing to do with it any more
			{migrated("hv2"), nil},
			{migrated("hv3"), map[string]string{"hv1": "", "hv2": left("hv3", 12, 2050), "hv3": home(2100)}},
		},
		"aborted": {
			{started("hv2"), nil},
			{aborted, map[string]string{"hv1": home1, "hv2": ""}},
		},
		"deleted while prepared":   {{started("hv2"), nil}, {&events.VMDeleted{VM: "vm1"}, map[string]string{"hv1": "", "hv2": ""}}},
		"deleted while forwarding": {{migrated("hv2"), nil}, {&events.VMDeleted{VM: "vm1"}, map[string]string{"hv1": "", "hv2": ""}}},
		"an address comes and goes while prepared": {
			{started("hv2"), nil},
			{&events.IPReleased{Prefix: prefix("203.0.113.10")}, map[string]string{"hv1": "home vm1a:1 vm1b:0 :1::/64=100", "hv2": ready}},
			{&events.IPAssigned{Prefix: prefix("203.0.113.11"), VM: "vm1"}, nil},
			{migrated("hv2"), map[string]string{
				"hv1": "forwarding .11→hv2@14≥1050 :1::/64→hv2@14≥1050", "hv2": "home vm1a:2 vm1b:0 .11=1100 :1::/64=1100"}},
		},
		"an address goes while forwarding": {
			{migrated("hv2"), nil},
			{&events.IPReleased{Prefix: prefix("203.0.113.10")}, map[string]string{"hv1": "forwarding :1::/64→hv2@11≥1050"}},
			{&events.IPAssigned{Prefix: prefix("203.0.113.10"), VM: "vm1"}, map[string]string{
				"hv1": "forwarding .10→hv2@11≥2050 :1::/64→hv2@11≥1050", "hv2": "home vm1a:2 vm1b:0 .10=2100 :1::/64=1100"}},
			{&events.IPMoved{Prefix: prefix("203.0.113.10"), To: "vm2"}, map[string]string{"hv1": "forwarding :1::/64→hv2@11≥1050", "hv4": " .10=3100"}},
		},
		"an address comes back alone": { // to a guest that is where it was before
			{vmOn("vm3", "hv1"), nil},
			{migrated("hv2"), nil},
			{&events.IPMoved{Prefix: prefix("203.0.113.10"), To: "vm3"}, map[string]string{"hv1": "forwarding .10=2100 :1::/64→hv2@12≥1050"}},
		},
		"to a drained one, which it was on its way to": {
			{started("hv2"), nil},
			{&events.HypervisorDrained{Hypervisor: "hv2"}, map[string]string{"hv2": ready}},
			{migrated("hv2"), map[string]string{"hv1": left("hv2", 13, 1050), "hv2": home(1050)}},
		},
		"away from a fenced one": {
			{&events.HypervisorFenced{Hypervisor: "hv1"}, map[string]string{"hv1": "home vm1a:2 vm1b:0"}},
			{migrated("hv2"), map[string]string{"hv1": left("hv2", 12, 1050), "hv2": home(1100)}},
		},
		"elsewhere, since the destination is fenced": {
			{&events.VMMigrationStarted{VM: "vm1", To: "hv2", Taps: []string{"vm1x", "vm1y"}}, map[string]string{"hv2": "preparing vm1x:0 vm1y:0"}},
			{&events.HypervisorFenced{Hypervisor: "hv1"}, nil},
			{&events.HypervisorFenced{Hypervisor: "hv2"}, map[string]string{"hv2": "preparing"}},
			{migrated("hv3"), map[string]string{"hv1": left("hv3", 14, 1050), "hv2": "", "hv3": home(1100)}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := migrating(t)
			for i, step := range steps {
				publish(t, s, uint64(11+i), step.data)
				for hv, want := range step.want {
					if got := brief(s, hv); got != want {
						t.Errorf("after #%d, a %T, %s does\n%s\nwant\n%s", 11+i, step.data, hv, got, want)
					}
				}
			}
		})
	}
}

// TestWhoWasTheHomeBeforeLastIsTold wants the message that says so: nobody asks.
func TestWhoWasTheHomeBeforeLastIsTold(t *testing.T) {
	s := migrating(t)
	publish(t, s, 11, migrated("hv2"))
	d, err := Decide(s, events.Event{Data: migrated("hv3")})
	if err != nil {
		t.Fatal(err)
	}
	for hv, has := range map[string]bool{"hv1": false, "hv2": true, "hv3": true} {
		i := slices.IndexFunc(d.Messages, func(m Message) bool { return m.Subject == events.SubjectFeed(hv, "vm1") })
		if i < 0 || (d.Messages[i].State != nil) != has {
			t.Errorf("%s: %+v", hv, d.Messages)
		}
		if !slices.ContainsFunc(d.Messages, func(m Message) bool {
			return m.Subject == events.SubjectTick(hv) && slices.Equal(m.Feed, []string{"vm1"})
		}) {
			t.Errorf("no tick tells %s", hv)
		}
	}
}

// TestRefusedMigrations are those that would leave two in doubt.
func TestRefusedMigrations(t *testing.T) {
	for name, c := range map[string]struct {
		before []events.Data
		bad    events.Data
		want   string
	}{
		"aborted when it is over":     {[]events.Data{started("hv2"), migrated("hv2")}, aborted, "no migration of it is prepared"},
		"prepared twice":              {[]events.Data{started("hv2")}, started("hv3"), `its migration to "hv2" is prepared already; abort that first`},
		"to where it is":              {nil, migrated("hv1"), "is there already, since sequence 7"},
		"to where it is, though away": {[]events.Data{started("hv2"), &events.HypervisorFenced{Hypervisor: "hv2"}}, migrated("hv1"), "is there already"},
		"to a fenced one, prepared":   {[]events.Data{started("hv2"), &events.HypervisorFenced{Hypervisor: "hv2"}}, migrated("hv2"), `to "hv2": is fenced since sequence 12`},
		"elsewhere than prepared":     {[]events.Data{started("hv2"), &events.HypervisorFenced{Hypervisor: "hv1"}}, migrated("hv3"), `to "hv2" is prepared; abort that first`},
		"twice":                       {[]events.Data{migrated("hv2")}, migrated("hv2"), "is there already, since sequence 11"},
	} {
		t.Run(name, func(t *testing.T) {
			s := migrating(t)
			for i, data := range c.before {
				publish(t, s, uint64(11+i), data)
			}
			var bad *events.Error
			if _, err := Decide(s, events.Event{Data: c.bad}); !errors.As(err, &bad) || bad.Code != events.CodeRefused || !strings.Contains(err.Error(), c.want) {
				t.Errorf("it says %v; want %s", err, c.want)
			}
		})
	}
}

// TestArrivedIsAsIfMigrated has guests that come seen before the log says so, and
// wants what the log will have said, or nothing of it where they are fenced off.
func TestArrivedIsAsIfMigrated(t *testing.T) {
	seen, draws := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		draws++
		history := drawHistory(t)
		s, next := fold(history), uint64(1000)
		try := func(s *State, data events.Data) bool {
			d, err := Decide(s, events.Event{Data: data})
			if err == nil {
				_, err = s.Apply(Record{Sequence: next, Event: d.Event})
				next += 100
			}
			return err == nil
		}
		for _, hv := range worldHVs {
			try(s, &events.HypervisorUndrained{Hypervisor: hv})
			try(s, &events.HypervisorUnfenced{Hypervisor: hv})
		}
		for _, vm := range worldVMs {
			try(s, vmOn(vm, pick(t, "home", worldHVs)))
			try(s, &events.VMMigrationStarted{VM: vm, To: pick(t, "to", worldHVs), Taps: []string{pick(t, "tap", []string{"x", "vm1a", "vm2a"}), vm + "d"}})
		}
		try(s, drawData(t)) // it may be a fence
		before := dump(s)
		for _, hv := range worldHVs {
			here, after := map[string]bool{}, s.Clone()
			for _, vm := range worldVMs {
				if here[vm] = rapid.Bool().Draw(t, vm+" has arrived"); here[vm] && s.Guest(vm).Duty(hv) == DutyPrepare && try(after, &events.VMMigrated{VM: vm, To: hv}) {
					seen++
				}
			}
			got, _ := json.Marshal(DesiredWith(s, hv, func(vm string) bool { return here[vm] }))
			want, _ := json.Marshal(Desired(after, hv))
			if string(got) != string(want) {
				t.Fatalf("with %v arrived at %s\n%s\nand after the events\n%s", here, hv, got, want)
			}
			fenced := s.Clone()
			try(fenced, &events.HypervisorFenced{Hypervisor: hv})
			got, _ = json.Marshal(DesiredWith(fenced, hv, func(string) bool { return true }))
			want, _ = json.Marshal(Desired(fenced, hv))
			if string(got) != string(want) {
				t.Fatalf("arrived at %s, which is fenced:\n%s\nwant\n%s", hv, got, want)
			}
		}
		if dump(s) != before {
			t.Fatal("to ask changed the State")
		}
	})
	if seen < draws/4 {
		t.Errorf("in %d draws only %d guests arrived", draws, seen)
	}
}

// TestAnycastOnOneHypervisor has two guests hold an address where a third one,
// which has moved, did: each has a route to it, and it is announced once.
func TestAnycastOnOneHypervisor(t *testing.T) {
	s := New()
	publish(t, s, 1, &events.HypervisorRegistered{Hypervisor: "hv1"})
	publish(t, s, 2, &events.HypervisorRegistered{Hypervisor: "hv2"})
	publish(t, s, 3, network("web"))
	for i, name := range []string{"a", "b", "c"} {
		publish(t, s, uint64(10+i), &events.VMCreated{VM: name, Hypervisor: "hv1", Interfaces: []events.Interface{{Tap: "tap-" + name, MAC: mac(byte(i)), Network: "web"}}})
		for j, p := range []string{"203.0.113.10", "2001:db8:0:1::/64"} {
			publish(t, s, uint64(20+2*i+j), &events.IPAssigned{Prefix: prefix(p), VM: name, Role: events.RoleAnycast})
		}
	}
	want := func(hv, taps string, departures int) {
		t.Helper()
		h, routes := Desired(s, hv), []string{}
		for _, tap := range h.Taps {
			for _, r := range tap.Routes {
				routes = append(routes, tap.Name+" "+r.Prefix.String())
			}
		}
		for _, a := range h.Announcements {
			if a.Preference != bgp.PreferenceNormal {
				t.Errorf("%s announces %s with %d", hv, a.Prefix, a.Preference)
			}
		}
		var all []string
		for _, tap := range strings.Fields(taps) {
			all = append(all, tap+" 203.0.113.10/32", tap+" 2001:db8:0:1::/64")
		}
		if !slices.Equal(routes, all) || len(h.Announcements) != min(2, len(all)) || len(h.Problems) != 0 || len(h.Departures) != departures {
			t.Errorf("%s has routes %v, announces %v, has lost %v and has problems %v", hv, routes, h.Announcements, h.Departures, h.Problems)
		}
	}
	want("hv1", "tap-a tap-b tap-c", 0)
	publish(t, s, 30, &events.VMMigrated{VM: "b", To: "hv2"})
	want("hv1", "tap-a tap-c", 0) // two still have it
	want("hv2", "tap-b", 0)
	publish(t, s, 31, &events.VMMigrated{VM: "a", To: "hv2"})
	publish(t, s, 32, &events.VMMigrated{VM: "c", To: "hv2"})
	want("hv1", "", 6) // each of the three has left with both
	want("hv2", "tap-a tap-b tap-c", 0)
}

// TestTwoOwnersOfOneAddress has registers that no events make: the first guest
// is served and announced, and what can't be is a problem.
func TestTwoOwnersOfOneAddress(t *testing.T) {
	s := New()
	s.Put("hr.net.web", &Network{NetworkDefined: *network("web"), stamp: stamp{seq: 1}})
	p := netip.MustParsePrefix("203.0.113.10/32")
	for name, role := range map[string]events.Role{"a": events.RolePrimary, "b": events.RoleAnycast, "c": events.RolePrimary} {
		s.Put("hr.vm."+name, &Guest{VM: name, Hypervisor: "hv1", Epoch: 7, Addresses: []Address{{Prefix: p, Role: role}},
			Interfaces: []Interface{{Interface: events.Interface{Tap: "tap-" + name, Network: "web"}, VRF: "public"}}, stamp: stamp{seq: 7}})
	}
	h := Desired(s, "hv1")
	routes := 0
	for _, tap := range h.Taps {
		routes += len(tap.Routes)
	}
	if routes != 1 || len(h.Taps[0].Routes) != 1 || len(h.Announcements) != 1 || len(h.Problems) != 2 || h.Problems[1] != (Problem{VM: "c", Tap: "tap-c", Reason: `guest "a" has 203.0.113.10/32 already`}) {
		t.Errorf("taps %+v, announcements %v, problems %v", h.Taps, h.Announcements, h.Problems)
	}
	twice := s.Guest("b").clone()
	twice.Hypervisor, twice.Addresses, twice.seq = "hv2", append(twice.Addresses, twice.Addresses...), 8
	s.Put("hr.vm.b", twice)
	if h := Desired(s, "hv2"); len(h.Taps[0].Routes) != 1 || len(h.Announcements) != 1 || len(h.Problems) != 1 {
		t.Errorf("of an address that a guest has twice, there are routes %v, announcements %v, problems %v", h.Taps[0].Routes, h.Announcements, h.Problems)
	}
}
