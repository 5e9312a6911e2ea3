package log

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/migrations"
)

// TestALedgerBehindItsMirror has a ledger lose its end while the mirror of its
// feeds keeps it, as a power failure between two syncs may, and has it written
// on until it is longer than before. What was written since is what a hypervisor
// that starts is told, and not what the mirror remembers: else an address that
// moved away would be announced twice.
func TestALedgerBehindItsMirror(t *testing.T) {
	store, old := t.TempDir(), t.TempDir()
	open := func() (*lab, func()) {
		t.Helper()
		s, stop := startServer(t, ServerOptions{Store: store})
		l := &lab{t: t, ctx: testContext(t), server: s, nc: connect(t, s)}
		var err error
		if l.ledger, err = Open(l.ctx, l.nc, Options{Migrate: true}); err != nil {
			t.Fatal(err)
		}
		return l, stop
	}
	l, stop := open()
	l.base()
	l.publish(assign("203.0.113.7/32", "vm1"))
	stop()
	copyStore(t, old, store)

	l, stop = open()
	for range 5 {
		l.publish(&events.IPReleased{Prefix: pfx("203.0.113.7/32")}, assign("203.0.113.7/32", "vm1"))
	}
	end := l.publish(assign("203.0.113.9/32", "vm1"))[0].Sequence
	testenv.Eventually(t, "the mirror has it", func() bool { return mirrored(l)["hr.feed.hv1.vm1"].sequence > end })
	stop()
	ledger := filepath.Join("jetstream", "$G", "streams", migrations.Ledger)
	if err := os.RemoveAll(filepath.Join(store, ledger)); err != nil {
		t.Fatal(err)
	}
	copyStore(t, filepath.Join(store, ledger), filepath.Join(old, ledger))

	l, _ = open()
	l.serve()
	if v, err := l.ledger.Verify(l.ctx, VerifyOptions{}, func(Finding) {}); err != nil || v.Findings == 0 {
		t.Errorf("a log that lost its end has %d findings, %v", v.Findings, err)
	}
	c := NewClient(l.nc, patience)
	for last := uint64(0); last < end+50; {
		for _, d := range []events.Data{&events.IPMoved{Prefix: pfx("203.0.113.7/32"), To: "vm2"}, guest("vm9", "hv1", "web")} {
			if _, err := c.Publish(l.ctx, events.Event{Data: d}); err != nil {
				t.Fatal(err)
			}
		}
		l.same(l.follow("hv1", FollowerOptions{}))
		for _, d := range []events.Data{&events.IPMoved{Prefix: pfx("203.0.113.7/32"), To: "vm1"}, &events.VMDeleted{VM: "vm9"}} {
			stored, err := c.Publish(l.ctx, events.Event{Data: d})
			if err != nil {
				t.Fatal(err)
			}
			last = stored.Sequence
		}
	}
	if ahead, err := l.ledger.mirrorAhead(context.Background()); ahead != 0 || err != nil {
		t.Errorf("the mirror is still of another history, up to #%d, %v", ahead, err)
	}
	if v, err := l.ledger.Verify(l.ctx, VerifyOptions{}, func(f Finding) { t.Errorf("at the end: %s", f) }); err != nil {
		t.Errorf("%+v, %v", v, err)
	}
}

func copyStore(t *testing.T, to, from string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}
