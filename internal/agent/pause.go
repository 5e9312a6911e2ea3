package agent

import (
	"context"
	"log/slog"
	"time"
)

// pauseTick is how often the clock is looked at.
const pauseTick = 250 * time.Millisecond

// pauseWatch notices that this process was stopped for so long that its peers have
// given it up: by a signal, with the virtual machine that it runs in, or on a host
// that slept. Its guests may be homed elsewhere by then. So nothing is announced
// anew before the log has been asked, or for snapshotGrace, since a log that is out
// of reach takes nothing from what is known; what is announced then loses against
// whoever has more.
type pauseWatch struct {
	clock   func() time.Duration // goes on while this process doesn't
	longest time.Duration        // that harms nothing
	doubt   func() (answered <-chan struct{})
	trust   func()
	log     *slog.Logger
}

func (a *Agent) pauses() *pauseWatch {
	return &pauseWatch{
		clock: sinceBoot, longest: a.cfg.BGP.HoldTime, trust: a.ledger.Trust, log: a.log,
		doubt: func() <-chan struct{} {
			answered := a.ledger.Doubt() // first, or a round in between would announce
			a.apply.Hush()
			return answered
		},
	}
}

// Run watches until the context ends.
func (p *pauseWatch) Run(ctx context.Context) error {
	tick := time.NewTicker(pauseTick)
	defer tick.Stop()
	var answered <-chan struct{} // nil: nothing is in doubt
	var over time.Duration
	last := p.clock()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-answered:
			answered = nil
			p.log.Info("the log has told what happened meanwhile")
			p.trust()
		case <-tick.C:
			now := p.clock()
			switch gone := now - last; {
			case gone > p.longest:
				p.log.Warn("this process was stopped for longer than its peers wait: nothing is announced before the log was asked",
					"stopped", gone.Round(time.Millisecond))
				answered, over = p.doubt(), now+snapshotGrace
			case answered != nil && now >= over:
				answered = nil
				p.log.Warn("the log doesn't answer: announcing what is known")
				p.trust()
			}
			last = now
		}
	}
}
