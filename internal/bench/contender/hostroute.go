package contender

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// Hostroute is an agent as users run it, and the log that it follows, which is in a process
// of its own and doesn't count: in production it is on other machines.
type Hostroute struct {
	path       string
	at         Site
	socket     string // in a folder of its own, for its path must be short
	log, agent *program
}

var _ Contender = (*Hostroute)(nil)

// Hypervisor is the name of the one that a Hostroute serves.
const Hypervisor = "hv1"

// NewHostroute makes one that runs nowhere yet, of the program at a path.
func NewHostroute(path string) *Hostroute { return &Hostroute{path: path} }

// Name is the name of the program.
func (*Hostroute) Name() string { return "hostroute" }

// Version is what hostroute version says in its first line.
func (h *Hostroute) Version(ctx context.Context) (string, error) {
	said, err := ask(ctx, "/", h.path, "version")
	if err != nil {
		return "", err
	}
	first, _, _ := strings.Cut(said, "\n")
	return strings.TrimSpace(first), nil
}

// LogAddress is where the log listens, in the namespace of the site.
func (*Hostroute) LogAddress() netip.AddrPort { return netip.MustParseAddrPort("127.0.0.1:4222") }

// Start returns when the log knows the hypervisor and the agent answers.
func (h *Hostroute) Start(ctx context.Context, s Site) error {
	if h.log != nil || h.agent != nil {
		return errors.New("starting hostroute: it runs already")
	}
	h.at = s
	err := h.startLog(ctx)
	if err == nil {
		err = h.StartAgent(ctx)
	}
	if err != nil {
		return errors.Join(err, h.Stop(context.WithoutCancel(ctx)))
	}
	return nil
}

func (h *Hostroute) startLog(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "hrbench")
	if err != nil {
		return fmt.Errorf("making a folder for the agent's socket: %w", err)
	}
	h.socket = filepath.Join(dir, "agent.sock")
	more := struct {
		Site
		Log                netip.AddrPort
		Hypervisor, Socket string
	}{h.at, h.LogAddress(), Hypervisor, h.socket}
	for _, file := range []string{"hostroute.yaml", "log.yaml"} {
		if err := render(h.at.Dir, file, more); err != nil {
			return err
		}
	}
	h.log, err = launch(ctx, h.at, h.at.Dir, "log", h.path, "log", "serve", "--config", filepath.Join(h.at.Dir, "log.yaml"))
	if err != nil {
		return err
	}
	return h.log.await(ctx, func() error {
		_, err := ask(ctx, h.at.Dir, "ip", "netns", "exec", h.at.Namespace, h.path, "--log", "nats://"+h.LogAddress().String(),
			"hypervisor", "register", Hypervisor)
		return err
	})
}

// StartAgent starts the agent of a Hostroute that was started before and of which the
// agent was killed: with the same state, as a service manager would.
func (h *Hostroute) StartAgent(ctx context.Context) (err error) {
	if h.agent != nil {
		return errors.New("starting the agent: it runs already")
	}
	h.agent, err = launch(ctx, h.at, h.at.Dir, "agent", h.path, "agent", "--config", filepath.Join(h.at.Dir, "hostroute.yaml"))
	if err != nil {
		return err
	}
	return h.agent.await(ctx, func() error {
		_, err := os.Stat(h.socket)
		return err
	})
}

// KillAgent ends the agent as nobody should.
func (h *Hostroute) KillAgent(ctx context.Context) error {
	if h.agent == nil {
		return nil
	}
	if err := h.agent.kill(ctx); err != nil {
		return err
	}
	h.agent = nil
	if err := os.Remove(h.socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing the socket that was left: %w", err)
	}
	return nil
}

// Pids is the agent alone.
func (h *Hostroute) Pids() []int {
	if h.agent == nil {
		return nil
	}
	return []int{h.agent.pid}
}

// Stop kills both.
func (h *Hostroute) Stop(ctx context.Context) error {
	err := h.KillAgent(ctx)
	if h.log != nil {
		err = errors.Join(err, h.log.kill(ctx))
	}
	if h.socket != "" {
		err = errors.Join(err, os.RemoveAll(filepath.Dir(h.socket)))
	}
	if err != nil {
		return fmt.Errorf("stopping hostroute: %w", err)
	}
	h.log, h.socket = nil, ""
	return nil
}
