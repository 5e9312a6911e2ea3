package log

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/testenv"
)

// startServerWithUsers runs a server where the agent of hv1 has no more rights
// than it needs.
func startServerWithUsers(t *testing.T) string {
	t.Helper()
	allow := func(subjects ...string) *server.SubjectPermission { return &server.SubjectPermission{Allow: subjects} }
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, JetStream: true, StoreDir: t.TempDir(), SyncInterval: time.Minute,
		Users: []*server.User{
			{Username: "service", Password: "x"},
			{Username: "hv1", Password: "x", Permissions: &server.Permissions{
				Publish:   allow(SubjectSnapshot + "hv1"),
				Subscribe: allow("hrlive.feed.hv1", "hrlive.feed.hv1.*", "hrlive.net", "_INBOX_hv1.>"),
			}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.SetLoggerV2(newServerLogger(testLogger()), false, false, false)
	go s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(patience) {
		t.Fatal("the server doesn't become ready")
	}
	return strings.TrimPrefix(s.ClientURL(), "nats://")
}

// TestAFollowerNeedsNoOtherRights follows without any right on JetStream.
func TestAFollowerNeedsNoOtherRights(t *testing.T) {
	address := startServerWithUsers(t)
	dial := func(user string) *nats.Conn {
		nc, err := Connect(fmt.Sprintf("nats://%s:x@%s", user, address), ConnectOptions{Inbox: "_INBOX_" + user, Logger: testLogger()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		return nc
	}
	l := &lab{t: t, ctx: testContext(t), nc: dial("service")}
	var err error
	if l.ledger, err = Open(l.ctx, l.nc, Options{}); err != nil {
		t.Fatal(err)
	}
	l.serve()
	l.base()
	f, _ := l.followFrom(dial("hv1"), "hv1", FollowerOptions{})
	l.publish(assign("203.0.113.7/32", "vm1"))
	want := desired(t, l.replay(), "hv1")
	testenv.Eventually(t, "the follower follows", func() bool { return desired(t, f.State(), "hv1") == want })

	// Nor does it get more: not another's snapshot, and not to publish.
	other := NewFollower(dial("hv1"), "hv2", FollowerOptions{Timeout: 200 * time.Millisecond})
	if _, err := other.catchUp(l.ctx); err == nil {
		t.Error("hv1 gets the snapshot of hv2")
	}
	if _, err := NewClient(dial("hv1"), 200*time.Millisecond).Publish(l.ctx, events.Event{Data: hypervisor("hv3")}); err == nil || errors.Is(err, ErrNoService) {
		t.Errorf("publishing as hv1: %v; want a refusal", err)
	}
}
