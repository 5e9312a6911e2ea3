package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/testenv"
)

// TestProbes tries the eyes and fingers of the scenarios on a tap that Linux alone serves.
func TestProbes(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"rdisc6", "ndisc6", "arping"} {
		testenv.RequireTool(t, tool)
	}
	l := testLab(t)
	gateway, gateway6 := netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("fe80::1")
	var tap, guest batch
	tap.add("addr add %s/24 dev tap1", gateway)
	tap.add("addr add %s/64 dev tap1 nodad", gateway6)
	tap.add("link set tap1 address ee:ee:ee:ee:ee:01 up")
	guest.add("addr add 203.0.113.11/24 dev eth0")
	guest.add("addr add 203.0.113.99/24 dev eth0")
	if err := errors.Join(l.PowerOn(t.Context(), "vm1"), tap.run(t.Context(), l.Topology.Namespace("hv1")), guest.run(t.Context(), l.Topology.Namespace("vm1"))); err != nil {
		t.Fatal(err)
	}
	checkNeighbours(t, l, gateway, gateway6)
	checkWatch(t, l, gateway)
	checkConnect(t, l, gateway)
}

func checkNeighbours(t *testing.T, l *Lab, gateway, gateway6 netip.Addr) {
	const tapMAC = "ee:ee:ee:ee:ee:01"
	eventually(t, "the guest's link-local address", 10*time.Second, func() error {
		mac, err := l.Ndisc6(t.Context(), "vm1", "eth0", gateway6)
		if err == nil && mac.String() != tapMAC {
			return fmt.Errorf("%s answered", mac)
		}
		return err
	})
	for _, probe := range []bool{true, false} {
		if mac, err := l.ARP(t.Context(), "vm1", "eth0", gateway, probe); err != nil || mac.String() != tapMAC {
			t.Errorf("ARP for the gateway (probe: %t): %s, %v", probe, mac, err)
		}
	}
	nobody := netip.MustParseAddr("203.0.113.77")
	mac, err := l.ARP(t.Context(), "vm1", "eth0", nobody, true)
	if err := Unanswered(mac, err); err != nil {
		t.Errorf("ARP for nobody: %v", err)
	}
	mac, err = l.Ndisc6(t.Context(), "vm1", "eth0", netip.MustParseAddr("fe80::77"))
	if err := Unanswered(mac, err); err != nil {
		t.Errorf("ND for nobody: %v", err)
	}
	if out, err := l.Rdisc6(t.Context(), "vm1", "eth0"); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("routers where there is none: %v\n%s", err, out)
	}
}

func checkWatch(t *testing.T, l *Lab, gateway netip.Addr) {
	spoofed := netip.MustParseAddr("203.0.113.99")
	w, err := l.Watch("hv1", "tap1", FromSource(spoofed))
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Ping(t.Context(), "vm1", gateway)
	if n, _ := w.Seen(); n != 0 {
		t.Errorf("it saw %d frames of somebody else", n)
	}
	if err := l.Ping(t.Context(), "vm1", gateway, "-I", spoofed.String()); err != nil {
		t.Error(err)
	}
	eventually(t, "the frames of the watched address", 5*time.Second, func() error {
		if n, frames := w.Seen(); n == 0 || len(frames) != n {
			return fmt.Errorf("it saw %d and kept %d", n, len(frames))
		}
		return nil
	})
	if _, _, err := w.Stop(); err != nil {
		t.Error(err)
	}
}

func checkConnect(t *testing.T, l *Lab, gateway netip.Addr) {
	s, err := l.Listen(t.Context(), "hv1", "", 179)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	open, closed := netip.AddrPortFrom(gateway, 179), netip.AddrPortFrom(gateway, 180)
	silent, unrouted := netip.MustParseAddrPort("203.0.113.77:179"), netip.MustParseAddrPort("192.0.2.1:179")
	got, err := l.Reached("vm1", "eth0", []netip.AddrPort{open, closed, silent, unrouted}, time.Second)
	slices.SortFunc(got, func(a, b Reach) int { return a.To.Compare(b.To) })
	if err != nil || !slices.Equal(got, []Reach{{open, nil}, {closed, unix.ECONNREFUSED}}) {
		t.Errorf("reached %v, %v; want the open and the closed port", got, err)
	}
}
