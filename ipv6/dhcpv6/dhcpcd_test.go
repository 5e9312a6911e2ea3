package dhcpv6

import (
	"os/exec"
	"syscall"
	"testing"

	"github.com/hostroute/hostroute/internal/testenv"
)

const dhcpcdConfig = `nodev
ipv6only
noipv6rs
slaac hwaddr
duid
option dhcp6_name_servers, dhcp6_domain_search, dhcp6_ntp_server, dhcp6_sol_max_rt, dhcp6_inf_max_rt
allowinterfaces eth0 lan0
interface lan0
  noipv6
interface eth0
  ia_na 1
  ia_pd 2 lan0/0/64/5
`

const dhcpcdScript = `#!/bin/sh
echo "script $reason $interface" $(env | grep -E '^(new|old)_' | sort)
`

// dhcpcd keeps its files where nobody can tell it not to, so it sees other
// directories there. The helpers that it starts end with it, for it is the init
// of a process namespace.
func dhcpcd(guest *testenv.Netns, dir, conf, script string) *exec.Cmd {
	cmd := enclosed(guest, "mkdir -p /run/dhcpcd; mount --bind $1 /var/lib/dhcpcd; exec dhcpcd -B -d -f $2 -c $3", dir, conf, script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	return cmd
}

func TestDhcpcd(t *testing.T) {
	t.Parallel()
	hv := testenv.NewNetns(t)
	guest := plug(t, hv, "tap1")
	lan(guest)
	s, _ := serve(t, hv, Options{}, one(lease()))
	p, dir := newProgram(t, "dhcpcd")
	conf, script := file(t, dir, "conf", dhcpcdConfig, 0o644), file(t, dir, "script", dhcpcdScript, 0o755)
	leases := t.TempDir()
	stop := p.start(dhcpcd(guest, leases, conf, script))
	p.says("script BOUND6 eth0", "2001:db8:cb00:7100::7", "2001:db8:cb00:7107::", "new_dhcp6_name_servers=2001:db8:ffff::53", "new_dhcp6_domain_search=example.com example.net",
		"new_dhcp6_ntp_server_addr=2001:db8:ffff::123")
	p.says("script DELEGATED6 lan0")
	for _, address := range []string{"2001:db8:cb00:7100::7", "2001:db8:cb00:7100::8", "2001:db8:cb00:7107::5"} {
		if !hasAddress(guest, address) {
			t.Errorf("dhcpcd is done and the guest doesn't have %s", address)
		}
	}
	stop(syscall.SIGTERM)
	conf = file(t, dir, "conf", "release\n"+dhcpcdConfig, 0o644)
	stop = p.start(dhcpcd(guest, leases, conf, script)) // with its leases
	p.says("script REBIND6 eth0", "2001:db8:cb00:7100::7")
	p.says("script DELEGATED6 lan0")
	stop(syscall.SIGTERM)
	testenv.Eventually(t, "the release", func() bool { st := s.Status()["tap1"]; return st.Received["release"] > 0 && len(st.Bound) == 0 })
	if st := s.Status()["tap1"]; len(st.Ignored) > 0 {
		t.Errorf("the status is %+v", st)
	}
}
