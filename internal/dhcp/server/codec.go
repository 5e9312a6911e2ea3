package server

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"

	"github.com/hostroute/hostroute/internal/dhcp"
)

// Where the fields are that can hold options (RFC 2131, section 2).
const (
	snameAt   = 44
	fileAt    = snameAt + 64
	cookieAt  = fileAt + 128
	optionsAt = cookieAt + 4
	shortest  = 300 // a BOOTP message; some clients drop a shorter one (RFC 1542, section 2.1)
)

// decode parses a message. Options in the fields file and sname (option 52)
// continue those in the options field, in this order (RFC 3396, section 5).
func decode(packet []byte) (dhcp.Request, error) {
	m, err := dhcpv4.FromBytes(packet)
	if err != nil {
		return dhcp.Request{}, fmt.Errorf("parsing a DHCP message: %w", err)
	}
	options := map[byte][]byte(m.Options)
	if v := options[52]; len(v) == 1 {
		for _, field := range []struct {
			bit   byte
			bytes []byte
		}{{1, packet[fileAt:cookieAt]}, {2, packet[snameAt:fileAt]}} {
			if v[0]&field.bit == 0 {
				continue
			}
			if err := m.Options.FromBytes(field.bytes); err != nil {
				return dhcp.Request{}, fmt.Errorf("parsing the options beside the options field: %w", err)
			}
		}
	}
	return dhcp.Request{
		Op: byte(m.OpCode), XID: m.TransactionID, Flags: m.Flags,
		Client: addr(m.ClientIPAddr), Relay: addr(m.GatewayIPAddr),
		Hardware: m.ClientHWAddr, Options: options,
	}, nil
}

// encode makes the message of a reply. The library writes the fixed fields, and
// the options are ours: theirs come in the order of their codes, but what a
// guest asks for has an order (RFC 2132, section 9.8), and the kind goes first,
// where simple clients look for it.
func encode(r dhcp.Reply) []byte {
	m := dhcpv4.DHCPv4{
		OpCode: dhcpv4.OpcodeBootReply, HWType: iana.HWTypeEthernet, TransactionID: r.XID, Flags: r.Flags,
		ClientIPAddr: netIP(r.Client), YourIPAddr: netIP(r.Your), ClientHWAddr: r.Hardware[:],
	}
	packet := m.ToBytes()[:optionsAt:optionsAt]
	if r.File != nil {
		copy(packet[fileAt:cookieAt], appendOptions(nil, r.File))
	}
	if r.Sname != nil {
		copy(packet[snameAt:fileAt], appendOptions(nil, r.Sname))
	}
	packet = appendOptions(packet, r.Options)
	if missing := shortest - len(packet); missing > 0 {
		packet = append(packet, make([]byte, missing)...)
	}
	return packet
}

// appendOptions writes options and the end option. A long value is cut into
// several options of the same code (RFC 3396).
func appendOptions(to []byte, options []dhcp.Option) []byte {
	for _, o := range options {
		rest := o.Value
		for {
			part := rest[:min(len(rest), 255)]
			to = append(append(to, o.Code, byte(len(part))), part...)
			if rest = rest[len(part):]; len(rest) == 0 {
				break
			}
		}
	}
	return append(to, 255)
}

func addr(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

func netIP(a netip.Addr) net.IP {
	if !a.IsValid() {
		return net.IPv4zero
	}
	return a.AsSlice()
}
