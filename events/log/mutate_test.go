package log

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/projector"
)

const (
	mutations      = 100_000
	mutationShards = 4
)

// TestMutatedMessages gives followers a hundred thousand messages that somebody
// or something altered on their way, and then goes on. Nobody panics; whom the
// message isn't about keeps or gets just what the log says of it; whom it is
// about keeps its value, or has one that could have been; nothing is announced
// that the log never had; and a snapshot makes all good.
func TestMutatedMessages(t *testing.T) {
	n := mutations
	if testing.Short() {
		n /= 20
	}
	w := newMutants(t)
	for shard := range mutationShards {
		t.Run(strconv.Itoa(shard), func(t *testing.T) {
			t.Parallel()
			seen := map[string]int{}
			for i := range n / mutationShards {
				w.try(t, rand.New(rand.NewPCG(uint64(shard), uint64(i))), seen)
				if t.Failed() {
					t.Fatalf("at number %d", i)
				}
			}
			for _, what := range []string{"unchanged", "quarantined", "newer value", "gap"} {
				if seen[what] == 0 {
					t.Errorf("no message ended as %q: %v", what, seen)
				}
			}
		})
	}
}

// mutants is a log as a follower of hv1 hears it, command by command.
type mutants struct {
	commands []heard
	messages []*nats.Msg // of all commands, to take parts from
	links    map[Link]bool
	end      snapshot // what a service answers at the end
	truth    string   // what hv1 must serve at the end
}

// heard is a command: what is known before it, and its live messages.
type heard struct {
	state    *projector.State
	cursor   Cursor
	messages []*nats.Msg
	before   map[string]string // registers, as JSON
	after    map[string]string
}

func newMutants(t *testing.T) *mutants {
	t.Helper()
	l := newLab(t)
	l.base()
	web := network("web", "public", "203.0.113.0/24", "2001:db8::/64")
	web.MTU, web.IPv6, web.DHCP.Lease = 1400, events.IPv6{Style: events.IPv6DHCP, Interval: 200}, 7200
	l.publish(assign("203.0.113.7/32", "vm1"), assign("203.0.113.8/32", "vm2"), guest("vm3", "hv1", "web"), assign("203.0.113.9/32", "vm3"),
		web, &events.VMMigrationStarted{VM: "vm2", To: "hv1"}, &events.VMMigrated{VM: "vm2", To: "hv1"}, assign("203.0.113.10/32", "vm2"),
		network("more", "public", "198.51.100.0/24"), &events.HypervisorDrained{Hypervisor: "hv1", Reason: "kernel"},
		&events.IPMoved{Prefix: pfx("203.0.113.9/32"), To: "vm1"}, &events.NetworkRemoved{Network: "more"}, &events.VMDeleted{VM: "vm3"},
		&events.HypervisorUndrained{Hypervisor: "hv1"}, network("last", "public", "192.0.2.0/24"))
	w := &mutants{truth: desired(t, l.replay(), "hv1"), links: map[Link]bool{{}: true}}
	w.end.end = snapshotEnd{Ledger: l.ledger.Identity(), Registered: true, Ends: false}
	f := NewFollower(nil, "hv1", FollowerOptions{})
	f.cursor.Ledger = l.ledger.Identity()
	newest, current := map[string]raw{}, heard{}
	for _, r := range l.all() {
		s, err := events.ParseSubject(r.Subject)
		if err != nil {
			t.Fatal(err)
		}
		mine := s.Kind == events.KindNetTick || (s.Kind == events.KindFeed || s.Kind == events.KindTick) && s.Name == "hv1"
		if (mine && s.Kind != events.KindNetTick) || s.Kind == events.KindNet {
			newest[r.Subject] = r
		}
		if !mine {
			continue
		}
		if current.messages == nil {
			state, cursor := f.Checkpoint()
			current = heard{state: state, cursor: cursor, before: registers(t, state)}
		}
		m := live(r)
		w.links[r.link()] = true
		if f.handle(m) {
			t.Fatalf("an unaltered message is a gap: %+v", m)
		}
		current.messages, w.messages = append(current.messages, m), append(w.messages, m)
		switch s.Kind {
		case events.KindTick:
			w.end.end.Tick = r.link()
		case events.KindNetTick:
			w.end.end.NetTick = r.link()
		default:
			continue
		}
		current.after = registers(t, f.State())
		w.commands, current = append(w.commands, current), heard{}
	}
	if have := desired(t, f.State(), "hv1"); have != w.truth {
		t.Fatalf("unaltered, the follower has %s; want %s", have, w.truth)
	}
	for _, r := range slices.SortedFunc(maps.Values(newest), func(a, b raw) int { return strings.Compare(a.Subject, b.Subject) }) {
		if m, _ := decode(r); string(m.State) != "null" {
			w.end.messages = append(w.end.messages, r)
		}
	}
	return w
}

// live is a message as the server republishes it.
func live(r raw) *nats.Msg {
	h := maps.Clone(r.Header)
	h[nats.JSSequence], h[nats.JSSubject] = []string{strconv.FormatUint(r.Sequence, 10)}, []string{r.Subject}
	h[nats.JSTimeStamp] = []string{r.Time.Format(time.RFC3339Nano)}
	return &nats.Msg{Subject: liveSubject(r.Subject), Header: h, Data: r.Body}
}

func registers(t *testing.T, s *projector.State) map[string]string {
	t.Helper()
	all := map[string]string{}
	for subject, r := range s.Registers() {
		b, err := projector.EncodeRegister(r)
		if err != nil {
			t.Fatal(err)
		}
		all[subject] = string(b)
	}
	return all
}

// try hears one command with an altered message in it and, one time in ten, the
// command behind it and a snapshot.
func (w *mutants) try(t *testing.T, random *rand.Rand, seen map[string]int) {
	at := random.IntN(len(w.commands))
	command := w.commands[at]
	which := random.IntN(len(command.messages))
	good := command.messages[which]
	bad := w.mutate(random, good)
	defer func() {
		if p := recover(); p != nil {
			t.Errorf("panic: %v, by\n%q\n%q", p, bad.Header, bad.Data)
		}
	}()
	f := NewFollower(nil, "hv1", FollowerOptions{State: command.state, Cursor: command.cursor})
	gap := false
	for i, m := range command.messages {
		if i == which {
			m = bad
		}
		gap = f.handle(m) || gap
	}
	w.judge(t, f, command, good, bad, gap, seen)
	if random.IntN(10) > 0 { // the rest takes most of the time
		return
	}
	if at+1 < len(w.commands) {
		for _, m := range w.commands[at+1].messages {
			f.handle(m)
		}
	}
	w.recover(t, f, bad)
}

// judge looks at what a follower made of an altered message.
func (w *mutants) judge(t *testing.T, f *Follower, command heard, good, bad *nats.Msg, gap bool, seen map[string]int) {
	s, _ := events.ParseSubject("hr" + cutRoot(added(good.Header, nats.JSSubject)))
	state := f.state
	have := registers(t, state)
	for subject := range have {
		if _, ok := command.before[subject]; !ok && command.after[subject] == "" && s.Kind != events.KindNetTick {
			t.Errorf("%s came from nowhere", subject)
		}
	}
	var changed []string
	for _, subject := range slices.Sorted(maps.Keys(union(command.before, command.after, have))) {
		if v := have[subject]; v != command.before[subject] && v != command.after[subject] {
			changed = append(changed, subject)
		}
	}
	about := map[events.Kind]string{events.KindTick: events.SubjectHV("hv1"), events.KindNetTick: events.SubjectNet("")}[s.Kind]
	for _, subject := range changed {
		if about == "" || !strings.HasPrefix(subject, about) || len(changed) > 1 {
			t.Errorf("a message on %s changes %v", good.Subject, changed)
		}
	}
	if h := state.Hypervisor("hv1"); h == nil || !h.Fenced { // a tick may be altered to say that it is
		announced(t, state)
	}
	switch {
	case len(changed) > 0:
		seen["newer value"]++
	case len(state.Quarantined()) > 0:
		seen["quarantined"]++
	default:
		seen["unchanged"]++
	}
	if gap {
		seen["gap"]++
	}
	if t.Failed() {
		t.Errorf("it was\n%q\n%s\nand is\n%q\n%s", good.Header, good.Data, bad.Header, bad.Data)
	}
}

func union(all ...map[string]string) map[string]bool {
	u := map[string]bool{}
	for _, m := range all {
		for k := range m {
			u[k] = true
		}
	}
	return u
}

// announced wants every guest that isn't altered announced as the log says, and
// nothing else.
func announced(t *testing.T, state *projector.State) {
	have, held := map[string]bool{}, map[string]bool{}
	for _, a := range projector.Desired(state, "hv1").Announcements {
		have[a.Prefix.String()] = true
	}
	for _, g := range state.Guests() {
		if g.Duty("hv1") != projector.DutyHome {
			continue
		}
		for _, a := range g.Addresses {
			if !have[a.Prefix.String()] {
				t.Errorf("%s of %s isn't announced any more", a.Prefix, g.VM)
			}
			held[a.Prefix.String()] = true
		}
	}
	if len(have) != len(held) {
		t.Errorf("announced are %v, and guests here have %v", have, held)
	}
}

// recover takes what a service answers, which ends whatever was wrong.
func (w *mutants) recover(t *testing.T, f *Follower, bad *nats.Msg) {
	s := w.end
	s.end.Diverged = !w.links[f.cursor.Tick] || !w.links[f.cursor.NetTick]
	if err := f.take(s, nil); err != nil {
		t.Errorf("a snapshot isn't taken: %v, behind\n%q\n%s", err, bad.Header, bad.Data)
		return
	}
	state := f.state
	if have := desired(t, state, "hv1"); have != w.truth || len(state.Quarantined()) > 0 {
		t.Errorf("with a snapshot it has %v in quarantine and\n%s\nwant\n%s\nbehind\n%q\n%s", state.Quarantined(), have, w.truth, bad.Header, bad.Data)
	}
}

// mutate alters a message in one to three ways. What the server itself writes on
// it stays.
func (w *mutants) mutate(random *rand.Rand, m *nats.Msg) *nats.Msg {
	bad := &nats.Msg{Subject: m.Subject, Header: nats.Header{}, Data: slices.Clone(m.Data)}
	for k, v := range m.Header {
		bad.Header[k] = slices.Clone(v)
	}
	for range 1 + random.IntN(3) {
		switch random.IntN(8) {
		case 0, 1:
			bad.Data = mutateBytes(random, bad.Data)
		case 2:
			w.mutateHeader(random, bad.Header)
		case 3:
			bad.Data = slices.Clone(w.messages[random.IntN(len(w.messages))].Data)
		default:
			bad.Data = w.mutateJSON(random, bad.Data)
		}
	}
	return bad
}

func mutateBytes(random *rand.Rand, b []byte) []byte {
	if len(b) == 0 {
		return []byte{byte(random.IntN(256))}
	}
	i := random.IntN(len(b))
	j := min(i+1+random.IntN(20), len(b))
	switch random.IntN(6) {
	case 0:
		b[i] ^= 1 << random.IntN(8)
	case 1:
		b[i] = byte(random.IntN(256))
	case 2:
		return b[:i]
	case 3:
		return slices.Delete(b, i, j)
	case 4:
		return slices.Insert(b, i, slices.Clone(b[i:j])...)
	default:
		return slices.Insert(b, i, byte(random.IntN(256)))
	}
	return b
}

func (w *mutants) mutateHeader(random *rand.Rand, h nats.Header) {
	names := []string{headerID, headerType, headerSource, headerTime, headerSpecVersion, headerDataVersion, headerOffset}
	name := names[random.IntN(len(names))]
	values := []string{"", "0", "1", "2", "3", "-1", "999", "18446744073709551616", "rubbish", "1.0", "2026-11-22T03:12:00Z", string(events.Types()[random.IntN(len(events.Types()))])}
	switch random.IntN(3) {
	case 0:
		delete(h, name)
	case 1:
		h[name] = append(h[name], values[random.IntN(len(values))])
	default:
		h[name] = []string{values[random.IntN(len(values))]}
	}
}

// mutateJSON alters one value of a body so that it stays JSON.
func (w *mutants) mutateJSON(random *rand.Rand, b []byte) []byte {
	var tree any
	if json.Unmarshal(b, &tree) != nil {
		return b
	}
	tree = mutateValue(random, tree, w)
	out, err := json.Marshal(tree)
	if err != nil {
		return b
	}
	return out
}

func mutateValue(random *rand.Rand, v any, w *mutants) any {
	switch v := v.(type) {
	case map[string]any:
		keys := slices.Sorted(maps.Keys(v))
		if len(keys) > 0 && random.IntN(6) > 0 {
			k := keys[random.IntN(len(keys))]
			switch random.IntN(8) {
			case 0:
				delete(v, k)
			case 1:
				v[strings.ToUpper(k)] = v[k]
			case 2:
				v["unheard_of"] = v[k]
			default:
				v[k] = mutateValue(random, v[k], w)
			}
			return v
		}
	case []any:
		if len(v) > 0 && random.IntN(6) > 0 {
			i := random.IntN(len(v))
			switch random.IntN(5) {
			case 0:
				return slices.Delete(v, i, i+1)
			case 1:
				return append(v, v[i])
			default:
				v[i] = mutateValue(random, v[i], w)
			}
			return v
		}
	}
	return w.value(random)
}

// value is one that is somewhere in the log, or one that nobody expects.
func (w *mutants) value(random *rand.Rand) any {
	odd := []any{
		nil, true, false, 0, -1, 1, 3, 1e300, 4294967296, 65536, "", "hv1", "hv2", "hv9", "vm1", "vm2", "vm9", "web", "lan", "public", "private",
		"203.0.113.7/32", "203.0.113.0/24", "0.0.0.0/0", "::/0", "2001:db8::7", "fe80::1", "52:54:00:00:00:01", "../../etc", strings.Repeat("x", 300),
		[]any{}, map[string]any{}, []any{nil}, "anycast", "routed", "home", "slaac", "\u0000",
	}
	if random.IntN(3) > 0 {
		return odd[random.IntN(len(odd))]
	}
	var tree any
	if json.Unmarshal(w.messages[random.IntN(len(w.messages))].Data, &tree) != nil {
		return nil
	}
	for random.IntN(4) > 0 {
		switch v := tree.(type) {
		case map[string]any:
			if keys := slices.Sorted(maps.Keys(v)); len(keys) > 0 {
				tree = v[keys[random.IntN(len(keys))]]
			}
		case []any:
			if len(v) > 0 {
				tree = v[random.IntN(len(v))]
			}
		}
	}
	return tree
}
