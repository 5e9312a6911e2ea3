package kernel

import (
	"context"
	"errors"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/vrf"
)

// TestWatch sees what others do, by name, and ends with its context.
func TestWatch(t *testing.T) {
	testenv.RequireRoot(t)
	k := newTarget(t, Options{})
	k.AddLink("tap0")
	k.ip("link", "set", "tap0", "up")
	k.ip("neigh", "add", "10.0.0.1", "lladdr", "02:00:00:00:00:01", "dev", "tap0", "nud", "permanent")
	k.ip("addr", "add", "100.64.0.1/24", "dev", "tap0")
	k.ip("nexthop", "add", "id", "5", "via", "100.64.0.2", "dev", "tap0")
	var log noticeLog
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Watch(ctx, Options{NetNS: k.Kernel.ns}, nil, log.add) }()
	log.wait(t, "the first notice", func(n Notice) bool { return n.Resync })
	link := func(name string) func(Notice) bool {
		return func(n Notice) bool { return slices.Contains(n.Links, name) }
	}
	neighbours := func(n Notice) bool {
		return slices.Contains(n.Neighbours, "tap0") && !slices.Contains(n.Links, "tap0")
	}
	for _, step := range []struct {
		what string
		ip   []string
		seen func(Notice) bool
	}{
		{"a deleted neighbour", []string{"neigh", "del", "10.0.0.1", "dev", "tap0"}, neighbours},
		{"a changed neighbour", []string{"neigh", "replace", "10.0.0.1", "lladdr", "02:00:00:00:00:02", "dev", "tap0", "nud", "permanent"}, neighbours},
		{"a changed next hop of ours", []string{"nexthop", "add", "id", "2010100001", "via", "100.64.0.2", "dev", "tap0"}, func(n Notice) bool { return n.NextHops }},
		{"a deleted next hop", []string{"nexthop", "del", "id", "5"}, func(n Notice) bool { return n.NextHops }},
		{"a deleted address", []string{"addr", "del", "100.64.0.1/24", "dev", "tap0"}, link("tap0")},
		{"a rule", []string{"rule", "add", "pref", "7", "lookup", "77"}, func(n Notice) bool { return n.Rules }},
		{"a link down", []string{"link", "set", "tap0", "down"}, link("tap0")},
		{"the old name", []string{"link", "set", "tap0", "name", "tap9"}, link("tap0")},
		{"the new name", []string{"link", "set", "tap9", "up"}, link("tap9")},
		{"a link gone", []string{"link", "del", "tap9"}, link("p-tap0")},
	} {
		log.clear()
		k.ip(step.ip...)
		log.wait(t, step.what, step.seen)
	}
	log.clear()
	run(t, "ip", "netns", "exec", k.ns, "sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.all.rp_filter=2")
	log.wait(t, "a setting of all links", func(n Notice) bool { return n.Settings })
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Watch ended with %v", err)
	}
}

// about tells a notice of a link, or of its neighbours.
func about(link string) func(Notice) bool {
	return func(n Notice) bool { return slices.Contains(slices.Concat(n.Links, n.Neighbours), link) }
}

type noticeLog struct {
	mu   sync.Mutex
	list []Notice
}

func (l *noticeLog) add(n Notice) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, n)
}

func (l *noticeLog) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = nil
}

func (l *noticeLog) wait(t *testing.T, what string, seen func(Notice) bool) {
	t.Helper()
	testenv.Eventually(t, what, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return slices.ContainsFunc(l.list, seen)
	})
}

// TestNoVRFIsOneSentence asks a kernel without VRF for one.
func TestNoVRFIsOneSentence(t *testing.T) {
	testenv.RequireRoot(t)
	if testenv.HaveVRF() {
		t.Skip("this kernel has VRF")
	}
	k := newTarget(t, Options{})
	_, err := k.Apply(t.Context(), vrf.Host{VRFs: []vrf.VRF{{Name: "public", Table: 90}}}, vrf.Options{})
	if !errors.Is(err, ErrNoVRF) {
		t.Errorf("got %v, want %v", err, ErrNoVRF)
	}
}

func TestExplainPermission(t *testing.T) {
	if err := explain(vrf.SetUp{Link: "tap0"}, syscall.EPERM); !errors.Is(err, ErrNotPermitted) {
		t.Errorf("got %v, want %v", err, ErrNotPermitted)
	}
	if err := meaning(syscall.EPERM); !errors.Is(err, ErrNotPermitted) {
		t.Errorf("got %v, want %v", err, ErrNotPermitted)
	}
}
