package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/testenv"
)

// BenchmarkPlaneProbe forwards probes through a namespace with a million
// routes, ten a millisecond to changing prefixes, while a plane is told lost
// or loses its carrier. It prints for how long afterwards a probe was still
// sent that did not arrive over the plane that lives.
func BenchmarkPlaneProbe(b *testing.B) {
	testenv.RequireRoot(b)
	var rows []string
	for _, v6 := range []bool{false, true} {
		size := planeSize{v6, 1_000_000, 2, 200}
		b.Run(size.String(), func(b *testing.B) {
			told, cut := probePlanes(b, size)
			b.ReportMetric(told.gap.median().Seconds()*1000, "told-gap-ms")
			b.ReportMetric(cut.gap.median().Seconds()*1000, "carrier-gap-ms")
			rows = append(rows, fmt.Sprintf("%s\t%d\t%v\t%v\t%v\t%v\t%v", size.family(), size.routes, told.gap, told.call, told.sent, cut.gap, cut.sent))
		})
	}
	var s strings.Builder
	fmt.Fprintln(&s, "\nProbes through a hypervisor that loses a plane: until all arrive over the other one, in ms.")
	write(&s, "\troutes\tafter it was told\tits call took\tprobes sent\tafter the carrier was lost\tprobes sent", rows)
	fmt.Print(s.String())
}

// gaps are those of one way to lose a plane.
type gaps struct {
	gap, call samples
	sent      int // in all rounds
}

func probePlanes(b *testing.B, size planeSize) (told, cut gaps) {
	p := newPlanes(b, size)
	p.fill()
	s := newProbes(p)
	tell := func(up bool) { must(b, p.fib.UplinkChanged(b.Context(), "u0", up)) }
	pull := func(up bool) {
		p.setCarrier(up)
		must(b, p.fib.Repair(b.Context()))
	}
	for b.Loop() {
		p.lose(s, &told, tell)
	}
	for len(told.gap) < minRounds {
		p.lose(s, &told, tell)
	}
	for range minRounds {
		p.lose(s, &cut, pull)
	}
	return told, cut
}

// lose is one round: both planes carry, one is lost, the other one carries all.
func (p *planes) lose(s *probes, g *gaps, set func(up bool)) {
	s.bothCarry()
	start := time.Now()
	set(false)
	g.call = append(g.call, time.Since(start))
	last := s.until()
	g.gap = append(g.gap, max(0, s.missing(start, last)))
	g.sent += s.forget()
	set(true)
}

// probes are sent by a guest, and received at the ends of the uplinks.
type probes struct {
	p    *planes
	base time.Time

	mu      sync.Mutex
	sent    []time.Duration // since base, by number from first
	first   uint32
	arrived [2]map[uint32]bool // by plane
}

// newProbes starts to send and to receive until the benchmark ends.
func newProbes(p *planes) *probes {
	s := &probes{p: p, base: time.Now(), arrived: [2]map[uint32]bool{{}, {}}}
	guest := testenv.NewNetns(p.b)
	guest.Sysctl("net.ipv6.conf.all.disable_ipv6=0", "net.ipv6.conf.default.accept_dad=0")
	testenv.Veth(guest, "eth0", p.hv, "g0")
	p.hv.Sysctl("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", "net.ipv4.fib_multipath_hash_policy=1", "net.ipv6.fib_multipath_hash_policy=1")
	family := "-4"
	if p.v6 {
		family = "-6"
		p.hv.IP("addr add fd65::1/64 dev g0")
		guest.IP("addr add fd65::2/64 dev eth0", "route add default via fd65::1")
	} else {
		p.hv.IP("addr add 192.168.0.1/24 dev g0")
		guest.IP("addr add 192.168.0.2/24 dev eth0", "route add default via 192.168.0.1")
	}
	p.hv.Run("ip", family, "rule", "add", "iif", "g0", "lookup", fmt.Sprint(planeTable))
	var tasks sync.WaitGroup
	var conns [2]*packet.Conn
	for plane := range conns {
		must(p.b, p.fabric.Do(func() error {
			ifi, err := net.InterfaceByName(fmt.Sprintf("e%d", plane))
			if err == nil {
				conns[plane], err = packet.Listen(ifi, packet.Datagram, unix.ETH_P_ALL, nil)
			}
			return err
		}))
		tasks.Go(func() { s.receive(plane, conns[plane]) })
	}
	var sender *net.UDPConn
	must(p.b, guest.Do(func() (err error) { sender, err = net.ListenUDP("udp", nil); return err }))
	tasks.Go(func() { s.send(sender) })
	p.b.Cleanup(func() {
		sender.Close()
		conns[0].Close()
		conns[1].Close()
		tasks.Wait()
	})
	return s
}

const (
	probesAtOnce = 10
	probeStride  = 7919 // prime: over all hypervisors and all the table
	probeMark    = 0x70726f62
	probePort    = 9
)

// send sends until the socket is closed.
func (s *probes) send(conn *net.UDPConn) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	message := binary.BigEndian.AppendUint32(nil, probeMark)
	for n := uint32(0); ; <-tick.C {
		for range probesAtOnce {
			s.mu.Lock()
			s.sent = append(s.sent, time.Since(s.base))
			s.mu.Unlock()
			to := netip.AddrPortFrom(s.p.prefix(int(uint64(n)*probeStride%uint64(s.p.routes))).Addr(), probePort)
			// While a neighbour is not resolved it may fail, and is a probe lost.
			_, err := conn.WriteToUDPAddrPort(binary.BigEndian.AppendUint32(message[:4], n), to)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			n++
		}
	}
}

// receive books what arrives on a plane. The probe is the end of the packet.
func (s *probes) receive(plane int, conn *packet.Conn) {
	b := make([]byte, 2048)
	for {
		n, _, err := conn.ReadFrom(b)
		if errors.Is(err, unix.ENETDOWN) {
			continue // that is said once
		}
		if err != nil { // closed
			return
		}
		if n < 8 || binary.BigEndian.Uint32(b[n-8:]) != probeMark {
			continue
		}
		number := binary.BigEndian.Uint32(b[n-4:])
		s.mu.Lock()
		if number >= s.first {
			s.arrived[plane][number] = true
		}
		s.mu.Unlock()
	}
}

// forget drops what is known and gives how many were sent.
func (s *probes) forget() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.sent)
	s.first += uint32(n)
	s.sent = s.sent[:0]
	clear(s.arrived[0])
	clear(s.arrived[1])
	return n
}

// enough is how many probes in a row go to each hypervisor several times.
const enough = 2000

// bothCarry waits until of the last so many probes some arrived over each
// plane and none was lost.
func (s *probes) bothCarry() {
	s.p.b.Helper()
	s.forget()
	testenv.Eventually(s.p.b, "all probes to arrive, over both planes", func() bool {
		s.mu.Lock()
		n, a, z := len(s.sent), len(s.arrived[0]), len(s.arrived[1])
		s.mu.Unlock()
		if n >= enough && a+z < n-2*probesAtOnce {
			s.forget() // neighbours were not resolved yet
		}
		return n >= enough && a+z >= n-2*probesAtOnce && a > n/4 && z > n/4
	})
}

// until waits until so many probes more have arrived over the living plane
// that it has to be all, and gives the number of the last.
func (s *probes) until() (last uint32) {
	s.p.b.Helper()
	run, next := 0, uint32(0)
	testenv.Eventually(s.p.b, "all probes to arrive over the living plane", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		if next < s.first {
			next = s.first
		}
		for ; next+2*probesAtOnce < s.first+uint32(len(s.sent)); next++ {
			run++
			if !s.arrived[1][next] {
				run = 0
			}
		}
		return run >= enough
	})
	return next
}

// missing is the time from start to when the last probe was sent that did not
// arrive over the living plane; negative if it was sent before.
func (s *probes) missing(start time.Time, last uint32) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := last; n > s.first; n-- {
		if !s.arrived[1][n-1] {
			return s.sent[n-1-s.first] - start.Sub(s.base)
		}
	}
	return -1
}
