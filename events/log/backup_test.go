package log

import (
	"bytes"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/testenv"
)

// TestFromTheEmbeddedLogToACluster grows as docs/cluster.md says: the copy has
// everything under the same sequences, and an agent that is sent there with what
// it knew serves on without a gap.
func TestFromTheEmbeddedLogToACluster(t *testing.T) {
	old := newLab(t)
	old.base()
	old.publish(assign("203.0.113.7/32", "vm1"))
	old.serve()
	var copied bytes.Buffer
	state, err := Backup(old.ctx, old.nc, &copied)
	if err != nil {
		t.Fatal(err)
	}
	before, err := old.ledger.Verify(old.ctx, VerifyOptions{}, func(f Finding) { t.Errorf("before: %s", f) })
	if err != nil {
		t.Fatal(err)
	}
	agent := old.follow("hv1", FollowerOptions{})
	known, cursor := agent.Checkpoint()
	want, last := desired(t, known, "hv1"), len(old.all())

	g := newGuardedOn(t, "127.0.0.1", "127.0.0.2", "127.0.0.3")
	l := &lab{t: t, ctx: testContext(t)}
	operator := g.dial("operator:ops")
	restored, err := Restore(l.ctx, operator, bytes.NewReader(copied.Bytes()), 3)
	if err != nil || restored != state || restored.Last != uint64(last) {
		t.Fatalf("restored %+v of %+v: %v", restored, state, err)
	}
	if _, err = Open(l.ctx, operator, Options{Replicas: 3}); err != nil {
		t.Fatal(err)
	}
	l.nc = g.dial("service:log")
	if l.ledger, err = Open(l.ctx, l.nc, Options{Replicas: 3}); err != nil {
		t.Fatal(err)
	}
	t.Logf("identity %s, was %s", l.ledger.Identity(), old.ledger.Identity())
	for i, r := range l.all() {
		if have := old.all()[i]; r.Sequence != have.Sequence || r.Subject != have.Subject || r.link() != have.link() {
			t.Fatalf("message %d of the copy is %d %s", have.Sequence, r.Sequence, r.Subject)
		}
	}
	if _, err := l.ledger.Verify(l.ctx, VerifyOptions{Checkpoints: []Checkpoint{before.Checkpoint}}, func(f Finding) { t.Errorf("verify finds %s", f) }); err != nil {
		t.Error(err)
	}
	l.serve()
	f := NewFollower(g.dial("agent:hv1"), "hv1", FollowerOptions{State: known, Cursor: cursor, Logger: testLogger()})
	if have := desired(t, f.State(), "hv1"); have != want {
		t.Errorf("before the cluster answers the agent serves %s, it had %s", have, want)
	}
	task(t, f.Run)
	l.await("the first catch-up", f.InSync())
	if have := desired(t, f.State(), "hv1"); have != want {
		t.Errorf("the agent serves %s, before %s", have, want)
	}
	l.publish(assign("203.0.113.9/32", "vm1"))
	want = desired(t, l.replay(), "hv1")
	testenv.Eventually(t, "the agent follows the cluster", func() bool { return desired(t, f.State(), "hv1") == want })
}

func TestRestoreRefuses(t *testing.T) {
	l := newLab(t)
	l.base()
	var copied bytes.Buffer
	if _, err := Backup(l.ctx, l.nc, &copied); err != nil {
		t.Fatal(err)
	}
	other, _ := startServer(t, ServerOptions{Store: t.TempDir()})
	empty := connect(t, other)
	for name, c := range map[string]struct {
		nc   *nats.Conn
		text []byte
	}{
		"a log that is there": {l.nc, copied.Bytes()},
		"another file":        {empty, []byte("hello\n")},
		"an empty file":       {empty, nil},
		"half a backup":       {empty, copied.Bytes()[:copied.Len()-copied.Len()/3]},
	} {
		if _, err := Restore(l.ctx, c.nc, bytes.NewReader(c.text), 1); err == nil || !strings.HasPrefix(err.Error(), "restoring the log: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := l.ledger.Publish(l.ctx, events.Event{Data: hypervisor("hv7")}); err != nil {
		t.Errorf("the log that was there doesn't work any more: %v", err)
	}
}
