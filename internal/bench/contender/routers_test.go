package contender

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/testenv"
)

func TestBIRDAcceptsItsConfiguration(t *testing.T) {
	testenv.RequireTool(t, "bird")
	for _, reflectors := range []int{1, 2} {
		s := exampleSite(t, reflectors)
		if err := render(s.Dir, "bird.conf", s); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("bird", "-p", "-c", filepath.Join(s.Dir, "bird.conf")).CombinedOutput(); err != nil {
			t.Errorf("with %d reflectors: %v: %s", reflectors, err, out)
		}
		if merges := strings.Contains(read(t, s.Dir, "bird.conf"), "merge paths yes limit 2;"); merges != (reflectors == 2) {
			t.Errorf("with %d reflectors: merge paths: %t", reflectors, merges)
		}
	}
}

func TestFRRAcceptsItsConfiguration(t *testing.T) {
	for _, reflectors := range []int{1, 2} {
		s := exampleSite(t, reflectors)
		for _, name := range []string{"zebra", "bgpd"} {
			path := filepath.Join(frrPrograms, name)
			testenv.RequireTool(t, path)
			if err := render(s.Dir, name+".conf", s); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command(path, "--dryrun", "--config_file", filepath.Join(s.Dir, name+".conf")).CombinedOutput()
			// bgpd ends with 0 whatever it thinks of the lines.
			if err != nil || strings.Contains(string(out), "on config line") {
				t.Errorf("%s with %d reflectors: %v: %s", name, reflectors, err, out)
			}
		}
	}
}

func TestRoutersRunInTheirNamespaceUntilStopped(t *testing.T) {
	testenv.RequireRoot(t)
	for _, tc := range []struct {
		c    Contender
		tool string
		pids int
	}{
		{NewBIRD(), "bird", 1},
		{NewFRR(), filepath.Join(frrPrograms, "zebra"), 2},
	} {
		t.Run(tc.c.Name(), func(t *testing.T) {
			testenv.RequireTool(t, tc.tool)
			calls, s := listeningSite(t)
			if err := tc.c.Start(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = tc.c.Stop(context.Background()) }) // a second time is fine
			pids := tc.c.Pids()
			if len(pids) != tc.pids {
				t.Errorf("pids: %v, want %d", pids, tc.pids)
			}
			ours, err := os.Readlink("/proc/self/ns/net")
			if err != nil {
				t.Fatal(err)
			}
			for _, pid := range pids {
				if ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid)); err != nil || ns == ours {
					t.Errorf("process %d is in the namespace %s, as the test is: %v", pid, ns, err)
				}
			}
			for range s.Reflectors { // it calls them all
				if err := <-calls; err != nil {
					t.Error(err)
				}
			}
			if err := tc.c.Start(t.Context(), s); err == nil {
				t.Error("it could be started twice")
			}
			if err := tc.c.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, pid := range pids {
				if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("process %d is still there: %v", pid, err)
				}
			}
			if left := tc.c.Pids(); len(left) != 0 {
				t.Errorf("pids after the stop: %v", left)
			}
		})
	}
}

func TestAProgramThatEndsAtOnceSaysWhy(t *testing.T) {
	testenv.RequireRoot(t)
	testenv.RequireTool(t, "bird")
	s := exampleSite(t, 2)
	s.Namespace, s.AS = testenv.NewNetns(t).Name, 0 // BIRD has no use for AS 0
	b := NewBIRD()
	err := b.Start(t.Context(), s)
	if err == nil || !strings.Contains(err.Error(), "bird.conf:") {
		t.Errorf("error: %v; want the line of the configuration that BIRD refuses", err)
	}
	if len(b.Pids()) != 0 {
		t.Errorf("pids: %v", b.Pids())
	}
}

func TestVersions(t *testing.T) {
	testenv.RequireTool(t, "bird")
	testenv.RequireTool(t, filepath.Join(frrPrograms, "zebra"))
	for c, want := range map[Contender]string{NewBIRD(): "BIRD 2.", NewFRR(): "FRR "} {
		got, err := c.Version(t.Context())
		if err != nil || !strings.HasPrefix(got, want) || strings.Contains(got, "\n") {
			t.Errorf("version of %s: %q, %v", c.Name(), got, err)
		}
	}
}

func TestWhatIsMissingIsNamed(t *testing.T) {
	_, err := find(t.TempDir(), "hostroute-no-such-program", "some-package")
	if !errors.Is(err, ErrNotInstalled) || !strings.Contains(err.Error(), "apt install some-package") {
		t.Errorf("error: %v", err)
	}
}

func exampleSite(t *testing.T, reflectors int) Site {
	s := Site{Dir: t.TempDir(), Table: 90, AS: 65000, RouterID: netip.MustParseAddr("10.1.0.2")}
	for i, plane := range []string{"a", "b"}[:reflectors] {
		at := func(format string) string { return fmt.Sprintf(format, i+1) }
		s.Reflectors = append(s.Reflectors, Reflector{
			Plane: plane, Uplink: "up-" + plane, Port: 179,
			Local: netip.MustParsePrefix(at("10.%d.0.2/16")), Local6: netip.MustParsePrefix(at("fd00:%d::2/64")),
			Address: netip.MustParseAddr(at("10.%d.0.1")),
		})
	}
	return s
}

// listeningSite is a site whose reflectors take one call each, and tell of it. They answer with TTL 255, as GTSM has it.
func listeningSite(t *testing.T) (<-chan error, Site) {
	s := exampleSite(t, 2)
	dut, rr := testenv.NewNetns(t), testenv.NewNetns(t)
	s.Namespace = dut.Name
	calls := make(chan error, len(s.Reflectors))
	for i, r := range s.Reflectors {
		testenv.Veth(dut, r.Uplink, rr, "rr-"+r.Plane)
		dut.IP("addr add "+r.Local.String()+" dev "+r.Uplink, "addr add "+r.Local6.String()+" dev "+r.Uplink+" nodad", "link set "+r.Uplink+" up")
		rr.IP("addr add "+r.Address.String()+"/16 dev rr-"+r.Plane, "link set rr-"+r.Plane+" up")
		var l net.Listener
		err := rr.Do(func() (err error) {
			gtsm := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
				return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TTL, 255) })
			}}
			gtsm.SetMultipathTCP(false) // whose first answer would not have that TTL
			l, err = gtsm.Listen(t.Context(), "tcp4", netip.AddrPortFrom(r.Address, r.Port).String())
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		if err := l.(*net.TCPListener).SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		go func() {
			c, err := l.Accept()
			if err == nil {
				if from := c.RemoteAddr().(*net.TCPAddr).IP.String(); from != r.Local.Addr().String() {
					err = fmt.Errorf("reflector %d is called by %s, not from the uplink's address", i, from)
				}
				c.Close()
			}
			calls <- err
		}()
	}
	return calls, s
}

func read(t *testing.T, dir, file string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
