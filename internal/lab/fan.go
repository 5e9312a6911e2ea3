package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Fan is many flows from one node to an address that several nodes have: a packet of each, now and then, tells to whom it
// goes. It has a goroutine a receiver until it is closed.
type Fan struct {
	From           string
	Source, Target netip.Addr
	senders        []*net.UDPConn
	receivers      []*net.UDPConn
	reading        sync.WaitGroup

	mu    sync.Mutex
	round uint32
	at    []string // by flow; empty: nobody
}

// OpenFan opens so many flows, each from a port of its own, to members that all have the target.
func (l *Lab) OpenFan(from string, source, target netip.Addr, flows int, members ...string) (*Fan, error) {
	f := &Fan{From: from, Source: source, Target: target}
	if err := f.open(l, flows, members); err != nil {
		f.Close()
		return nil, fmt.Errorf("opening flows from %s to %s: %w", from, target, err)
	}
	return f, nil
}

func (f *Fan) open(l *Lab, flows int, members []string) error {
	port := uint16(0)
	for _, member := range members {
		err := within(l.Topology.Namespace(member), func() error {
			r, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(f.Target, port)))
			if err != nil {
				return err
			}
			port = r.LocalAddr().(*net.UDPAddr).AddrPort().Port()
			f.receivers = append(f.receivers, r)
			f.reading.Go(func() { f.receive(r, member) })
			return patient(r)
		})
		if err != nil {
			return err
		}
	}
	return within(l.Topology.Namespace(f.From), func() error {
		for range flows {
			s, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(f.Source, 0)), net.UDPAddrFromAddrPort(netip.AddrPortFrom(f.Target, port)))
			if err != nil {
				return err
			}
			f.senders = append(f.senders, s)
		}
		return nil
	})
}

// receive ends with the socket.
func (f *Fan) receive(r *net.UDPConn, member string) {
	buffer := make([]byte, 16)
	for {
		n, err := r.Read(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n != 8 {
			continue
		}
		f.mu.Lock()
		if round, flow := binary.BigEndian.Uint32(buffer), binary.BigEndian.Uint32(buffer[4:]); round == f.round && int(flow) < len(f.at) {
			f.at[flow] = member
		}
		f.mu.Unlock()
	}
}

// fanWait is how long packets of a fan may be under way.
const fanWait = time.Second

// Members sends a packet on every flow and tells who got each; "" is nobody.
func (f *Fan) Members(ctx context.Context) ([]string, error) {
	f.mu.Lock()
	f.round++
	f.at = make([]string, len(f.senders))
	round := f.round
	f.mu.Unlock()
	for flow, s := range f.senders {
		packet := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, round), uint32(flow))
		_, _ = s.Write(packet) // an ICMP error to an earlier packet may be what it tells
	}
	err := Eventually(ctx, "packets of all flows", fanWait, func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, member := range f.at {
			if member == "" {
				return ErrNoAnswer
			}
		}
		return nil
	})
	if ctx.Err() != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.at...), nil
}

// Close ends the flows.
func (f *Fan) Close() {
	for _, c := range append(f.senders, f.receivers...) {
		_ = c.Close() // nothing is buffered
	}
	f.reading.Wait()
}
