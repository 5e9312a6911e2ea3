package dhcpv6

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/hostroute/hostroute/internal/testenv"
)

// dhclient's script: one line a call, and the address as a kernel would have it.
const dhclientScript = `#!/bin/sh
case $reason in
BOUND6|RENEW6|REBIND6) [ -z "$new_ip6_address" ] || ip -6 addr replace $new_ip6_address/128 dev $interface nodad ;;
EXPIRE6|RELEASE6|STOP6) [ -z "$old_ip6_address" ] || ip -6 addr del $old_ip6_address/128 dev $interface ;;
esac
echo "script $reason" $(env | grep -E '^(new|cur|old)_' | sort)
`

// option 56 is unknown to dhclient, so it is given a name here.
const dhclientConfig = `option dhcp6.ntp code 56 = string;
request; also request dhcp6.name-servers, dhcp6.domain-search, dhcp6.ntp, dhcp6.solmax-rt, dhcp6.info-refresh-time;
%s
`

type dhclient struct {
	*program
	guest *testenv.Netns
	base  []string
}

func newDhclient(t *testing.T, guest *testenv.Netns, config string) *dhclient {
	p, dir := newProgram(t, "dhclient")
	return &dhclient{program: p, guest: guest, base: []string{"-6", "-d", "-v",
		"-sf", file(t, dir, "script", dhclientScript, 0o755), "-cf", file(t, dir, "conf", fmt.Sprintf(dhclientConfig, config), 0o644),
		"-lf", file(t, dir, "leases", "", 0o644), "-pf", filepath.Join(dir, "pid")}}
}

func (d *dhclient) run(args ...string) (stop func(os.Signal)) {
	d.t.Helper()
	return d.start(d.guest.Command("dhclient", append(append(d.base, args...), "eth0")...))
}

func TestDhclient(t *testing.T) {
	t.Parallel()
	hv := testenv.NewNetns(t)
	guest := plug(t, hv, "tap1")
	s, _ := serve(t, hv, Options{}, one(lease()))
	d := newDhclient(t, guest, "")
	stop := d.run("-N", "-P")
	d.says("Preference 255")
	d.says("script BOUND6", "new_ip6_address=2001:db8:cb00:7100::7", "new_dhcp6_name_servers=2001:db8:ffff::53", "new_dhcp6_domain_search=example.com. example.net.",
		"new_dhcp6_ntp=0:1:0:10:20:1:d:b8:ff:ff:0:0:0:0:0:0:0:0:1:23")
	d.says("script BOUND6", "new_ip6_prefix=2001:db8:cb00:7107::/64")
	testenv.Eventually(t, "the address", func() bool { return hasAddress(guest, "2001:db8:cb00:7100::7") })

	stop(syscall.SIGKILL)
	stop = d.run("-N", "-P") // a reboot; with a prefix that is a Rebind (RFC 8415, section 18.2.12)
	d.says("XMT: Forming Rebind")
	d.says("script REBIND6", "new_ip6_prefix=2001:db8:cb00:7107::/64")
	stop(syscall.SIGKILL)
	d.run("-N", "-P", "-r")
	d.says("script RELEASE6", "old_ip6_prefix=2001:db8:cb00:7107::/64")
	testenv.Eventually(t, "the release", func() bool { st := s.Status()["tap1"]; return st.Received["release"] > 0 && len(st.Bound) == 0 })
	if st := s.Status()["tap1"]; len(st.Ignored) > 0 {
		t.Errorf("the status is %+v", st)
	}
}

// TestDhclientConfirms is a guest that boots again, first with the same
// addresses and then without one of them.
func TestDhclientConfirms(t *testing.T) {
	t.Parallel()
	hv := testenv.NewNetns(t)
	guest := plug(t, hv, "tap1")
	s, _ := serve(t, hv, Options{}, one(lease()))
	d := newDhclient(t, guest, "")
	stop := d.run("-N")
	d.says("script BOUND6", "new_ip6_address=2001:db8:cb00:7100::7")
	d.says("PRC: Renewal event")
	stop(syscall.SIGKILL)
	stop = d.run("-N")
	d.says("XMT: Forming Confirm")
	d.says("status code Success")
	d.says("script BOUND6", "new_ip6_address=2001:db8:cb00:7100::7")
	d.says("PRC: Renewal event")
	stop(syscall.SIGKILL)
	other := lease()
	other.Addresses = other.Addresses[1:]
	set(t, hv, s, one(other))
	stop = d.run("-N")
	d.says("XMT: Forming Confirm")
	d.says("script BOUND6", "new_ip6_address=2001:db8:cb00:7100::8")
	d.says("PRC: Renewal event")
	stop(syscall.SIGKILL)
	if st := s.Status()["tap1"]; st.Received["confirm"] != 2 || len(st.Bound) != 1 || st.Bound[0].Prefix.Addr() != other.Addresses[0] {
		t.Errorf("the status is %+v", st)
	}
}

func TestDhclientAsksForInformation(t *testing.T) {
	t.Parallel()
	hv := testenv.NewNetns(t)
	guest := plug(t, hv, "tap1")
	s, _ := serve(t, hv, Options{}, one(lease()))
	d := newDhclient(t, guest, "")
	d.run("-S")
	d.says("new_dhcp6_name_servers=2001:db8:ffff::53", "new_dhcp6_domain_search=example.com. example.net.")
	if st := s.Status()["tap1"]; st.Received["information-request"] != 1 || len(st.Bound) > 0 {
		t.Errorf("the status is %+v", st)
	}
}

// TestDhclientCommitsRapidlyRenewsAndRebinds has times of seconds.
func TestDhclientCommitsRapidlyRenewsAndRebinds(t *testing.T) {
	t.Parallel()
	hv := testenv.NewNetns(t)
	guest := plug(t, hv, "tap1")
	short := lease()
	short.Preferred, short.Valid = 4*time.Second, 60*time.Second
	s, stop := serve(t, hv, Options{}, one(short))
	d := newDhclient(t, guest, "send dhcp6.rapid-commit;")
	d.run("-N")
	d.says("script BOUND6", "new_ip6_address=2001:db8:cb00:7100::7")
	if st := s.Status()["tap1"]; st.Received["request"] > 0 || st.Sent["advertise"] > 0 || st.Sent["reply"] != 1 {
		t.Errorf("rapid commit: the status is %+v", st)
	}
	d.says("XMT: Renew")
	d.says("script RENEW6", "new_ip6_address=2001:db8:cb00:7100::7")
	stop()
	d.says("XMT: Renew on") // unheard
	s, _ = serve(t, hv, Options{}, one(short))
	d.says("script REBIND6", "new_ip6_address=2001:db8:cb00:7100::7")
	if st := s.Status()["tap1"]; st.Received["rebind"] != 1 || st.Received["renew"] > 0 {
		t.Errorf("rebinding: the status is %+v", st)
	}
}
