package dhcpv6

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hostroute/hostroute/internal/testenv"
)

const networkd = "/lib/systemd/systemd-networkd"

const networkdConfig = `[Match]
Name=eth0
[Network]
DHCP=ipv6
IPv6AcceptRA=no
LinkLocalAddressing=ipv6
[DHCPv6]
WithoutRA=%s
RapidCommit=%s
DUIDType=link-layer
UseDomains=yes
`

const networkdLAN = `[Match]
Name=lan0
[Network]
ConfigureWithoutCarrier=yes
IPv6SendRA=no
DHCPPrefixDelegation=yes
[DHCPPrefixDelegation]
UplinkInterface=eth0
SubnetId=0
Token=::5
Announce=no
`

// startNetworkd runs systemd-networkd as the only part of systemd: without a
// bus, and with a /sys that can't be written, which tells it that there is no
// udev to wait for. It returns what networkd says about eth0.
func startNetworkd(t *testing.T, p *program, guest *testenv.Netns, dir string) (says func() string) {
	t.Helper()
	cmd := enclosed(guest, "mount -o remount,bind,ro /sys; mkdir -p /run/systemd/network; cp $1/*.network /run/systemd/network; SYSTEMD_LOG_LEVEL=debug exec "+networkd, dir)
	p.start(cmd)
	return func() string {
		state, err := filepath.Glob(fmt.Sprintf("/proc/%d/root/run/systemd/netif/links/*", cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		for _, path := range state {
			if raw, err := os.ReadFile(path); err == nil {
				out.Write(raw)
			}
		}
		return out.String()
	}
}

// settings are those that only a network with all of the guest's knows.
func settings() []string {
	return []string{"2001:db8:ffff::53", "2001:db8:ffff::123", "example.com example.net"}
}

// TestNetworkd takes a lease by four messages or two, renews it, and renews it
// with another server that comes when the first is gone.
func TestNetworkd(t *testing.T) {
	t.Parallel()
	for _, rapid := range []string{"no", "yes"} {
		t.Run("RapidCommit="+rapid, func(t *testing.T) {
			t.Parallel()
			hv := testenv.NewNetns(t)
			guest := plug(t, hv, "tap1")
			lan(guest)
			short := lease()
			short.Preferred, short.Valid = 4*time.Second, 60*time.Second
			s, stop := serve(t, hv, Options{}, one(short))
			p, dir := newProgram(t, networkd)
			file(t, dir, "eth0.network", fmt.Sprintf(networkdConfig, "solicit", rapid), 0o644)
			file(t, dir, "lan0.network", networkdLAN, 0o644)
			says := startNetworkd(t, p, guest, dir)
			testenv.Eventually(t, "the addresses", func() bool {
				return hasAddress(guest, "2001:db8:cb00:7100::7") && hasAddress(guest, "2001:db8:cb00:7100::8") && hasAddress(guest, "2001:db8:cb00:7107::5")
			})
			testenv.Eventually(t, "the configuration", func() bool { return containsAll(says(), settings()) })
			st := s.Status()["tap1"]
			if two := st.Received["request"] == 0 && st.Sent["advertise"] == 0; two != (rapid == "yes") || len(st.Ignored) > 0 {
				t.Errorf("the status is %+v", st)
			}
			if rapid == "yes" {
				return // what follows is the same
			}
			// This version sends its Renew only sometimes, and then a Rebind after T2.
			extended := func() bool {
				st := s.Status()["tap1"]
				return st.Received["renew"]+st.Received["rebind"] > 0 && len(st.Bound) == 3
			}
			testenv.Eventually(t, "a renewal", extended)
			stop()
			s, _ = serve(t, hv, Options{}, one(short))
			testenv.Eventually(t, "a renewal by the next server", extended)
			if st := s.Status()["tap1"]; st.Received["solicit"] > 0 {
				t.Errorf("the next server had to begin anew: %+v", st)
			}
		})
	}
}

// TestNetworkdAsksForInformation sees what it got in its log only: as long as an
// interface has no lease this version doesn't write down the rest.
func TestNetworkdAsksForInformation(t *testing.T) {
	t.Parallel()
	hv := testenv.NewNetns(t)
	guest := plug(t, hv, "tap1")
	s, _ := serve(t, hv, Options{}, one(lease()))
	p, dir := newProgram(t, networkd)
	file(t, dir, "eth0.network", fmt.Sprintf(networkdConfig, "information-request", "no"), 0o644)
	startNetworkd(t, p, guest, dir)
	p.says("New information request will be refused in 2h") // the refresh time
	p.says("Processed Reply message")
	if st := s.Status()["tap1"]; st.Received["information-request"] == 0 || len(st.Bound) > 0 || len(st.Ignored) > 0 {
		t.Errorf("the status is %+v", st)
	}
}
