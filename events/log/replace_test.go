package log

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/migrations"
)

// TestAServerIsReplaced takes one away with its disk, and puts an empty one with
// its name in its place.
func TestAServerIsReplaced(t *testing.T) {
	g := newGuardedOn(t, "127.0.0.1", "127.0.0.2", "127.0.0.3")
	l := &lab{t: t, ctx: testContext(t)}
	var err error
	if _, err = Open(l.ctx, g.dial("operator:ops"), Options{Replicas: 3}); err != nil {
		t.Fatal(err)
	}
	l.nc = g.dial("service:log") // on n1
	if l.ledger, err = Open(l.ctx, l.nc, Options{Replicas: 3}); err != nil {
		t.Fatal(err)
	}
	l.base()
	gone := g.servers[2]
	gone.Shutdown()
	gone.WaitForShutdown()
	if err := os.RemoveAll(filepath.Join(g.dir, "n3")); err != nil {
		t.Fatal(err)
	}
	// If it led, the others elect another one, which may take longer than a publisher waits for an answer.
	testenv.Eventually(t, "the ledger has a leader", func() bool {
		return slices.ContainsFunc(g.servers[:2], func(s *server.Server) bool {
			return s.JetStreamIsStreamLeader("HOSTROUTE", migrations.Ledger)
		})
	})
	l.publish(assign("203.0.113.7/32", "vm1"))
	g.start(g.cluster.Servers[2])
	last, err := l.ledger.LastSequence(l.ctx)
	if err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, "the new server has everything", func() bool { return storedAt(g.servers[3], migrations.Ledger) == last })
}

// storedAt is the last sequence that a server has on its own disk.
func storedAt(s *server.Server, stream string) uint64 {
	info, err := s.JszAccount(&server.JSzOptions{Account: "HOSTROUTE", Streams: true})
	if err != nil {
		return 0
	}
	for _, d := range info.Streams {
		if d.Name == stream {
			return d.State.LastSeq
		}
	}
	return 0
}
