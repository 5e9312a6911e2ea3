package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// tellReady tells the service manager that what must stand before guests start
// does: devices and filter. The log need not be reached for that.
func (a *Agent) tellReady() {
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		a.log.Warn("telling the service manager that the agent is ready", "err", err)
	}
}

// watchdog tells the service manager, as often as it wants, that the apply loop
// goes round. It returns when the context ends, or at once if nobody asks.
func (a *Agent) watchdog(ctx context.Context) error {
	within, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return fmt.Errorf("reading what the service manager asks for: %w", err)
	}
	if within == 0 {
		return nil
	}
	again := time.NewTicker(within / 3)
	defer again.Stop()
	for a.apply.alive(ctx) {
		if _, err := daemon.SdNotify(false, daemon.SdNotifyWatchdog); err != nil {
			a.log.Warn("telling the service manager that the agent lives", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-again.C:
		}
	}
	return nil
}

// alive waits until the apply loop comes round, and tells whether it did before
// the context ended.
func (a *applier) alive(ctx context.Context) bool {
	came := make(chan struct{})
	select {
	case <-ctx.Done():
		return false
	case a.pings <- came:
	}
	select {
	case <-ctx.Done():
		return false
	case <-came:
		return true
	}
}
