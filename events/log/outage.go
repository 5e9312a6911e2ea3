package log

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hostroute/hostroute/internal/pace"
)

// sayAgain is how often a log says that something is still as bad as it was.
const sayAgain = 10 * time.Minute

// Outage tells since when the log is out of reach, and why. The zero value is
// ready; give it to [Connect].
type Outage struct {
	log *slog.Logger

	mu     sync.Mutex
	nc     *nats.Conn // nil before there is one
	since  time.Time  // zero: it is reached
	reason string
	said   seldom
}

// Now tells of the outage that lasts: since is zero if there is none, and reason
// empty while it isn't known.
func (o *Outage) Now() (since time.Time, reason string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.since.IsZero() {
		return time.Time{}, ""
	}
	return o.since, o.why()
}

// why is the reason. A server that refuses the user is in no handler's call
// before the first connection, only in the connection's last error.
func (o *Outage) why() string {
	if o.nc != nil && !o.nc.IsConnected() {
		if err := o.nc.LastError(); err != nil && !errors.Is(err, nats.ErrNoServers) {
			return err.Error()
		}
	}
	return o.reason
}

// options are those that keep it up to date.
func (o *Outage) options() []nats.Option {
	return []nats.Option{
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // nil: we closed it
				o.failed(err)
			}
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { o.failed(err) }),
		nats.ConnectHandler(o.ended),
		nats.ReconnectHandler(o.ended),
		nats.CustomReconnectDelay(o.delay),
		nats.ErrorHandler(o.complained),
	}
}

// failed notes why there is no connection.
func (o *Outage) failed(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.since.IsZero() {
		o.since = time.Now()
	}
	if !errors.Is(err, nats.ErrNoServers) { // which is no reason: it follows one
		o.reason = err.Error()
		o.say()
	}
}

// delay is called when all servers were tried in vain. A server that comes back
// is not to be met by all hypervisors at once, nor one that is away to be asked
// thousands of times an hour.
func (o *Outage) delay(rounds int) time.Duration {
	o.mu.Lock()
	if o.why() != "" {
		o.say()
	}
	o.mu.Unlock()
	return pace.Redial(rounds, draw)
}

// say logs the first failure of an outage, and rarely that it lasts.
func (o *Outage) say() {
	if o.said.due("") {
		o.log.Warn("the log is out of reach; trying again until it is reached", "since", o.since, "error", o.why())
	}
}

func (o *Outage) ended(nc *nats.Conn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.since.IsZero() {
		return
	}
	o.log.Info("log connected", "server", nc.ConnectedUrlRedacted(), "away", time.Since(o.since).Round(time.Millisecond))
	o.since, o.reason, o.said = time.Time{}, "", seldom{}
}

// complained takes what concerns a subscription, and what a server says that
// refuses to be connected to.
func (o *Outage) complained(nc *nats.Conn, s *nats.Subscription, err error) {
	switch {
	case s != nil:
		o.log.Warn("log connection", "subject", s.Subject, "error", err)
	case nc.IsConnected():
		o.log.Warn("log connection", "error", err)
	default:
		o.failed(err)
	}
}

// seldom lets what is said again and again be said once, and then rarely. The
// zero value has said nothing.
type seldom struct {
	text string
	at   time.Time
}

// due tells whether a text is to be said now, which it is taken to be then.
func (s *seldom) due(text string) bool {
	now := time.Now()
	if !s.at.IsZero() && s.text == text && now.Sub(s.at) < sayAgain {
		return false
	}
	s.text, s.at = text, now
	return true
}
