package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Listen opens a TCP service on all addresses of a node, in one VRF or (device "") in none, such as a daemon of its
// own would. Whoever connects is accepted and hung up on.
func (l *Lab) Listen(ctx context.Context, node, device string, port int) (net.Listener, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		if device == "" {
			return nil
		}
		controlErr := c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), device) })
		return errors.Join(controlErr, err)
	}}
	var s net.Listener
	err := within(l.Topology.Namespace(node), func() (err error) {
		s, err = config.Listen(ctx, "tcp", fmt.Sprintf("[::]:%d", port))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listening on port %d of %s: %w", port, node, err)
	}
	go hangUp(s)
	return s, nil
}

// hangUp ends with the listener.
func hangUp(s net.Listener) {
	for {
		conn, err := s.Accept()
		if err != nil {
			return
		}
		_ = conn.Close()
	}
}

// Reach is how a TCP connection was answered.
type Reach struct {
	To netip.AddrPort
	// How is nil for a connection; else the host refused it, or began one and broke it off.
	How error
}

func (r Reach) String() string {
	if r.How == nil {
		return r.To.String() + " (connected)"
	}
	return fmt.Sprintf("%s (%v)", r.To, r.How)
}

// Reached tries TCP connections from a node to all targets at once, from one interface, and lists those whose host
// answered, by a connection or by refusing it. A filter lets neither happen.
func (l *Lab) Reached(node, iface string, targets []netip.AddrPort, limit time.Duration) ([]Reach, error) {
	var reached []Reach
	err := within(l.Topology.Namespace(node), func() (err error) {
		reached, err = connectAll(iface, targets, time.Duration(float64(limit)*TimeFactor()))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("connecting from %s: %w", node, err)
	}
	return reached, nil
}

// connectAll begins a TCP connection to every target and waits for the limit, or until all are decided. It lists the
// targets that answered. It works on the namespace of the thread.
func connectAll(iface string, targets []netip.AddrPort, limit time.Duration) ([]Reach, error) {
	var polls []unix.PollFd
	var waiting []netip.AddrPort
	defer func() {
		for _, p := range polls {
			if p.Fd >= 0 {
				_ = unix.Close(int(p.Fd)) // nothing was written
			}
		}
	}()
	var reached []Reach
	note := func(to netip.AddrPort, how error) {
		if how == nil || how == unix.ECONNREFUSED || how == unix.ECONNRESET {
			reached = append(reached, Reach{to, how})
		}
	}
	for _, target := range targets {
		fd, err := connect(iface, target)
		if err == unix.EINPROGRESS {
			polls, waiting = append(polls, unix.PollFd{Fd: int32(fd), Events: unix.POLLOUT}), append(waiting, target)
			continue
		}
		if fd < 0 {
			return nil, fmt.Errorf("%s: %w", target, err)
		}
		_ = unix.Close(fd)
		note(target, err) // without a route there is no answer
	}
	for deadline := time.Now().Add(limit); ; {
		decided, err := decide(polls, deadline)
		for _, i := range decided {
			note(waiting[i], outcome(int(polls[i].Fd)))
			_ = unix.Close(int(polls[i].Fd))
			polls[i].Fd = -1 // poll(2) leaves it out
		}
		if err != nil || len(decided) == 0 {
			return reached, err
		}
	}
}

// connect begins a connection: usually the error is EINPROGRESS. Without a socket fd is -1.
func connect(iface string, target netip.AddrPort) (fd int, err error) {
	family, address := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(target.Port()), Addr: target.Addr().As16()})
	if target.Addr().Is4() {
		family, address = unix.AF_INET, &unix.SockaddrInet4{Port: int(target.Port()), Addr: target.Addr().As4()}
	}
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := unix.BindToDevice(fd, iface); err != nil {
		_ = unix.Close(fd)
		return -1, os.NewSyscallError("binding to "+iface, err)
	}
	return fd, unix.Connect(fd, address)
}

// decide waits until connections came to an end, and says which; none at the deadline or when none is left.
func decide(polls []unix.PollFd, deadline time.Time) ([]int, error) {
	undecided := func(p unix.PollFd) bool { return p.Fd >= 0 }
	for {
		left := time.Until(deadline)
		if left <= 0 || !slices.ContainsFunc(polls, undecided) {
			return nil, nil
		}
		n, err := unix.Poll(polls, int(left.Milliseconds())+1)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return nil, os.NewSyscallError("poll", err)
		}
		var decided []int
		for i, p := range polls {
			if undecided(p) && p.Revents != 0 {
				decided = append(decided, i)
			}
		}
		return decided, nil
	}
}

// outcome is what became of a connection: nil when it stands, which has a peer, and else why it doesn't.
func outcome(fd int) error {
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	if code != 0 {
		return unix.Errno(code)
	}
	_, err = unix.Getpeername(fd)
	return err
}
