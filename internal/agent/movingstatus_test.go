package agent

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/bgp"
	"github.com/hostroute/hostroute/internal/handover"
)

// TestWhatGoesOnInWords goes through a move, as a person who asks sees it.
func TestWhatGoesOnInWords(t *testing.T) {
	b, l := newMovingBed(t)
	says := func(state string, words ...string) {
		t.Helper()
		b.round(t)
		s := b.moving.status()
		var states, texts []string
		for _, m := range s.Moves {
			states, texts = append(states, m.State), append(texts, m.Text)
		}
		for _, c := range s.Claims {
			states, texts = append(states, c.State), append(texts, c.Text)
		}
		for _, a := range s.Arrivals {
			states, texts = append(states, a.State), append(texts, a.Text)
		}
		if strings.Join(states, " ") != state || !slices.Equal(texts, words) {
			t.Errorf("%q: %q\nwant %q: %q", states, texts, state, words)
		}
		if of := s.of("a"); len(words) > 0 && of != words[0] {
			t.Errorf("of the guest it says %q", of)
		}
	}
	says("")
	b.projection.publish(t, &events.VMMigrated{VM: "a", To: "hv2"})
	says("announcing", "a moved to hv2 0s ago: 2 prefixes of it announced on until the route to where it is now is in the kernel")
	b.elapsed = 12 * time.Second
	l.hears(first, 1, true)
	says("announcing", "a moved to hv2 12s ago: 1 of 2 prefixes of it announced on until the route to where it is now is in the kernel")
	l.hears(second, 1, true)
	says("forwarding", "a moved to hv2 12s ago: forwarding what still comes here")
	if on := b.moving.on("public", netip.MustParseAddr("203.0.113.10")); !slices.Equal(on, []string{"a moved to hv2 12s ago: forwarding what still comes here"}) {
		t.Errorf("of the address it says %q", on)
	}
	if on := b.moving.on("private", netip.MustParseAddr("203.0.113.10")); len(on) > 0 {
		t.Errorf("of the address in another VRF it says %q", on)
	}
	clear(l.paths)
	says("dropping", "a moved to hv2 12s ago: nobody has told where it is now, so what still comes here is dropped")
	b.elapsed += handover.Longest
	says("")
	b.projection.publish(t, &events.VMMigrationStarted{VM: "a", To: "hv1"})
	b.Saw("a")
	says("seen", "a was seen on its prepared tap 0s ago: served here as if the log had said that it moved")
	b.elapsed += handover.Patience
	says("unconfirmed", "a was seen on its prepared tap 10s ago, and the log doesn't say that it moved here: it is served here all the same. "+
		"If it runs here, `hostroute vm migrate a --to hv1`, else `hostroute vm abort a`")
	if p := b.moving.status().problems(); len(p) != 1 || p[0].kind != "arrival" {
		t.Errorf("problems: %+v", p)
	}
}

func TestAClaimInWords(t *testing.T) {
	b, l := newMovingBed(t)
	l.hears(first, 1, true)
	b.round(t)
	b.elapsed += 3 * time.Second
	want := "203.0.113.10/32 in VRF public (a): 10.0.0.2 announces it with a higher preference, as its newer home: yielded 3s ago"
	if s := b.moving.status(); len(s.Claims) != 1 || s.Claims[0].Text != want || len(s.problems()) > 0 {
		t.Errorf("%+v\nwant %s", s, want)
	}
	b.elapsed += handover.Patience
	b.round(t)
	want = "203.0.113.10/32 in VRF public (a) is announced by 10.0.0.2, too, as if it had moved there 13s ago, and the log says that its home is here: " +
		"here it is delivered, and others send to 10.0.0.2. If the guest runs there, `hostroute vm migrate a` with that hypervisor; else restart the agent there, or fence it"
	s := b.moving.status()
	if p := s.problems(); len(p) != 1 || p[0] != (problem{"contested", want}) {
		t.Errorf("%+v\nwant %s", p, want)
	}
	if on := b.moving.on("public", netip.MustParseAddr("203.0.113.10")); !slices.Equal(on, []string{want}) {
		t.Errorf("of the address it says %q", on)
	}
}

func TestAPathOfAHomeOfBeforeInWords(t *testing.T) {
	best := &bgp.Path{LocalPref: 2100}
	for preference, want := range map[uint32]string{
		1100: "its preference is 1100, as of a home of before, and the best has 2100",
		2050: "its preference is 2050, as of a drained hypervisor, and the best has 2100",
		2099: "its preference is 2099, and the best has 2100",
	} {
		if got := whyNot(bgp.Path{LocalPref: preference, Stale: true}, best); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := whyNot(bgp.Path{LocalPref: 2100, Stale: true}, best); got != "it is kept from a session that fell" {
		t.Errorf("%q", got)
	}
}
