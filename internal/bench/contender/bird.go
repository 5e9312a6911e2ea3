package contender

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// BIRD is Debian's BIRD 2, as root with a configuration that templates/bird.conf.tmpl gives the reasons for.
type BIRD struct{ running programs }

var _ Contender = (*BIRD)(nil)

// NewBIRD makes a BIRD that runs nowhere yet.
func NewBIRD() *BIRD { return &BIRD{} }

// Name is the name of the program.
func (*BIRD) Name() string { return "bird" }

func birdPath() (string, error) { return find("/usr/sbin", "bird", "bird2") }

// Version is, for instance, "BIRD 2.0.12".
func (*BIRD) Version(ctx context.Context) (string, error) {
	path, err := birdPath()
	if err != nil {
		return "", err
	}
	said, err := ask(ctx, "/", path, "--version")
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(strings.Replace(said, "BIRD version ", "BIRD ", 1)), nil
}

// Start returns when BIRD answers on its socket.
func (b *BIRD) Start(ctx context.Context, s Site) error {
	if len(b.running) > 0 {
		return errors.New("starting BIRD: it runs already")
	}
	path, err := birdPath()
	if err != nil {
		return err
	}
	client, err := find("/usr/sbin", "birdc", "bird2")
	if err != nil {
		return err
	}
	if err := render(s.Dir, "bird.conf", s); err != nil {
		return err
	}
	// Relative paths: that of a socket may have 107 bytes only.
	p, err := launch(ctx, s, s.Dir, "bird", path, "-f", "-c", "bird.conf", "-s", "bird.ctl", "-P", "bird.pid")
	if err != nil {
		return err
	}
	b.running = programs{p}
	err = p.await(ctx, func() error {
		_, err := ask(ctx, s.Dir, client, "-r", "-s", "bird.ctl", "show", "status")
		return err
	})
	if err != nil {
		return errors.Join(err, b.Stop(context.WithoutCancel(ctx)))
	}
	return nil
}

// Pids is the one process.
func (b *BIRD) Pids() []int { return b.running.pids() }

// Stop kills it.
func (b *BIRD) Stop(ctx context.Context) error {
	if err := b.running.kill(ctx); err != nil {
		return fmt.Errorf("stopping BIRD: %w", err)
	}
	b.running = nil
	return nil
}
