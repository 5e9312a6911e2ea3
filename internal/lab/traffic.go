package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Flow is traffic in one direction, from an address of a node to one of another.
type Flow struct {
	From, To       string
	Source, Target netip.Addr
	// OtherFrom and OtherTo are a second node that may have the address: both send, and what arrives at either arrives.
	OtherFrom, OtherTo string
}

func (f Flow) String() string { return fmt.Sprintf("%s → %s, IPv%d", f.From, f.To, family(f.Target)) }

func family(a netip.Addr) int {
	if a.Is4() {
		return 4
	}
	return 6
}

// Both lists the flows between two guests on a network: both ways, both families.
func (t Topology) Both(a, b, network string) ([]Flow, error) {
	var flows []Flow
	for _, family := range []int{4, 6} {
		first, err := t.Address(a, network, family)
		if err != nil {
			return nil, err
		}
		second, err := t.Address(b, network, family)
		if err != nil {
			return nil, err
		}
		flows = append(flows, Flow{From: a, To: b, Source: first, Target: second}, Flow{From: b, To: a, Source: second, Target: first})
	}
	return flows, nil
}

// FlowLoss is what became of a flow.
type FlowLoss struct {
	Flow
	Sent, Lost int
	// Outage is the longest time from the sending of a packet that was lost to that of the first one after it with
	// which everything arrives again, on all paths.
	Outage time.Duration
}

func (l FlowLoss) String() string {
	if l.Lost == 0 {
		return fmt.Sprintf("0 of %d lost", l.Sent)
	}
	return fmt.Sprintf("%d of %d lost, longest outage %d ms", l.Lost, l.Sent, l.Outage.Milliseconds())
}

// flowPorts is how many source ports a flow uses in turn, so that its packets take all of several equal paths.
const flowPorts = 16

// Traffic is numbered UDP packets that run while something else happens. It has a goroutine that sends, and one a flow
// that receives, until it is stopped.
type Traffic struct {
	streams  []*stream
	interval time.Duration
	stop     chan struct{}
	sending  sync.WaitGroup
	reading  sync.WaitGroup
}

// stream is a flow under way.
type stream struct {
	Flow
	senders   [][]*net.UDPConn // by node, by port
	receivers []*net.UDPConn   // by node

	mu      sync.Mutex
	sent    []time.Time // by number
	arrived []bool
}

// StartTraffic sends a packet on every flow each interval.
func (l *Lab) StartTraffic(interval time.Duration, flows ...Flow) (*Traffic, error) {
	t := &Traffic{interval: interval, stop: make(chan struct{})}
	for _, f := range flows {
		s := &stream{Flow: f}
		t.streams = append(t.streams, s)
		if err := l.open(s); err != nil {
			t.close()
			return nil, fmt.Errorf("opening the traffic %s: %w", f, err)
		}
	}
	for _, s := range t.streams {
		for _, r := range s.receivers {
			t.reading.Go(func() { s.receive(r) })
		}
	}
	t.sending.Go(t.send)
	return t, nil
}

// open makes the sockets of a stream where its ends are.
func (l *Lab) open(s *stream) error {
	port := uint16(0)
	for _, node := range ends(s.To, s.OtherTo) {
		err := within(l.Topology.Namespace(node), func() error {
			r, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(s.Target, port)))
			if err != nil {
				return err
			}
			s.receivers = append(s.receivers, r)
			port = r.LocalAddr().(*net.UDPAddr).AddrPort().Port()
			return patient(r)
		})
		if err != nil {
			return err
		}
	}
	for _, node := range ends(s.From, s.OtherFrom) {
		if err := within(l.Topology.Namespace(node), func() error { return s.openSenders() }); err != nil {
			return err
		}
	}
	return nil
}

// ends lists the nodes at one end of a flow.
func ends(node, other string) []string {
	if other == "" {
		return []string{node}
	}
	return []string{node, other}
}

func (s *stream) openSenders() error {
	var senders []*net.UDPConn
	for range flowPorts {
		c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(s.Source, 0)))
		if err != nil {
			return err
		}
		senders = append(senders, c)
	}
	s.senders = append(s.senders, senders)
	return nil
}

// receiveBuffer holds the packets of more than a minute. With the kernel's default, those of three seconds in which
// a busy machine doesn't let the receiver run would count as lost, though they arrived.
const receiveBuffer = 16 << 20

// patient gives a socket that buffer, whatever the limit for those that aren't root.
func patient(c *net.UDPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var failure error
	err = raw.Control(func(fd uintptr) {
		failure = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer)
	})
	return errors.Join(err, failure)
}

// send ends with stop. A machine that is too slow for the interval sends less often.
func (t *Traffic) send() {
	ticks := time.NewTicker(t.interval)
	defer ticks.Stop()
	for {
		for _, s := range t.streams {
			s.send()
		}
		select {
		case <-t.stop:
			return
		case <-ticks.C:
		}
	}
}

// send sends the next packet; one that the host has no route for counts as lost.
func (s *stream) send() {
	s.mu.Lock()
	n := len(s.sent)
	s.sent, s.arrived = append(s.sent, time.Now()), append(s.arrived, false)
	s.mu.Unlock()
	packet := binary.BigEndian.AppendUint64(nil, uint64(n))
	port := s.receivers[0].LocalAddr().(*net.UDPAddr).AddrPort().Port()
	for _, senders := range s.senders {
		_, _ = senders[n%flowPorts].WriteToUDPAddrPort(packet, netip.AddrPortFrom(s.Target, port)) // see above
	}
}

// receive ends with the socket.
func (s *stream) receive(receiver *net.UDPConn) {
	buffer := make([]byte, 64)
	for {
		n, _, err := receiver.ReadFromUDPAddrPort(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n != 8 {
			continue
		}
		number := binary.BigEndian.Uint64(buffer)
		s.mu.Lock()
		if number < uint64(len(s.arrived)) {
			s.arrived[number] = true
		}
		s.mu.Unlock()
	}
}

// Flows wants the packets of the last moment to have arrived, on every flow and all of its ports.
func (t *Traffic) Flows() error {
	const last = 2 * flowPorts
	var lossy []error
	for _, s := range t.streams {
		s.mu.Lock()
		lost, to := 0, s.settled()
		for n := max(0, to-last); n < to; n++ {
			if !s.arrived[n] {
				lost++
			}
		}
		s.mu.Unlock()
		switch {
		case to < last:
			lossy = append(lossy, fmt.Errorf("%s: it has only begun", s.Flow))
		case lost > 0:
			lossy = append(lossy, fmt.Errorf("%s: %d of the last %d packets lost", s.Flow, lost, last))
		}
	}
	return errors.Join(lossy...)
}

// settled is how many packets are either lost or there: the very last ones are still on their way.
func (s *stream) settled() int {
	to := len(s.sent)
	for to > 0 && time.Since(s.sent[to-1]) < time.Duration(float64(50*time.Millisecond)*TimeFactor()) {
		to--
	}
	return to
}

// Since counts what became of the packets after the first so many of each flow, up to those that are on their way.
func (t *Traffic) Since(first int) []FlowLoss {
	var losses []FlowLoss
	for _, s := range t.streams {
		s.mu.Lock()
		to := max(first, s.settled())
		loss := FlowLoss{Flow: s.Flow, Sent: to - first}
		loss.Lost, loss.Outage = outages(s.sent[first:to], s.arrived[first:to])
		s.mu.Unlock()
		losses = append(losses, loss)
	}
	return losses
}

// Sent is how many packets were sent on each flow.
func (t *Traffic) Sent() int {
	s := t.streams[0]
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sent)
}

// Stop ends the traffic and counts. What is on its way has a second (times TimeFactor) to arrive.
func (t *Traffic) Stop(ctx context.Context) []FlowLoss {
	close(t.stop)
	t.sending.Wait()
	_ = Eventually(ctx, "the last packets", time.Second, func() error { // they count as lost otherwise
		for _, s := range t.streams {
			s.mu.Lock()
			last := s.arrived[len(s.arrived)-1]
			s.mu.Unlock()
			if !last {
				return ErrNoAnswer
			}
		}
		return nil
	})
	t.close()
	t.reading.Wait()
	var losses []FlowLoss
	for _, s := range t.streams {
		loss := FlowLoss{Flow: s.Flow, Sent: len(s.sent)}
		loss.Lost, loss.Outage = outages(s.sent, s.arrived)
		losses = append(losses, loss)
	}
	return losses
}

func (t *Traffic) close() {
	for _, s := range t.streams {
		for _, c := range slices.Concat(append(s.senders, s.receivers)...) {
			_ = c.Close() // nothing is buffered
		}
	}
}

// outages counts what was lost, and finds the longest outage. One is over when packets from all ports arrived in a
// row.
func outages(sent []time.Time, arrived []bool) (lost int, longest time.Duration) {
	begin, last := -1, -1 // of the outage: its first and its last packet
	for n, ok := range arrived {
		if ok {
			continue
		}
		lost++
		if begin < 0 || n-last > 2*flowPorts {
			begin = n
		}
		last = n
		end := sent[min(n+1, len(sent)-1)]
		longest = max(longest, end.Sub(sent[begin]))
	}
	return lost, longest
}
