package dhcpv6

import (
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	wire "github.com/insomniacslk/dhcp/dhcpv6"
	"go.uber.org/goleak"

	"github.com/hostroute/hostroute/internal/receive"
	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/ipv6"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const unlimited = 1 << 30

func one(l ipv6.Lease) map[string]ipv6.Lease { return map[string]ipv6.Lease{"tap1": l} }

func solicit(c *client, options ...wire.Option) *wire.Message {
	return c.message(wire.MessageTypeSolicit, append([]wire.Option{duid(1), &wire.OptIANA{IaId: [4]byte{1}}, &wire.OptIAPD{IaId: [4]byte{2}}}, options...)...)
}

func rapid() wire.Option { return &wire.OptionGeneric{OptionCode: wire.OptionRapidCommit} }

func TestTwoTapsHaveNothingInCommon(t *testing.T) {
	hv := testenv.NewNetns(t)
	other := ipv6.Lease{Addresses: lease().Addresses[1:], Valid: time.Hour, Preferred: time.Hour}
	leases := map[string]ipv6.Lease{"tap1": lease(), "tap2": other}
	clients := map[string]*client{}
	for tap := range leases {
		clients[tap] = newClient(t, plug(t, hv, tap))
	}
	s, _ := serve(t, hv, Options{}, leases)
	for tap, c := range clients {
		// The same DUID on both: it is the tap that says who asks.
		a := c.ask(solicit(c))
		if p := a.GetOneOption(wire.OptionPreference); a.MessageType != wire.MessageTypeAdvertise || p == nil || p.ToBytes()[0] != 255 {
			t.Errorf("Solicit on %s was answered by %s, want an Advertise of the highest preference", tap, a)
		}
		a = c.ask(solicit(c, rapid()))
		if got := fmt.Sprint(told(a)); got != mine(leases[tap]) {
			t.Errorf("the guest of %s was given %s, want %s", tap, got, mine(leases[tap]))
		}
		if a.MessageType != wire.MessageTypeReply || a.GetOneOption(wire.OptionRapidCommit) == nil {
			t.Errorf("the rapid Solicit on %s was answered by %s, want a Reply with Rapid Commit", tap, a)
		}
		testenv.Eventually(t, "the status of "+tap, func() bool { return len(s.Status()[tap].Bound) == len(strings.Fields(mine(leases[tap]))) })
	}
}

func TestTheTapMayComeAndGo(t *testing.T) {
	hv := testenv.NewNetns(t)
	c := newClient(t, plug(t, hv, "tap1"))
	hv.IP("addr del fe80::1/64 dev tap1")
	s := New(Options{In: hv.Do})
	set(t, hv, s, one(lease()))
	stop := run(t, s)
	defer stop()
	testenv.Eventually(t, "the lack of fe80::1 to be told", func() bool { return strings.Contains(s.Status()["tap1"].Error, "fe80::1") })
	address(hv, "tap1")
	testenv.Eventually(t, "the server to listen", func() bool { return listening(hv, "tap1") })
	c.ask(solicit(c))
	hv.IP("link set tap1 down")
	hv.IP("link set tap1 up")
	address(hv, "tap1")
	c.ask(solicit(c))
	s.Set(nil)
	testenv.Eventually(t, "the server to leave the tap", func() bool { return !listening(hv, "tap1") })
	if got := s.Status(); len(got) > 0 {
		t.Errorf("a tap that is not served has a status: %v", got)
	}
}

func TestAnotherDeviceOfTheName(t *testing.T) {
	hv := testenv.NewNetns(t)
	plug(t, hv, "tap1")
	p := port(t, hv, "tap1")
	err := hv.Do(func() error { _, err := listen(p.Name, p.Index+1); return err })
	if err == nil || !strings.Contains(err.Error(), "another device") {
		t.Errorf("listening on a device that isn't the one that was meant: %v", err)
	}
}

func TestWhoMayAskAndWhere(t *testing.T) {
	hv := testenv.NewNetns(t)
	guest := plug(t, hv, "tap1")
	guest.IP("addr add 2001:db8:cb00:7100::7/64 dev eth0 nodad")
	hv.IP("route add 2001:db8:cb00:7100::7/128 dev tap1")
	s, _ := serve(t, hv, Options{}, one(lease()))
	c := newClient(t, guest)
	renew := func() *wire.Message {
		return c.message(wire.MessageTypeRenew, duid(1), serverID(), &wire.OptIANA{IaId: [4]byte{1}})
	}
	ignored := func(why ipv6.DHCPIgnored) {
		t.Helper()
		testenv.Eventually(t, "a count of "+string(why), func() bool { return s.Status()["tap1"].Ignored[string(why)] == 1 })
	}
	c.send(renew(), "fe80::1")
	if a := c.receive(); a.Options.Status() == nil || a.Options.Status().StatusCode != 5 || len(a.Options.IANA()) > 0 {
		t.Errorf("a unicast Renew was answered by %s, want UseMulticast alone", a)
	}
	c.send(solicit(c), "fe80::1")
	ignored(ipv6.IgnoredUnicast)
	c.send(solicit(c), "ff02::1")
	ignored(ignoredDestination)
	global := newClient(t, guest, "2001:db8:cb00:7100::7")
	global.send(solicit(global), "ff02::1:2")
	ignored(ignoredSource)
	c.send(&wire.Message{MessageType: wire.MessageTypeRelayForward}, "ff02::1:2")
	ignored(ipv6.IgnoredRelayed)
	// Had any of these been answered the answer would come before this one.
	if a := c.ask(renew()); fmt.Sprint(told(a)) != "[2001:db8:cb00:7100::7 2001:db8:cb00:7100::8]" {
		t.Errorf("Renew gave %s", a)
	}
}

// TestNextServer is a guest whose server goes, and another one, of this
// hypervisor or another, is at its tap: it renews there and notices nothing.
func TestNextServer(t *testing.T) {
	hv := testenv.NewNetns(t)
	guest := plug(t, hv, "tap1")
	c := newClient(t, guest)
	_, stop := serve(t, hv, Options{}, one(lease()))
	first := c.ask(solicit(c, rapid()))
	stop()
	renew := func(who string) {
		t.Helper()
		m := c.message(wire.MessageTypeRenew, first.GetOneOption(wire.OptionClientID), first.GetOneOption(wire.OptionServerID),
			first.Options.OneIANA(), first.Options.OneIAPD())
		a := c.ask(m)
		if got := fmt.Sprint(told(a)); got != mine(lease()) || !a.Options.ServerID().Equal(first.Options.ServerID()) {
			t.Errorf("%s gave %s as %s, want the same as before from %s", who, got, a.Options.ServerID(), first.Options.ServerID())
		}
	}
	_, stop = serve(t, hv, Options{}, one(lease()))
	renew("the server after a restart")
	stop()

	elsewhere := testenv.NewNetns(t)
	hv.IP("link set tap1 netns " + elsewhere.Name + " name tapX")
	elsewhere.Sysctl("net.ipv6.conf.all.forwarding=1")
	address(elsewhere, "tapX")
	serve(t, elsewhere, Options{}, map[string]ipv6.Lease{"tapX": lease()})
	renew("the server of another hypervisor")
}

// TestManyIdentities is a guest that says to be 100,000 others.
func TestManyIdentities(t *testing.T) {
	hv := testenv.NewNetns(t)
	c := newClient(t, plug(t, hv, "tap1"))
	s, _ := serve(t, hv, Options{Rate: receive.Rate{PerSecond: unlimited, Burst: unlimited}}, one(lease()))
	const identities = 100_000
	var before uint64
	for i := range uint32(identities) {
		m := c.message(wire.MessageTypeSolicit, duid(i), &wire.OptIANA{IaId: [4]byte{byte(i), byte(i >> 8)}}, rapid())
		if got := fmt.Sprint(told(c.ask(m))); got != "[2001:db8:cb00:7100::7 2001:db8:cb00:7100::8]" {
			t.Fatalf("identity %d was given %s", i, got)
		}
		if i == identities/100 {
			before = heap()
		}
	}
	if after := heap(); after > before+256<<10 {
		t.Errorf("the heap grew from %d to %d bytes", before, after)
	}
	st := s.Status()["tap1"]
	if st.Received["solicit"] != identities || len(st.Bound) != 2 || len(st.Client) > 2*longestClient {
		t.Errorf("the status is %+v", st)
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestAFloodIsItsOwnersTrouble sends as much as it can on one tap while the
// guest of another one asks.
func TestAFloodIsItsOwnersTrouble(t *testing.T) {
	hv := testenv.NewNetns(t)
	leases := map[string]ipv6.Lease{"tap1": lease(), "tap2": lease()}
	loud := newClient(t, plug(t, hv, "tap1"))
	quiet := newClient(t, plug(t, hv, "tap2"))
	s, _ := serve(t, hv, Options{}, leases)
	var sent atomic.Uint64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		packet, to := solicit(loud).ToBytes(), netip.AddrPortFrom(allServers(), serverPort)
		for {
			select {
			case <-stop:
				return
			default:
				if _, err := loud.conn.WriteToUDPAddrPort(packet, to); err == nil {
					sent.Add(1)
				}
			}
		}
	}()
	testenv.Eventually(t, "the limit to be reached", func() bool { return s.Status()["tap1"].Limited > 0 && sent.Load() > 10_000 })
	for range 30 {
		quiet.ask(solicit(quiet))
	}
	close(stop)
	<-done
	st := s.Status()
	if n := st["tap1"].Received["solicit"]; n > sent.Load()/10 {
		t.Errorf("%d of %d messages were handled", n, sent.Load())
	}
	if st["tap2"].Limited > 0 || st["tap2"].Sent["advertise"] != 30 {
		t.Errorf("the quiet guest's status is %+v", st["tap2"])
	}
}

// TestInVRF is the same in a VRF, where clients appear to be on the VRF device.
func TestInVRF(t *testing.T) {
	testenv.RequireVRF(t)
	hv := testenv.NewNetns(t)
	guest := plug(t, hv, "tap1")
	hv.IP("link add public type vrf table 90", "link set public up", "link set tap1 master public")
	address(hv, "tap1")
	c := newClient(t, guest)
	serve(t, hv, Options{}, one(lease()))
	if got := fmt.Sprint(told(c.ask(solicit(c, rapid())))); got != mine(lease()) {
		t.Errorf("the guest was given %s, want %s", got, mine(lease()))
	}
	hv.IP("link set tap1 nomaster", "link set tap1 master public")
	address(hv, "tap1")
	c.ask(solicit(c))
}
