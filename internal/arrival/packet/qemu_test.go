package packet

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"testing"

	"github.com/hostroute/hostroute/internal/testenv"
)

// machine is a QEMU that is spoken to by QMP.
type machine struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

// boot starts a machine with one port on a tap, with no disk and no kernel: its
// firmware is guest enough.
func boot(w *world, tap string, more ...string) *machine {
	t := w.t
	t.Helper()
	w.hv.IP("tuntap add dev "+tap+" mode tap", "link set "+tap+" address ee:ee:ee:ee:ee:01 up")
	control := filepath.Join(t.TempDir(), "qmp")
	cmd := w.hv.Command("qemu-system-x86_64", append([]string{
		"-accel", "tcg", "-m", "32", "-nodefaults", "-no-user-config", "-display", "none",
		"-netdev", "tap,id=n,script=no,downscript=no,ifname=" + tap,
		"-device", "virtio-net-pci,netdev=n,romfile=,mac=" + net.HardwareAddr(guest.MAC[:]).String(),
		"-qmp", "unix:" + control + ",server=on,wait=off",
	}, more...)...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		if _ = cmd.Wait(); t.Failed() {
			t.Logf("%s: %s", tap, &said)
		}
	})
	m := &machine{t: t}
	testenv.Eventually(t, "QEMU on "+tap, func() (ok bool) {
		var err error
		m.conn, err = net.Dial("unix", control)
		return err == nil
	})
	t.Cleanup(func() { m.conn.Close() })
	m.in = bufio.NewReader(m.conn)
	m.do("qmp_capabilities", nil)
	return m
}

// do runs a command and returns what it returned; events are passed over.
func (m *machine) do(command string, arguments map[string]any) (result struct{ Status string }) {
	m.t.Helper()
	order := map[string]any{"execute": command}
	if arguments != nil {
		order["arguments"] = arguments
	}
	request, err := json.Marshal(order)
	if err != nil {
		m.t.Fatal(err)
	}
	if _, err := fmt.Fprintf(m.conn, "%s\n", request); err != nil {
		m.t.Fatal(err)
	}
	for {
		line, err := m.in.ReadBytes('\n')
		if err != nil {
			m.t.Fatalf("%s: %v", command, err)
		}
		var answer struct {
			Return *struct{ Status string }
			Error  *struct{ Desc string }
		}
		if err := json.Unmarshal(line, &answer); err != nil {
			m.t.Fatalf("%s: %v in %s", command, err, line)
		}
		switch {
		case answer.Error != nil:
			m.t.Fatalf("%s: %s", command, answer.Error.Desc)
		case answer.Return != nil:
			return *answer.Return
		}
	}
}

// TestQEMUAnnouncesItsGuest migrates a machine as libvirt does: the destination
// waits on its tap, and doesn't run by itself when it has everything. Until it
// runs nothing is heard of it, though QEMU makes its announcement before.
func TestQEMUAnnouncesItsGuest(t *testing.T) {
	t.Parallel()
	testenv.RequireTool(t, "qemu-system-x86_64")
	w := newWorld(t)
	w.hv.Sysctl("net.ipv6.conf.default.disable_ipv6=1")
	stream := "unix:" + filepath.Join(t.TempDir(), "stream")
	source := boot(w, "tap1")
	destination := boot(w, "tap2", "-S", "-incoming", stream)
	w.expect("tap2", guest)
	if s := destination.do("query-status", nil).Status; s != "inmigrate" {
		t.Fatalf("the destination is %q before it gets anything", s)
	}
	source.do("migrate", map[string]any{"uri": stream})
	testenv.Eventually(t, "the source has handed over", func() bool { return source.do("query-status", nil).Status == "postmigrate" })
	testenv.Eventually(t, "the destination has it all", func() bool { return destination.do("query-status", nil).Status == "paused" })
	if seen := w.all(); len(seen) > 0 {
		t.Fatalf("before the guest runs: %q", seen)
	}
	destination.do("cont", nil)
	w.sawOnly("vm7 on tap2 by rarp")
}
