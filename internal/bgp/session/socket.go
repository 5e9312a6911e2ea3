package session

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// dial opens the TCP connection of a session, with everything set before the
// first packet leaves: device, time to live both ways, signatures.
func dial(ctx context.Context, p *Peer, timeout time.Duration) (net.Conn, error) {
	d := net.Dialer{
		Timeout:   timeout,
		KeepAlive: -1, // BGP has its own
		ControlContext: func(_ context.Context, _, _ string, raw syscall.RawConn) error {
			var err error
			if e := raw.Control(func(fd uintptr) { err = prepare(int(fd), p) }); e != nil {
				return e
			}
			return err
		},
	}
	d.SetMultipathTCP(false) // has neither MD5 signatures nor IP_MINTTL
	if p.Source.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(p.Source, 0))
	}
	to := netip.AddrPortFrom(p.Address, p.Port)
	conn, err := d.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, fmt.Errorf("dialling %v: %w", to, bare(err))
	}
	return conn, nil
}

func prepare(fd int, p *Peer) error {
	if p.Uplink != "" {
		if err := unix.BindToDevice(fd, p.Uplink); err != nil {
			return fmt.Errorf("binding to uplink %s: %w", p.Uplink, err)
		}
	}
	if err := setTTL(fd, p.Address.Is4(), !p.NoTTLSecurity); err != nil {
		return fmt.Errorf("setting the time to live: %w", err)
	}
	if p.Password != "" {
		if err := setSignature(fd, p.Address, p.Password); err != nil {
			return fmt.Errorf("setting the TCP MD5 password: %w", err)
		}
	}
	return nil
}

// setTTL sends with 255 hops to live and, for GTSM, takes nothing that has
// fewer left, which only a direct neighbour can send (RFC 5082 section 3).
func setTTL(fd int, v4, security bool) error {
	level, ttl, floor := unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, unix.IPV6_MINHOPCOUNT
	if v4 {
		level, ttl, floor = unix.IPPROTO_IP, unix.IP_TTL, unix.IP_MINTTL
	}
	if err := unix.SetsockoptInt(fd, level, ttl, 255); err != nil || !security {
		return err
	}
	return unix.SetsockoptInt(fd, level, floor, 255)
}

func setSignature(fd int, peer netip.Addr, password string) error {
	sig := &unix.TCPMD5Sig{Keylen: uint16(len(password))}
	copy(sig.Key[:], password)
	// A sockaddr: port and, in IPv6, flow label come before the address.
	if peer.Is4() {
		sig.Addr.Family = unix.AF_INET
		a := peer.As4()
		copyAddress(sig.Addr.Data[2:], a[:])
	} else {
		sig.Addr.Family = unix.AF_INET6
		a := peer.As16()
		copyAddress(sig.Addr.Data[6:], a[:])
	}
	return unix.SetsockoptTCPMD5Sig(fd, unix.IPPROTO_TCP, unix.TCP_MD5SIG, sig)
}

func copyAddress[T ~int8 | ~uint8](dst []T, src []byte) {
	for i, b := range src {
		dst[i] = T(b)
	}
}
