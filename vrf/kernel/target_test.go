package kernel

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/vrf"
	"github.com/hostroute/hostroute/vrf/conformance"
)

// target is the real kernel in a scratch namespace. What a test does behind
// our back is done with ip(8), so that nothing of ours checks itself.
type target struct {
	*Kernel
	*dataplane
	t  testing.TB
	ns string
}

var _ conformance.Target = (*target)(nil)

var namespaces atomic.Int32

func newTarget(t testing.TB, o Options) *target {
	name := fmt.Sprintf("hrk-%d-%d", os.Getpid(), namespaces.Add(1))
	k := &target{t: t, ns: name}
	run(t, "ip", "netns", "add", name)
	t.Cleanup(func() { run(t, "ip", "netns", "del", name) })
	f, err := os.Open("/run/netns/" + name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	o.NetNS = int(f.Fd())
	k.Kernel = New(o)
	k.dataplane = newDataplane(o)
	t.Cleanup(func() {
		if err := k.Kernel.Close(); err != nil {
			t.Error(err)
		}
		if err := k.dataplane.close(); err != nil {
			t.Error(err)
		}
	})
	return k
}

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (k *target) ip(args ...string) string {
	k.t.Helper()
	return run(k.t, "ip", append([]string{"-n", k.ns}, args...)...)
}

// AddLink makes a veth whose other end gives it its carrier.
func (k *target) AddLink(name string) {
	k.batch("link add "+name+" type veth peer name p-"+name, "link set p-"+name+" up")
}

// batch runs several commands in one process, which matters where starting one
// is slow.
func (k *target) batch(commands ...string) string {
	k.t.Helper()
	cmd := exec.Command("ip", "-n", k.ns, "-b", "-")
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		k.t.Fatalf("ip -b %q: %v: %s", commands, err, out)
	}
	return string(out)
}

func (k *target) DeleteLink(name string) { k.ip("link", "del", name) }

func (k *target) SetUp(name string, up bool) { k.ip("link", "set", name, state(up)) }

func state(up bool) string {
	if up {
		return "up"
	}
	return "down"
}

// SetCarrier returns when the kernel has drawn its consequences, which it does
// some time after the carrier changed.
func (k *target) SetCarrier(name string, on bool) {
	k.t.Helper()
	k.ip("link", "set", "p-"+name, state(on))
	testenv.Eventually(k.t, "the carrier of "+name, func() bool {
		link := k.ip("-o", "link", "show", name)
		if on {
			return strings.Contains(link, "state UP")
		}
		return strings.Contains(link, "state DOWN") && k.ip("nexthop", "show", "dev", name) == "" ||
			strings.Contains(link, "state LOWERLAYERDOWN") && k.ip("nexthop", "show", "dev", name) == ""
	})
}

func (k *target) AddForeignRoute(table uint32, p netip.Prefix, metric uint32) {
	k.ip(familyFlag(p), "route", "replace", "unreachable", p.String(), "table", fmt.Sprint(table), "metric", fmt.Sprint(metric), "proto", "99")
}

func (k *target) DeleteForeignRoute(table uint32, p netip.Prefix, metric uint32) {
	k.ip(familyFlag(p), "route", "del", "unreachable", p.String(), "table", fmt.Sprint(table), "metric", fmt.Sprint(metric), "proto", "99")
}

func (k *target) AddFormerBlackhole(table uint32, p netip.Prefix) {
	k.ip(familyFlag(p), "route", "add", "blackhole", p.String(), "table", fmt.Sprint(table), "metric", fmt.Sprint(vrf.MetricBlackhole), "proto", fmt.Sprint(vrf.Protocol))
}

func familyFlag(p netip.Prefix) string {
	if p.Addr().Is4() {
		return "-4"
	}
	return "-6"
}

func (k *target) AddForeignAddress(link string, p netip.Prefix) {
	k.ip("addr", "add", p.String(), "dev", link)
}

// FlushFilter does it with nft(8), where that is installed.
func (k *target) FlushFilter() {
	testenv.RequireTool(k.t, "nft")
	run(k.t, "ip", "netns", "exec", k.ns, "nft", "flush", "ruleset")
}

func (k *target) DeleteNeighbour(link string, a netip.Addr) {
	k.ip("neigh", "del", a.String(), "dev", link)
}

func (k *target) AddForeignNextHop(id uint32, gateway netip.Addr, link string) {
	k.ip("nexthop", "add", "id", fmt.Sprint(id), "via", gateway.String(), "dev", link, "proto", "99")
}

// Foreign lists what is not ours, apart from what the kernel makes itself.
func (k *target) Foreign() []string {
	var list []string
	// In a batch, ip shows the routes of both families.
	for line := range strings.Lines(k.batch("route show table all proto 99", "nexthop show proto 99")) {
		list = append(list, strings.TrimSpace(line))
	}
	actual, err := k.Read(k.t.Context(), vrf.Host{})
	if err != nil {
		k.t.Fatal(err)
	}
	for _, a := range actual.Addresses {
		if a.Protocol == 0 {
			list = append(list, fmt.Sprint(a.Link, " ", a.Prefix))
		}
	}
	slices.Sort(list)
	return list
}
