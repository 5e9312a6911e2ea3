package udp

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/bfd"
)

// Port is where control packets go (RFC 5881 section 4).
const Port = 3784

// Source ports are from this range (RFC 5881 section 4).
const (
	firstSource = 49152
	lastSource  = 65535
)

const (
	ttl          = 255     // RFC 5881 section 5
	trafficClass = 48 << 2 // DSCP CS6, network control
	skbPriority  = 6       // as far as it goes without a capability
)

// errPortTaken is that of a source port that another socket has.
var errPortTaken = errors.New("the source port is taken")

// openReceiver makes the socket that takes the packets to an address on an
// interface. It never blocks.
func openReceiver(iface string, local netip.Addr) (int, error) {
	return open(iface, local, Port, func(fd int) error {
		if local.Is4() {
			return set(fd, unix.IPPROTO_IP, unix.IP_RECVTTL, 1)
		}
		return set(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1)
	})
}

// openSender makes the socket that sends the packets of one session.
func openSender(k bfd.Key, source uint16) (int, error) {
	fd, err := open(k.Interface, k.Local, source, func(fd int) error {
		if k.Local.Is4() {
			return errors.Join(
				set(fd, unix.IPPROTO_IP, unix.IP_TTL, ttl),
				set(fd, unix.IPPROTO_IP, unix.IP_TOS, trafficClass),
				set(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT),
			)
		}
		return errors.Join(
			set(fd, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, ttl),
			set(fd, unix.IPPROTO_IPV6, unix.IPV6_TCLASS, trafficClass),
		)
	})
	if err != nil {
		return -1, err
	}
	if err := errors.Join(
		set(fd, unix.SOL_SOCKET, unix.SO_PRIORITY, skbPriority),
		set(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 0), // nothing is read from it
	); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// open makes a socket that is bound to an interface, an address and a port. The
// address needn't be there yet; the interface must.
func open(iface string, local netip.Addr, port uint16, options func(fd int) error) (int, error) {
	family, freebind := unix.AF_INET, []int{unix.IPPROTO_IP, unix.IP_FREEBIND}
	if local.Is6() {
		family, freebind = unix.AF_INET6, []int{unix.IPPROTO_IPV6, unix.IPV6_FREEBIND}
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("opening a socket: %w", err)
	}
	prepare := func() error {
		if local.Is6() {
			if err := set(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
				return err
			}
		}
		if err := unix.BindToDevice(fd, iface); err != nil {
			return fmt.Errorf("binding to interface %s: %w", iface, err)
		}
		if err := set(fd, freebind[0], freebind[1], 1); err != nil {
			return err
		}
		if err := options(fd); err != nil {
			return err
		}
		number, err := interfaceNumber(fd, iface)
		if err != nil {
			return err
		}
		return bind(fd, local, port, number.Uint32())
	}
	if err := prepare(); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func bind(fd int, local netip.Addr, port uint16, index uint32) error {
	err := unix.Bind(fd, sockaddr(local, port, index))
	switch {
	case errors.Is(err, unix.EADDRINUSE) && port != Port:
		return errPortTaken
	case errors.Is(err, unix.EADDRINUSE):
		return fmt.Errorf("binding to %v port %d: %w: does another BFD daemon run here?", local, port, err)
	case err != nil:
		return fmt.Errorf("binding to %v port %d: %w", local, port, err)
	}
	return nil
}

func sockaddr(a netip.Addr, port uint16, index uint32) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Port: int(port), Addr: a.As4()}
	}
	s := &unix.SockaddrInet6{Port: int(port), Addr: a.As16()}
	if a.IsLinkLocalUnicast() {
		s.ZoneId = index
	}
	return s
}

func set(fd, level, option, value int) error {
	if err := unix.SetsockoptInt(fd, level, option, value); err != nil {
		return fmt.Errorf("setting option %d of level %d: %w", option, level, os.NewSyscallError("setsockopt", err))
	}
	return nil
}

// interfaceNumber asks for the number of an interface in the namespace of a
// socket. The answer may be used to ask again.
func interfaceNumber(fd int, name string) (*unix.Ifreq, error) {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return nil, fmt.Errorf("interface name %q: %w", name, err)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, request); err != nil {
		return nil, fmt.Errorf("looking for interface %s: %w", name, err)
	}
	return request, nil
}
