package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Udhcpc starts busybox's client for IPv4 on an interface. It asks every second until it is answered, for all
// that the lab's script makes use of. Its events are bound, renew, deconfig, leasefail and nak.
func (l *Lab) Udhcpc(ctx context.Context, guest, iface string, more ...string) (*Client, error) {
	args := []string{"udhcpc", "-f", "-i", iface, "-s", l.clientScript(), "-t", "5", "-T", "1", "-A", "1",
		"-O", "staticroutes", "-O", "mtu", "-O", "search"}
	c := Client{Guest: guest, Interface: iface, told: l.toldFile(guest, iface+"-udhcpc"), end: syscall.SIGKILL}
	started, err := l.startClient(ctx, c, iface+"-udhcpc", "udhcpc", append(args, more...)...)
	if err != nil {
		return nil, err
	}
	pid := strconv.Itoa(started.PID)
	started.renew, started.release = []string{"kill", "-USR1", pid}, []string{"kill", "-USR2", pid}
	return started, nil
}

// dhclientConfig has ISC's client ask soon and often, and for the classless routes, which it doesn't know by name.
const dhclientConfig = `option rfc3442-classless-static-routes code 121 = array of unsigned integer 8;
request subnet-mask, routers, domain-name, domain-name-servers, domain-search, host-name, interface-mtu, ntp-servers,
  rfc3442-classless-static-routes, dhcp6.name-servers, dhcp6.domain-search, dhcp6.sntp-servers;
initial-interval 1;
backoff-cutoff 2;
retry 1;
timeout 60;
`

// Dhclient starts ISC's client on an interface for a family. It remembers its lease from one start to the next, as
// over a reboot. For IPv6 it asks for an address unless the further arguments say otherwise (-P: a prefix). Its
// events are those of dhclient-script(8): BOUND, RENEW, REBOOT; BOUND6, RENEW6 and so on.
func (l *Lab) Dhclient(ctx context.Context, guest, iface string, family int, more ...string) (*Client, error) {
	name := fmt.Sprintf("%s-dhclient%d", iface, family)
	c := Client{Guest: guest, Interface: iface, told: l.toldFile(guest, name), end: syscall.SIGKILL}
	args, err := l.dhclientArgs(c, name, family)
	if err != nil {
		return nil, err
	}
	c.release = slices.Concat(args, []string{"-r"}, more, []string{iface}) // another run of the program does it
	return l.startClient(ctx, c, name, "dhclient", slices.Concat(args, []string{"-d"}, more, []string{iface})...)
}

// dhclientArgs names the files of one client; a release has to find those of the client that got the lease.
func (l *Lab) dhclientArgs(c Client, name string, family int) ([]string, error) {
	config := l.guestPath(c.Guest, "dhclient.conf")
	if err := os.WriteFile(config, []byte(dhclientConfig), 0o644); err != nil {
		return nil, fmt.Errorf("writing the configuration of dhclient: %w", err)
	}
	return []string{"dhclient", fmt.Sprintf("-%d", family), "-v", "-cf", config, "-sf", l.clientScript(),
		"-lf", l.guestPath(c.Guest, name+".leases"), "-pf", l.guestPath(c.Guest, name+".pid"),
		// It gives its script an environment of its own making.
		"-e", "HR_CLIENT=dhclient", "-e", "HR_TOLD=" + c.told}, nil
}

// dhcpcdConfig has no udev to wait for, and IPv6 addresses that can be foretold.
const dhcpcdConfig = `nodev
duid ll
clientid
persistent
noipv4ll
nohook resolv.conf
slaac hwaddr
env HR_CLIENT=dhcpcd
env HR_TOLD=/run/told
option domain_name_servers, domain_name, domain_search, host_name, interface_mtu, ntp_servers, classless_static_routes
option dhcp6_name_servers, dhcp6_domain_search
`

// Dhcpcd starts Roy Marples's client for both families on interfaces. It takes router advertisements into its own
// hands, and it remembers its leases. Further lines of its configuration may follow, such as those that ask for a
// prefix. A
// release ends it. Its events are BOUND, RENEW, REBOOT, STOP, ROUTERADVERT, BOUND6 and so on.
func (l *Lab) Dhcpcd(ctx context.Context, guest string, ifaces []string, more ...string) (*Client, error) {
	box, err := l.box(guest)
	if err != nil {
		return nil, err
	}
	config := dhcpcdConfig + strings.Join(more, "\n") + "\n"
	err = errors.Join(os.WriteFile(filepath.Join(box, "run/dhcpcd.conf"), []byte(config), 0o644), l.copyScript(box))
	if err != nil {
		return nil, fmt.Errorf("writing the configuration of dhcpcd: %w", err)
	}
	program := append(l.boxed(box), "dhcpcd", "-f", "/run/dhcpcd.conf", "-c", "/run/client.sh")
	c := Client{Guest: guest, told: filepath.Join(box, "run/told"), end: syscall.SIGTERM, // by which its helpers end too
		renew: slices.Concat(program, []string{"-N"}, ifaces), release: slices.Concat(program, []string{"-k"}, ifaces)}
	return l.startClient(ctx, c, "dhcpcd", "dhcpcd", slices.Concat(program, []string{"-B", "-d"}, ifaces)...)
}

// boxed is how a program is started in a box.
func (l *Lab) boxed(box string) []string {
	return []string{"env", "HR_BOX=" + box, "sh", l.path(guestsDir, "boxed.sh")}
}

// copyScript puts the script where a boxed client finds it, whose /run is another.
func (l *Lab) copyScript(box string) error {
	text, err := clientFiles.ReadFile("clients/client.sh")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(box, "run/client.sh"), text, 0o755)
}

// box makes the directories that a boxed client has in the place of the machine's.
func (l *Lab) box(guest string) (string, error) {
	box := l.guestPath(guest, "box")
	for _, dir := range []string{"run/systemd/network", "run/dhcpcd", "lib"} {
		if err := os.MkdirAll(filepath.Join(box, dir), 0o755); err != nil {
			return "", fmt.Errorf("making the box of a client in %s: %w", guest, err)
		}
	}
	return box, nil
}

// networkdConfig is for every interface of a guest. The identifiers come from the hardware address, since guests
// share the machine's id.
const networkdConfig = `[Match]
Name=%s
[Network]
DHCP=yes
IPv6AcceptRA=yes
[DHCPv4]
ClientIdentifier=mac
UseMTU=yes
UseHostname=no
UseTimezone=no
[DHCPv6]
DUIDType=link-layer
UseHostname=no
`

// Networkd starts systemd-networkd for interfaces of a guest. It takes router advertisements into its own hands. Its
// lease is read by NetworkdLease; it can't be told to renew or to release it without a message bus.
func (l *Lab) Networkd(ctx context.Context, guest string, ifaces ...string) (*Client, error) {
	box, err := l.box(guest)
	if err != nil {
		return nil, err
	}
	// Its name is the first in order, before what the machine may have in /etc or /usr.
	file := filepath.Join(box, "run/systemd/network/00-lab.network")
	if err := os.WriteFile(file, fmt.Appendf(nil, networkdConfig, strings.Join(ifaces, " ")), 0o644); err != nil {
		return nil, fmt.Errorf("writing the configuration of systemd-networkd: %w", err)
	}
	c := Client{Guest: guest, told: filepath.Join(box, "run/told"), end: syscall.SIGKILL}
	return l.startClient(ctx, c, "networkd", "networkd", append(l.boxed(box), "env", "SYSTEMD_LOG_TARGET=console", "/lib/systemd/systemd-networkd")...)
}

// NetworkdLease reads what systemd-networkd was told by DHCPv4 on an interface, under the names of Told.
func (l *Lab) NetworkdLease(ctx context.Context, guest, iface string) (Told, error) {
	index, err := l.Exec(ctx, guest, "cat", "/sys/class/net/"+iface+"/ifindex")
	if err != nil {
		return Told{}, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(index))
	if err != nil {
		return Told{}, fmt.Errorf("reading the index of %s in %s: %w", iface, guest, err)
	}
	raw, err := os.ReadFile(l.guestPath(guest, "box/run/systemd/netif/leases", strconv.Itoa(n)))
	if err != nil {
		return Told{}, fmt.Errorf("reading networkd's lease on %s in %s: %w", iface, guest, err)
	}
	names := map[string]string{"ADDRESS": "address", "SERVER_ADDRESS": "server", "ROUTER": "routers", "ROUTES": "routes", "DNS": "dns",
		"DOMAINNAME": "domain", "DOMAIN_SEARCH_LIST": "search", "HOSTNAME": "hostname", "MTU": "mtu", "NTP": "ntp", "LIFETIME": "lease"}
	t := Told{Client: "networkd", Event: "lease", Facts: map[string]string{}}
	for line := range strings.Lines(string(raw)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if name, ok := names[key]; ok {
			t.Facts[name] = value
		}
	}
	return t, nil
}
