package scale_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// BenchmarkReflector has BIRD as the reflector of a plane tell its table to
// clients that come at once, as hypervisors do, and prints its CPU time for each
// route and client, what that is on the wire, and its memory. Then one route
// after the other moves, each in an UPDATE of its own.
func BenchmarkReflector(b *testing.B) {
	if _, err := exec.LookPath("bird"); err != nil {
		b.Skip("BIRD isn't installed")
	}
	for _, c := range []struct{ routes, clients int }{{50_000, 8}, {50_000, 32}, {50_000, 100}, {200_000, 8}, {200_000, 32}} {
		b.Run(fmt.Sprintf("routes=%d/clients=%d", c.routes, c.clients), func(b *testing.B) {
			for b.Loop() {
				reflect(b, c.routes, c.clients)
			}
		})
	}
}

func reflect(b *testing.B, routes, clients int) {
	r := startReflector(b)
	feeder := dial(b, r.port, 1)
	feeder.discard()
	feeder.announce(0, routes, 200, 1)
	probe := dial(b, r.port, 2)
	probe.await(routes)
	cpu, rss := r.usage()
	list := make([]*client, clients)
	for i := range list {
		list[i] = dial(b, r.port, i+3)
	}
	awaitAll(list, routes)
	cpuAll, rssAll := r.usage()
	pairs := float64(routes) * float64(clients)
	b.ReportMetric(float64((cpuAll-cpu).Nanoseconds())/pairs, "ns/route/client")
	b.ReportMetric(float64(list[0].bytes)/float64(routes), "B/route")
	b.ReportMetric(rss*1e6/float64(routes), "B-of-memory/route")
	b.ReportMetric((rssAll-rss)*1e6/pairs, "B-of-memory/route/client")

	const moves = 20_000
	feeder.announce(0, moves, 1, 2)
	awaitAll(append(list, probe), routes+moves)
	cpuMoved, _ := r.usage()
	b.ReportMetric(float64((cpuMoved-cpuAll).Nanoseconds())/moves/float64(clients+1), "ns/move/client")
	for _, c := range append(list, probe, feeder) {
		_ = c.conn.Close()
	}
}

func awaitAll(list []*client, routes int) {
	var group sync.WaitGroup
	for _, c := range list {
		group.Go(func() { c.await(routes) })
	}
	group.Wait()
}

// reflector is a BIRD with the channels that the lab's reflectors have.
type reflector struct {
	b    *testing.B
	port int
	pid  int
}

const reflectorConfig = `log stderr { fatal, bug };
router id 10.0.0.2;
protocol device {}
protocol bgp clients {
  local 127.0.0.1 port %d as 65000;
  neighbor range 127.0.0.0/8 as 65000;
  dynamic name "c";
  passive on; multihop; rr client; rr cluster id 10.0.0.2;
  hold time 240;
  ipv4 { import all; export all; next hop keep; gateway recursive; };
}
`

func startReflector(b *testing.B) *reflector {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	r := &reflector{b: b, port: l.Addr().(*net.TCPAddr).Port}
	_ = l.Close()
	dir := b.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "bird.conf"), fmt.Appendf(nil, reflectorConfig, r.port), 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command("bird", "-f", "-c", filepath.Join(dir, "bird.conf"), "-s", filepath.Join(dir, "ctl")) //nolint:gosec // ours
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	r.pid = cmd.Process.Pid
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	})
	return r
}

// usage is the CPU time of the reflector so far, and its resident memory in MB.
func (r *reflector) usage() (time.Duration, float64) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", r.pid))
	if err != nil {
		r.b.Fatal(err)
	}
	fields := strings.Fields(string(text))
	number := func(i int) float64 {
		n, err := strconv.ParseFloat(fields[i], 64)
		if err != nil {
			r.b.Fatal(err)
		}
		return n
	}
	return time.Duration(number(13)+number(14)) * 10 * time.Millisecond, number(23) * float64(os.Getpagesize()) / 1e6
}

// client is a hypervisor's session, as far as the reflector can tell.
type client struct {
	b      *testing.B
	conn   net.Conn
	in     *bufio.Reader
	routes int
	bytes  int
}

// deadline bounds every wait for the reflector.
const deadline = 2 * time.Minute

// dial comes up from an address of its own.
func dial(b *testing.B, port, number int) *client {
	b.Helper()
	address := net.IPv4(127, 1, byte(number>>8), byte(number))
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: address}, Timeout: time.Second}
	end := time.Now().Add(deadline)
	for {
		conn, err := d.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			c := &client{b: b, conn: conn, in: bufio.NewReaderSize(conn, 1<<16)}
			_ = conn.SetDeadline(end)
			if err = c.open(address); err == nil {
				return c
			}
			_ = conn.Close()
		}
		if time.Now().After(end) {
			b.Fatal(err)
		}
	}
}

// open speaks OPEN (RFC 4271 section 4.2) with multiprotocol IPv4 and four-octet AS
// numbers, and KEEPALIVE.
func (c *client) open(id net.IP) error {
	capabilities := []byte{1, 4, 0, 1, 0, 1, 65, 4, 0, 0, 0xfd, 0xe8}
	body := append([]byte{4, 0xfd, 0xe8, 0, 240}, id.To4()...)
	body = append(body, byte(len(capabilities)+2), 2, byte(len(capabilities)))
	c.send(1, append(body, capabilities...))
	c.send(4, nil)
	for range 2 {
		if _, _, err := c.next(); err != nil {
			return err
		}
	}
	return nil
}

func (c *client) send(kind byte, body []byte) {
	m := make([]byte, 19, 19+len(body))
	for i := range 16 {
		m[i] = 0xff
	}
	binary.BigEndian.PutUint16(m[16:], uint16(19+len(body))) //nolint:gosec // 4096 at most
	m[18] = kind
	_, _ = c.conn.Write(append(m, body...)) // what fails is noticed by who reads
}

func (c *client) next() (byte, []byte, error) {
	var h [19]byte
	if _, err := io.ReadFull(c.in, h[:]); err != nil {
		return 0, nil, err
	}
	body := make([]byte, int(binary.BigEndian.Uint16(h[16:]))-19)
	_, err := io.ReadFull(c.in, body)
	if h[18] == 3 {
		err = errors.Join(err, fmt.Errorf("notification %v", body))
	}
	return h[18], body, err
}

// await reads until so many routes have been told altogether.
func (c *client) await(routes int) {
	for c.routes < routes {
		kind, body, err := c.next()
		if err != nil {
			c.b.Errorf("after %d routes: %v", c.routes, err)
			return
		}
		if kind != 2 {
			continue
		}
		c.bytes += 19 + len(body)
		nlri := body[4+int(binary.BigEndian.Uint16(body[2:])):] // nothing is withdrawn
		c.routes += len(nlri) / 5                               // length and address
	}
}

// discard reads what a feeder is told, and forgets it.
func (c *client) discard() {
	go func() { _, _ = io.Copy(io.Discard, c.in) }()
}

// announce tells routes, some to an UPDATE.
func (c *client) announce(from, routes, each int, preference byte) {
	for at := from; at < from+routes; at += each {
		c.send(2, update(at, min(each, from+routes-at), 0, preference))
	}
}

// update is the body of an UPDATE of some routes, with the attributes of the
// hypervisor that has the first of them; each has 200.
func update(at, routes int, plane, preference byte) []byte {
	h := at / 200
	attributes := []byte{
		0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 3, 4, 100, 64 + plane, byte(h >> 8), byte(h),
		0x40, 5, 4, 0, 0, 4, preference, 0xc0, 8, 4, 0xfd, 0xe8, 0, 7,
	}
	body := append([]byte{0, 0, 0, byte(len(attributes))}, attributes...)
	for i := at; i < at+routes; i++ {
		body = append(body, 32, 10+byte(i>>24), byte(i>>16), byte(i>>8), byte(i))
	}
	return body
}
