package projector

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/hostroute/hostroute/events"
	"pgregory.net/rapid"
)

func TestPrefixAndRestAreTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		history := drawHistory(t)
		cut := rapid.IntRange(0, len(history)).Draw(t, "cut")
		// What is kept between the two is what the log keeps: registers as JSON.
		kept := New()
		for subject, r := range fold(history[:cut]).registers {
			b, err := EncodeRegister(r)
			if err != nil {
				t.Fatal(err)
			}
			again, err := DecodeRegister(subject, b, r.Sequence())
			if err != nil {
				t.Fatal(err)
			}
			kept.Put(subject, again)
		}
		for _, p := range history[cut:] {
			kept.Fold(p.Record)
		}
		if got, want := dump(kept), dump(fold(history)); got != want {
			t.Fatalf("cut at %d:\n%s\n--- whole:\n%s", cut, got, want)
		}
	})
}

func TestDuplicatesChangeNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		history := drawHistory(t)
		want := dump(fold(history))
		again := New()
		for i, p := range history {
			again.Fold(p.Record)
			for range rapid.IntRange(0, 2).Draw(t, "again") {
				again.Fold(history[rapid.IntRange(0, i).Draw(t, "which")].Record)
			}
		}
		if got := dump(again); got != want {
			t.Fatalf("with duplicates:\n%s\n--- without:\n%s", got, want)
		}
	})
}

// independent tells whether two events have nothing to do with each other.
func independent(a, b Effect) bool {
	touches := func(written []string, e Effect) bool {
		for _, w := range written {
			for _, s := range slices.Concat(e.Written, e.Read) {
				if s == w || (strings.HasSuffix(s, "*") && strings.HasPrefix(w, strings.TrimSuffix(s, "*"))) {
					return true
				}
			}
		}
		return false
	}
	return !touches(a.Written, b) && !touches(b.Written, a)
}

func TestIndependentEventsCommute(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		history := drawHistory(t)
		want := dump(fold(history))
		mixed := slices.Clone(history)
		for range 2 * len(mixed) {
			i := rapid.IntRange(0, len(mixed)-2).Draw(t, "swap")
			if independent(mixed[i].effect, mixed[i+1].effect) {
				mixed[i], mixed[i+1] = mixed[i+1], mixed[i]
			}
		}
		if got := dump(fold(mixed)); got != want {
			t.Fatalf("reordered:\n%s\n--- in order:\n%s", got, want)
		}
	})
}

// TestFeedsAreEnough gives an agent its feed only, in any order and partly
// twice, and wants from it what the whole log says.
func TestFeedsAreEnough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		history := drawHistory(t)
		whole := fold(history)
		for _, hv := range worldHVs {
			agent := New()
			for _, m := range rapid.Permutation(feedOf(t, history, hv)).Draw(t, "order") {
				agent.Put(m.subject, m.register)
			}
			got, _ := json.Marshal(Desired(agent, hv))
			want, _ := json.Marshal(Desired(whole, hv))
			if string(got) != string(want) {
				t.Fatalf("%s has\n%s\nand should have\n%s", hv, got, want)
			}
		}
	})
}

type delivered struct {
	subject  string
	register Register
}

// feedOf lists what is delivered to a hypervisor, as it comes off the wire.
func feedOf(t *rapid.T, history []published, hv string) []delivered {
	var list []delivered
	for _, p := range history {
		for _, m := range p.Messages {
			s, err := events.ParseSubject(m.Subject)
			if err != nil {
				t.Fatal(err)
			}
			var subject string
			switch {
			case s.Kind == events.KindFeed && s.Name == hv:
				subject = events.SubjectVM(s.VM)
			case s.Kind == events.KindTick && s.Name == hv:
				subject = events.SubjectHV(hv)
			case s.Kind == events.KindNet:
				subject = m.Subject
			default:
				continue
			}
			b, err := EncodeRegister(m.State)
			if err != nil {
				t.Fatal(err)
			}
			r, err := DecodeRegister(subject, b, p.Sequence)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, delivered{subject, r})
			if rapid.Bool().Draw(t, "twice") {
				list = append(list, delivered{subject, r})
			}
		}
	}
	return list
}

func TestClaimsAndGuestsAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := fold(drawHistory(t))
		held := map[string][]string{}
		for _, g := range s.Guests() {
			for _, a := range g.Addresses {
				subject := events.SubjectIP(g.Interfaces[a.Interface].VRF, a.Prefix)
				held[subject] = append(held[subject], g.VM)
				for _, gateway := range s.Network(g.Interfaces[a.Interface].Network).Gateways {
					if a.Prefix.Contains(gateway.Addr) {
						t.Fatalf("guest %s holds %s, and %s is a gateway of its network", g.VM, a.Prefix, gateway)
					}
				}
			}
		}
		for subject, r := range s.registers {
			claim, ok := r.(*Claim)
			if !ok || !claim.Exists() {
				continue
			}
			var owners []string
			for _, o := range claim.Owners {
				owners = append(owners, o.VM)
				if len(claim.Owners) > 1 && o.Role != events.RoleAnycast {
					t.Fatalf("%s has several owners, one of them %s", subject, o.Role)
				}
			}
			slices.Sort(owners)
			if !slices.Equal(owners, held[subject]) {
				t.Fatalf("%s is owned by %v and held by %v", subject, owners, held[subject])
			}
			delete(held, subject)
		}
		if len(held) > 0 {
			t.Fatalf("held by guests, and claimed by nobody: %v", held)
		}
	})
}

// TestPartialStateDecidesTheSame publishes with what was looked up only, as
// the log service does, and wants the decision of one who knows all.
func TestPartialStateDecidesTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		whole := fold(drawHistory(t))
		e := events.Event{ID: "x", Data: drawData(t)}
		want, wantErr := Decide(whole, e)
		partial := NewPartial()
		var got Decision
		var err error
		for round := 0; ; round++ {
			got, err = Decide(partial, e)
			var missing *MissingError
			if !errors.As(err, &missing) {
				break
			}
			if round > 6 {
				t.Fatalf("still asks for %v", missing.Subjects)
			}
			for _, subject := range missing.Subjects {
				lookUp(partial, whole, subject)
			}
		}
		if (err == nil) != (wantErr == nil) || (err != nil && err.Error() != wantErr.Error()) {
			t.Fatalf("refused with %v, and should be with %v", err, wantErr)
		}
		if a, b := messagesOf(t, got), messagesOf(t, want); a != b {
			t.Fatalf("decided\n%s\nand should\n%s", a, b)
		}
	})
}

func lookUp(partial, whole *State, subject string) {
	prefix, pattern := strings.CutSuffix(subject, "*")
	if !pattern {
		partial.Put(subject, whole.registers[subject])
		return
	}
	for s, r := range whole.registers {
		if strings.HasPrefix(s, prefix) {
			partial.Put(s, r)
		}
	}
	partial.Looked(subject)
}

func messagesOf(t *rapid.T, d Decision) string {
	var b strings.Builder
	for _, m := range d.Messages {
		state, err := EncodeRegister(m.State)
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(m.Subject + " " + string(state) + " " + strings.Join(m.Feed, ",") + "\n")
	}
	return b.String()
}
