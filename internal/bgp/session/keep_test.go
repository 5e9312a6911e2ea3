package session

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hostroute/hostroute/internal/bgp"
)

// kept runs a peer's keeping in the time of a bubble, with one path that the
// peer has from another router.
type kept struct {
	t *testing.T
	p *peer
}

func newKept(t *testing.T) *kept {
	s := New(Config{AS: 65000, LongLivedStaleTime: DefaultLongLivedStaleTime, Peers: []Peer{{Name: "rr", VRF: "public"}}}, newMemoryFIB(), discard)
	k := &kept{t, s.peers[0]}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { k.p.keep(ctx); close(done) }()
	t.Cleanup(func() { stop(); <-done })
	k.tell()
	return k
}

func (k *kept) tell() {
	k.t.Helper()
	d := bgp.Decoder{Families: [2]bool{true, true}, AS4: true}
	u, err := d.Decode(updateBody(attributes, []byte{0x80, 9, 4, 10, 0, 0, 77})) // reflected
	if err != nil {
		k.t.Fatal(err)
	}
	k.p.rib.update(0, u)
}

func (k *kept) negotiated() *negotiated {
	both := [2]bool{true, true}
	return &negotiated{
		families:  both,
		restart:   restartCapability{able: true, time: 2 * time.Minute, families: both, forwarding: both},
		longLived: longLivedCapability{families: both, forwarding: both, time: [2]time.Duration{24 * time.Hour, 24 * time.Hour}},
	}
}

// after lets time pass and looks at what is kept of IPv4: "", if nothing is.
func (k *kept) after(pass time.Duration, want string) {
	k.t.Helper()
	time.Sleep(pass) // of the bubble
	synctest.Wait()
	st, got := k.p.status(), ""
	if len(st.Kept) > 0 {
		got = st.Kept[0].State
	}
	paths := 1
	if want == "" {
		paths = 0
	}
	if got != want || st.Received.IPv4 != paths {
		k.t.Fatalf("%d paths, %q, want %d and %q: %+v", st.Received.IPv4, got, paths, want, st.Kept)
	}
}

// TestTheTimesOfAFall goes through them to the second: two minutes for a
// restart, a day for the last resort.
func TestTheTimesOfAFall(t *testing.T) {
	const restart, day, second = 2 * time.Minute, 24 * time.Hour, time.Second
	for name, story := range map[string]func(*kept){
		"a restart that takes too long": func(k *kept) {
			k.p.fell(errClosed, k.negotiated())
			k.after(restart-second, "restarting")
			k.after(2*second, "long-lived")
			k.after(day-2*second, "long-lived")
			k.after(2*second, "")
		},
		"a dead path": func(k *kept) {
			k.p.bury(peerDown{reason: "BFD says down"})
			k.p.fell(peerDown{reason: "BFD says down"}, k.negotiated())
			k.after(day-second, "long-lived")
			k.after(2*second, "")
		},
		"a dead path, known a moment after the fall": func(k *kept) {
			k.p.fell(errClosed, k.negotiated())
			k.after(second, "restarting")
			k.p.bury(peerDown{reason: "BFD says down"})
			k.after(0, "long-lived")
			k.after(restart+day-2*second, "long-lived")
			k.after(2*second, "")
		},
		"a dead path, known a moment before the fall": func(k *kept) {
			k.p.bury(peerDown{reason: "BFD says down"})
			synctest.Wait() // nothing is kept yet
			k.p.fell(errClosed, k.negotiated())
			k.after(0, "long-lived")
		},
		"back and silent": func(k *kept) {
			k.p.fell(errClosed, k.negotiated())
			k.after(restart+second, "long-lived")
			k.p.revive(k.negotiated())
			k.after(DefaultStaleTime-second, "long-lived")
			k.after(2*second, "")
		},
		"back at the last moment": func(k *kept) {
			k.p.fell(errClosed, k.negotiated())
			k.after(restart+day-second, "long-lived")
			k.p.revive(k.negotiated())
			k.after(2*second, "")
		},
		"back and gone again and again": func(k *kept) {
			k.p.fell(errClosed, k.negotiated())
			for range 24 {
				k.after(time.Hour-second, "long-lived")
				k.p.revive(k.negotiated())
				k.after(second, "long-lived")
				k.p.fell(errClosed, k.negotiated())
			}
			k.after(restart-second, "restarting")
			k.after(2*second, "")
		},
		"back and done": func(k *kept) {
			k.p.fell(errClosed, k.negotiated())
			k.after(second, "restarting")
			k.p.revive(k.negotiated())
			k.tell()
			k.p.endOfRIB(bgp.IPv4, k.negotiated())
			k.p.endOfRIB(bgp.IPv6, k.negotiated())
			time.Sleep(2 * day)
			synctest.Wait()
			if st := k.p.status(); st.Received.IPv4 != 1 || len(st.Kept) != 0 {
				k.t.Errorf("status %+v", st)
			}
		},
		"back from nothing": func(k *kept) {
			k.p.fell(errClosed, k.negotiated())
			k.after(second, "restarting")
			from := k.negotiated()
			from.restart.forwarding, from.longLived.forwarding = [2]bool{}, [2]bool{}
			k.p.revive(from)
			k.after(0, "restarting")
			k.p.endOfRIB(bgp.IPv4, from)
			k.after(DefaultDeferral-second, "restarting") // for the other clients
			k.after(2*second, "")
		},
		"back, done, and nothing told": func(k *kept) {
			k.p.fell(errClosed, k.negotiated())
			k.after(second, "restarting")
			k.p.revive(k.negotiated())
			k.p.endOfRIB(bgp.IPv4, k.negotiated())
			k.after(0, "")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { story(newKept(t)) })
		})
	}
}
