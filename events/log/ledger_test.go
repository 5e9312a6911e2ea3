package log

import (
	"testing"
)

func TestPublishAndReplay(t *testing.T) {
	l := newLab(t)
	l.serve()
	f := l.follow("hv1", FollowerOptions{})
	l.publish(network("web", "public", "203.0.113.0/24"), hypervisor("hv1"), guest("vm1", "hv1", "web"), assign("203.0.113.7/32", "vm1"))
	want := desired(t, l.replay(), "hv1")
	eventually(t, "the follower has it", func() bool { return desired(t, f.State(), "hv1") == want })
	t.Log(want, f.Status())
}
