package log

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hostroute/hostroute/migrations"
)

// runServer runs a server that can't start, and returns its complaint.
func runServer(t *testing.T, o ServerOptions) error {
	t.Helper()
	done := make(chan error, 1)
	s := NewServer(o)
	go func() { done <- s.Run(testContext(t)) }()
	select {
	case err := <-done:
		return err
	case <-s.Ready():
		t.Fatal("the server starts")
	case <-time.After(patience):
		t.Fatal("the server neither starts nor complains")
	}
	return nil
}

func TestServerSaysWhyItCanNotStart(t *testing.T) {
	store := t.TempDir()
	startServer(t, ServerOptions{Store: store})
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close() //nolint:errcheck // a test's listener
	for name, c := range map[string]struct {
		options ServerOptions
		words   []string
	}{
		"store in use":    {ServerOptions{Store: store}, []string{store, "in use by another process"}},
		"port taken":      {ServerOptions{Store: t.TempDir(), Listen: taken.Addr().String()}, []string{taken.Addr().String(), "address already in use"}},
		"no store":        {ServerOptions{}, []string{"no directory"}},
		"no address":      {ServerOptions{Store: t.TempDir(), Listen: "4222"}, []string{`"4222"`}},
		"no port":         {ServerOptions{Store: t.TempDir(), Listen: "127.0.0.1:nats"}, []string{"port must be 0 to 65535"}},
		"not a directory": {ServerOptions{Store: "/dev/null/log"}, []string{"/dev/null"}},
	} {
		err := runServer(t, c.options)
		if err == nil {
			t.Errorf("%s: no complaint", name)
			continue
		}
		for _, w := range c.words {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %q doesn't mention %q", name, err, w)
			}
		}
	}
}

func TestServerKeepsTheLogAndIsPrivateWithoutAnAddress(t *testing.T) {
	store := t.TempDir()
	var identity string
	for round := range 3 {
		s, stop := startServer(t, ServerOptions{Store: store})
		if s.URL() != "" {
			t.Errorf("a server without an address has the URL %s", s.URL())
		}
		l := &lab{t: t, ctx: testContext(t), server: s, nc: connect(t, s)}
		var err error
		if l.ledger, err = Open(l.ctx, l.nc, Options{}); err != nil {
			t.Fatal(err)
		}
		if round == 0 {
			identity = l.ledger.Identity()
			l.base()
		}
		if l.ledger.Identity() != identity {
			t.Errorf("identity is %s after a restart, was %s", l.ledger.Identity(), identity)
		}
		if n := len(l.replay().Guests()); n != 2 {
			t.Errorf("round %d: %d guests; want 2", round, n)
		}
		l.nc.Close()
		stop()
	}
	s := NewServer(ServerOptions{Store: store})
	if _, err := s.Connect(ConnectOptions{}); err == nil {
		t.Error("connected to a server that doesn't run")
	}
}

func TestOpenMakesTheLayoutOnce(t *testing.T) {
	l := newLab(t)
	l.base()
	for range 2 {
		again, err := Open(l.ctx, l.nc, Options{Replicas: 1})
		if err != nil {
			t.Fatal(err)
		}
		if again.Identity() != l.ledger.Identity() {
			t.Error("the ledger was made anew")
		}
	}
	_, err := Open(l.ctx, l.nc, Options{Replicas: 3})
	var drift *DriftError
	if !errors.As(err, &drift) || drift.Field != "num_replicas" {
		t.Errorf("got %v; want drift of num_replicas", err)
	}
}

// TestOpenNamesDrift alters one setting at a time behind the layout's back.
func TestOpenNamesDrift(t *testing.T) {
	for field, alter := range map[string]func(*jetstream.StreamConfig){
		"republish":     func(c *jetstream.StreamConfig) { c.RePublish = nil },
		"max_bytes":     func(c *jetstream.StreamConfig) { c.MaxBytes = 1 << 20 },
		"max_age":       func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour },
		"deny_delete":   func(c *jetstream.StreamConfig) { c.DenyDelete = false },
		"deny_purge":    func(c *jetstream.StreamConfig) { c.DenyPurge = false },
		"allow_atomic":  func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = false },
		"allow_direct":  func(c *jetstream.StreamConfig) { c.AllowDirect = true },
		"max_consumers": func(c *jetstream.StreamConfig) { c.MaxConsumers = 7 },
		"subjects":      func(c *jetstream.StreamConfig) { c.Subjects = append(c.Subjects, "other.>") },
		"compression":   func(c *jetstream.StreamConfig) { c.Compression = jetstream.NoCompression },
	} {
		s, _ := startServer(t, ServerOptions{Store: t.TempDir()})
		nc, ctx := connect(t, s), testContext(t)
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		c := configOf(migrations.Latest()[0], 1)
		alter(&c)
		if _, err := js.CreateStream(ctx, c); err != nil {
			t.Fatal(err)
		}
		_, err = Open(ctx, nc, Options{})
		var drift *DriftError
		if !errors.As(err, &drift) || drift.Field != field || drift.Stream != migrations.Ledger || drift.Have == drift.Want {
			t.Errorf("%s: got %v", field, err)
		}
	}
}

// TestTheLedgerForgetsNothing tries to delete and to purge.
func TestTheLedgerForgetsNothing(t *testing.T) {
	l := newLab(t)
	l.base()
	if err := l.ledger.ledger.DeleteMsg(l.ctx, 1); err == nil {
		t.Error("a message was deleted")
	}
	if err := l.ledger.ledger.Purge(l.ctx); err == nil {
		t.Error("the ledger was purged")
	}
	checkBatches(t, l.all())
}
