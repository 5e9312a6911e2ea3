package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hostroute/hostroute/internal/testenv"
)

// udhcpdConfig is a server that isn't ours, for the clients' side alone.
const udhcpdConfig = `start %[1]s
end %[1]s
interface %[2]s
lease_file %[3]s
pidfile %[3]s.pid
opt subnet 255.255.255.128
opt router 203.0.113.1
opt dns 192.0.2.53 192.0.2.54
opt domain lab.example
opt search lab.example example.net
opt mtu 1450
opt staticroutes 169.254.0.1/32 0.0.0.0, 0.0.0.0/0 203.0.113.1
opt lease 600
`

// serve starts a DHCP server behind a guest's first tap.
func serve(t *testing.T, l *Lab, guest string) {
	t.Helper()
	g, err := l.Topology.Guest(guest)
	if err != nil {
		t.Fatal(err)
	}
	i := g.Interfaces[0]
	var b batch
	b.add("addr add 203.0.113.1/32 dev %s", i.Tap)
	b.add("link set %s up", i.Tap)
	b.add("route add %s/32 dev %s", i.V4, i.Tap)
	if err := b.run(t.Context(), l.Topology.Namespace(g.Hypervisor)); err != nil {
		t.Fatal(err)
	}
	leases := l.path(guest + ".leases")
	config := fmt.Sprintf(udhcpdConfig, i.V4, i.Tap, leases)
	if err := errors.Join(os.WriteFile(leases, nil, 0o644), os.WriteFile(leases+".conf", []byte(config), 0o644)); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Start(t.Context(), g.Hypervisor, "udhcpd-"+guest, "busybox", "udhcpd", "-f", leases+".conf"); err != nil {
		t.Fatal(err)
	}
}

// TestClients has every client get an address from another DHCP server than ours, each on a guest of its own: what
// their wrappers and the script do is tested without hostroute.
func TestClients(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"udhcpc", "dhclient", "dhcpcd", "/lib/systemd/systemd-networkd", "busybox"} {
		testenv.RequireTool(t, tool)
	}
	l := testLab(t)
	t.Run("of", func(t *testing.T) { // the lab stays until all are done
		for guest, run := range map[string]func(*testing.T, *Lab, string){"vm1": runUdhcpc, "vm2": runDhclient, "vm3": runDhcpcd, "vm4": runNetworkd} {
			t.Run(guest, func(t *testing.T) {
				t.Parallel()
				serve(t, l, guest)
				if err := l.PowerOn(t.Context(), guest); err != nil {
					t.Fatal(err)
				}
				run(t, l, guest)
			})
		}
	})
}

func runUdhcpc(t *testing.T, l *Lab, guest string) {
	c := started(t, l.Udhcpc)(guest, "eth0")
	checkTold(t, l, c, await(t, c, 1, "bound"))
	if err := c.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkTold(t, l, c, await(t, c, 1, "renew"))
	if err := c.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(t, c, 2, "deconfig")
	checkGone(t, l, guest)
	if err := c.End(t.Context()); err != nil {
		t.Error(err)
	}
}

func runDhclient(t *testing.T, l *Lab, guest string) {
	start := started(t, func(ctx context.Context, guest, iface string, more ...string) (*Client, error) {
		return l.Dhclient(ctx, guest, iface, 4, more...)
	})
	c := start(guest, "eth0")
	checkTold(t, l, c, await(t, c, 1, "BOUND"))
	reboot(t, l, c)
	c = start(guest, "eth0")
	checkTold(t, l, c, await(t, c, 1, "REBOOT"))
	if said, err := c.Said(); err != nil || strings.Contains(said, "DHCPDISCOVER") {
		t.Errorf("after the reboot it didn't ask for what it remembered: %v\n%s", err, said)
	}
	if err := c.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(t, c, 1, "RELEASE")
	checkGone(t, l, guest)
}

func runDhcpcd(t *testing.T, l *Lab, guest string) {
	c, err := l.Dhcpcd(t.Context(), guest, []string{"eth0"})
	if err != nil {
		t.Fatal(err)
	}
	c.Interface = "eth0"
	checkTold(t, l, c, await(t, c, 1, "BOUND"))
	if err := c.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkTold(t, l, c, await(t, c, 1, "RENEW"))
	if err := c.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(t, c, 1, "STOP")
	if said, err := c.Said(); err != nil || !strings.Contains(said, "releasing lease") {
		t.Errorf("it didn't release its lease: %v\n%s", err, said)
	}
	checkGone(t, l, guest)
}

func runNetworkd(t *testing.T, l *Lab, guest string) {
	c, err := l.Networkd(t.Context(), guest, "eth0")
	if err != nil {
		t.Fatal(err)
	}
	var lease Told
	eventually(t, "networkd's lease", clientLimit, func() error {
		lease, err = l.NetworkdLease(t.Context(), guest, "eth0")
		return err
	})
	c.Interface = "eth0"
	checkTold(t, l, c, lease)
	if err := c.Renew(t.Context()); !errors.Is(err, ErrNoCommand) {
		t.Errorf("having networkd renew: %v, want ErrNoCommand", err)
	}
	reboot(t, l, c)
	checkGone(t, l, guest)
}

// started turns a way to start a client into one that fails the test.
func started(t *testing.T, start func(context.Context, string, string, ...string) (*Client, error)) func(guest, iface string) *Client {
	return func(guest, iface string) *Client {
		t.Helper()
		c, err := start(t.Context(), guest, iface)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
}

func await(t *testing.T, c *Client, nth int, event string) Told {
	t.Helper()
	told, err := c.Await(t.Context(), nth, event)
	if err != nil {
		t.Fatal(err)
	}
	return told
}

// checkTold wants the server's words in the transcript, and the guest's kernel to follow them.
func checkTold(t *testing.T, l *Lab, c *Client, told Told) {
	t.Helper()
	g, err := l.Topology.Guest(c.Guest)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"server": "203.0.113.1", "routers": "203.0.113.1", "dns": "192.0.2.53 192.0.2.54", "domain": "lab.example", "mtu": "1450", "lease": "600"}
	got := map[string]string{}
	for name := range want {
		got[name] = told.Fact(name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s was told (-want +got):\n%s", c.Name, diff)
	}
	if search := strings.ReplaceAll(told.Fact("search"), "example. ", "example "); !strings.HasPrefix(search, "lab.example example.net") {
		t.Errorf("%s was told to search %q", c.Name, search)
	}
	address := netip.PrefixFrom(g.Interfaces[0].V4, 25)
	eventually(t, c.Name+"'s address and routes", 5*time.Second, func() error {
		addresses, err := l.GuestAddresses(t.Context(), c.Guest, c.Interface)
		if err != nil || !slices.Contains(addresses, address) {
			return fmt.Errorf("addresses %v: %w", addresses, err)
		}
		routes, err := l.GuestRoutes(t.Context(), c.Guest, c.Interface)
		if via := routes[netip.MustParsePrefix("0.0.0.0/0")]; err != nil || via != netip.MustParseAddr("203.0.113.1") {
			return fmt.Errorf("routes %v: %w", routes, err)
		}
		return nil
	})
}

func checkGone(t *testing.T, l *Lab, guest string) {
	t.Helper()
	eventually(t, "the address to go", 5*time.Second, func() error {
		addresses, err := l.GuestAddresses(t.Context(), guest, "eth0")
		if err == nil && len(addresses) > 0 {
			return fmt.Errorf("it still has %v", addresses)
		}
		return err
	})
}

// reboot cuts a guest's power and switches it on again, without its clients.
func reboot(t *testing.T, l *Lab, c *Client) {
	t.Helper()
	if err := errors.Join(l.PowerOff(t.Context(), c.Guest), l.PowerOn(t.Context(), c.Guest)); err != nil {
		t.Fatal(err)
	}
}

func TestParseTold(t *testing.T) {
	got := parseTold([]byte("udhcpc\tdeconfig\nudhcpc\tbound\taddress=203.0.113.11/25\troutes=169.254.0.1/32  0.0.0.0 \nbroken\n"))
	want := []Told{{"udhcpc", "deconfig", map[string]string{}}, {"udhcpc", "bound", map[string]string{"address": "203.0.113.11/25", "routes": "169.254.0.1/32  0.0.0.0 "}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("transcript (-want +got):\n%s", diff)
	}
	if routes := got[1].Fact("routes"); routes != "169.254.0.1/32 0.0.0.0" {
		t.Errorf("routes %q", routes)
	}
}

// TestEUI64 holds the example of RFC 4291, appendix A, and an address of the lab.
func TestEUI64(t *testing.T) {
	p := netip.MustParsePrefix("2001:db8::/64")
	for want, mac := range map[string][6]byte{
		"2001:db8::3656:78ff:fe9a:bcde": {0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde},
		"2001:db8::ff:fe00:100":         {2, 0, 0, 0, 1, 0},
	} {
		if got := EUI64(p, mac); got != netip.MustParseAddr(want) {
			t.Errorf("%x makes %s, want %s", mac, got, want)
		}
	}
}
