package scenarios

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hostroute/hostroute/internal/lab"
)

var agentUpgrade = servingBy((*world).installOld, "agent-upgrade", "another version is installed and started everywhere, host by host; then the former one again",
	chapter{"Every program is upgraded", func(w *world, ctx context.Context) error { return w.roll(ctx, w.newProgram) }},
	chapter{"And rolled back", func(w *world, ctx context.Context) error { return w.roll(ctx, w.oldProgram) }},
)

// installOld has the lab run a copy of a program, which is then replaced as a
// package manager replaces it.
func (w *world) installOld() error {
	w.newProgram, w.oldProgram = w.story.Binary, w.story.Binary
	if w.story.From != "" {
		w.oldProgram = w.story.From
	}
	w.story.Binary = filepath.Join(w.Dir, "installed", "hostroute")
	if err := os.MkdirAll(filepath.Dir(w.story.Binary), 0o755); err != nil {
		return fmt.Errorf("making the directory to install in: %w", err)
	}
	return w.install(w.oldProgram)
}

// install puts a program into the place of the one that runs.
func (w *world) install(program string) error {
	content, err := os.ReadFile(program)
	if err != nil {
		return fmt.Errorf("reading the program to install: %w", err)
	}
	unpacked := w.story.Binary + ".new"
	return errors.Join(os.WriteFile(unpacked, content, 0o755), os.Rename(unpacked, w.story.Binary))
}

// roll installs a program and restarts everything by it: the log service, then
// one host after the other, first its agent, then BFD, as the units say.
func (w *world) roll(ctx context.Context, program string) error {
	if err := w.startMonitors(ctx); err != nil {
		return err
	}
	t, err := w.traffic(ctx, "vm1", "vm3")
	if err != nil {
		return err
	}
	if err := w.install(program); err != nil {
		return err
	}
	version, err := w.Exec(ctx, lab.NodeControl, w.story.Binary, "version")
	if err != nil {
		return err
	}
	w.story.Show("hostroute version", version)
	if err := w.restart(ctx, lab.NodeControl, "log", func() (*lab.Daemon, error) { return w.StartLog(ctx, w.story.Binary) }); err != nil {
		return err
	}
	for _, h := range w.Topology.Hypervisors {
		start := time.Now()
		if err := w.restart(ctx, h.Name, "agent", func() (*lab.Daemon, error) { return w.StartAgent(ctx, w.story.Binary, h.Name) }); err != nil {
			return err
		}
		if err := w.restart(ctx, h.Name, "bfd", func() (*lab.Daemon, error) { return w.StartBFD(ctx, w.story.Binary, h.Name) }); err != nil {
			return err
		}
		if _, ok := w.story.Eventually(ctx, h.Name+" runs it and is healthy", 3*settle, func() error { return w.healthy(ctx, h.Name) }); ok {
			w.story.MeasureTime("agent and BFD of "+h.Name+" restarted → healthy", time.Since(start))
		}
		w.story.Check("both reflectors have its guest's routes", w.reflected(ctx, "vm3"))
	}
	w.unnoticed(ctx, t, "every program replaced")
	return w.endMonitors(ctx)
}

func (w *world) restart(ctx context.Context, node, name string, start func() (*lab.Daemon, error)) error {
	d, err := w.Daemon(node, name)
	if err != nil {
		return err
	}
	if err := d.Stop(ctx, syscall.SIGTERM, 5*time.Second); err != nil {
		return err
	}
	_, err = start()
	return err
}
