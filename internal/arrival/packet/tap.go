package packet

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hostroute/hostroute/internal/arrival"
	"github.com/hostroute/hostroute/internal/fleet"
	"github.com/hostroute/hostroute/internal/receive"
)

// tap is the task of one tap.
type tap struct {
	port fleet.Port
	in   func(func() error) error
	seen func(vm, tap string, kind arrival.Kind)
	log  *slog.Logger

	received receive.Stats

	mu      sync.Mutex
	guest   arrival.Guest
	changed chan struct{} // closed when there is another guest
	kind    arrival.Kind  // of its sign; empty: there was none yet
	at      time.Time
}

var _ fleet.Task[arrival.Guest] = (*tap)(nil)

// Update implements [fleet.Task]: another guest is watched for from now on.
func (t *tap) Update(g arrival.Guest) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.guest, t.kind, t.at = g, "", time.Time{}
	close(t.changed)
	t.changed = make(chan struct{})
}

// Run implements [fleet.Task]. Each turn of it is for one guest.
func (t *tap) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := t.turn(ctx); err != nil {
			return err
		}
	}
	return nil
}

// turn watches for the guest that is expected now, and when it was seen does
// nothing more until another one is.
func (t *tap) turn(ctx context.Context) error {
	t.mu.Lock()
	guest, changed, seen := t.guest, t.changed, t.kind != ""
	t.mu.Unlock()
	if !seen {
		if err := t.watch(ctx, guest, changed); err != nil {
			return err
		}
	}
	select {
	case <-ctx.Done():
	case <-changed:
	}
	return nil
}

// watch waits until the guest is seen, or isn't the one to wait for any more.
func (t *tap) watch(ctx context.Context, guest arrival.Guest, changed <-chan struct{}) error {
	var conn socket
	open := func() (err error) { conn, err = listen(t.port, guest.MAC); return err }
	if err := t.in(open); err != nil {
		return fmt.Errorf("watching %s for the guest %s: %w", t.port.Name, guest.VM, err)
	}
	defer conn.Close()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		select {
		case <-changed:
			stop()
		case <-ctx.Done():
		}
	}()
	return receive.Serve(ctx, conn, rate, &t.received, t.log, func(frame []byte, _ struct{}) {
		if kind, ok := arrival.Sign(frame, guest.MAC); ok {
			defer stop()
			t.arrived(guest, kind, changed)
		}
	})
}

// arrived tells of a guest, unless it isn't waited for any more.
func (t *tap) arrived(guest arrival.Guest, kind arrival.Kind, changed <-chan struct{}) {
	t.mu.Lock()
	current := t.changed == changed
	if current {
		t.kind, t.at = kind, time.Now()
	}
	t.mu.Unlock()
	if !current {
		return
	}
	t.seen(guest.VM, t.port.Name, kind)
}

// now is what became of the tap.
func (t *tap) now(err error) Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := Status{VM: t.guest.VM, Kind: t.kind, At: t.at}
	if err != nil {
		s.Error = err.Error()
	}
	return s
}
