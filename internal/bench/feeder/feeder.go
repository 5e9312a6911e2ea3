package feeder

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/hostroute/hostroute/internal/bench/site"
)

// Feeder is the reflectors of a site.
type Feeder struct{ reflectors []*reflector }

var errNoSession = errors.New("there is no session")

// Listen starts the reflectors of a site; contenders may call from now on.
func Listen(s *site.Site) (*Feeder, error) {
	f := &Feeder{}
	for i, r := range s.Reflectors() {
		f.reflectors = append(f.reflectors, newReflector(s.RR, netip.AddrPortFrom(r.Address, r.Port), i))
	}
	for i := range f.reflectors {
		if err := f.Open(i); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return f, nil
}

// Open has a reflector listen, which it does already unless it was lost.
func (f *Feeder) Open(i int) error { return f.reflectors[i].open() }

// Established waits until there is a session with every reflector that listens.
func (f *Feeder) Established(ctx context.Context) error {
	for i, r := range f.reflectors {
		if err := r.established(ctx); err != nil {
			return fmt.Errorf("waiting for a session with reflector %d: %w", i, err)
		}
	}
	return nil
}

// Ended waits until there is no session with any reflector.
func (f *Feeder) Ended(ctx context.Context) error {
	for i, r := range f.reflectors {
		if err := r.ended(ctx); err != nil {
			return fmt.Errorf("waiting for the end of the session with reflector %d: %w", i, err)
		}
	}
	return nil
}

// Send sends whole messages in the session of a reflector, and returns when the kernel
// has them all.
func (f *Feeder) Send(ctx context.Context, i int, messages []byte) error {
	s := f.reflectors[i].current()
	if s == nil {
		return fmt.Errorf("sending from reflector %d: %w", i, errNoSession)
	}
	stop := context.AfterFunc(ctx, func() { _ = s.conn.Close() })
	defer stop()
	if err := s.send(messages); err != nil {
		return errors.Join(fmt.Errorf("sending from reflector %d: %w", i, err), ctx.Err())
	}
	return nil
}

// Lose ends the session of a reflector by a Cease, and it listens no more.
func (f *Feeder) Lose(i int) error {
	r := f.reflectors[i]
	s := r.current()
	err := r.close()
	if s == nil {
		return errors.Join(err, fmt.Errorf("ending the session of reflector %d: %w", i, errNoSession))
	}
	return errors.Join(err, s.cease())
}

// Heard is when a reflector was told of a prefix first since all was forgotten.
func (f *Feeder) Heard(i int, p netip.Prefix) (time.Time, bool) {
	r := f.reflectors[i]
	r.mu.Lock()
	defer r.mu.Unlock()
	at, ok := r.heard[p]
	return at, ok
}

// Forget drops what has been heard.
func (f *Feeder) Forget() {
	for _, r := range f.reflectors {
		r.mu.Lock()
		clear(r.heard)
		r.mu.Unlock()
	}
}

// Close ends all sessions.
func (f *Feeder) Close() error {
	var errs []error
	for _, r := range f.reflectors {
		errs = append(errs, r.close())
		r.hangUp()
	}
	for _, r := range f.reflectors {
		r.running.Wait()
	}
	return errors.Join(errs...)
}
