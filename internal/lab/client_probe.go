package lab

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// probeSeconds is how long a probe waits for an answer, in whole seconds.
func probeSeconds() int { return int(math.Ceil(TimeFactor())) }

// Rdisc6 solicits routers on a guest's interface with rdisc6(8), and returns the first advertisement in its words.
func (l *Lab) Rdisc6(ctx context.Context, guest, iface string) (string, error) {
	out, err := l.Exec(ctx, guest, "rdisc6", "-1", "-n", "-r", "2", "-w", strconv.Itoa(1000*probeSeconds()), iface)
	if exitStatus(err) == 2 { // nobody answered
		return "", fmt.Errorf("soliciting routers on %s of %s: %w", iface, guest, ErrNoAnswer)
	}
	return out, err
}

// Ndisc6 asks on a guest's interface who has an IPv6 address, with ndisc6(8). The error of one that nobody answers
// for has ErrNoAnswer.
func (l *Lab) Ndisc6(ctx context.Context, guest, iface string, target netip.Addr) (net.HardwareAddr, error) {
	out, err := l.Exec(ctx, guest, "ndisc6", "-1", "-n", "-q", "-r", "2", "-w", strconv.Itoa(500*probeSeconds()), target.String(), iface)
	if exitStatus(err) == 2 {
		return nil, fmt.Errorf("asking for %s on %s of %s: %w", target, iface, guest, ErrNoAnswer)
	} else if err != nil {
		return nil, err
	}
	return parseMAC(out)
}

// ARP asks on a guest's interface who has an IPv4 address, with arping(8); with a source of 0.0.0.0 it is the probe
// of somebody who wants to take the address (RFC 5227), so an answer is a conflict.
func (l *Lab) ARP(ctx context.Context, guest, iface string, target netip.Addr, probe bool) (net.HardwareAddr, error) {
	args := []string{"arping", "-f", "-c", "2", "-w", strconv.Itoa(probeSeconds()), "-I", iface}
	if probe {
		args = append(args, "-D")
	}
	out, err := l.Exec(ctx, guest, append(args, target.String())...)
	reply := arpReply.FindStringSubmatch(out)
	switch {
	case reply != nil:
		return parseMAC(reply[1])
	case err == nil, exitStatus(err) == 1:
		return nil, fmt.Errorf("asking for %s on %s of %s: %w", target, iface, guest, ErrNoAnswer)
	default:
		return nil, err
	}
}

// arpReply is arping's line "Unicast reply from 203.0.113.1 [EE:EE:EE:EE:EE:01]  0.6ms".
var arpReply = regexp.MustCompile(`reply from \S+ \[([0-9A-Fa-f:]+)\]`)

func parseMAC(text string) (net.HardwareAddr, error) {
	mac, err := net.ParseMAC(strings.TrimSpace(text))
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	return mac, nil
}

// Unanswered turns the lack of an answer into success, and an answer into an error.
func Unanswered(mac net.HardwareAddr, err error) error {
	switch {
	case errors.Is(err, ErrNoAnswer):
		return nil
	case err != nil:
		return err
	default:
		return fmt.Errorf("%s answered", mac)
	}
}
