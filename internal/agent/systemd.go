package agent

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// readyGrace is how long the service manager waits for a kernel that is what is
// known. It waits no longer: guests are not to wait for one of them that can't be
// served, nor is the agent to be ended for it (TimeoutStartSec).
const readyGrace = 20 * time.Second

// healthInterval is how often the service manager's line is looked at anew.
const healthInterval = 5 * time.Second

// manager tells the service manager when the agent is ready, and then in a line
// how it is.
//
// Ready means that the kernel was brought to what is known: devices, filter, and
// the guests of the local snapshot. Without a snapshot nothing is known but
// devices and filter, and the log, which may be out of reach, isn't waited for.
type manager struct {
	notify  func(state string) (told bool, err error)
	brought <-chan struct{}
	health  func() string
	log     *slog.Logger
}

func (a *Agent) manager() *manager {
	return &manager{
		notify:  func(state string) (bool, error) { return daemon.SdNotify(false, state) },
		brought: a.apply.brought, health: func() string { return healthLine(a.status()) }, log: a.log.With("task", "systemd"),
	}
}

// Run tells until the context ends, or nobody listens.
func (m *manager) Run(ctx context.Context) error {
	if !m.tell("STATUS=bringing the kernel to what is known") {
		return nil
	}
	grace := time.NewTimer(readyGrace)
	defer grace.Stop()
	select {
	case <-ctx.Done():
		return nil
	case <-m.brought:
	case <-grace.C:
		m.log.Warn("the kernel is not yet what is desired; guests may start nevertheless", "waited", readyGrace)
	}
	said := m.health()
	m.tell("READY=1\nSTATUS=" + said)
	again := time.NewTicker(healthInterval)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			m.tell("STOPPING=1\nSTATUS=ended; the kernel forwards on")
			return nil
		case <-again.C:
		}
		if now := m.health(); now != said {
			m.tell("STATUS=" + now)
			said = now
		}
	}
}

// tell tells whether there is anybody to be told.
func (m *manager) tell(state string) bool {
	told, err := m.notify(state)
	if err != nil {
		m.log.Warn("telling the service manager", "state", state, "err", err)
	}
	return told || err != nil
}

// healthLine is a status in one line: more of them would be other messages to
// the service manager.
func healthLine(s Status) string {
	if s.Healthy {
		return fmt.Sprintf("%s healthy: %s at home, %d of %d BGP sessions established", s.Hypervisor,
			plural(s.Guests.Home, "guest"), s.BGP.Established, s.BGP.Configured)
	}
	return fmt.Sprintf("%s NOT HEALTHY, %s: %s", s.Hypervisor, plural(len(s.Problems), "problem"), oneLine(s.Problems[0]))
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
