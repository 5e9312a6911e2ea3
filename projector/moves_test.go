package projector

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hostroute/hostroute/events"
	"pgregory.net/rapid"
)

// drawMove draws what makes prefixes change their homes.
func drawMove(t *rapid.T) events.Data {
	vm, hv := pick(t, "vm", worldVMs), pick(t, "hv", worldHVs)
	p := prefix(pick(t, "prefix", []string{"203.0.113.10", "203.0.113.11", "2001:db8:0:1::/64"}))
	switch rapid.IntRange(0, 12).Draw(t, "kind") {
	case 0, 1:
		return vmOn(vm, hv)
	case 2:
		return &events.VMDeleted{VM: vm}
	case 3, 4:
		return &events.VMMigrated{VM: vm, To: hv}
	case 5:
		return &events.VMMigrationStarted{VM: vm, To: hv}
	case 6, 7:
		return &events.IPMoved{Prefix: p, To: vm}
	case 8:
		return &events.IPReleased{Prefix: p, VM: pick(t, "owner", append(worldVMs, ""))}
	case 9:
		return &events.HypervisorDrained{Hypervisor: hv}
	case 10:
		return &events.HypervisorUndrained{Hypervisor: hv}
	default:
		role := rapid.SampledFrom([]events.Role{events.RolePrimary, events.RoleElastic, events.RoleElastic, events.RoleAnycast}).Draw(t, "role")
		return &events.IPAssigned{Prefix: p, VM: vm, Role: role}
	}
}

func vmOn(name, hv string) *events.VMCreated {
	d := vm(name)
	d.Hypervisor = hv
	return d
}

// reread is a State as it comes back from the log or from a disk.
func reread(t *rapid.T, s *State) *State {
	again := New()
	for subject, r := range s.Registers() {
		b, err := EncodeRegister(r)
		if err != nil {
			t.Fatal(err)
		}
		r, err := DecodeRegister(subject, b, r.Sequence())
		if err != nil {
			t.Fatal(err)
		}
		again.Put(subject, r)
	}
	return again
}

// drawStep applies an event of a history as somebody may come by it: with others
// again behind it, or from a State that was written down before.
func drawStep(t *rapid.T, s *State, history []published, i int) *State {
	if rapid.IntRange(0, 3).Draw(t, "read again") == 0 {
		s = reread(t, s)
	}
	s.Fold(history[i].Record)
	for range rapid.IntRange(0, 1).Draw(t, "again") {
		s.Fold(history[rapid.IntRange(0, i).Draw(t, "which")].Record)
	}
	return s
}

// TestMovesOnlyGrow follows each prefix from home to home and guest to guest:
// each has more moves than all before it, and keeps them while it has the prefix.
func TestMovesOnlyGrow(t *testing.T) {
	seen := 0
	rapid.Check(t, func(t *rapid.T) {
		type tenure struct {
			vm          string
			epoch, gain uint64
		}
		last, most := map[string]tenure{}, map[string]uint32{}
		history := drawHistoryOf(t, drawMove)
		s := New()
		for i := range history {
			s = drawStep(t, s, history, i)
			for _, g := range s.Guests() {
				for _, a := range g.Addresses {
					subject, moves := events.SubjectIP(g.Interfaces[a.Interface].VRF, a.Prefix), g.MovesOf(a)
					if a.Role == events.RoleAnycast {
						if moves != 0 || a.Moves != 0 {
							t.Fatalf("anycast %s has moved %d times", subject, moves)
						}
						last[subject] = tenure{}
						continue
					}
					now := tenure{g.VM, g.Epoch, lookup[*Claim](s, subject).Owners[0].Since}
					before, known := last[subject]
					switch {
					case known && now != before && moves <= most[subject]:
						t.Fatalf("%s of %+v has %d moves, and had %d before with %+v", subject, now, moves, most[subject], before)
					case known && now == before && moves != most[subject]:
						t.Fatalf("%s of %+v has %d moves at once, and had %d", subject, now, moves, most[subject])
					case known && now != before:
						seen++
					}
					last[subject], most[subject] = now, moves
				}
			}
		}
	})
	if seen < 20 {
		t.Errorf("no more than %d changes of homes were drawn", seen)
	}
}

// TestTheNewestHomeIsPreferred holds what each hypervisor may still announce,
// because it has heard no more than the beginning of a history, against what the
// home announces: whoever hears both goes to the home.
func TestTheNewestHomeIsPreferred(t *testing.T) {
	type place struct{ hv, prefix string }
	rapid.Check(t, func(t *rapid.T) {
		stale := map[place]uint32{} // the most that was ever announced there
		s := New()
		for _, p := range drawHistoryOf(t, drawMove) {
			s.Fold(p.Record)
			now := map[place]uint32{}
			for _, hv := range worldHVs {
				for _, a := range Desired(s, hv).Announcements {
					now[place{hv, a.VRF + " " + a.Prefix.String()}] = a.Preference
				}
			}
			for home, preference := range now {
				shared := isAnycast(s, home.prefix)
				for _, hv := range worldHVs {
					old := stale[place{hv, home.prefix}]
					if hv != home.hv && !shared && old >= preference {
						t.Fatalf("%s announces %s with %d, where %s may still do so with %d", home.hv, home.prefix, preference, hv, old)
					}
				}
				if !shared {
					stale[home] = max(stale[home], preference)
				}
			}
		}
	})
}

func isAnycast(s *State, prefix string) bool {
	for _, g := range s.Guests() {
		for _, a := range g.Addresses {
			if g.Interfaces[a.Interface].VRF+" "+a.Prefix.String() == prefix {
				return a.Role == events.RoleAnycast
			}
		}
	}
	return false
}

// TestWhatIsLeftOfAClaim follows a prefix and a guest through the registers, as
// the log has them.
func TestWhatIsLeftOfAClaim(t *testing.T) {
	s, seq := New(), uint64(0)
	p := prefix("203.0.113.10")
	next := func(data events.Data, claim, guest string) {
		t.Helper()
		seq++
		publish(t, s, seq, data)
		if claim == "" {
			return
		}
		for subject, want := range map[string]string{events.SubjectIP("public", p.Prefix): claim, events.SubjectVM("vm1"): guest} {
			b, err := EncodeRegister(s.registers[subject])
			if err != nil {
				t.Fatal(err)
			}
			missing := slices.ContainsFunc(strings.Split(want, " … "), func(part string) bool { return !strings.Contains(string(b), part) })
			if missing || strings.Count(want, "moves") != strings.Count(string(b), "moves") {
				t.Errorf("after #%d, a %T, %s is\n%s\nwant %s", seq, data, subject, b, want)
			}
		}
	}
	for _, hv := range worldHVs {
		next(&events.HypervisorRegistered{Hypervisor: hv}, "", "")
	}
	next(network("web"), "", "")
	next(network("db"), "", "")
	next(vmOn("vm1", "hv1"), "", "")
	next(vmOn("vm2", "hv2"), "", "")
	held := func(address string) string {
		return `"addresses":[{"prefix":"203.0.113.10/32","role":"` + address + `}]`
	}
	next(&events.IPAssigned{Prefix: p, VM: "vm1"}, `{"owners":[{"vm":"vm1","role":"primary","since":8}]}`, held(`primary","interface":0`))
	next(&events.IPReleased{Prefix: p}, `null`, `"epoch":6,"interfaces"`)
	next(&events.IPAssigned{Prefix: p, VM: "vm1"}, `{"owners":[{"vm":"vm1","role":"primary","since":10}]}`, held(`primary","interface":0,"moves":1`))
	next(&events.VMMigrated{VM: "vm1", To: "hv2"}, `"since":10}]}`, `"epoch":11,"moves":1,"interfaces" … "interface":0,"moves":1}]`)
	next(&events.IPReleased{Prefix: p}, `{"moves":2}`, `"moves":1,"interfaces"`)
	next(&events.IPAssigned{Prefix: p, VM: "vm1", Role: events.RoleAnycast}, `"since":13}],"moves":2}`, `"moves":1,"interfaces" … `+held(`anycast","interface":0`))
	next(&events.IPAssigned{Prefix: p, VM: "vm2", Role: events.RoleAnycast}, `"since":14}],"moves":2}`, `"moves":1,"interfaces" … `+held(`anycast","interface":0`))
	next(&events.IPReleased{Prefix: p, VM: "vm1"}, `"since":14}],"moves":2}`, `"moves":1,"interfaces"`)
	next(&events.IPMoved{Prefix: p, To: "vm1"}, `"since":16}],"moves":2}`, `"moves":1,"interfaces" … `+held(`anycast","interface":0`))
	next(&events.VMDeleted{VM: "vm1"}, `{"moves":2}`, `null`)
	next(vmOn("vm1", "hv3"), `{"moves":2}`, `"epoch":18,"interfaces"`)
	next(&events.IPAssigned{Prefix: p, VM: "vm2"}, `"since":19}]}`, `"epoch":18,"interfaces"`)
	next(&events.IPMoved{Prefix: p, To: "vm1"}, `{"owners":[{"vm":"vm1","role":"primary","since":20}]}`, held(`primary","interface":0,"moves":4`))
	next(&events.VMDeleted{VM: "vm1"}, `{"moves":4}`, `null`)
}

// TestGuestsThatMovedMoreOften gives a prefix to guests that have moved more, and
// less, often than it.
func TestGuestsThatMovedMoreOften(t *testing.T) {
	for name, c := range map[string]struct{ guest, before, address, claim uint32 }{
		"both new":              {0, 0, 1, 0},
		"the guest moved more":  {7, 3, 0, 0},
		"as often":              {3, 3, 1, 0},
		"the prefix moved more": {3, 7, 5, 0},
		"no further":            {9, math.MaxUint32, math.MaxUint32 - 9, 0},
		"a guest at the end":    {math.MaxUint32, 3, 0, 0},
	} {
		g := Guest{Moves: c.guest}
		if address, claim := g.outmove(events.RolePrimary, c.before); address != c.address || claim != c.claim {
			t.Errorf("%s: %d and %d, want %d and %d", name, address, claim, c.address, c.claim)
		}
		if address, claim := g.outmove(events.RoleAnycast, c.before); address != 0 || claim != c.before {
			t.Errorf("%s, anycast: %d and %d", name, address, claim)
		}
	}
	g := Guest{Moves: math.MaxUint32 - 1}
	if n := g.MovesOf(Address{Role: events.RolePrimary, Moves: 5}); n != math.MaxUint32 {
		t.Errorf("beyond the most there are %d moves", n)
	}
}

// TestDamagedClaims reads only what a publisher may have written.
func TestDamagedClaims(t *testing.T) {
	for value, want := range map[string]string{
		`{}`: "", `{"moves":0}`: "", `{"owners":[]}`: "", `{"moves":-1}`: "", `{"moves":4294967296}`: "",
		`{"moves":3}`: `{"moves":3}`, `null`: `null`,
	} {
		r, err := DecodeRegister("hr.ip.public.203-0-113-7", []byte(value), 9)
		if want == "" {
			if err == nil {
				t.Errorf("%s was read as %+v", value, r)
			}
			continue
		}
		b, err2 := EncodeRegister(r)
		if diff := cmp.Diff(want, string(b)); err != nil || err2 != nil || diff != "" || r.Exists() || r.Sequence() != 9 {
			t.Errorf("%s: %s, %s", value, fmt.Sprint(err, err2), diff)
		}
	}
}
