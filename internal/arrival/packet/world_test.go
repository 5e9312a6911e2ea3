package packet

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/arrival"
	"github.com/hostroute/hostroute/internal/fleet"
	"github.com/hostroute/hostroute/internal/testenv"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

var (
	tapMAC    = [6]byte{0xee, 0xee, 0xee, 0xee, 0xee, 1}
	guest     = arrival.Guest{VM: "vm7", MAC: [6]byte{2, 0, 0, 0, 1, 7}}
	stranger  = arrival.Guest{VM: "vm8", MAC: [6]byte{2, 0, 0, 0, 1, 8}}
	everybody = [6]byte{255, 255, 255, 255, 255, 255}
)

// world is a hypervisor whose server watches taps.
type world struct {
	t      *testing.T
	hv     *testenv.Netns
	server *Server

	mu   sync.Mutex
	seen []string
}

func newWorld(t *testing.T) *world { return newWorldThat(t, func(string) {}) }

// newWorldThat calls a function for each guest that was seen and noted.
func newWorldThat(t *testing.T, seen func(vm string)) *world {
	w := &world{t: t, hv: testenv.NewNetns(t)}
	w.server = New(Options{Log: quiet, In: w.hv.Do, Seen: func(vm, tap string, kind arrival.Kind) {
		w.note(fmt.Sprintf("%s on %s by %s", vm, tap, kind))
		seen(vm)
	}})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return w
}

// plug makes a tap whose guest has another hardware address of its own than the
// guests of the tests, so that what its kernel sends gives nobody away.
func (w *world) plug(tap string) *testenv.Netns {
	w.t.Helper()
	g := testenv.NewNetns(w.t)
	g.Sysctl("net.ipv6.conf.default.disable_ipv6=1")
	w.hv.Sysctl("net.ipv6.conf.default.disable_ipv6=1")
	w.hv.IP(
		fmt.Sprintf("link add %s address %s type veth peer name eth0 address 02:00:00:00:09:09 netns %s", tap, net.HardwareAddr(tapMAC[:]), g.Name),
		"link set "+tap+" up")
	g.IP("link set eth0 up")
	return g
}

func (w *world) port(tap string) (p fleet.Port) {
	w.t.Helper()
	if err := w.hv.Do(func() error {
		device, err := net.InterfaceByName(tap)
		if err == nil {
			p = fleet.Port{Name: device.Name, Index: device.Index}
		}
		return err
	}); err != nil {
		w.t.Fatal(err)
	}
	return p
}

// expect has a tap watched, and nothing else.
func (w *world) expect(tap string, g arrival.Guest) {
	w.t.Helper()
	p := w.port(tap)
	w.server.Set(map[fleet.Port]arrival.Guest{p: g})
	testenv.Eventually(w.t, "a socket on "+tap, func() bool {
		return slices.Equal(w.sockets(), []int{p.Index}) && w.server.Status()[tap] == Status{VM: g.VM}
	})
}

// sockets are the devices that packet sockets of the hypervisor are bound to.
func (w *world) sockets() (indexes []int) {
	w.t.Helper()
	for line := range strings.Lines(w.hv.Run("cat", "/proc/net/packet")) {
		if fields := strings.Fields(line); fields[3] == "0003" { // ETH_P_ALL
			index, err := strconv.Atoi(fields[4])
			if err != nil {
				w.t.Fatal(err)
			}
			indexes = append(indexes, index)
		}
	}
	return indexes
}

// sawOnly waits for the first guest that is seen, which has to be the only one.
func (w *world) sawOnly(want ...string) {
	w.t.Helper()
	testenv.Eventually(w.t, fmt.Sprintf("%d guests seen", len(want)), func() bool { return len(w.all()) >= len(want) })
	if got := w.all(); !slices.Equal(got, want) {
		w.t.Errorf("seen: %q; want %q", got, want)
	}
}

func (w *world) note(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, what)
}

func (w *world) all() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.seen)
}

// send sends frames out of a device of a namespace.
func send(t *testing.T, ns *testenv.Netns, device string, frames ...[]byte) {
	t.Helper()
	if err := ns.Do(func() error {
		link, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		conn, err := packet.Listen(link, packet.Raw, unix.ETH_P_IP, nil)
		if err != nil {
			return err
		}
		defer conn.Close()
		for _, f := range frames {
			if _, err := conn.WriteTo(f, &packet.Addr{HardwareAddr: f[:6]}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func ether(from, to [6]byte, kind uint16, payload []byte) []byte {
	f := append(binary.BigEndian.AppendUint16(append(to[:], from[:]...), kind), payload...)
	return append(f, make([]byte, max(0, 60-len(f)))...)
}

// garp announces 203.0.113.7.
func garp(from [6]byte) []byte { return ether(from, everybody, 0x0806, announcement(from)) }

func announcement(from [6]byte) []byte {
	p := append([]byte{0, 1, 8, 0, 6, 4, 0, 1}, from[:]...)
	return append(append(p, 203, 0, 113, 7), 0, 0, 0, 0, 0, 0, 203, 0, 113, 7)
}

// rarp is what QEMU sends.
func rarp(from [6]byte) []byte {
	p := append([]byte{0, 1, 8, 0, 6, 4, 0, 3}, from[:]...)
	return ether(from, everybody, 0x8035, append(append(append(p, 0, 0, 0, 0), from[:]...), 0, 0, 0, 0))
}

// datagram is no announcement of anything.
func datagram(from, to [6]byte) []byte {
	return ether(from, to, 0x0800, []byte{0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 203, 0, 113, 7, 192, 0, 2, 1, 0, 9, 0, 9, 0, 8, 0, 0})
}
