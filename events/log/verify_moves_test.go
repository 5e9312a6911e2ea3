package log

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hostroute/hostroute/events"
)

// moving publishes a history in which a prefix moves in every way there is, and
// reads it.
func moving(t *testing.T) []raw {
	t.Helper()
	l := newLab(t)
	l.base()
	const p = "203.0.113.7/32"
	l.publish(assign(p, "vm1"), &events.VMMigrationStarted{VM: "vm1", To: "hv2"}, &events.VMMigrated{VM: "vm1", To: "hv2"},
		&events.IPMoved{Prefix: pfx(p), To: "vm2"}, &events.IPReleased{Prefix: pfx(p)}, assign(p, "vm1"), &events.VMDeleted{VM: "vm1"},
		guest("vm1", "hv1", "web"), &events.IPAssigned{Prefix: pfx(p), VM: "vm1", Role: events.RoleAnycast},
		&events.IPReleased{Prefix: pfx(p)}, assign(p, "vm1"))
	if got, want := claimsOf(t, l.all(), events.SubjectIP("public", pfx(p).Prefix)), "- - 2 - 3 3 3 -"; got != want {
		t.Fatalf("the claim of %s remembers %s moves, want %s", p, got, want)
	}
	return l.all()
}

// claimsOf lists what the messages of a claim say of its moves.
func claimsOf(t *testing.T, list []raw, subject string) string {
	t.Helper()
	var words []string
	for _, r := range list {
		if r.Subject != subject {
			continue
		}
		m, err := decode(r)
		if err != nil {
			t.Fatal(err)
		}
		word := "-"
		if at := regexp.MustCompile(`"moves":(\d+)}$`).FindSubmatch(m.State); at != nil {
			word = string(at[1])
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

// TestAlteredMovesAreNamed has every message with moves say others, or none, and
// what is left of a claim without any say some.
func TestAlteredMovesAreNamed(t *testing.T) {
	list := moving(t)
	if found, _ := verifyList(list); len(found) > 0 {
		t.Fatalf("before anything was done to it: %v", found)
	}
	count := regexp.MustCompile(`"moves":(\d+)`)
	tried := map[events.Kind]int{}
	for i, r := range list {
		s, err := events.ParseSubject(r.Subject)
		if err != nil {
			t.Fatal(err)
		}
		var bad []string
		body := string(r.Body)
		for _, at := range count.FindAllStringIndex(body, -1) {
			bad = append(bad, body[:at[1]]+"0"+body[at[1]:], strings.TrimSuffix(body[:at[0]], ",")+body[at[1]:])
		}
		if s.Kind == events.KindIP && strings.Contains(body, `"state":null`) {
			bad = append(bad, strings.Replace(body, `"state":null`, `"state":{"moves":1}`, 1))
		}
		for _, b := range bad {
			damaged := slices.Clone(list)
			damaged[i].Body = []byte(b)
			found, _ := verifyList(damaged)
			if !slices.ContainsFunc(found, func(f Finding) bool {
				return f.Sequence == r.Sequence && (f.Kind == FindingContradiction || f.Kind == FindingUnreadable)
			}) {
				t.Errorf("#%d on %s, altered to\n%s\nfound is %v", r.Sequence, r.Subject, b, found)
			}
			tried[s.Kind]++
		}
	}
	for _, k := range []events.Kind{events.KindIP, events.KindVM, events.KindFeed} {
		if tried[k] < 2 {
			t.Errorf("tried are %s", fmt.Sprint(tried))
		}
	}
}
