package eventpath

import (
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/testenv"
)

// heard is when a kernel told first of each prefix that it came, and last that
// it went.
type heard struct {
	metric int
	mu     sync.Mutex
	came   map[netip.Prefix]time.Time
	went   map[netip.Prefix]time.Time
}

// listen notes the routes of one metric in the table of a namespace.
func listen(t testing.TB, ns *testenv.Netns, metric int) *heard {
	h := &heard{metric: metric, came: map[netip.Prefix]time.Time{}, went: map[netip.Prefix]time.Time{}}
	updates, done := make(chan netlink.RouteUpdate, 1<<16), make(chan struct{})
	handle := netns.NsHandle(ns.FD())
	err := netlink.RouteSubscribeWithOptions(updates, done, netlink.RouteSubscribeOptions{
		Namespace: &handle, ReceiveBufferSize: 64 << 20, ReceiveBufferForceSize: true,
		ErrorCallback: func(err error) {
			select {
			case <-done:
			default:
				t.Error(err)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { close(done) })
	go func() {
		for u := range updates {
			h.note(u, time.Now())
		}
	}()
	return h
}

func (h *heard) note(u netlink.RouteUpdate, at time.Time) {
	if u.Table != table || u.Priority != h.metric || u.Dst == nil {
		return
	}
	a, _ := netip.AddrFromSlice(u.Dst.IP)
	ones, _ := u.Dst.Mask.Size()
	p := netip.PrefixFrom(a.Unmap(), ones)
	h.mu.Lock()
	defer h.mu.Unlock()
	switch u.Type {
	case unix.RTM_NEWROUTE:
		if _, known := h.came[p]; !known {
			h.came[p] = at
		}
	case unix.RTM_DELROUTE:
		h.went[p] = at
	}
}

// at is when a prefix came, or went.
func (h *heard) at(p netip.Prefix, gone bool) (time.Time, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	from := h.came
	if gone {
		from = h.went
	}
	at, ok := from[p]
	return at, ok
}
