package agent

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/mdlayher/ndp"
	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/events"
)

// burstMAC is the hardware address of a guest, which has the number of its tap.
func burstMAC(n int) events.MAC {
	return events.MAC{Octets: [6]byte{2, 0, 0, 0, byte(n >> 8), byte(n)}}
}

// guestsOfBurst is the process of the guests: "plug" makes the taps, "ask" has each
// guest ask until it has its answers.
func guestsOfBurst(b *testing.B) {
	taps, err := strconv.Atoi(os.Getenv(burstTaps))
	if err != nil {
		b.Fatal(err)
	}
	guests := make([]*burstGuest, taps)
	orders := bufio.NewScanner(os.Stdin)
	for orders.Scan() {
		switch orders.Text() {
		case "plug":
			for i := range guests {
				if guests[i], err = plugGuest(i); err != nil {
					b.Fatal(err)
				}
			}
		case "ask":
			var all sync.WaitGroup
			for _, g := range guests {
				all.Go(func() { g.ask() })
			}
			all.Wait()
		}
		fmt.Println("done " + orders.Text())
	}
}

// burstGuest is the other end of a tap.
type burstGuest struct {
	port               *os.File
	discover, solicit  []byte
	offered, advertise bool
}

// plugGuest makes a tap as a hypervisor's virtualisation does.
func plugGuest(n int) (*burstGuest, error) {
	name := fmt.Sprintf("tap%d", n)
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the tap device: %w", err)
	}
	request, err := unix.NewIfreq(name)
	if err != nil {
		return nil, err
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return nil, fmt.Errorf("making %s: %w", name, err)
	}
	if err := bringUp(name); err != nil {
		return nil, fmt.Errorf("bringing up %s: %w", name, err)
	}
	g := &burstGuest{port: os.NewFile(uintptr(fd), name)}
	if g.discover, err = discoverFrame(n); err == nil {
		g.solicit, err = solicitFrame(n)
	}
	return g, err
}

func bringUp(name string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}

// askAgain is how long a guest waits for its answers, which is less than real ones
// do, so that the time until all have theirs is that of the hypervisor.
const askAgain = 500 * time.Millisecond

// ask asks until there is an offer and a router advertisement. What can't be sent is
// sent again.
func (g *burstGuest) ask() {
	frame := make([]byte, 2048)
	for !g.offered || !g.advertise {
		if !g.offered {
			_, _ = g.port.Write(g.discover)
		}
		if !g.advertise {
			_, _ = g.port.Write(g.solicit)
		}
		_ = g.port.SetReadDeadline(time.Now().Add(askAgain))
		for !g.offered || !g.advertise {
			n, err := g.port.Read(frame)
			if err != nil {
				break
			}
			g.hear(frame[:n])
		}
	}
}

// hear knows a DHCP message by its port and a router advertisement by its type.
func (g *burstGuest) hear(f []byte) {
	switch {
	case len(f) < 55:
	case binary.BigEndian.Uint16(f[12:]) == unix.ETH_P_IP && f[23] == unix.IPPROTO_UDP && binary.BigEndian.Uint16(f[36:]) == 68:
		g.offered = true
	case binary.BigEndian.Uint16(f[12:]) == unix.ETH_P_IPV6 && f[20] == unix.IPPROTO_ICMPV6 && f[54] == 134:
		g.advertise = true
	}
}

func discoverFrame(n int) ([]byte, error) {
	mac := burstMAC(n).Octets
	m, err := dhcpv4.NewDiscovery(mac[:], dhcpv4.WithBroadcast(true))
	if err != nil {
		return nil, err
	}
	message := m.ToBytes()
	f := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, mac[:]...)
	f = append(f, unix.ETH_P_IP>>8, unix.ETH_P_IP&0xff, 0x45, 0)
	f = binary.BigEndian.AppendUint16(f, uint16(28+len(message)))
	f = append(f, 0, 0, 0, 0, 64, unix.IPPROTO_UDP, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff)
	var sum uint32
	for i := 14; i < len(f); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(f[i:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(f[24:], ^uint16(sum>>16+sum))
	f = append(f, 0, 68, 0, 67)
	f = binary.BigEndian.AppendUint16(f, uint16(8+len(message)))
	return append(append(f, 0, 0), message...), nil // no checksum, which IPv4 allows
}

func solicitFrame(n int) ([]byte, error) {
	from, all := burstMAC(n).LinkLocal(), netip.MustParseAddr("ff02::2")
	message, err := ndp.MarshalMessageChecksum(&ndp.RouterSolicitation{}, from, all)
	if err != nil {
		return nil, err
	}
	mac := burstMAC(n).Octets
	f := append([]byte{0x33, 0x33, 0, 0, 0, 2}, mac[:]...)
	f = append(f, unix.ETH_P_IPV6>>8, unix.ETH_P_IPV6&0xff, 0x60, 0, 0, 0)
	f = append(binary.BigEndian.AppendUint16(f, uint16(len(message))), unix.IPPROTO_ICMPV6, 255)
	return append(append(append(f, from.AsSlice()...), all.AsSlice()...), message...), nil
}
