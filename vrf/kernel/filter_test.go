package kernel

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/testenv"
)

// frameCase is a frame of a guest with a text by which it is known again.
type frameCase struct {
	name    string
	passes  bool
	frame   func(s *stage, text string) []byte
	refused bool // of those that don't pass: counted as refused, not as spoofed
	silent  bool // dropped by the kernel itself, so not counted
}

func udp4(from, to string) func(*stage, string) []byte {
	return func(s *stage, text string) []byte {
		return s.v4(ipv4(from, to, unix.IPPROTO_UDP, 0, udp(1000, 2000, text)))
	}
}

func udp6(from, to string) func(*stage, string) []byte {
	return func(s *stage, text string) []byte {
		return s.v6(ipv6(from, to, unix.IPPROTO_UDP, udp(1000, 2000, text)))
	}
}

func ip4(from string, proto byte, fragment uint16, payload func(text string) []byte) func(*stage, string) []byte {
	return func(s *stage, text string) []byte { return s.v4(ipv4(from, internet, proto, fragment, payload(text))) }
}

func ip6(from string, next byte, payload func(text string) []byte) func(*stage, string) []byte {
	return func(s *stage, text string) []byte { return s.v6(ipv6(from, internet6, next, payload(text))) }
}

// icmpOf is a message of ICMP or ICMPv6, long enough for what it says it is.
func icmpOf(kind byte) func(string) []byte {
	return func(text string) []byte { return icmpMessage(kind, "0123456789abcdef"+text) }
}

func datagram(from, to uint16) func(string) []byte {
	return func(text string) []byte { return udp(from, to, text) }
}

func ipv4Cases() []frameCase {
	return []frameCase{
		{name: "own", passes: true, frame: udp4(vmA, internet)},
		{name: "own, to the other guest", passes: true, frame: udp4(vmA, vmB)},
		{name: "of its routed prefix", passes: true, frame: udp4("203.0.113.31", internet)},
		{name: "of the next one", frame: udp4("203.0.113.32", internet)},
		{name: "the other guest's", frame: udp4(vmB, internet)},
		{name: "its gateway's", frame: udp4("203.0.113.1", internet)},
		{name: "the hypervisor's", frame: udp4("100.64.0.1", internet)},
		{name: "the edge's", frame: udp4(internet, vmB)},
		{name: "martian", frame: udp4("127.0.0.1", internet)},
		{name: "no address", frame: udp4("0.0.0.0", internet)},
		{name: "to the interconnect", refused: true, frame: udp4(vmA, "100.64.0.2")},
		{name: "of another MAC", frame: func(s *stage, text string) []byte {
			return ether(s.portB.mac, [6]byte{0xee, 0xee, 0xee, 0xee, 0xee, 1}, unix.ETH_P_IP, ipv4(vmA, internet, unix.IPPROTO_UDP, 0, udp(1000, 2000, text)))
		}},
		{name: "first fragment", passes: true, frame: ip4(vmA, unix.IPPROTO_UDP, 0x2000, datagram(1000, 2000))},
		{name: "later fragment", passes: true, frame: ip4(vmA, unix.IPPROTO_UDP, 0x0003, func(text string) []byte { return []byte(text) })},
		{name: "later fragment of the other guest", frame: ip4(vmB, unix.IPPROTO_UDP, 0x0003, func(text string) []byte { return []byte(text) })},
		{name: "ping", passes: true, frame: ip4(vmA, unix.IPPROTO_ICMP, 0, icmpOf(8))},
		{name: "redirect", refused: true, frame: ip4(vmA, unix.IPPROTO_ICMP, 0, icmpOf(5))},
		{name: "redirect in a first fragment", refused: true, frame: ip4(vmA, unix.IPPROTO_ICMP, 0x2000, icmpOf(5))},
		{name: "router advertisement", refused: true, frame: ip4(vmA, unix.IPPROTO_ICMP, 0, icmpOf(9))},
		{name: "as a DHCP server", refused: true, frame: ip4(vmA, unix.IPPROTO_UDP, 0, datagram(67, 2000))},
		{name: "to a DHCP client", refused: true, frame: ip4(vmA, unix.IPPROTO_UDP, 0, datagram(1000, 68))},
		{name: "UDP without a whole header", refused: true, frame: ip4(vmA, unix.IPPROTO_UDP, 0, func(text string) []byte { return []byte(text[:6]) })},
		{name: "another protocol", passes: true, frame: ip4(vmA, unix.IPPROTO_GRE, 0, func(text string) []byte { return []byte("\x00\x00\x08\x00" + text) })},
		{name: "priority-tagged", passes: true, frame: withTags(udp4(vmA, internet), [2]uint16{unix.ETH_P_8021Q, 0})},
		{name: "priority-tagged, the other guest's", frame: withTags(udp4(vmB, internet), [2]uint16{unix.ETH_P_8021Q, 0})},
		{name: "twice priority-tagged, the other guest's", frame: withTags(udp4(vmB, internet), [2]uint16{unix.ETH_P_8021AD, 0}, [2]uint16{unix.ETH_P_8021Q, 0})},
		{name: "tagged", silent: true, frame: withTags(udp4(vmA, internet), [2]uint16{unix.ETH_P_8021Q, 5})},
		{name: "QinQ", silent: true, frame: withTags(udp4(vmA, internet), [2]uint16{unix.ETH_P_8021AD, 5}, [2]uint16{unix.ETH_P_8021Q, 6})},
		{name: "another ethertype", silent: true, frame: func(s *stage, text string) []byte { return s.frame(0x88b5, []byte(text)) }},
	}
}

func withTags(frame func(*stage, string) []byte, tags ...[2]uint16) func(*stage, string) []byte {
	return func(s *stage, text string) []byte { return tagged(frame(s, text), tags...) }
}

func ipv6Cases() []frameCase {
	split := func(next byte, more bool, payload func(string) []byte) func(*stage, string) []byte {
		return ip6(vmA6, unix.IPPROTO_FRAGMENT, func(text string) []byte { return fragment6(next, 0, more, payload(text)) })
	}
	return []frameCase{
		{name: "own", passes: true, frame: udp6(vmA6, internet6)},
		{name: "of its routed /64", passes: true, frame: udp6("2001:db8:1::5", internet6)},
		{name: "of the next /64", frame: udp6("2001:db8:1:1::5", internet6)},
		{name: "of its routed /60", passes: true, frame: udp6("2001:db8:2:f::5", internet6)},
		{name: "of the next /60", frame: udp6("2001:db8:2:10::5", internet6)},
		{name: "own, to the other guest", passes: true, frame: udp6(vmA6, vmB6)},
		{name: "the other guest's", frame: udp6(vmB6, internet6)},
		{name: "the hypervisor's", frame: udp6("fd64::1", internet6)},
		{name: "the edge's", frame: udp6(internet6, vmB6)},
		{name: "mapped", frame: udp6("::ffff:203.0.113.7", internet6)},
		{name: "6to4", frame: udp6("2002:cb00:7107::1", internet6)},
		{name: "no address", frame: udp6("::", internet6)},
		{name: "loopback", silent: true, frame: udp6("::1", internet6)},
		{name: "link-local", refused: true, frame: udp6("fe80::7", internet6)},
		{name: "its gateway's link-local", frame: udp6("fe80::1", internet6)},
		{name: "link-local of another prefix", frame: udp6("fe80:0:0:1::7", internet6)},
		{name: "to the interconnect", refused: true, frame: udp6(vmA6, "fd64::2")},
		{name: "ping", passes: true, frame: ip6(vmA6, unix.IPPROTO_ICMPV6, icmpOf(128))},
		{name: "router advertisement", refused: true, frame: ip6(vmA6, unix.IPPROTO_ICMPV6, icmpOf(134))},
		{name: "redirect", refused: true, frame: ip6(vmA6, unix.IPPROTO_ICMPV6, icmpOf(137))},
		{name: "router advertisement behind an extension header", refused: true, frame: ip6(vmA6, unix.IPPROTO_DSTOPTS, func(text string) []byte {
			return extended(unix.IPPROTO_ICMPV6, icmpOf(134)(text))
		})},
		{name: "router advertisement behind three", refused: true, frame: ip6(vmA6, unix.IPPROTO_HOPOPTS, func(text string) []byte {
			return extended(unix.IPPROTO_DSTOPTS, extended(unix.IPPROTO_DSTOPTS, extended(unix.IPPROTO_ICMPV6, icmpOf(134)(text))))
		})},
		{name: "UDP behind an extension header", passes: true, frame: ip6(vmA6, unix.IPPROTO_DSTOPTS, func(text string) []byte {
			return extended(unix.IPPROTO_UDP, udp(1000, 2000, text))
		})},
		{name: "router advertisement in a fragment", refused: true, frame: split(unix.IPPROTO_ICMPV6, true, icmpOf(134))},
		{name: "router advertisement in an atomic fragment", refused: true, frame: split(unix.IPPROTO_ICMPV6, false, icmpOf(134))},
		{name: "neighbour solicitation in a fragment", refused: true, frame: split(unix.IPPROTO_ICMPV6, true, icmpOf(135))},
		{name: "a first fragment without its header", refused: true, frame: split(unix.IPPROTO_DSTOPTS, true, func(text string) []byte {
			return append([]byte{unix.IPPROTO_ICMPV6, 1, 1, 12}, text[:12]...)
		})},
		{name: "first fragment", passes: true, frame: split(unix.IPPROTO_UDP, true, datagram(1000, 2000))},
		{name: "later fragment", passes: true, frame: ip6(vmA6, unix.IPPROTO_FRAGMENT, func(text string) []byte {
			return fragment6(unix.IPPROTO_UDP, 9, false, []byte(text))
		})},
		{name: "later fragment of the other guest", frame: ip6(vmB6, unix.IPPROTO_FRAGMENT, func(text string) []byte {
			return fragment6(unix.IPPROTO_UDP, 9, false, []byte(text))
		})},
		{name: "as a DHCPv6 server", refused: true, frame: ip6(vmA6, unix.IPPROTO_UDP, datagram(547, 2000))},
		{name: "to a DHCPv6 client", refused: true, frame: ip6(vmA6, unix.IPPROTO_UDP, datagram(1000, 546))},
		{name: "as a DHCPv6 server in a fragment", refused: true, frame: split(unix.IPPROTO_UDP, true, datagram(547, 546))},
		{name: "advertising the other guest", frame: ip6(vmA6, unix.IPPROTO_ICMPV6, func(text string) []byte {
			return icmpMessage(136, "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x08"+text)
		})},
		{name: "priority-tagged, the other guest's", frame: withTags(udp6(vmB6, internet6), [2]uint16{unix.ETH_P_8021Q, 0})},
	}
}

// TestFrames: what isn't a guest's own comes out nowhere, and its counter says
// why; all that is its own comes out.
func TestFrames(t *testing.T) {
	testenv.RequireRoot(t)
	frames(t, newStage(t, false))
}

func TestFramesVRF(t *testing.T) {
	testenv.RequireVRF(t)
	frames(t, newStage(t, true))
}

func frames(t *testing.T, s *stage) {
	s.apply()
	for family, cases := range map[string][]frameCase{"#v4": ipv4Cases(), "#v6": ipv6Cases()} {
		for i, c := range cases {
			text := fmt.Sprintf("%s%03d and some more text", family, i)
			before := s.drops()
			got := s.passes(c.frame(s, text), text[:6], fmt.Sprintf("marker-%s-%d", family, i))
			after := s.drops()
			if got != c.passes {
				t.Errorf("%s, %s: passes: %v, want %v", family, c.name, got, c.passes)
			}
			spoofed, refused := after.Spoofed-before.Spoofed, after.Refused-before.Refused
			if counted := !c.passes && !c.silent; counted != (spoofed+refused == 1) || counted && c.refused != (refused == 1) {
				t.Errorf("%s, %s: counted as spoofed %d times, as refused %d times", family, c.name, spoofed, refused)
			}
		}
	}
}
