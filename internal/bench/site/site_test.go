package site

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/hostroute/hostroute/internal/testenv"
)

func TestASiteCarriesPacketsAndEnds(t *testing.T) {
	testenv.RequireRoot(t)
	s, err := New(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	for _, r := range s.Reflectors() {
		at := netip.AddrPortFrom(r.Address, r.Port).String()
		var l net.Listener
		if err := Do(s.RR, func() (err error) { l, err = net.Listen("tcp4", at); return err }); err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		var c net.Conn
		if err := Do(s.DUT, func() (err error) { c, err = net.DialTimeout("tcp4", at, 10*time.Second); return err }); err != nil {
			t.Fatal(err)
		}
		if from := c.LocalAddr().(*net.TCPAddr).IP.String(); from != r.Local.Addr().String() {
			t.Errorf("plane %s is called from %s", r.Plane, from)
		}
		c.Close()
	}
	left := exec.Command("ip", "netns", "exec", s.DUT, "sleep", "600")
	if err := left.Start(); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, "the process is inside", func() bool {
		out, err := exec.Command("ip", "netns", "pids", s.DUT).Output()
		return err == nil && strings.TrimSpace(string(out)) != ""
	})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := left.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("what was left inside ended with: %v", err)
	}
	for _, ns := range []string{s.DUT, s.RR} {
		if _, err := os.Stat("/run/netns/" + ns); err == nil {
			t.Errorf("%s is still there", ns)
		}
	}
}

func TestSitesOfTheDeadAreSwept(t *testing.T) {
	testenv.RequireRoot(t)
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{
		fmt.Sprintf("%s%d-1-dut", prefix, dead.Process.Pid): false,
		fmt.Sprintf("%s%d-99-dut", prefix, os.Getpid()):     true,
		fmt.Sprintf("not-%s%d", prefix, dead.Process.Pid):   true,
	}
	for name := range names {
		if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", name).Run() })
	}
	s, err := New(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	for name, stays := range names {
		if _, err := os.Stat("/run/netns/" + name); (err == nil) != stays {
			t.Errorf("%s: %v", name, err)
		}
	}
}
