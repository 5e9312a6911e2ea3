package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Watch counts frames on an interface of a node, as tcpdump(8) would see them, from its start to its end. It has one
// goroutine.
type Watch struct {
	Node, Interface string
	file            *os.File
	done            chan struct{}
	mu              sync.Mutex
	total           int
	frames          [][]byte
	first, last     time.Time
}

// maxWatched is how many matching frames are kept; all are counted.
const maxWatched = 100

// Watch begins to look at every frame, both ways, that matches: a frame starts with the Ethernet header.
func (l *Lab) Watch(node, iface string, matches func(frame []byte) bool) (*Watch, error) {
	w := &Watch{Node: node, Interface: iface, done: make(chan struct{})}
	err := within(l.Topology.Namespace(node), func() (err error) {
		w.file, err = packetSocket(iface)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("watching %s of %s: %w", iface, node, err)
	}
	go w.look(matches)
	return w, nil
}

// packetSocket sees all frames of an interface.
func packetSocket(iface string) (*os.File, error) {
	ifi, err := net.InterfaceByName(iface)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	all := uint16(unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8) // in network byte order
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: ifi.Index}); err != nil {
		return nil, errors.Join(os.NewSyscallError("bind", err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "packet:"+iface), nil
}

func (w *Watch) look(matches func([]byte) bool) {
	defer close(w.done)
	buffer := make([]byte, 1<<16)
	for {
		n, err := w.file.Read(buffer)
		if errors.Is(err, os.ErrClosed) || errors.Is(err, io.EOF) {
			return
		}
		if err != nil || n < 14 || !matches(buffer[:n]) {
			if errors.Is(err, syscall.EBADF) {
				return
			}
			continue // the interface is down: it may come up again
		}
		w.mu.Lock()
		w.last = time.Now()
		if w.total == 0 {
			w.first = w.last
		}
		if w.total++; len(w.frames) < maxWatched {
			w.frames = append(w.frames, append([]byte(nil), buffer[:n]...))
		}
		w.mu.Unlock()
	}
}

// Seen is how many frames matched so far, and the first of them.
func (w *Watch) Seen() (int, [][]byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.total, w.frames[:len(w.frames):len(w.frames)]
}

// Span is from the first matching frame so far to the last.
func (w *Watch) Span() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last.Sub(w.first)
}

// Stop ends the watch and tells what Seen would.
func (w *Watch) Stop() (int, [][]byte, error) {
	err := w.file.Close()
	<-w.done
	n, frames := w.Seen()
	if err != nil {
		err = fmt.Errorf("ending the watch of %s of %s: %w", w.Interface, w.Node, err)
	}
	return n, frames, err
}

// FromSource matches what comes from an IP address, and ARP that claims to.
func FromSource(a netip.Addr) func([]byte) bool {
	return func(frame []byte) bool {
		source, ok := sourceOf(frame)
		return ok && source == a
	}
}

// sourceOf is the source of an IP packet, or the sender of an ARP packet.
func sourceOf(frame []byte) (netip.Addr, bool) {
	at, length := 0, 4
	switch int(frame[12])<<8 | int(frame[13]) {
	case unix.ETH_P_IP:
		at = 14 + 12
	case unix.ETH_P_ARP:
		at = 14 + 14
	case unix.ETH_P_IPV6:
		at, length = 14+8, 16
	default:
		return netip.Addr{}, false
	}
	if len(frame) < at+length {
		return netip.Addr{}, false
	}
	return netip.AddrFromSlice(frame[at : at+length])
}

// SpeaksOf matches what one of a reflector's clients tells it of a prefix over BGP: an UPDATE has a prefix as its length
// and as many bytes as that takes (RFC 4271, section 4.3).
func SpeaksOf(client netip.Addr, p netip.Prefix) func([]byte) bool {
	nlri := append([]byte{byte(p.Bits())}, p.Addr().AsSlice()[:(p.Bits()+7)/8]...)
	const protocol, tcp, destination = 14 + 9, 14 + 20, 14 + 20 + 2
	return func(frame []byte) bool {
		source, ok := sourceOf(frame)
		return ok && source == client && client.Is4() && len(frame) > tcp+20 && frame[protocol] == unix.IPPROTO_TCP &&
			frame[destination] == 0 && frame[destination+1] == 179 && bytes.Contains(frame[tcp+20:], nlri)
	}
}

// Advertisement matches router advertisements (RFC 4861, section 4.2).
func Advertisement(frame []byte) bool {
	const next, kind = 14 + 6, 14 + 40
	return len(frame) >= kind+16 && frame[12] == 0x86 && frame[13] == 0xdd && frame[next] == unix.IPPROTO_ICMPV6 && frame[kind] == 134
}

// RouterLifetime is for how many seconds an advertisement makes its sender a default router.
func RouterLifetime(advertisement []byte) int {
	const at = 14 + 40 + 6
	return int(advertisement[at])<<8 | int(advertisement[at+1])
}
