package log

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"github.com/hostroute/hostroute/events"
)

// history publishes a random one, and reads it.
func (l *lab) history(r *rapid.T, n int) []raw {
	l.t.Helper()
	l.base()
	l.publish(assign("203.0.113.7/32", "vm1"), &events.VMMigrated{VM: "vm1", To: "hv2"})
	for range n {
		_, _ = l.ledger.Publish(l.ctx, events.Event{Source: "test", Data: drawEvent(r)}) // many are refused
	}
	return l.all()
}

// verifyList verifies messages as if they were all that a log has.
func verifyList(list []raw, wanted ...Checkpoint) (found []Finding, v Verified) {
	w := newVerifier("test", wanted, func(f Finding) { found = append(found, f) })
	for _, r := range list {
		for w.next < r.Sequence {
			w.missing(w.next)
		}
		w.message(r)
	}
	w.end()
	return found, w.verified
}

// TestASoundLogHasNoFindings verifies random histories; the root is what
// package tlog makes of them.
func TestASoundLogHasNoFindings(t *testing.T) {
	checks(t, 5)
	rapid.Check(t, func(r *rapid.T) {
		scope := &scope{TB: t}
		defer scope.end()
		l := newLab(scope)
		list := l.history(r, 40)
		verified, err := l.ledger.Verify(l.ctx, VerifyOptions{}, func(f Finding) { r.Errorf("%s", f) })
		if err != nil {
			r.Fatal(err)
		}
		if verified.Messages != uint64(len(list)) || verified.Last != uint64(len(list)) || verified.Checkpoint.Root != rootOf(r, list) {
			r.Errorf("verified %+v of %d messages with the root %s", verified, len(list), rootOf(r, list))
		}
	})
}

// hashes are those of a tlog.
type hashes []tlog.Hash

func (s hashes) ReadHashes(indexes []int64) (list []tlog.Hash, err error) {
	for _, i := range indexes {
		list = append(list, s[i])
	}
	return list, nil
}

// rootOf is the head of a tree as package tlog makes it.
func rootOf(t rapid.TB, list []raw) tlog.Hash {
	t.Helper()
	var s hashes
	for i, r := range list {
		p := placeOf(r)
		leaf := binary.BigEndian.AppendUint64([]byte{0, 0, 0, 0, 0, 0, byte(p.sequence >> 8), byte(p.sequence)}, uint64(r.Time.UnixNano()))
		leaf = append(leaf, p.hash[:]...)
		more, err := tlog.StoredHashes(int64(i), leaf, s)
		if err != nil {
			t.Fatal(err)
		}
		s = append(s, more...)
	}
	root, err := tlog.TreeHash(int64(len(list)), s)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// named tells whether a finding is about a message.
func named(found []Finding, sequence uint64) bool {
	return slices.ContainsFunc(found, func(f Finding) bool {
		return f.Sequence == sequence || f.Sequence <= sequence && sequence <= f.Through || strings.Contains(f.Reason+" ", fmt.Sprintf("#%d ", sequence)) ||
			strings.Contains(f.Reason, fmt.Sprintf("#%d,", sequence))
	})
}

// TestEveryDamageIsNamed does something to any one message of random histories.
func TestEveryDamageIsNamed(t *testing.T) {
	checks(t, 5)
	rapid.Check(t, func(r *rapid.T) {
		scope := &scope{TB: t}
		defer scope.end()
		list := newLab(scope).history(r, 30)
		if found, _ := verifyList(list); len(found) > 0 {
			r.Fatalf("before anything was done to it: %v", found)
		}
		for i, message := range list {
			for what, damaged := range damages(r, list, i) {
				found, _ := verifyList(damaged)
				if !named(found, message.Sequence) {
					r.Errorf("#%d on %s %s: found is %v\n%s", message.Sequence, message.Subject, what, found, message.Body)
				}
			}
		}
	})
}

// damages are copies of a log in which something was done to one message.
func damages(r *rapid.T, list []raw, i int) map[string][]raw {
	with := func(change func(*raw)) []raw {
		out := slices.Clone(list)
		out[i].Body, out[i].Header = slices.Clone(out[i].Body), maps.Clone(out[i].Header)
		change(&out[i])
		return out
	}
	other := list[rapid.IntRange(0, len(list)-1).Draw(r, "other")]
	out := map[string][]raw{
		"emptied":      with(func(m *raw) { m.Body = nil }),
		"cut":          with(func(m *raw) { m.Body = m.Body[:len(m.Body)-1] }),
		"retimed":      with(func(m *raw) { m.Header[headerTime] = []string{"2020-01-01T00:00:00Z"} }),
		"signed anew":  with(func(m *raw) { m.Header[headerSource] = []string{"somebody"} }),
		"renamed":      with(func(m *raw) { m.Header[headerID] = []string{"another"} }),
		"made another": with(func(m *raw) { m.Header[headerType] = []string{"VMExploded"} }),
		"with a flipped bit": with(func(m *raw) {
			at := rapid.IntRange(0, len(m.Body)-1).Draw(r, "byte")
			m.Body[at] ^= 1 << rapid.IntRange(0, 7).Draw(r, "bit")
		}),
	}
	if i < len(list)-1 { // the end alone can't be missed
		out["deleted"] = slices.Delete(slices.Clone(list), i, i+1)
	}
	if !bytes.Equal(other.Body, list[i].Body) {
		out["with the body of another"] = with(func(m *raw) { m.Body = other.Body })
	}
	return out
}

// TestAnUnreadableFirstMessageIsThere has rubbish be the first on a subject: what
// follows it misses nothing.
func TestAnUnreadableFirstMessageIsThere(t *testing.T) {
	l := newLab(t)
	l.raw("hr.hv.hv1", nil, "rubbish")
	l.publish(hypervisor("hv1"))
	found, _ := verifyList(l.all())
	if len(found) != 1 || found[0].Kind != FindingUnreadable || found[0].Sequence != 1 {
		t.Errorf("found is %v; want that #1 is unreadable", found)
	}
}

// TestAForkIsNamed has somebody continue from an older value.
func TestAForkIsNamed(t *testing.T) {
	l := newLab(t)
	l.base()
	l.publish(&events.HypervisorDrained{Hypervisor: "hv1"})
	list := l.all()
	i := slices.IndexFunc(list, func(r raw) bool { return r.Subject == "hr.hv.hv1" && strings.Contains(string(r.Body), "drained") })
	again := list[i]
	for _, r := range list[i:] {
		m, err := decode(r)
		if err != nil || m.ID != again.Header.Get(headerID) {
			break
		}
		r.Sequence += uint64(len(list) - i)
		r.Header = maps.Clone(r.Header)
		r.Header[headerID] = []string{"again"}
		list = append(list, r)
	}
	found, _ := verifyList(list)
	if !slices.ContainsFunc(found, func(f Finding) bool {
		return f.Kind == FindingFork && f.Subject == "hr.hv.hv1" && f.Sequence > again.Sequence
	}) {
		t.Errorf("found is %v", found)
	}
}

// TestCheckpointsShowARewrittenHistory cuts a log off between two events, and
// writes another event in the place of the last: both are sound in themselves.
func TestCheckpointsShowARewrittenHistory(t *testing.T) {
	write := func(ids ...string) []raw {
		l := newLab(t)
		for i, id := range ids {
			e := events.Event{ID: id, Data: hypervisor(fmt.Sprintf("hv%d", i))}
			if _, err := l.ledger.Publish(l.ctx, e); err != nil {
				t.Fatal(err)
			}
		}
		return l.all()
	}
	signer, verifierKey, err := NewCheckpointKey("auditor")
	if err != nil {
		t.Fatal(err)
	}
	list := write("a", "b", "c")
	_, v := verifyList(list)
	signed, err := v.Checkpoint.Sign(signer)
	if err != nil {
		t.Fatal(err)
	}
	checkpoint, err := OpenCheckpoint(signed, verifierKey)
	if err != nil || checkpoint != v.Checkpoint {
		t.Fatalf("%+v came back as %+v, %v", v.Checkpoint, checkpoint, err)
	}
	if _, err := OpenCheckpoint(strings.Replace(signed, "\n"+fmt.Sprint(checkpoint.Size)+"\n", "\n1\n", 1), verifierKey); err == nil {
		t.Error("an altered checkpoint is taken for signed")
	}
	more := append(slices.Clone(list), raw{Subject: "hr.unheard.of", Sequence: uint64(len(list) + 1), Header: nats.Header{}})
	later := slices.Clone(list)
	later[1].Time = later[1].Time.Add(time.Second)
	for name, c := range map[string]struct {
		list []raw
		want []FindingKind
	}{
		"as it was":        {list, nil},
		"at another time":  {later, []FindingKind{FindingRewritten}},
		"longer":           {more, []FindingKind{FindingUnreadable}},
		"cut off":          {list[:len(list)-2], []FindingKind{FindingRewritten}},
		"another last one": {write("a", "b", "x"), []FindingKind{FindingRewritten}},
	} {
		found, _ := verifyList(c.list, checkpoint)
		var kinds []FindingKind
		for _, f := range found {
			kinds = append(kinds, f.Kind)
		}
		if !slices.Equal(kinds, c.want) {
			t.Errorf("%s: found is %v, want %v", name, found, c.want)
		}
	}
}

// TestWhoReadsAnEntityNoticesItsDamage takes one message from the history of a
// guest, and alters one, for a reader who sees nothing else of the log.
func TestWhoReadsAnEntityNoticesItsDamage(t *testing.T) {
	l := newLab(t)
	l.base()
	l.publish(assign("203.0.113.7/32", "vm1"), assign("203.0.113.8/32", "vm1"), assign("203.0.113.9/32", "vm1"))
	subject := events.SubjectVM("vm1")
	list := slices.DeleteFunc(l.all(), func(r raw) bool { return r.Subject != subject })
	altered := slices.Clone(list)
	altered[1].Header = maps.Clone(altered[1].Header)
	altered[1].Header[headerSource] = []string{"somebody"}
	for name, c := range map[string]struct {
		list []raw
		from uint64
		want []uint64
	}{
		"sound":                        {list, 0, nil},
		"one is lost":                  {slices.Delete(slices.Clone(list), 1, 2), 0, []uint64{list[1].Sequence}},
		"the first is lost":            {list[1:], 0, []uint64{list[0].Sequence}},
		"from the second on":           {list[1:], list[1].Sequence, nil},
		"one is altered":               {altered, 0, []uint64{list[1].Sequence}},
		"the first is lost, from late": {list[2:], list[2].Sequence, nil},
	} {
		var got []uint64
		r := reader{wanted: [][]string{{subject}}, chain: newChain(c.from == 0), fn: func(e Entry) error {
			if e.Err != nil {
				got = append(got, e.Sequence)
			}
			return nil
		}}
		for _, m := range c.list {
			if err := r.message(m); err != nil {
				t.Fatal(err)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: damage is told at %v, want %v", name, got, c.want)
		}
	}
}

// TestDifferencesAreShown has values of guests that hold much, and differ in the
// end.
func TestDifferencesAreShown(t *testing.T) {
	long := strings.Repeat("x", 500)
	for _, c := range [][4]string{
		{"same", "same", "same", "same"},
		{"null", `{"vm":"a"}`, "null", `{"vm":"a"}`},
		{long + "1" + long, long + "2" + long, "…" + long[:40] + "1" + long[:199] + "…", "…" + long[:40] + "2" + long[:199] + "…"},
		{long, long + "}", "…" + long[:40], "…" + long[:40] + "}"},
	} {
		if a, b := differing([]byte(c[0]), []byte(c[1])); a != c[2] || b != c[3] {
			t.Errorf("got %q and %q, want %q and %q", a, b, c[2], c[3])
		}
	}
}
