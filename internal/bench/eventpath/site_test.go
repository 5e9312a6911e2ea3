package eventpath

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/hostroute/hostroute/internal/testenv"
)

const (
	table      = 90
	logAddress = "100.64.0.254:4222"
)

// site is two hypervisors and two planes. The reflector of each plane, and on the
// first one the log, are at 254.
type site struct {
	t     testing.TB
	dir   string
	rr    [2]*testenv.Netns
	hv    [2]*testenv.Netns
	procs map[string]*os.Process
}

func newSite(t testing.TB) *site {
	testenv.RequireRoot(t)
	for _, tool := range []string{"bird", "birdc", "ip"} {
		testenv.RequireTool(t, tool)
	}
	s := &site{t: t, dir: t.TempDir(), procs: map[string]*os.Process{}}
	for i := range s.hv {
		s.hv[i] = testenv.NewNetns(t)
		s.hv[i].Sysctl("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
	}
	for plane := range s.rr {
		s.rr[plane] = testenv.NewNetns(t)
		s.rr[plane].IP("link add br0 type bridge", "link set br0 up", fmt.Sprintf("addr add 100.64.%d.254/24 dev br0", plane))
		for i, hv := range s.hv {
			testenv.Veth(hv, uplink(plane), s.rr[plane], "hv"+strconv.Itoa(i))
			s.rr[plane].IP(fmt.Sprintf("link set hv%d master br0", i))
		}
	}
	return s
}

func uplink(plane int) string { return string(rune('a'+plane)) + "-public" }

// start runs everything; the log has no events yet.
func (s *site) start() {
	for plane := range s.rr {
		s.bird(plane)
	}
	s.self("log", s.rr[0], s.store())
	testenv.Eventually(s.t, "the log listens", func() bool {
		conn, err := s.dial()
		if err != nil {
			return false
		}
		return conn.Close() == nil
	})
	for i, hv := range s.hv {
		s.self("agent", hv, s.write(fmt.Sprintf("agent%d.yaml", i), s.config(i)))
	}
}

// store is a folder for the log, in memory where that can be: the disk of whoever
// measures is not what is measured.
func (s *site) store() string {
	dir, err := os.MkdirTemp("/dev/shm", "eventpath")
	if err != nil {
		return filepath.Join(s.dir, "log")
	}
	s.t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// dial connects to the log from the network that it is in.
func (s *site) dial() (conn net.Conn, err error) {
	err = s.rr[0].Do(func() error {
		conn, err = net.Dial("tcp", logAddress)
		return err
	})
	return conn, err
}

func (s *site) bird(plane int) {
	var b strings.Builder
	fmt.Fprintf(&b, "log stderr all;\nrouter id 100.64.%d.254;\nprotocol device {}\n", plane)
	for i := range s.hv {
		fmt.Fprintf(&b, "protocol bgp hv%d { local 100.64.%d.254 as 65000; neighbor 100.64.%d.%d as 65000; passive yes; rr client;\n"+
			"graceful restart yes; ttl security on; multihop no; direct; ipv4 { import all; export all; add paths tx; next hop keep; }; ipv6 { import all; export all; add paths tx; }; }\n",
			i, plane, plane, i+1)
	}
	conf := s.write(fmt.Sprintf("bird%d.conf", plane), strings.ReplaceAll(b.String(), "multihop no; ", ""))
	s.run("bird-"+string(rune('a'+plane)), s.rr[plane], nil, "bird", "-f", "-c", conf, "-s", filepath.Join(s.dir, "b"+strconv.Itoa(plane)))
}

func (s *site) config(i int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "hypervisor: hv%d\nstate: %s\nsocket: %s\nlog: {url: \"nats://%s\"}\nvrfs: [{name: public, table: %d, device: false}]\nuplinks:\n",
		i+1, filepath.Join(s.dir, "state"+strconv.Itoa(i)), filepath.Join(s.dir, fmt.Sprintf("s%d", i)), logAddress, table)
	for plane := range s.rr {
		fmt.Fprintf(&b, "  - {interface: %s, plane: %c, vrf: public, addresses: [100.64.%d.%d/24]}\n", uplink(plane), 'a'+plane, plane, i+1)
	}
	fmt.Fprintf(&b, "bgp:\n  as: 65000\n  router_id: 192.0.2.%d\n  reflectors:\n", i+1)
	for plane := range s.rr {
		fmt.Fprintf(&b, "    - {vrf: public, plane: %c, address: 100.64.%d.254, bfd: false}\n", 'a'+plane, plane)
	}
	b.WriteString("metrics: {listen: \"\"}\n")
	return b.String()
}

func (s *site) write(name, text string) string {
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// self runs this binary in another role.
func (s *site) self(role string, ns *testenv.Netns, file string) {
	name := role
	if role == "agent" {
		name = "hv" + strconv.Itoa(map[*testenv.Netns]int{s.hv[0]: 1, s.hv[1]: 2}[ns])
	}
	env := []string{roleKey + "=" + role, fileKey + "=" + file}
	if dir := os.Getenv(profileKey); dir != "" {
		env = append(env, profileKey+"="+filepath.Join(dir, name+".pprof"))
	}
	program, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	s.run(name, ns, env, program)
}

// run starts a process that ends with the test, and says what it had to say if
// that fails.
func (s *site) run(name string, ns *testenv.Netns, env []string, program string, args ...string) {
	cmd := ns.Command(program, args...)
	cmd.Env = append(os.Environ(), env...)
	said, err := os.Create(filepath.Join(s.dir, name+".err"))
	if err != nil {
		s.t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = said, said
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // by the test's context
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.procs[name] = cmd.Process // ip(8) becomes the program
	s.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		_ = said.Close()
		if text, err := os.ReadFile(said.Name()); err == nil && (s.t.Failed() || testing.Verbose()) {
			s.t.Logf("%s: %s", name, text[max(0, len(text)-4096):])
		}
	})
}

// taps makes the taps of the first hypervisor.
func (s *site) taps(n int) {
	lines := make([]string, 0, n)
	for i := range n {
		lines = append(lines, "tuntap add dev "+tap(i)+" mode tap")
	}
	s.hv[0].IP(lines...)
}

func tap(i int) string { return fmt.Sprintf("tap%d", i) }

// cpu is the CPU time of every process so far, in ticks of 10 ms.
func (s *site) cpu() map[string]int {
	spent := map[string]int{}
	for name, p := range s.procs {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Pid))
		if err != nil {
			s.t.Fatal(err)
		}
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+2:]))
		for _, f := range fields[11:13] { // utime and stime
			ticks, err := strconv.Atoi(f)
			if err != nil {
				s.t.Fatal(err)
			}
			spent[name] += ticks
		}
	}
	return spent
}
