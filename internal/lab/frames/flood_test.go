package frames

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/vrf"
)

func TestFlood(t *testing.T) {
	testenv.RequireRoot(t)
	flood(t, false, 200_000)
}

func TestFloodVRF(t *testing.T) {
	testenv.RequireVRF(t)
	flood(t, true, 20_000)
}

// flood: a guest that sends as fast as it can what the hypervisor answers takes nothing from another guest. The
// latencies are printed; asserted is that the other one misses no answer, and that the drops are counted where they belong.
func flood(t *testing.T, devices bool, frames int) {
	w := newWorld(t, devices)
	quiet := w.converse(func(n int) bool { return n < 300 })
	done := make(chan struct{})
	var sent int
	var err error
	go func() {
		defer close(done)
		pinned(runtime.NumCPU()-1, func() { sent, err = w.rage(frames) })
	}()
	busy := w.converse(func(n int) bool {
		select {
		case <-done:
			return n < 300
		default:
			return true
		}
	})
	<-done
	w.check(err)
	t.Logf("%d frames of ARP, NS, RS and DHCP from one guest, meanwhile %d questions of another: median %v, %.1f times the %v without",
		sent, len(busy), median(busy), float64(median(busy))/float64(median(quiet)), median(quiet))
	w.limitedAlone(one.tap)
}

// limitedAlone: only one tap was held back, and nobody took another for a spoofer.
func (w *world) limitedAlone(tap string) {
	w.t.Helper()
	drops, err := w.kernel.Drops(w.t.Context())
	w.check(err)
	w.t.Logf("drops: %+v", drops)
	for name, d := range drops {
		if (d.Limited > 0) != (name == tap) || d.Spoofed > 0 || d.Refused > 0 {
			w.t.Errorf("%s: %+v; only %s was to be limited, and nothing else", name, d, tap)
		}
	}
	if _, known := drops[tap]; !known {
		w.t.Errorf("nothing is counted for %s: %+v", tap, drops)
	}
}

// rage sends what is the guest's own, in turn, as fast as it goes.
func (w *world) rage(frames int) (int, error) {
	discover := packet{frame: number.Add(1), from: one.mac, to: broadcast, src: anyone4, dst: everybody4, hop: 64}
	solicit := packet{frame: number.Add(1), from: one.mac, to: etherOf(allRouters), src: one.linkLocal, dst: allRouters, hop: 255}
	neighbour := packet{frame: number.Add(1), from: one.mac, to: vrf.TapMAC, src: one.linkLocal, dst: gatewayLL6, hop: 255}
	turns := [][]byte{
		arpRequest(gateway4),
		plainFrame(neighbour.solicitation(gatewayLL6)),
		plainFrame(solicitRouter(solicit)),
		plainFrame(discover4(discover)),
	}
	for i := range frames {
		if err := w.ports[atOne].send(turns[i%len(turns)]); err != nil {
			return i, fmt.Errorf("flooding: %w", err)
		}
	}
	return frames, nil
}

// converse is the other guest, which asks its gateway by ARP, echo and echo over IPv6 in turn, each once, for as
// long as more says. It gives how long each answer took, and fails for one that is missing.
func (w *world) converse(more func(int) bool) []time.Duration {
	w.t.Helper()
	var took []time.Duration
	var err error
	pinned(0, func() {
		for n := 0; more(n) && err == nil; n++ {
			start := time.Now()
			err = w.question(n)
			took = append(took, time.Since(start))
		}
	})
	w.check(err)
	return took
}

// arpQuestions keeps the other guest within its own rate.
const arpQuestions = 150

func (w *world) question(n int) error {
	p := packet{frame: number.Add(1), from: two.mac, to: vrf.TapMAC, src: two.v4, dst: gateway4, hop: 64}
	want := func(raw []byte) bool {
		found := false
		tokens(raw, func(frame uint32, _ byte) { found = found || frame == p.frame })
		return found
	}
	var ask []byte
	switch {
	case n%10 == 0 && n < arpQuestions*10:
		target := netip.AddrFrom4([4]byte{198, 18 + byte(p.frame>>16)&1, byte(p.frame >> 8), byte(p.frame)})
		ask = link(two.mac, broadcast, nil, layers.EthernetTypeARP, arp{op: 1, sender: two.mac, senderAddr: two.v4, targetAddr: target}.bytes())
		want = func(raw []byte) bool { a, ok := arpAnswer(raw); return ok && a == target }
	case n%2 == 1:
		ask = plainFrame(p.echo())
	default:
		p.src, p.dst = two.v6, gatewayLL6
		ask = plainFrame(p.echo())
	}
	if err := w.ports[atTwo].send(ask); err != nil {
		return fmt.Errorf("asking: %w", err)
	}
	deadline := time.Now().Add(patience)
	for {
		raw, err := w.ports[atTwo].next(deadline)
		if err != nil {
			return fmt.Errorf("question %d is not answered: %w", n, err)
		}
		if want(raw) {
			return nil
		}
	}
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}
