package agent

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/events/log"
	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/projector"
)

// crowd is a log in which a hypervisor has some guests with an address each.
func crowd(t *testing.T, guests int) *projection {
	p := &projection{state: projector.New()}
	p.publish(t, &events.HypervisorRegistered{Hypervisor: "hv1"})
	p.publish(t, &events.HypervisorRegistered{Hypervisor: "hv2"})
	p.publish(t, &events.NetworkDefined{Network: "web", VRF: "public", Subnets: []events.Subnet{{Prefix: events.PrefixFrom(netip.MustParsePrefix("203.0.113.0/24"))}}})
	for i := range guests {
		birth(t, p, i)
	}
	return p
}

func birth(t *testing.T, p *projection, i int) {
	p.publish(t, &events.VMCreated{VM: vmName(i), Hypervisor: "hv1", Interfaces: []events.Interface{
		{Tap: fmt.Sprintf("tap%d", i), MAC: events.MAC{Octets: [6]byte{2, 0, 0, 0, 0, byte(i + 1)}}, Network: "web"}}})
	p.publish(t, &events.IPAssigned{VM: vmName(i), Prefix: events.PrefixFrom(netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(i + 1)}), 32))})
}

func said(g *massGuard) string {
	text, _ := g.holding()
	return text
}

func vmName(i int) string { return fmt.Sprintf("vm%d", i) }

// loses forgets guests as a damaged log does.
func loses(s *projector.State, from, to int) *projector.State {
	s = s.Clone()
	for i := from; i < to; i++ {
		s.Forget(events.SubjectVM(vmName(i)))
	}
	return s
}

func TestGuestsThatVanishWithoutAnEventAreHeldBack(t *testing.T) {
	for _, test := range []struct {
		what   string
		guests int
		then   func(t *testing.T, p *projection) *projector.State
		held   string // beginning of what is said
		left   int    // guests that are served
	}{
		{"few of them", 100, func(_ *testing.T, p *projection) *projector.State { return loses(p.state, 0, 20) }, "", 80},
		{"not a tenth", 220, func(_ *testing.T, p *projection) *projector.State { return loses(p.state, 0, 22) }, "", 198},
		{"many", 100, func(_ *testing.T, p *projection) *projector.State { return loses(p.state, 0, 21) }, "21 of 100 routes", 100},
		{"all, into another log", 100, func(*testing.T, *projection) *projector.State { return projector.New() }, "100 of 100 routes", 100},
		{"their network", 30, func(_ *testing.T, p *projection) *projector.State {
			s := p.state.Clone()
			s.Forget(events.SubjectNet("web"))
			return s
		}, "30 of 30 routes", 30},
		{"by events", 100, func(t *testing.T, p *projection) *projector.State {
			for i := range 99 {
				if i%2 == 0 {
					p.publish(t, &events.VMDeleted{VM: vmName(i)})
				} else {
					p.publish(t, &events.VMMigrated{VM: vmName(i), To: "hv2"})
				}
			}
			return p.state.Clone()
		}, "", 1},
	} {
		t.Run(test.what, func(t *testing.T) {
			p := crowd(t, test.guests)
			g := massGuard{hypervisor: "hv1"}
			before := p.state.Clone()
			if got := g.admit(before); got != before {
				t.Fatal("the first state is changed")
			}
			now := test.then(t, p)
			for range 2 { // asking again changes nothing
				served := g.admit(now)
				if n := len(projector.Desired(served, "hv1").Announcements); n != test.left {
					t.Errorf("%d prefixes are served, want %d", n, test.left)
				}
				if said, _ := g.holding(); !strings.HasPrefix(said, test.held) || (said == "") != (test.held == "") {
					t.Errorf("it says %q, want %q", said, test.held)
				}
			}
		})
	}
}

func TestOthersGoOnWhileSomethingIsHeldBack(t *testing.T) {
	p := crowd(t, 50)
	g := massGuard{hypervisor: "hv1"}
	g.admit(p.state.Clone())
	g.admit(loses(p.state, 0, 40))

	p.publish(t, &events.VMDeleted{VM: vmName(45)})
	served := g.admit(loses(p.state, 0, 40))
	if served.Guest(vmName(45)) != nil || served.Guest(vmName(3)) == nil {
		t.Error("an event isn't followed while others are held back")
	}
	for i := range 40 {
		p.publish(t, &events.VMDeleted{VM: vmName(i)})
	}
	served = g.admit(p.state.Clone())
	if n := len(served.Guests()); n != 9 || said(&g) != "" {
		t.Errorf("after events for all of them %d guests are served, and it says %q", n, said(&g))
	}
}

// TestWhatIsHeldBackIsHeldToItsLast: events about some say nothing of the rest,
// neither that fewer are left nor that there are more of others.
func TestWhatIsHeldBackIsHeldToItsLast(t *testing.T) {
	for what, then := range map[string]func(t *testing.T, p *projection){
		"some are deleted": func(t *testing.T, p *projection) {
			for i := range 10 {
				p.publish(t, &events.VMDeleted{VM: vmName(i)})
			}
		},
		"others are created": func(t *testing.T, p *projection) {
			for i := 30; i < 252; i++ {
				birth(t, p, i)
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			p := crowd(t, 30)
			g := massGuard{hypervisor: "hv1"}
			g.admit(p.state.Clone())
			g.admit(loses(p.state, 0, 25))
			then(t, p)
			now := p.state.Clone()
			for i := range 25 {
				if now.Guest(vmName(i)) != nil {
					now.Forget(events.SubjectVM(vmName(i)))
				}
			}
			g.admit(now)
			if served := g.admit(now); served.Guest(vmName(20)) == nil || said(&g) == "" {
				t.Errorf("what is left was given up; it says %q", said(&g))
			}
			if served := g.admit(p.state.Clone()); len(served.Guests()) != len(p.state.Guests()) || said(&g) != "" {
				t.Errorf("all of it is back, and %d guests are served; it says %q", len(served.Guests()), said(&g))
			}
		})
	}
}

func TestAMassWithdrawalCanBeAllowed(t *testing.T) {
	p := crowd(t, 50)
	g := massGuard{hypervisor: "hv1", allow: true}
	g.admit(p.state.Clone())
	if n := len(g.admit(loses(p.state, 0, 50)).Guests()); n != 0 || said(&g) != "" {
		t.Errorf("%d guests are served on, and it says %q", n, said(&g))
	}
}

// TestManyGuestsMayBeDeletedAtOnce through a real log, of which an agent keeps
// nothing that has ended: what is told to end is not what vanished.
func TestManyGuestsMayBeDeletedAtOnce(t *testing.T) {
	task := startLog(t)
	nc, err := log.Connect(task.status().URL, log.ConnectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	client := log.NewClient(nc, 0)
	publish := func(data events.Data) {
		t.Helper()
		if _, err := client.Publish(t.Context(), events.Event{Data: data}); err != nil {
			t.Fatal(err)
		}
	}
	publish(&events.HypervisorRegistered{Hypervisor: "hv1"})
	publish(&events.NetworkDefined{Network: "web", VRF: "public", Subnets: []events.Subnet{{Prefix: events.PrefixFrom(netip.MustParsePrefix("203.0.113.0/24"))}}})
	const guests = 25
	for i := range guests {
		publish(&events.VMCreated{VM: vmName(i), Hypervisor: "hv1", Interfaces: []events.Interface{
			{Tap: fmt.Sprintf("tap%d", i), MAC: events.MAC{Octets: [6]byte{2, 0, 0, 0, 0, byte(i + 1)}}, Network: "web"}}})
		publish(&events.IPAssigned{VM: vmName(i), Prefix: events.PrefixFrom(netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(i + 1)}), 32))})
	}
	testenv.Eventually(t, "all guests", func() bool {
		return len(projector.Desired(task.State(), "hv1").Announcements) == guests
	})
	for i := range guests {
		publish(&events.VMDeleted{VM: vmName(i)})
	}
	testenv.Eventually(t, "the last deletion", func() bool {
		s, _ := task.follower.Checkpoint()
		return len(s.Guests()) == 0
	})
	if n := len(task.State().Guests()); n > 0 || said(&task.guard) != "" {
		t.Errorf("%d deleted guests are served on, and it says %q", n, said(&task.guard))
	}
}
