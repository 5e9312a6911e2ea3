package ndproxy

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/hostroute/hostroute/internal/fleet"
	"github.com/hostroute/hostroute/internal/receive"
	"github.com/hostroute/hostroute/ipv6"
	"github.com/hostroute/hostroute/vrf"
)

// guest is what the proxy of a tap knows of its guest.
type guest struct {
	mac   [6]byte
	proxy ipv6.Proxy
}

// tap is the task of one tap.
type tap struct {
	port fleet.Port
	in   func(func() error) error
	log  *slog.Logger

	received receive.Stats

	mu     sync.Mutex
	guest  guest
	status Status // its Ignored is made anew for every reader
	said   string // the error of sending that was logged last
	seldom receive.Seldom
}

var _ fleet.Task[guest] = (*tap)(nil)

// Update implements [fleet.Task].
func (t *tap) Update(g guest) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.guest = g
}

// Run implements [fleet.Task].
func (t *tap) Run(ctx context.Context) error {
	var conn socket
	open := func() (err error) { conn, err = listen(t.port); return err }
	if err := t.in(open); err != nil {
		return fmt.Errorf("answering neighbour solicitations on %s: %w", t.port.Name, err)
	}
	defer conn.Close()
	return receive.Serve(ctx, conn, rate, &t.received, t.log, func(frame []byte, _ struct{}) { t.answer(conn, frame) })
}

// answer handles a frame of the guest.
func (t *tap) answer(conn socket, frame []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	question, ignored := ipv6.ReadQuestion(frame, vrf.TapMAC)
	if ignored == "" {
		ignored = t.guest.proxy.Answer(t.guest.mac, question)
	}
	if ignored != "" {
		t.status.Ignored[ignored]++
		return
	}
	if err := conn.send(question.Reply(vrf.TapMAC)); err != nil {
		t.status.Failed++
		if t.said != err.Error() && t.seldom.Pass(time.Now()) {
			t.said = err.Error()
			t.log.Warn("a neighbour advertisement could not be sent", "err", err)
		}
		return
	}
	t.said = ""
	t.status.Answers++
	t.status.LastTarget, t.status.LastAnswer = question.Target, time.Now()
}

// now is what the tap did so far.
func (t *tap) now(err error) Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.status
	s.Ignored = maps.Clone(s.Ignored)
	s.Limited, s.Panics = t.received.Limited.Load(), t.received.Panics.Load()
	if err != nil {
		s.Error = err.Error()
	}
	return s
}
