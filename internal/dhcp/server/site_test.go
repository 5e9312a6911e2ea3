package server

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/hostroute/hostroute/internal/dhcp"
	"github.com/hostroute/hostroute/internal/fleet"
	"github.com/hostroute/hostroute/internal/testenv"
)

// patience is how long a test waits for what must happen.
const patience = 25 * time.Second

// within tells whether a condition comes to hold in time.
func within(patience time.Duration, condition func() bool) bool {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			return false
		}
	}
	return true
}

// await returns when the condition holds; what more there is to say if it never
// does, details tell.
func await(t *testing.T, what string, condition func() bool, details ...func() string) {
	t.Helper()
	if within(patience, condition) {
		return
	}
	for _, tell := range details {
		t.Log(tell())
	}
	t.Fatalf("waited for %v: %s", patience, what)
}

// site is a hypervisor, by default without VRF: a namespace with taps, set up like the agent
// does it, and a server.
type site struct {
	t        *testing.T
	host     *testenv.Netns
	server   *Server
	services map[fleet.Port]dhcp.Service
	vrf      string // where there is one: its taps are enslaved to it
}

// internet is an address that guests reach through their gateway.
const internet = "192.0.2.1"

func newSite(t *testing.T, o Options) *site {
	s := &site{t: t, host: testenv.NewNetns(t), services: map[fleet.Port]dhcp.Service{}}
	s.host.IP("address add " + internet + "/32 dev lo")
	s.host.Sysctl("net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=1")
	s.run(o)
	return s
}

// run starts a server in place of one that ran before.
func (s *site) run(o Options) (stop func()) {
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	o.In = s.host.Do
	s.server = New(o)
	s.server.Set(maps.Clone(s.services))
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan error, 1)
	go func(server *Server) { done <- server.Run(ctx) }(s.server)
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("the server ended with %v", err)
		}
	}
	s.t.Cleanup(stop)
	return stop
}

// guest is a namespace behind a tap.
type guest struct {
	*testenv.Netns
	site *site
	tap  fleet.Port
}

// plug makes a guest, and has it served when the server runs.
func (s *site) plug(service dhcp.Service) *guest {
	s.t.Helper()
	g := &guest{Netns: testenv.NewNetns(s.t), site: s}
	testenv.Veth(s.host, service.Tap, g.Netns, "eth0")
	g.IP(fmt.Sprintf("link set eth0 address %s", mac(service)))
	if s.vrf != "" {
		s.host.IP("link set " + service.Tap + " master " + s.vrf)
	}
	s.host.IP(
		"link set "+service.Tap+" address ee:ee:ee:ee:ee:01 addrgenmode none",
		"address add fe80::1/64 dev "+service.Tap+" nodad",
	)
	s.host.Sysctl("net.ipv4.conf."+service.Tap+".proxy_arp=1", "net.ipv4.neigh."+service.Tap+".proxy_delay=0")
	if err := s.host.Do(func() error {
		link, err := net.InterfaceByName(service.Tap)
		if err == nil {
			g.tap = fleet.Port{Name: service.Tap, Index: link.Index}
		}
		return err
	}); err != nil {
		s.t.Fatal(err)
	}
	g.serve(service)
	await(s.t, "the tap is served", func() bool {
		status, ok := s.server.Status()[service.Tap]
		return ok && status.Error == "" && g.listening()
	})
	return g
}

// listening tells whether the kernel has a socket for the tap.
func (g *guest) listening() bool {
	return strings.Contains(g.site.host.Run("ss", "-Hlun"), "%"+g.tap.Name+":67")
}

// serve sets the kernel and the server as the agent would.
func (g *guest) serve(service dhcp.Service) {
	g.site.t.Helper()
	g.site.host.IP(
		fmt.Sprintf("address replace %s/32 dev %s scope link", service.Gateway, service.Tap),
		fmt.Sprintf("route replace %s/32 dev %s protocol 201 metric 100%s", service.Address, service.Tap, g.site.table()),
		fmt.Sprintf("neigh replace %s lladdr %s dev %s nud permanent", service.Address, mac(service), service.Tap),
	)
	g.site.services[g.tap] = service
	g.site.server.Set(maps.Clone(g.site.services))
}

// table is what ip(8) has to add to a route.
func (s *site) table() string {
	if s.vrf == "" {
		return ""
	}
	return " vrf " + s.vrf
}

func (g *guest) status() Status { return g.site.server.Status()[g.tap.Name] }

// forbidUnicast keeps from the server what the guest sends to its gateway.
func (g *guest) forbidUnicast(forbid bool) {
	g.site.t.Helper()
	if forbid {
		g.site.host.Run("nft", "table ip deaf { chain input { type filter hook input priority 0; ip daddr != 255.255.255.255 udp dport 67 drop; }; }")
	} else {
		g.site.host.Run("nft", "delete table ip deaf")
	}
}

// reaches tells whether a ping from the guest is answered.
func (g *guest) reaches(address string) bool {
	return exec.Command("ip", "netns", "exec", g.Name, "ping", "-c1", "-W1", address).Run() == nil
}

func mac(s dhcp.Service) net.HardwareAddr { return s.MAC[:] }

// classic and host are services in the two styles for a guest's nth tap.
func classic(n byte) dhcp.Service {
	return dhcp.Service{
		Tap: fmt.Sprintf("tap%d", n), VM: fmt.Sprintf("vm%d", n), MAC: [6]byte{0x52, 0x54, 0, 0, 0, n},
		Address: netip.AddrFrom4([4]byte{203, 0, 113, n}), Subnet: netip.MustParsePrefix("203.0.113.0/24"),
		Gateway: netip.MustParseAddr("203.0.113.254"), Routes: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")},
		DNS:    []netip.Addr{netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("192.0.2.54")},
		NTP:    []netip.Addr{netip.MustParseAddr("192.0.2.123")},
		Domain: "example.net", Search: []string{"example.net", "lab.example.net"},
		Hostname: fmt.Sprintf("vm%d", n), MTU: 1400, Lease: time.Hour,
	}
}

func host(n byte) dhcp.Service {
	s := classic(n)
	s.Subnet = netip.PrefixFrom(s.Address, 32)
	s.Gateway = netip.MustParseAddr("169.254.0.1")
	return s
}

// crowded is a service with more to tell than fits into 576 bytes, so that a
// client which doesn't allow for more has to look into the other fields.
func crowded(s dhcp.Service) dhcp.Service {
	s.NTP, s.Search = nil, nil
	for i := range byte(25) {
		s.NTP = append(s.NTP, netip.AddrFrom4([4]byte{192, 0, 2, 100 + i}))
	}
	for i := range 8 {
		s.Search = append(s.Search, fmt.Sprintf("department%d.example.net", i))
	}
	s.Domain = strings.Repeat("a-long-label.", 4) + "example.net"
	return s
}
