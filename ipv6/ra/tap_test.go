package ra

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mdlayher/ndp"

	"github.com/hostroute/hostroute/internal/fleet"
	"github.com/hostroute/hostroute/ipv6"
)

// record is a wire that keeps what was sent; fail makes it refuse, or worse.
type record struct {
	to   []netip.Addr
	at   []time.Time
	said []ipv6.Advertisement
	fail func() error
}

func (r *record) send(a ipv6.Advertisement, to netip.Addr) error {
	if r.fail != nil {
		if err := r.fail(); err != nil {
			return err
		}
	}
	r.to, r.at, r.said = append(r.to, to), append(r.at, time.Now()), append(r.said, a)
	return nil
}

func newTap(service ipv6.Service) *tap {
	t := &tap{port: fleet.Port{Name: "tap1", Index: 1}, log: quiet, wake: make(chan struct{}, 1), router: service.Router}
	t.begin()
	return t
}

// TestAdvertisementsInTime runs a tap for a day of virtual time.
func TestAdvertisementsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, sent := newTap(slaac("2001:db8:1::/64")), &record{}
		ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
		defer cancel()
		start := time.Now()
		go k.advertise(ctx, sent)
		time.Sleep(12 * time.Hour)
		changed := time.Now()
		k.Update(slaac("2001:db8:2::/64"))
		synctest.Wait()
		k.answer(sent, []byte{133, 0, 0, 0, 0, 0, 0, 0}, sender{netip.IPv6Unspecified(), 255}) // a burst of them
		k.answer(sent, []byte{133, 0, 0, 0, 0, 0, 0, 0}, sender{netip.IPv6Unspecified(), 255})
		<-ctx.Done()
		synctest.Wait()
		if !slices.Contains(sent.at, start) || !slices.Contains(sent.at, changed) {
			t.Error("the beginning or the change was not told at once")
		}
		seldom := 0
		for i := 1; i < len(sent.at); i++ {
			gap := sent.at[i].Sub(sent.at[i-1])
			if gap < ipv6.MinDelayBetweenRAs || gap > 600*time.Second || i < 3 && gap > 16*time.Second {
				t.Errorf("the advertisement %d came after %v", i, gap)
			}
			if gap >= 200*time.Second {
				seldom++
			}
		}
		if n := len(sent.at); seldom < n-10 || n < 86400/600 || n > 86400/200+10 {
			t.Errorf("%d advertisements in a day, %d of them after a full interval", n, seldom)
		}
		if k.status.Solicitations != 2 || int(k.status.Advertisements) != len(sent.at) {
			t.Errorf("the status: %+v", k.status)
		}
	})
}

// TestSendingThatFailsIsTriedOn also has it panic.
func TestSendingThatFailsIsTriedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		sent := &record{fail: func() error {
			switch tries++; tries {
			case 1:
				return errors.New("no such address")
			case 2:
				panic("hello")
			}
			return nil
		}}
		k := newTap(slaac("2001:db8:1::/64"))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		start := time.Now()
		go k.advertise(ctx, sent)
		<-ctx.Done()
		synctest.Wait()
		if s := k.now(nil); len(sent.at) != 1 || sent.at[0].Sub(start) != 2*ipv6.MinDelayBetweenRAs || s.Failed != 1 || s.Panics != 1 {
			t.Errorf("%d sent at %v, status %+v", len(sent.at), sent.at, s)
		}
	})
}

// TestFailuresFillNoLog: the text of an error has the address that the guest
// asks from, and it may ask from many.
func TestFailuresFillNoLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines bytes.Buffer
		k := newTap(slaac("2001:db8:1::/64"))
		k.log = slog.New(slog.NewJSONHandler(&lines, nil))
		refused := &record{}
		for i := range 600 {
			source := netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 14: byte(i >> 8), 15: byte(i)})
			refused.fail = func() error { return fmt.Errorf("sending to %s: not permitted", source) }
			k.answer(refused, []byte{133, 0, 0, 0, 0, 0, 0, 0}, sender{source, 255})
			time.Sleep(100 * time.Millisecond)
		}
		if n := bytes.Count(lines.Bytes(), []byte("\n")); n != 1 || k.status.Failed != 600 {
			t.Errorf("%d answers that failed within a minute made %d lines", k.status.Failed, n)
		}
	})
}

// FuzzRouterSolicitation goes from a packet to the advertisement that answers it.
func FuzzRouterSolicitation(f *testing.F) {
	linkLocal, nobody := netip.MustParseAddr("fe80::5").As16(), netip.IPv6Unspecified().As16()
	hardware := &ndp.LinkLayerAddress{Direction: ndp.Source, Addr: []byte{2, 0, 0, 0, 1, 1}}
	for _, options := range [][]ndp.Option{nil, {hardware}, {ndp.NewNonce(), hardware}} {
		m, err := ndp.MarshalMessage(&ndp.RouterSolicitation{Options: options})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(m, linkLocal[:], 255)
		f.Add(m, nobody[:], 255)
		f.Add(m, linkLocal[:], 64)
	}
	f.Fuzz(func(t *testing.T, packet, source []byte, hop int) {
		from := sender{hopLimit: hop}
		from.source, _ = netip.AddrFromSlice(source)
		k, sent := newTap(slaac("2001:db8:1::/64")), &record{}
		k.answer(sent, packet, from)
		if valid := k.status.Solicitations == 1; valid == (k.status.Invalid == 1) || valid && (hop != 255 || packet[0] != 133) {
			t.Fatalf("status %+v", k.status)
		}
		if len(sent.to) > 0 && (sent.to[0] != from.source || !from.source.IsLinkLocalUnicast()) {
			t.Fatalf("%v asked and %v was answered", from.source, sent.to)
		}
		for _, a := range sent.said {
			check(t, a)
		}
	})
}
