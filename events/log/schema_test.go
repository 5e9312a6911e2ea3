package log

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/projector"
)

// downgraded writes the log of one lab into another as the release before
// version 2 of NetworkDefined had written it: other bytes, other hashes.
func downgraded(t *testing.T, from, to *lab) {
	t.Helper()
	hashes := map[string]string{} // of the last message, by subject
	s := scan{stream: from.ledger.ledger, from: 1, timeout: patience}
	if err := s.run(from.ctx, func(r raw) error {
		m, err := decode(r)
		if err != nil {
			return err
		}
		if m.Type == events.TypeNetworkDefined {
			r.Header[headerDataVersion] = []string{"1"}
			m.Data = version1(t, m.Data)
			if m.Subject.Kind == events.KindNet || m.Subject.Kind == events.KindNetTick {
				m.State = version1(t, m.State)
			}
		}
		if m.Prev != nil {
			m.Prev.Hash = hashes[r.Subject]
		}
		if r.Body, err = json.Marshal(m.body); err != nil {
			return err
		}
		hashes[r.Subject] = hashOf(r.Subject, r.Header, r.Body)
		if sequence := to.raw(r.Subject, r.Header, string(r.Body)); sequence != r.Sequence {
			return fmt.Errorf("message %d becomes %d", r.Sequence, sequence)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// version1 is a definition of a network as version 1 had it.
func version1(t *testing.T, data []byte) []byte {
	t.Helper()
	var d struct {
		Network, VRF, Subnets, Gateways, DNS, NTP, Domain, Search, MTU, DHCP, Routes json.RawMessage
		IPv6                                                                         map[string]json.RawMessage
	}
	if err := json.Unmarshal(data, &d); err != nil {
		t.Fatal(err)
	}
	var ra []string
	for _, name := range []string{"preference", "lifetime", "interval", "on_link", "autonomous", "managed", "other"} {
		if v, ok := d.IPv6[name]; ok {
			ra = append(ra, fmt.Sprintf("%q:%s", name, v))
		}
	}
	var block json.RawMessage
	if len(ra) > 0 {
		block = json.RawMessage("{" + strings.Join(ra, ",") + "}")
	}
	var all []string
	for _, f := range []struct {
		name  string
		value json.RawMessage
	}{
		{"network", d.Network}, {"vrf", d.VRF}, {"subnets", d.Subnets}, {"gateways", d.Gateways}, {"dns", d.DNS}, {"ntp", d.NTP},
		{"domain", d.Domain}, {"search", d.Search}, {"mtu", d.MTU}, {"dhcp", d.DHCP}, {"ipv6", d.IPv6["style"]}, {"ra", block}, {"routes", d.Routes},
	} {
		if f.value != nil {
			all = append(all, fmt.Sprintf("%q:%s", f.name, f.value))
		}
	}
	return []byte("{" + strings.Join(all, ",") + "}")
}

// six is a network that says something of IPv6.
func six(name, vrf string) *events.NetworkDefined {
	yes := true
	d := network(name, vrf, "203.0.113.0/24", "2001:db8:1::/64")
	d.IPv6 = events.IPv6{Style: events.IPv6Shared, Preference: events.RAHigh, Interval: 200, Managed: &yes}
	d.MTU = 1500
	return d
}

// TestALogOfVersion1 reads a log that an older release wrote, and goes on with it.
func TestALogOfVersion1(t *testing.T) {
	old, l := newLab(t), newLab(t)
	first := events.Event{ID: "net-1", Data: six("web", "public")}
	if _, err := old.ledger.Publish(old.ctx, first); err != nil {
		t.Fatal(err)
	}
	plain := network("plain", "public", "198.51.100.0/24")
	changed := six("web", "public")
	changed.MTU, changed.IPv6.Style = 0, events.IPv6DHCP
	old.publish(plain, hypervisor("hv1"), guest("vm1", "hv1", "web"), assign("203.0.113.7/32", "vm1"), assign("2001:db8:1::7/128", "vm1"), changed,
		network("gone", "public", "192.0.2.0/24"), &events.NetworkRemoved{Network: "gone"})
	downgraded(t, old, l)

	sound := func(when string) {
		t.Helper()
		v, err := l.ledger.Verify(l.ctx, VerifyOptions{}, func(f Finding) { t.Errorf("%s: %s", when, f) })
		if err != nil || v.Events == 0 {
			t.Errorf("%s: %+v, %v", when, v, err)
		}
	}
	sound("a log of version 1")
	want := desired(t, old.replay(), "hv1")
	if have := desired(t, l.replay(), "hv1"); have != want {
		t.Errorf("replay gives\n%s\nwant\n%s", have, want)
	}
	l.serve()
	f := l.follow("hv1", FollowerOptions{})
	if have := desired(t, f.State(), "hv1"); have != want || f.Status().Quarantined > 0 {
		t.Errorf("a follower has %d in quarantine and\n%s\nwant\n%s", f.Status().Quarantined, have, want)
	}
	shown(t, l, "1")

	// What was published then is a duplicate now, in either version.
	again, err := l.ledger.Publish(l.ctx, first)
	if err != nil || !again.Duplicate {
		t.Errorf("again: %+v, %v", again, err)
	}
	// And new versions follow old ones on the same chain.
	changed.MTU = 1400
	l.publish(changed, assign("203.0.113.8/32", "vm1"))
	shown(t, l, "2")
	sound("with version 2 on top")
	want = desired(t, l.replay(), "hv1")
	testenv.Eventually(t, "the follower follows", func() bool { return desired(t, f.State(), "hv1") == want })
	if n := f.Status().Snapshots; n != 1 {
		t.Errorf("%d snapshots; want the first alone", n)
	}
}

// shown wants every definition read as version 2, and the last one stored as
// the given one.
func shown(t *testing.T, l *lab, stored string) {
	t.Helper()
	if err := l.ledger.Read(l.ctx, Filter{Network: "web"}, false, func(e Entry) error {
		if e.Err != nil || e.Version != 2 || strings.Contains(string(e.Data), `"ra"`) {
			t.Errorf("#%d is version %d: %s %v", e.Sequence, e.Version, e.Data, e.Err)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	r, err := l.ledger.get.last(l.ctx, "hr.net.web")
	if err != nil || r["hr.net.web"].Header.Get(headerDataVersion) != stored {
		t.Errorf("the network is stored as %q, %v; want version %s", r["hr.net.web"].Header, err, stored)
	}
}

// TestPublishersOfVersion1AreServed sends what a control plane of before would,
// and what one of now does, for the same event.
func TestPublishersOfVersion1AreServed(t *testing.T) {
	l := newLab(t)
	l.serve()
	const before, now = `{"id":"n","type":"NetworkDefined","data":{"network":"web","vrf":"v","subnets":[{"prefix":"2001:db8::/64"}],"ipv6":"shared","ra":{"interval":200}}}`,
		`{"id":"n","type":"NetworkDefined","version":2,"data":{"network":"web","vrf":"v","subnets":[{"prefix":"2001:db8::/64"}],"ipv6":{"style":"shared","interval":200}}}`
	for _, c := range []struct{ request, want string }{
		{before, `{"sequence":1,"id":"n","duplicate":false}`},
		{now, `{"sequence":1,"id":"n","duplicate":true}`},
		{strings.Replace(before, `"data"`, `"version":1,"data"`, 1), `{"sequence":1,"id":"n","duplicate":true}`},
		{strings.Replace(now, `"version":2,`, ``, 1), `"field":"data.ipv6"`},
		{strings.Replace(now, `"version":2`, `"version":3`, 1), `"field":"version","value":"3"`},
		{strings.Replace(before, `"data"`, `"version":2,"data"`, 1), `"code":"invalid"`},
		{`{"type":"HypervisorRegistered","version":1,"data":{"hypervisor":"hv1"}}`, `"duplicate":false`},
		{`{"type":"HypervisorRegistered","version":2,"data":{"hypervisor":"hv2"}}`, `"field":"version","value":"2"`},
	} {
		m, err := l.nc.Request(SubjectPublish, []byte(c.request), patience)
		if err != nil || !strings.Contains(string(m.Data), c.want) {
			t.Errorf("%s answers %s, %v; want %s", c.request, m.Data, err, c.want)
		}
	}
}

// TestAnEventOfTheFutureIsHeldForItsEntity is what an agent of this release
// does with what the next one writes: the network stays as it was last
// understood, and everything else goes on.
func TestAnEventOfTheFutureIsHeldForItsEntity(t *testing.T) {
	l := newLab(t)
	l.base()
	l.serve()
	f := l.follow("hv1", FollowerOptions{})
	want := desired(t, f.State(), "hv1")
	future := func(subject string, offset int) uint64 {
		last, err := l.ledger.get.last(l.ctx, subject)
		if err != nil {
			t.Fatal(err)
		}
		prev := last[subject].link()
		h := good(events.TypeNetworkDefined)
		h[headerDataVersion], h[headerOffset] = []string{"3"}, []string{fmt.Sprint(offset)}
		text := fmt.Sprintf(`{"data":{"network":"web","wonders":1},"state":{"network":"web","wonders":1},"prev":{"seq":%d,"hash":%q}}`, prev.Sequence, prev.Hash)
		return l.raw(subject, h, text)
	}
	at := future("hr.net.web", 0)
	future("hr.net", 1)
	testenv.Eventually(t, "it is held", func() bool { return held(f.State(), "hr.net") })
	if have := desired(t, f.State(), "hv1"); have != want {
		t.Errorf("the hypervisor serves\n%s\nbefore\n%s", have, want)
	}
	l.publish(assign("203.0.113.7/32", "vm1"), network("more", "public", "192.0.2.0/24"))
	want = desired(t, l.replay(), "hv1")
	testenv.Eventually(t, "everything else goes on", func() bool { return desired(t, f.State(), "hv1") == want })
	fresh := l.follow("hv1", FollowerOptions{})
	if have := desired(t, fresh.State(), "hv1"); have != want || !held(fresh.State(), "hr.net.web") {
		t.Errorf("a new agent holds %v and serves\n%s\nwant\n%s", fresh.State().Quarantined(), have, want)
	}
	for _, q := range l.replay().Quarantined() {
		if q.Sequence == at && !strings.Contains(q.Reason, "a newer one wrote it") {
			t.Errorf("in quarantine is %+v", q)
		}
	}
	// The next that can be read says all there is to know.
	web := network("web", "public", "203.0.113.0/24")
	web.MTU = 1400
	l.publish(web)
	want = desired(t, l.replay(), "hv1")
	testenv.Eventually(t, "the network is released", func() bool {
		s := f.State()
		return desired(t, s, "hv1") == want && !held(s, "hr.net.web")
	})
}

func held(s *projector.State, subject string) bool {
	return slices.ContainsFunc(s.Quarantined(), func(q projector.Quarantined) bool { return q.Subject == subject })
}
