package log

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/micro"
	"golang.org/x/sync/errgroup"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/pace"
)

// The subjects of requests to the log service.
const (
	SubjectPublish  = "hostroute.publish"
	SubjectSnapshot = "hostroute.snapshot." // followed by the name of a hypervisor
)

const (
	serviceName    = "hostroute-log"
	serviceVersion = "1.0.0"
	// Requests worked on at once; more wait. Snapshots are bounded so that a
	// thousand hypervisors that start together don't hold up publishers.
	maxPublishing   = 64
	maxSnapshotting = pace.Snapshotting
	maxWaiting      = 16_384 // for a snapshot
	// requestTime bounds the work on one request, also of those that a stop
	// of the service waits for.
	requestTime = 20 * time.Second
	// codeUnavailable is the code of an error that isn't the event's.
	codeUnavailable events.Code = "unavailable"
)

// publishReply answers a request to publish.
type publishReply struct {
	*Stored
	Error *events.Error `json:"error,omitempty"`
}

// Service answers requests to publish and for snapshots. It has no state; any
// number of instances share the requests.
type Service struct {
	ledger *Ledger
	log    *slog.Logger
	ready  chan struct{}
	told   atomic.Uint64 // what tellMirror said last
}

// NewService makes a service that works on the ledger.
func NewService(l *Ledger, logger *slog.Logger) *Service {
	return &Service{ledger: l, log: orDiscard(logger), ready: make(chan struct{})}
}

// Ready is closed when requests are answered.
func (s *Service) Ready() <-chan struct{} { return s.ready }

// Run answers requests until the context ends; those under way are finished.
func (s *Service) Run(ctx context.Context) error {
	lost := make(chan struct{})
	service, err := micro.AddService(s.ledger.nc, micro.Config{
		Name: serviceName, Version: serviceVersion,
		Description: "publishes events to the hostroute log and hands out snapshots",
		DoneHandler: func(micro.Service) { close(lost) },
	})
	if err != nil {
		return fmt.Errorf("starting the log service: %w", err)
	}
	publishing, room := newPool(maxPublishing), newPool(maxWaiting)
	turns := newTurns(maxSnapshotting)
	for _, e := range []struct {
		name, subject string
		pool          *pool
		handle        func(micro.Request)
	}{
		{"publish", SubjectPublish, publishing, func(r micro.Request) {
			ctx, cancel := bounded(ctx)
			defer cancel()
			s.publish(ctx, r)
		}},
		{"snapshot", SubjectSnapshot + "*", room, func(r micro.Request) { s.takeTurn(ctx, turns, r) }},
		{"effect", SubjectEffect, publishing, func(r micro.Request) {
			ctx, cancel := bounded(ctx)
			defer cancel()
			s.effect(ctx, r)
		}},
	} {
		if err = service.AddEndpoint(e.name, s.handler(e.pool, e.handle), micro.WithEndpointSubject(e.subject)); err != nil {
			err = fmt.Errorf("starting endpoint %s: %w", e.subject, err)
			break
		}
	}
	if err == nil {
		err = s.ledger.nc.Flush()
	}
	if err == nil {
		s.tellMirror(ctx)
		close(s.ready)
		s.log.Info("log service answers", "publish", SubjectPublish, "snapshot", SubjectSnapshot+"*")
		select {
		case <-ctx.Done():
		case <-lost:
			err = errors.New("the log service lost its connection or its rights")
		}
	}
	stopErr := service.Stop()
	publishing.stop()
	room.stop()
	if err != nil {
		return err
	}
	if stopErr != nil {
		s.log.Debug("stopping the log service", "error", stopErr)
	}
	return nil
}

// bounded is the time for one request, which a stop leaves it.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), requestTime)
}

// handler has requests worked on in a pool.
func (s *Service) handler(p *pool, handle func(micro.Request)) micro.HandlerFunc {
	return func(r micro.Request) {
		if !answerable(r.Reply()) {
			s.log.Warn("request ignored that wants its answer elsewhere than in an inbox", "subject", r.Subject(), "reply", r.Reply())
			return
		}
		if !p.work(func() { handle(r) }) {
			s.respond(r.Error("503", stoppingReason, []byte(stoppingReply)))
		}
	}
}

// takeTurn makes a snapshot when its turn comes.
func (s *Service) takeTurn(ctx context.Context, turns *turns, r micro.Request) {
	switch turns.await(ctx, r.Headers().Get(headerAsker), func() { s.respond(r.Respond([]byte(waitReply))) }) {
	case turnStopping:
		s.respond(r.Error("503", stoppingReason, []byte(stoppingReply)))
	case turnCome:
		defer turns.leave()
		ctx, cancel := bounded(ctx)
		defer cancel()
		s.snapshot(ctx, r)
	case turnSuperseded:
	}
}

// answerable tells whether an answer may go to a subject. NATS lets an asker
// choose any, and this service may write to the ledger, which its askers may not.
// What begins with _R_ a server leads to an asker in another account.
func answerable(reply string) bool {
	return reply == "" || strings.HasPrefix(reply, "_INBOX.") || strings.HasPrefix(reply, "_R_.")
}

// What requests are answered that arrive during a stop; both kinds of asker
// understand it.
const (
	waitReply      = `{"wait":true}` // to who waits for a snapshot: it is in the queue
	stoppingReason = "the log service is stopping"
	stoppingReply  = `{"error":{"code":"unavailable","reason":"` + stoppingReason + `; try again"}}`
)

// pool bounds how many requests are worked on at once.
type pool struct {
	group   errgroup.Group
	mu      sync.RWMutex
	stopped bool
}

func newPool(limit int) *pool {
	p := &pool{}
	p.group.SetLimit(limit)
	return p
}

// work has fn run as soon as there is room, or not at all after a stop.
func (p *pool) work(fn func()) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.stopped {
		return false
	}
	p.group.Go(func() error {
		fn()
		return nil
	})
	return true
}

// stop takes no more work and waits for what is under way.
func (p *pool) stop() {
	p.mu.Lock()
	p.stopped = true
	p.mu.Unlock()
	_ = p.group.Wait()
}

func (s *Service) publish(ctx context.Context, r micro.Request) {
	e, err := events.Parse(r.Data())
	var stored Stored
	if err == nil {
		stored, err = s.ledger.Publish(ctx, e)
	}
	if err == nil {
		s.respond(r.RespondJSON(publishReply{Stored: &stored}))
		if err := s.ledger.renewMirror(ctx, stored.Sequence); err != nil {
			s.log.Error("after the log lost its end", "error", err)
		}
		return
	}
	bad := &events.Error{Code: codeUnavailable, Type: e.Type(), Reason: err.Error()}
	status := "503"
	if errors.As(err, &bad) {
		status = "400"
	} else {
		s.log.Error("publishing for a client", "error", err)
	}
	data, err := json.Marshal(publishReply{Error: bad})
	if err != nil {
		s.respond(err)
		return
	}
	s.respond(r.Error(status, headerText(bad.Error()), data))
}

// headerText makes text safe to be a header's value.
func headerText(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

func (s *Service) snapshot(ctx context.Context, r micro.Request) {
	hypervisor := strings.TrimPrefix(r.Subject(), SubjectSnapshot)
	c := newChunker(s.ledger.nc.MaxPayload(), func(payload []byte) error { return r.Respond(payload) })
	var have Cursor
	err := events.CheckName("hypervisor", hypervisor)
	if err == nil && len(r.Data()) > 0 {
		err = json.Unmarshal(r.Data(), &have)
	}
	var end snapshotEnd
	if err == nil {
		s.tellMirror(ctx)
		end, err = s.ledger.snapshot(ctx, hypervisor, have, c.add)
	}
	if err != nil {
		s.log.Warn("making a snapshot", "hypervisor", hypervisor, "error", err)
		s.respond(c.fail(err))
		return
	}
	s.respond(c.finish(end))
}

// tellMirror says once that the log has lost its end.
func (s *Service) tellMirror(ctx context.Context) {
	ahead, err := s.ledger.mirrorAhead(ctx)
	switch {
	case err != nil:
		s.log.Warn("looking at the mirror", "error", err)
	case s.told.Swap(ahead) != ahead && ahead > 0:
		s.log.Error("the log has lost its end: the mirror of the feeds has what it hasn't, see `hostroute audit verify`; "+
			"snapshots are read from the log itself", "mirror", ahead)
	}
}

// respond notes an answer that couldn't be sent; who asked asks again.
func (s *Service) respond(err error) {
	if err != nil {
		s.log.Warn("answering a request", "error", err)
	}
}

func orDiscard(l *slog.Logger) *slog.Logger {
	if l == nil {
		return slog.New(slog.DiscardHandler)
	}
	return l
}
