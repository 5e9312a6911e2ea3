package server

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hostroute/hostroute/internal/dhcp"
	"github.com/hostroute/hostroute/internal/testenv"
)

// client is a DHCP client as guests have it.
type client struct {
	program string
	// args are its arguments; dir outlives the client.
	args  func(testdata, dir string) []string
	out   string // where in dir is written what the server said
	keys  map[string]string
	renew syscall.Signal // makes it renew at once; 0: it waits for T1
	// A client remembers its address over a boot, or only over a loss of the
	// carrier (bounce), or it forgets.
	bounce, forgets bool
	release         func(r *running)
}

func clients() map[string]client {
	return map[string]client{
		"udhcpc": {
			program: "udhcpc", out: "got", renew: syscall.SIGUSR1, forgets: true,
			args: func(data, dir string) []string {
				return []string{"-f", "-i", "eth0", "-s", data + "/udhcpc.sh", "-p", dir + "/pid", "-t", "10", "-T", "1",
					"-O", "staticroutes", "-O", "search", "-O", "mtu", "-O", "ntpsrv", "-x", "0x0c:6775657374", "-V", "evil\nclass"}
			},
			release: func(r *running) { r.signal(syscall.SIGUSR2) },
		},
		"dhclient": {
			program: "dhclient", out: "got", args: dhclient("-d"),
			release: func(r *running) {
				// A new one first: a running one writes its lease down only every 15 s,
				// and it is the one that releases which has to know it.
				g, acks := r.guest, r.guest.status().Counters.Acks
				r = r.boot("dhclient", dhclient("-d"))
				await(g.site.t, "a lease after a boot", func() bool { return g.status().Counters.Acks > acks && g.address().IsValid() })
				g.start("dhclient", r.dir, dhclient("-r")).wait()
			},
		},
		"dhcpcd": {
			program: "dhcpcd", out: "got",
			args: func(data, dir string) []string {
				return []string{"-B", "-f", data + "/dhcpcd.conf", "-c", data + "/dhcpcd.sh", "-e", "OUT=" + dir + "/got",
					"-h", "guest", "-i", "evil\nclass", "eth0"}
			},
			release: func(r *running) {
				// It may drop its address before its helper has sent the message.
				g, c := r.guest, clients()["dhcpcd"]
				for range 5 {
					r.signal(syscall.SIGALRM)
					r.wait()
					if within(2*time.Second, func() bool { return g.status().Counters.Releases > 0 }) {
						return
					}
					r = r.boot(c.program, c.args)
					await(g.site.t, "an address after a boot", func() bool { return g.address().IsValid() })
				}
			},
		},
		"networkd": {
			program: "/lib/systemd/systemd-networkd", out: "netif/leases/2",
			args: func(string, string) []string { return nil },
			keys: map[string]string{
				"dns": "DNS", "ntp": "NTP", "domain": "DOMAINNAME", "search": "DOMAIN_SEARCH_LIST", "hostname": "HOSTNAME", "mtu": "MTU",
			},
			bounce:  true,
			release: func(r *running) { r.signal(syscall.SIGTERM) },
		},
	}
}

func dhclient(mode string) func(data, dir string) []string {
	return func(data, dir string) []string {
		return []string{mode, "-4", "-cf", data + "/dhclient.conf", "-sf", data + "/dhclient.sh", "-lf", dir + "/leases",
			"-pf", dir + "/pid", "-e", "OUT=" + dir + "/got", "eth0"}
	}
}

// running is a client that runs in a guest.
type running struct {
	guest *guest
	cmd   *exec.Cmd
	dir   string
	log   string
	done  chan struct{}
}

// start runs a client until it ends or the test does.
func (g *guest) start(program, dir string, args func(testdata, dir string) []string) *running {
	t := g.site.t
	t.Helper()
	data, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.CreateTemp(dir, "log")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	r := &running{guest: g, dir: dir, log: log.Name(), done: make(chan struct{})}
	r.cmd = g.Command("unshare", append([]string{"-m", "-u", "sh", data + "/guest.sh", program}, args(data, dir)...)...)
	r.cmd.Env = append(os.Environ(), "DIR="+dir, "OUT="+dir+"/got", "SYSTEMD_LOG_LEVEL=debug", "SYSTEMD_LOG_TARGET=console")
	r.cmd.Stdout, r.cmd.Stderr = log, log
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = r.cmd.Wait()
		close(r.done)
	}()
	t.Cleanup(func() {
		r.kill()
		if t.Failed() {
			text, _ := os.ReadFile(r.log)
			t.Logf("%s said:\n%s", program, text)
		}
	})
	return r
}

func (r *running) signal(s syscall.Signal) { _ = r.cmd.Process.Signal(s) }
func (r *running) wait()                   { <-r.done }

// kill ends the client and what it left behind in the guest (dhcpcd has helpers).
func (r *running) kill() {
	r.signal(syscall.SIGKILL)
	r.wait()
	pids, _ := exec.Command("ip", "netns", "pids", r.guest.Name).Output()
	for pid := range strings.FieldsSeq(string(pids)) {
		if n, err := strconv.Atoi(pid); err == nil {
			_ = syscall.Kill(n, syscall.SIGKILL)
		}
	}
}

// short is a lease of which a client renews after 3 s and rebinds after 6 s.
const short = 7 * time.Second

// lifetime has a client live through everything that DHCP has, and looks at the
// server and at the guest's kernel after each step.
func (c client) lifetime(t *testing.T, service dhcp.Service) {
	testenv.RequireTool(t, c.program)
	testenv.RequireTool(t, "nft")
	g := newSite(t, Options{}).plug(service)
	dir := t.TempDir()
	r := g.start(c.program, dir, c.args)
	await(t, "an address", func() bool { return g.status().Counters.Acks > 0 && g.address() == service.Address })
	c.verify(t, g, dir, service)

	if !c.forgets {
		service.Lease = short
		g.serve(service)
		if c.bounce {
			g.bounce()
		} else {
			r = r.boot(c.program, c.args)
		}
		await(t, "asking for the address that it remembers", func() bool { return g.status().LastState == dhcp.InitReboot })
		c.verify(t, g, dir, service)
	}

	g.forbidUnicast(true)
	c.hurry(r)
	await(t, "rebinding", func() bool { return g.status().LastState == dhcp.Rebinding })
	g.forbidUnicast(false)
	await(t, "the client has the answer", func() bool {
		_, err := os.Stat(filepath.Join(dir, c.out))
		return err == nil
	})
	acks := g.status().Counters.Acks
	c.hurry(r)
	await(t, "renewing", func() bool {
		s := g.status()
		return s.LastState == dhcp.Renewing && s.Counters.Acks > acks
	})
	c.verify(t, g, dir, service)

	service = moved(service)
	g.serve(service)
	await(t, "the server knows of the new address", func() bool { return g.status().Address == service.Address })
	c.hurry(r)
	await(t, "a NAK", func() bool { return g.status().Counters.Naks > 0 })
	c.verify(t, g, dir, service)

	c.release(r)
	await(t, "a release", func() bool { return g.status().Counters.Releases > 0 && g.status().Lease == nil })
}

// hurry has a client renew that can be told to. When it has the answer, it
// writes again what it is told; before, it would not listen.
func (c client) hurry(r *running) {
	if c.renew != 0 {
		_ = os.Remove(filepath.Join(r.dir, c.out))
		r.signal(c.renew)
	}
}

// boot boots the guest again, with the same disk.
func (r *running) boot(program string, args func(testdata, dir string) []string) *running {
	r.kill()
	r.guest.IP("address flush dev eth0", "link set eth0 down", "link set eth0 up")
	_ = os.Remove(r.dir + "/pid")
	return r.guest.start(program, r.dir, args)
}

// bounce takes the guest's carrier until it has given up its address. Then the
// agent sets up the tap again, as for every tap that was bounced.
func (g *guest) bounce() {
	g.site.host.IP("link set " + g.tap.Name + " down")
	await(g.site.t, "the guest lost its address with its carrier", func() bool { return !g.address().IsValid() })
	g.site.host.IP("link set "+g.tap.Name+" up", "address replace fe80::1/64 dev "+g.tap.Name+" nodad")
	g.serve(g.site.services[g.tap])
}

// moved is the service after its guest was given another address.
func moved(s dhcp.Service) dhcp.Service {
	s.Address, s.Lease = netip.AddrFrom4([4]byte{203, 0, 113, 200}), time.Hour
	if s.Host() {
		s.Subnet = netip.PrefixFrom(s.Address, 32)
	}
	return s
}

// address is the one that the guest's interface has, if it is one.
func (g *guest) address() netip.Addr {
	fields := strings.Fields(g.Run("ip", "-4", "-o", "address", "show", "dev", "eth0"))
	i := slices.Index(fields, "inet")
	if i < 0 || slices.Contains(fields[i+1:], "inet") {
		return netip.Addr{}
	}
	p, err := netip.ParsePrefix(fields[i+1])
	if err != nil {
		return netip.Addr{}
	}
	return p.Addr()
}

// verify compares the guest with what it should have been told.
func (c client) verify(t *testing.T, g *guest, dir string, s dhcp.Service) {
	t.Helper()
	var wrong []string
	await(t, "the guest is configured as it is told", func() bool {
		wrong = c.differences(g, dir, s)
		return len(wrong) == 0
	}, func() string { return strings.Join(wrong, "; ") + "\n" + g.Run("ip", "-4", "route") })
	status := g.status()
	if status.Hostname != "guest" {
		t.Errorf("the guest's hostname is told as %q", status.Hostname)
	}
}

func (c client) differences(g *guest, dir string, s dhcp.Service) (wrong []string) {
	check := func(ok bool, format string, args ...any) {
		if !ok {
			wrong = append(wrong, fmt.Sprintf(format, args...))
		}
	}
	want := fmt.Sprintf(" inet %s/%d ", s.Address, s.Subnet.Bits())
	check(strings.Contains(g.Run("ip", "-4", "-o", "address", "show", "dev", "eth0"), want), "the address is not%s", want)
	routes := g.Run("ip", "-4", "route")
	route := func(line string) {
		check(strings.Contains("\n"+routes, "\n"+line+" "), "no route %q", line)
	}
	for _, p := range s.Routes {
		name := p.String()
		if p.Bits() == 0 {
			name = "default"
		}
		route(fmt.Sprintf("%s via %s dev eth0", name, s.Gateway))
	}
	if s.Host() {
		route(s.Gateway.String() + " dev eth0")
	}
	text, _ := os.ReadFile(filepath.Join(dir, c.out))
	got := map[string]string{}
	for line := range bytes.Lines(text) {
		k, v, _ := strings.Cut(strings.TrimSpace(string(line)), "=")
		got[k] = strings.ReplaceAll(v, ". ", " ")
	}
	for key, want := range map[string]string{
		"dns": words(s.DNS), "ntp": words(s.NTP), "domain": s.Domain, "search": strings.Join(s.Search, " "),
		"hostname": s.Hostname, "mtu": fmt.Sprint(s.MTU),
	} {
		if k, ok := c.keys[key]; ok {
			key = k
		}
		check(strings.TrimSuffix(got[key], ".") == want, "%s is %q, not %q", key, got[key], want)
	}
	// Between two addresses networkd (252) may take its MTU back too late.
	check(g.status().Counters.Naks > 0 || strings.Contains(g.Run("ip", "link", "show", "eth0"), fmt.Sprintf("mtu %d ", s.MTU)), "the MTU is not %d", s.MTU)
	check(g.reaches(s.Gateway.String()), "the gateway does not answer")
	check(g.reaches(internet), "the internet does not answer")
	return wrong
}

func words(list []netip.Addr) string {
	var all []string
	for _, a := range list {
		all = append(all, a.String())
	}
	return strings.Join(all, " ")
}

func TestRealClientsLiveThroughEverything(t *testing.T) {
	t.Parallel()
	for name, c := range clients() {
		for style, service := range map[string]dhcp.Service{"classic": classic(7), "host": crowded(host(7))} {
			t.Run(name+"/"+style, func(t *testing.T) {
				t.Parallel()
				c.lifetime(t, service)
			})
		}
	}
}
