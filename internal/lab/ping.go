package lab

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os/exec"
	"strings"
	"syscall"
)

// ErrNoAnswer is in the chain of the error when a ping was sent and nothing good came back.
var ErrNoAnswer = errors.New("no answer")

// Ping sends one echo request from a node and wants the reply within a second (times TimeFactor). Extra
// arguments go to ping(8), such as -I.
func (l *Lab) Ping(ctx context.Context, from string, to netip.Addr, extra ...string) error {
	wait := fmt.Sprintf("%d", int(math.Ceil(TimeFactor())))
	args := append([]string{"ping", "-n", "-q", "-c", "1", "-W", wait}, extra...)
	out, err := l.Exec(ctx, from, append(args, to.String())...)
	if err == nil {
		return nil
	}
	if exitStatus(err) == 1 { // ping(8): no reply
		return fmt.Errorf("ping from %s to %s: %w: %s", from, to, ErrNoAnswer, pingWords(out))
	}
	return fmt.Errorf("ping from %s to %s: %w", from, to, err)
}

// pingWords is the line that says what came back instead, such as errors from a router.
func pingWords(out string) string {
	for line := range strings.Lines(out) {
		if strings.Contains(line, "packet loss") {
			return strings.TrimSpace(line)
		}
	}
	return "no statistics"
}

// Address is the address of a guest on a network and family, for Ping.
func (t Topology) Address(guest, network string, family int) (netip.Addr, error) {
	g, err := t.Guest(guest)
	if err != nil {
		return netip.Addr{}, err
	}
	for _, i := range g.Interfaces {
		if i.Network != network {
			continue
		}
		if family == 6 {
			return i.V6, nil
		}
		return i.V4, nil
	}
	return netip.Addr{}, fmt.Errorf("guest %s has no interface on network %q", guest, network)
}

// Stream is a ping that runs while something else happens.
type Stream struct {
	from string
	to   netip.Addr
	cmd  *exec.Cmd
	out  strings.Builder
}

// StartStream pings from a node every interval (seconds, as ping(8) -i takes them) until Stop.
func (l *Lab) StartStream(from string, to netip.Addr, interval string) (*Stream, error) {
	s := &Stream{from: from, to: to}
	s.cmd = exec.Command("ip", "netns", "exec", l.Topology.Namespace(from), "ping", "-n", "-i", interval, to.String())
	s.cmd.Stdout = &s.out
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting a ping from %s to %s: %w", from, to, err)
	}
	return s, nil
}

// Stop ends the stream and counts. What is still on its way when the stream ends counts neither as sent nor
// as lost.
func (s *Stream) Stop() (sent, received int, err error) {
	if err := s.cmd.Process.Signal(syscall.SIGINT); err != nil {
		return 0, 0, fmt.Errorf("ending the ping from %s to %s: %w", s.from, s.to, err)
	}
	_ = s.cmd.Wait() // ping's status only says whether something was lost
	return countReplies(s.out.String())
}

// countReplies reads ping's lines of replies, "64 bytes from 192.0.2.1: icmp_seq=7 ttl=63 time=0.05 ms": as
// many were sent as the highest sequence tells.
func countReplies(out string) (sent, received int, err error) {
	seen := map[int]bool{}
	for line := range strings.Lines(out) {
		_, after, ok := strings.Cut(line, " icmp_seq=")
		if !ok || !strings.Contains(line, "bytes from") {
			continue
		}
		var seq int
		if _, err := fmt.Sscan(after, &seq); err != nil {
			return 0, 0, fmt.Errorf("reading ping's line %q: %w", strings.TrimSpace(line), err)
		}
		seen[seq] = true
		sent = max(sent, seq)
	}
	if sent == 0 {
		return 0, 0, fmt.Errorf("reading ping's output: %w at all in %q", ErrNoAnswer, out)
	}
	return sent, len(seen), nil
}
