package packet

import (
	"strings"
	"testing"

	"github.com/hostroute/hostroute/internal/arrival"
	"github.com/hostroute/hostroute/internal/fleet"
	"github.com/hostroute/hostroute/internal/testenv"
)

func TestAGuestIsSeenOnce(t *testing.T) {
	t.Parallel()
	for kind, frame := range map[arrival.Kind][]byte{
		arrival.GratuitousARP: garp(guest.MAC), arrival.RARP: rarp(guest.MAC), arrival.Other: datagram(guest.MAC, tapMAC),
	} {
		t.Run(string(kind), func(t *testing.T) {
			w := newWorld(t)
			g := w.plug("tap7")
			w.expect("tap7", guest)
			send(t, g, "eth0", frame, frame, frame)
			w.sawOnly("vm7 on tap7 by " + string(kind))
			testenv.Eventually(t, "the socket is closed", func() bool { return len(w.sockets()) == 0 })
			if s := w.server.Status()["tap7"]; s.VM != "vm7" || s.Kind != kind || s.At.IsZero() || s.Error != "" {
				t.Errorf("the status is %+v", s)
			}
			w.server.Set(map[fleet.Port]arrival.Guest{w.port("tap7"): guest}) // nothing new
			send(t, g, "eth0", frame)
			// Another guest of the tap is watched for; the first one isn't told of again.
			w.expect("tap7", stranger)
			send(t, g, "eth0", frame, garp(stranger.MAC))
			w.sawOnly("vm7 on tap7 by "+string(kind), "vm8 on tap7 by garp")
		})
	}
}

// TestWhatIsNoSign sends all that a prepared tap may carry before its guest runs,
// and then a frame of the guest, which is the first one that is told of.
func TestWhatIsNoSign(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.plug("tap7")
	w.plug("tap8")
	w.expect("tap7", guest)
	// Out of the tap: what a bridge floods, in the name of the guest at its old home, and the host's own.
	send(t, w.hv, "tap7", garp(guest.MAC), rarp(guest.MAC), garp(tapMAC), datagram(tapMAC, guest.MAC))
	tagged := append([]byte{0, 9, 8, 6}, announcement(guest.MAC)...)
	send(t, g, "eth0",
		garp(stranger.MAC), datagram(stranger.MAC, guest.MAC), garp(tapMAC),
		ether(guest.MAC, everybody, 0x8100, tagged), ether(guest.MAC, everybody, 0x88a8, tagged),
		ether(guest.MAC, everybody, 0x8100, append([]byte{0x20, 0, 8, 6}, announcement(guest.MAC)...)), // priority alone
		datagram(guest.MAC, stranger.MAC))
	w.sawOnly("vm7 on tap7 by other")
}

// TestTheGuestOfAnotherTapIsNotSeen: a socket hears its own device alone.
func TestTheGuestOfAnotherTapIsNotSeen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	seven, eight := w.plug("tap7"), w.plug("tap8")
	w.server.Set(map[fleet.Port]arrival.Guest{w.port("tap7"): guest, w.port("tap8"): stranger})
	testenv.Eventually(t, "two sockets", func() bool { return len(w.sockets()) == 2 })
	send(t, eight, "eth0", garp(guest.MAC))
	send(t, seven, "eth0", garp(stranger.MAC))
	send(t, eight, "eth0", rarp(stranger.MAC))
	w.sawOnly("vm8 on tap8 by rarp")
	send(t, seven, "eth0", rarp(guest.MAC))
	w.sawOnly("vm8 on tap8 by rarp", "vm7 on tap7 by rarp")
}

// TestNoFilterHidesAGuest: everything that comes in over the tap is dropped, as early
// as nftables can, and counted there.
func TestNoFilterHidesAGuest(t *testing.T) {
	t.Parallel()
	testenv.RequireTool(t, "nft")
	for name, rules := range map[string]string{
		"ingress": `table netdev closed { chain c { type filter hook ingress device "tap7" priority -500; counter drop; }; }`,
		"hooks": `table inet closed { chain c { type filter hook prerouting priority -450; counter drop; }; };
			table arp closed { chain c { type filter hook input priority -450; counter drop; }; }`,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			g := w.plug("tap7")
			w.hv.Run("nft", rules)
			w.expect("tap7", guest)
			send(t, g, "eth0", garp(guest.MAC))
			w.sawOnly("vm7 on tap7 by garp")
			testenv.Eventually(t, "the filter has dropped the frame", func() bool {
				return strings.Contains(w.hv.Run("nft", "list", "ruleset"), "counter packets 1 ")
			})
		})
	}
}

// TestATapInABridge, where it shouldn't be: what the guest says at its old home, on
// another port, is flooded to its tap here, and is no sign.
func TestATapInABridge(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	here, there := w.plug("tap7"), w.plug("uplink")
	w.hv.IP("link add br0 type bridge", "link set br0 up", "link set uplink master br0")
	w.expect("tap7", guest)
	w.hv.IP("link set tap7 master br0")
	flooded := func() string { return w.hv.Run("cat", "/sys/class/net/tap7/statistics/tx_packets") }
	before := flooded()
	send(t, there, "eth0", garp(guest.MAC), rarp(guest.MAC))
	testenv.Eventually(t, "the bridge floods", func() bool { return flooded() != before })
	send(t, here, "eth0", datagram(guest.MAC, tapMAC))
	w.sawOnly("vm7 on tap7 by other")
}

// TestATapThatIsDown carries nothing; it is heard when it is up again.
func TestATapThatIsDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.plug("tap7")
	w.expect("tap7", guest)
	w.hv.IP("link set tap7 down")
	w.hv.IP("link set tap7 up")
	testenv.Eventually(t, "the guest has its carrier", func() bool {
		return strings.Contains(g.Run("ip", "-o", "link", "show", "eth0"), "LOWER_UP")
	})
	send(t, g, "eth0", garp(guest.MAC))
	w.sawOnly("vm7 on tap7 by garp")
}

// TestATapThatIsReplaced is another device, and the set says which is meant.
func TestATapThatIsReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.plug("tap7")
	w.expect("tap7", guest)
	old := w.port("tap7")
	w.hv.IP("link del tap7")
	w.hv.IP("link add unused type veth peer name unused2") // takes the next index
	g := w.plug("tap7")
	w.server.Set(map[fleet.Port]arrival.Guest{{Name: "tap7", Index: old.Index + 100}: guest})
	testenv.Eventually(t, "the wrong device is told of", func() bool { return w.server.Status()["tap7"].Error != "" })
	send(t, g, "eth0", garp(guest.MAC))
	w.expect("tap7", guest)
	send(t, g, "eth0", rarp(guest.MAC))
	w.sawOnly("vm7 on tap7 by rarp")
}

// TestWhatIsNotExpectedIsNotHeard: an aborted migration.
func TestWhatIsNotExpectedIsNotHeard(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.plug("tap7")
	w.expect("tap7", guest)
	w.server.Set(nil)
	testenv.Eventually(t, "the socket is closed", func() bool { return len(w.sockets()) == 0 })
	send(t, g, "eth0", garp(guest.MAC))
	w.expect("tap7", guest) // and prepared again
	send(t, g, "eth0", rarp(guest.MAC))
	w.sawOnly("vm7 on tap7 by rarp")
}

// TestAPanicOfTheListenerIsItsOwn: the tap counts as seen, and others go on.
func TestAPanicOfTheListenerIsItsOwn(t *testing.T) {
	t.Parallel()
	w := newWorldThat(t, func(vm string) {
		if vm == guest.VM {
			panic(vm)
		}
	})
	g := w.plug("tap7")
	w.expect("tap7", guest)
	send(t, g, "eth0", garp(guest.MAC), garp(guest.MAC))
	testenv.Eventually(t, "the socket is closed", func() bool { return len(w.sockets()) == 0 })
	w.expect("tap7", stranger)
	send(t, g, "eth0", garp(guest.MAC), garp(stranger.MAC))
	w.sawOnly("vm7 on tap7 by garp", "vm8 on tap7 by garp")
}
