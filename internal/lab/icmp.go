package lab

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// ICMPErrors counts what tells a sender that its packets don't arrive, both families.
type ICMPErrors struct {
	Unreachable, Exceeded, Redirect int
}

// Sub is what came after an earlier count.
func (e ICMPErrors) Sub(before ICMPErrors) ICMPErrors {
	return ICMPErrors{e.Unreachable - before.Unreachable, e.Exceeded - before.Exceeded, e.Redirect - before.Redirect}
}

func (e ICMPErrors) String() string {
	return fmt.Sprintf("%d unreachable, %d time exceeded, %d redirects", e.Unreachable, e.Exceeded, e.Redirect)
}

// ICMPReceived and ICMPSent read a node's own count of the errors that it was told, and told others.
func (l *Lab) ICMPReceived(node string) (ICMPErrors, error) { return l.icmp(node, "In") }

// ICMPSent is ICMPReceived of what the node told others.
func (l *Lab) ICMPSent(node string) (ICMPErrors, error) { return l.icmp(node, "Out") }

func (l *Lab) icmp(node, way string) (ICMPErrors, error) {
	counts := map[string]int{}
	err := within(l.Topology.Namespace(node), func() error {
		// /proc/net would be the namespace of the process's first thread.
		v4, err := os.ReadFile("/proc/thread-self/net/snmp")
		if err != nil {
			return err
		}
		v6, err := os.ReadFile("/proc/thread-self/net/snmp6")
		if err != nil {
			return err
		}
		readSNMP(string(v4), counts)
		readSNMP6(string(v6), counts)
		return nil
	})
	if err != nil {
		return ICMPErrors{}, fmt.Errorf("reading the ICMP counters of %s: %w", node, err)
	}
	both := func(what string) int { return counts["Icmp"+way+what] + counts["Icmp6"+way+what] }
	return ICMPErrors{both("DestUnreachs"), both("TimeExcds"), both("Redirects")}, nil
}

// readSNMP reads pairs of lines, "Icmp: InMsgs InErrors …" and "Icmp: 17 0 …".
func readSNMP(text string, counts map[string]int) {
	var names []string
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		protocol := strings.TrimSuffix(fields[0], ":")
		if len(names) == len(fields) && names[0] == fields[0] {
			for i, f := range fields[1:] {
				counts[protocol+names[i+1]], _ = strconv.Atoi(f) // kernels write numbers
			}
			names = nil
			continue
		}
		names = fields
	}
}

// readSNMP6 reads lines like "Icmp6InDestUnreachs   17".
func readSNMP6(text string, counts map[string]int) {
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) == 2 {
			counts[fields[0]], _ = strconv.Atoi(fields[1]) // kernels write numbers
		}
	}
}
