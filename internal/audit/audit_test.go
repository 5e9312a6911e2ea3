package audit

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/projector"
)

// story is a world with two networks, three hypervisors and two guests.
func story(t *testing.T) *world {
	w := newWorld(t)
	web := network("web", "public", events.Subnet{Prefix: pfx("203.0.113.0/24")}, events.Subnet{Prefix: pfx("2001:db8::/56"), Allocation: 64})
	web.Gateways = []events.Addr{events.AddrFrom(netip.MustParseAddr("203.0.113.1"))}
	w.must("setup", web)
	for _, hv := range []string{"hv1", "hv2", "hv3"} {
		w.must("setup", &events.HypervisorRegistered{Hypervisor: hv})
	}
	w.must("setup", guest("web-1", "hv1", "web"))
	w.must("setup", guest("web-2", "hv2", "web"))
	return w
}

func (w *world) address(p, vrf string, window Window) AddressHistory {
	w.t.Helper()
	h, _ := answer(w, func(b *Book) (AddressHistory, error) { return b.Address(netip.MustParsePrefix(p), vrf, window) })
	return h
}

// tell writes tenures as short texts.
func tell(list []Tenure) string {
	var texts []string
	for _, x := range list {
		text := fmt.Sprintf("%s %s %s", x.Prefix, x.VM, span(x.Span))
		for _, s := range x.Stays {
			text += fmt.Sprintf(", %s/%s %s", s.Hypervisor, s.Tap, span(s.Span))
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, "\n")
}

func span(s Span) string {
	if s.Until == nil {
		return fmt.Sprintf("%d-", s.From.Sequence)
	}
	return fmt.Sprintf("%d-%d", s.From.Sequence, s.Until.Sequence)
}

func TestElasticAddressMovesWithGuestsAndBetweenThem(t *testing.T) {
	w := story(t)
	assigned := w.must("cloud", &events.IPAssigned{Prefix: pfx("203.0.113.7/32"), VM: "web-1", Role: events.RoleElastic})
	migrated := w.must("scheduler", &events.VMMigrated{VM: "web-1", To: "hv3", Taps: []string{"t9"}})
	moved := w.must("ops", &events.IPMoved{Prefix: pfx("203.0.113.7/32"), To: "web-2"})
	released := w.must("ops", &events.IPReleased{Prefix: pfx("203.0.113.7/32")})
	again := w.must("cloud", &events.IPAssigned{Prefix: pfx("203.0.113.7/32"), VM: "web-2"})

	h := w.address("203.0.113.7/32", "", Always())
	want := fmt.Sprintf("203.0.113.7/32 web-1 %d-%d, hv1/web-1-0 %d-%d, hv3/t9 %d-%d\n203.0.113.7/32 web-2 %d-%d, hv2/web-2-0 %d-%d\n203.0.113.7/32 web-2 %d-, hv2/web-2-0 %d-",
		assigned, moved, assigned, migrated, migrated, moved, moved, released, moved, released, again, again)
	if got := tell(h.Tenures); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	first := h.Tenures[0]
	if first.From.Source != "cloud" || first.Until.Source != "ops" || first.Until.Type != events.TypeIPMoved || first.Stays[1].From.Source != "scheduler" {
		t.Errorf("who did it is wrong: %+v", first)
	}
	if h := w.address("203.0.113.7/32", "", At(released)); len(h.Tenures) != 0 || h.Before.Until.Sequence != released || h.After.From.Sequence != again {
		t.Errorf("while nobody held it: %+v", h)
	}
	if h := w.address("203.0.113.7/32", "private", Always()); len(h.Tenures) != 0 || h.Before != nil || h.Networks != nil {
		t.Errorf("in a VRF that doesn't have it: %+v", h)
	}
}

func TestFencedHypervisorIsTold(t *testing.T) {
	w := story(t)
	w.must("cloud", &events.IPAssigned{Prefix: pfx("203.0.113.7/32"), VM: "web-1"})
	fenced := w.must("watchdog", &events.HypervisorFenced{Hypervisor: "hv1", Reason: "power cut"})
	migrated := w.must("watchdog", &events.VMMigrated{VM: "web-1", To: "hv3"})
	unfenced := w.must("ops", &events.HypervisorUnfenced{Hypervisor: "hv1"})

	s := w.address("203.0.113.7/32", "", Always()).Tenures[0].Stays
	if len(s[0].Fenced) != 1 || s[0].Fenced[0].Reason != "power cut" || span(s[0].Fenced[0].Span) != fmt.Sprintf("%d-%d", fenced, unfenced) || s[1].Fenced != nil {
		t.Errorf("got %+v", s)
	}
	if s := w.address("203.0.113.7/32", "", At(fenced-1)).Tenures[0].Stays; s[0].Fenced != nil {
		t.Errorf("fenced before it was: %+v", s)
	}
	hv, _ := answer(w, func(b *Book) (HypervisorHistory, error) { return b.Hypervisor("hv1", Always()) })
	if len(hv.Guests) != 1 || hv.Guests[0].WentTo != "hv3" || hv.Guests[0].Until.Sequence != migrated || len(hv.Fenced) != 1 {
		t.Errorf("got %+v", hv)
	}
}

func TestCoveringPrefixesCount(t *testing.T) {
	w := story(t)
	w.must("setup", network("blocks", "private", events.Subnet{Prefix: pfx("203.0.113.0/24"), Allocation: 28}))
	w.must("setup", guest("fw", "hv1", "web", "blocks"))
	w.must("cloud", &events.IPAssigned{Prefix: pfx("203.0.113.0/28"), VM: "fw", Role: events.RoleRouted})
	w.must("cloud", &events.IPAssigned{Prefix: pfx("203.0.113.7/32"), VM: "fw"})
	w.must("cloud", &events.IPAssigned{Prefix: pfx("2001:db8:0:7::/64"), VM: "fw"})
	w.must("cloud", &events.VMDeleted{VM: "fw"})
	w.must("cloud", &events.NetworkRemoved{Network: "blocks"}) // what was held in it still counts
	for address, want := range map[string]string{
		"203.0.113.7/32":      "private 203.0.113.0/28,public 203.0.113.7/32",
		"203.0.113.8/32":      "private 203.0.113.0/28",
		"203.0.113.16/32":     "",
		"203.0.113.0/30":      "private 203.0.113.0/28",
		"203.0.113.0/24":      "",
		"2001:db8:0:7::1/128": "public 2001:db8:0:7::/64",
		"2001:db8:0:8::1/128": "",
	} {
		var got []string
		for _, x := range w.address(address, "", Always()).Tenures {
			got = append(got, x.VRF+" "+x.Prefix.String())
		}
		if strings.Join(got, ",") != want {
			t.Errorf("%s: got %q, want %q", address, got, want)
		}
	}
}

func TestNobodysAddressIsExplained(t *testing.T) {
	w := story(t)
	gone := w.must("ops", network("old", "private", events.Subnet{Prefix: pfx("10.0.0.0/24")}))
	removed := w.must("ops", &events.NetworkRemoved{Network: "old"})
	if n := w.address("203.0.113.1/32", "", Always()).Networks; len(n) != 1 || !n[0].Gateway || n[0].Network != "web" || n[0].Until != nil {
		t.Errorf("the gateway: %+v", n)
	}
	if n := w.address("10.0.0.9/32", "", Always()).Networks; len(n) != 1 || n[0].Gateway || span(n[0].Span) != fmt.Sprintf("%d-%d", gone, removed) {
		t.Errorf("a network that is gone: %+v", n)
	}
	if n := w.address("192.0.2.1/32", "", Always()).Networks; n != nil {
		t.Errorf("an address of no network: %+v", n)
	}
}

func TestWhatIsReadFollowsTheQuestion(t *testing.T) {
	w := story(t)
	w.must("cloud", &events.IPAssigned{Prefix: pfx("203.0.113.7/32"), VM: "web-1"})
	w.must("cloud", &events.IPAssigned{Prefix: pfx("203.0.113.8/32"), VM: "web-2"})
	_, read := answer(w, func(b *Book) (AddressHistory, error) {
		return b.Address(netip.MustParsePrefix("203.0.113.7/32"), "", Always())
	})
	if len(read) != 34 || !slices.Equal(read[32:], []string{"hr.vm.web-1", "hr.hv.hv1"}) {
		t.Errorf("an address reads %v", read)
	}
	_, read = answer(w, func(b *Book) (GuestHistory, error) { return b.Guest("web-1", Always()) })
	if !slices.Equal(read, []string{"hr.vm.web-1", "hr.hv.hv1"}) {
		t.Errorf("a guest reads %v", read)
	}
	_, read = answer(w, func(b *Book) (HypervisorHistory, error) { return b.Hypervisor("hv1", Always()) })
	if !slices.Equal(read, []string{"hr.hv.hv1", "hr.feed.hv1", "hr.vm.web-1"}) {
		t.Errorf("a hypervisor reads %v", read)
	}
}

func TestDamageIsToldAndHidesNothingElse(t *testing.T) {
	w := story(t)
	assigned := w.must("cloud", &events.IPAssigned{Prefix: pfx("203.0.113.7/32"), VM: "web-1"})
	poison := w.poison("hr.ip.public.203-0-113-7")
	w.poison("hr.vm.web-1")
	w.poison("hr.vm.web-2") // is nobody's business here
	h := w.address("203.0.113.7/32", "", Always())
	if len(h.Tenures) != 1 || h.Tenures[0].From.Sequence != assigned || h.Tenures[0].Until != nil || h.Tenures[0].Stays[0].Tap != "web-1-0" {
		t.Errorf("got %+v", h.Tenures)
	}
	if len(h.Damaged) != 2 || h.Damaged[0].Sequence != poison || h.Damaged[0].Reason != "rubbish" || h.Damaged[1].Subject != "hr.vm.web-1" {
		t.Errorf("damaged: %+v", h.Damaged)
	}
}

// TestLostBeginningsAreKnownByTheirPlace damages the messages that gave an
// address and moved its guest; what follows still says when that was.
func TestLostBeginningsAreKnownByTheirPlace(t *testing.T) {
	w := story(t)
	anycast := func(vm string) *events.IPAssigned {
		return &events.IPAssigned{Prefix: pfx("203.0.113.7/32"), VM: vm, Role: events.RoleAnycast}
	}
	assigned := w.must("cloud", anycast("web-1"))
	migrated := w.must("cloud", &events.VMMigrated{VM: "web-1", To: "hv3"})
	w.must("cloud", anycast("web-2"))
	w.must("cloud", &events.VMMigrationStarted{VM: "web-1", To: "hv2"})
	for subject, sequence := range map[string]uint64{"hr.ip.public.203-0-113-7": assigned, "hr.vm.web-1": migrated} {
		for i, c := range w.log[subject] {
			if c.Sequence == sequence {
				w.log[subject][i] = Change{Origin: Origin{Sequence: sequence, Stored: c.Stored}, Damage: "a bit is wrong"}
			}
		}
	}
	h := w.address("203.0.113.7/32", "", Always())
	first := h.Tenures[0]
	if first.From.Sequence != assigned || first.From.Type != "" || first.From.Stored.IsZero() || len(h.Damaged) != 2 {
		t.Errorf("got %+v, damaged %+v", first, h.Damaged)
	}
	if len(first.Stays) != 2 || first.Stays[1].From.Sequence != migrated || first.Stays[1].From.Type != "" {
		t.Errorf("stays %+v", first.Stays)
	}
}

func TestGuestIDsAreUsedAgain(t *testing.T) {
	w := story(t)
	w.must("cloud", &events.IPAssigned{Prefix: pfx("203.0.113.7/32"), VM: "web-1"})
	w.must("cloud", &events.VMMigrationStarted{VM: "web-1", To: "hv2"})
	deleted := w.must("cloud", &events.VMDeleted{VM: "web-1"})
	created := w.must("cloud", guest("web-1", "hv3", "web"))
	h, _ := answer(w, func(b *Book) (GuestHistory, error) { return b.Guest("web-1", Always()) })
	if len(h.Lives) != 2 || h.Lives[0].Until.Sequence != deleted || h.Lives[1].From.Sequence != created || h.Lives[1].Addresses != nil {
		t.Fatalf("got %+v", h.Lives)
	}
	first := h.Lives[0]
	if first.Homes[0].Until.Sequence != deleted || first.Preparations[0].Until.Sequence != deleted || first.Addresses[0].Until.Sequence != deleted {
		t.Errorf("not all has ended: %+v", first)
	}
	h, _ = answer(w, func(b *Book) (GuestHistory, error) { return b.Guest("web-1", At(deleted)) })
	if len(h.Lives) != 0 || h.Before.Until.Sequence != deleted || h.After.From.Sequence != created {
		t.Errorf("between two lives: %+v", h)
	}
	h, _ = answer(w, func(b *Book) (GuestHistory, error) { return b.Guest("nobody", Always()) })
	if h.Lives == nil || len(h.Lives) != 0 || h.Before != nil || h.After != nil {
		t.Errorf("who never was: %+v", h)
	}
}

// TestGuestThatIsCreatedWasDeleted damages the message that deleted a guest.
func TestGuestThatIsCreatedWasDeleted(t *testing.T) {
	w := story(t)
	deleted := w.must("cloud", &events.VMDeleted{VM: "web-1"})
	created := w.must("cloud", guest("web-1", "hv3", "web"))
	for i, c := range w.log["hr.vm.web-1"] {
		if c.Sequence == deleted {
			w.log["hr.vm.web-1"][i] = Change{Origin: Origin{Sequence: deleted}, Damage: "a bit is wrong"}
		}
	}
	h, _ := answer(w, func(b *Book) (GuestHistory, error) { return b.Guest("web-1", Always()) })
	if len(h.Lives) != 2 || h.Lives[0].Until.Sequence != created || len(h.Lives[1].Homes) != 1 || h.Lives[1].Homes[0].Hypervisor != "hv3" || len(h.Damaged) != 1 {
		t.Errorf("got %+v", h)
	}
}

func TestSkew(t *testing.T) {
	for offset, want := range map[time.Duration]time.Duration{
		0: 0, time.Second: 0, -time.Second: 0, 1001 * time.Millisecond: 1001 * time.Millisecond, -time.Hour: -time.Hour,
	} {
		if got := (Origin{Stored: epoch, Time: epoch.Add(offset)}).Skew(); got != want {
			t.Errorf("%s: got %s, want %s", offset, got, want)
		}
	}
	if got := (Origin{Stored: epoch}).Skew(); got != 0 {
		t.Errorf("without a time: %s", got)
	}
}

func TestComparisonTellsWhatCannotBeReadInBetween(t *testing.T) {
	w := story(t)
	c := NewComparison(w.records[3].Sequence)
	for i, r := range w.records {
		c.Add(w.origins[i], r.Event)
	}
	c.AddUnreadable(Origin{Sequence: 90}, projector.Quarantined{Sequence: 90, Subject: "hr.vm.x", Reason: "rubbish"})
	c.Add(Origin{Sequence: 91}, events.Event{ID: "x", Data: &events.VMDeleted{VM: "nobody"}})
	d := c.Result(91)
	if len(d.Guests) != 2 || d.Events != 4 || len(d.Quarantined) != 2 || d.Quarantined[0].Sequence != 90 || d.Quarantined[1].ID != "x" {
		t.Errorf("got %+v", d)
	}
	if g := d.Guests[0]; g.Verb != Created || g.After != "hv1" || g.By.Source != "setup" || g.By.Type != events.TypeVMCreated {
		t.Errorf("got %+v", g)
	}
}
