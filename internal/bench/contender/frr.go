package contender

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
)

// FRR is Debian's FRRouting: zebra and bgpd as the user frr, with configurations that templates/ gives the reasons for.
// watchfrr, staticd and the others have no part in the task and don't run.
type FRR struct{ running programs }

var _ Contender = (*FRR)(nil)

// NewFRR makes an FRR that runs nowhere yet.
func NewFRR() *FRR { return &FRR{} }

// Name is the name of the suite.
func (*FRR) Name() string { return "frr" }

const (
	frrPrograms = "/usr/lib/frr"
	frrUser     = "frr"
	// frrHome is Debian's directory for FRR's configuration. In the mount namespace of a contender the site's
	// directory takes its place: the user frr, to which the programs change, can come to it from there whatever
	// directories it is in, and nothing of a configuration of the machine is read.
	frrHome = "/etc/frr"
)

// inPlace is a script that mounts its name over frrHome, and an empty /var/tmp, where FRR keeps logs for crashes, and
// becomes the program that its arguments say. The mounts are for that program only: ip netns exec gave it a mount
// namespace of its own, and they end with it.
const inPlace = `mount --bind "$0" ` + frrHome + ` && mount -t tmpfs tmpfs /var/tmp && exec "$@"`

// Version is, for instance, "FRR 8.4.4".
func (*FRR) Version(ctx context.Context) (string, error) {
	path, err := find(frrPrograms, "zebra", "frr")
	if err != nil {
		return "", err
	}
	said, err := ask(ctx, "/", path, "--version")
	if err != nil {
		return "", err
	}
	first, _, _ := strings.Cut(said, "\n")
	return strings.Replace(first, "zebra version ", "FRR ", 1), nil
}

// Start returns when bgpd answers.
func (f *FRR) Start(ctx context.Context, s Site) error {
	if len(f.running) > 0 {
		return errors.New("starting FRR: it runs already")
	}
	dir, err := frrDirectory(s)
	if err != nil {
		return err
	}
	daemons := []struct {
		name string
		args []string
	}{
		{"zebra", []string{"--nl-bufsize", "90000000"}}, // as Debian starts it
		{"bgpd", []string{"--bgp_port", "0"}},           // it calls and isn't called
	}
	for _, d := range daemons {
		if err := f.start(ctx, s, dir, d.name, d.args); err != nil {
			return errors.Join(err, f.Stop(context.WithoutCancel(ctx)))
		}
	}
	return nil
}

// frrDirectory makes FRR's part of a site's directory, with its configuration, the user frr's own.
func frrDirectory(s Site) (string, error) {
	u, err := user.Lookup(frrUser)
	if err != nil {
		return "", fmt.Errorf("finding the user of FRR (on Debian: apt install frr): %w: %w", ErrNotInstalled, err)
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return "", fmt.Errorf("reading the id of the user %s: %w", frrUser, err)
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return "", fmt.Errorf("reading the group of the user %s: %w", frrUser, err)
	}
	dir := filepath.Join(s.Dir, "frr")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("making the directory of FRR: %w", err)
	}
	for _, file := range []string{"zebra.conf", "bgpd.conf"} {
		if err := render(dir, file, s); err != nil {
			return "", err
		}
	}
	for _, path := range []string{dir, filepath.Join(dir, "zebra.conf"), filepath.Join(dir, "bgpd.conf")} {
		if err := os.Chown(path, uid, gid); err != nil {
			return "", fmt.Errorf("giving %s to the user %s: %w", path, frrUser, err)
		}
	}
	return dir, nil
}

// start waits until the daemon answers: bgpd looks for zebra's socket.
func (f *FRR) start(ctx context.Context, s Site, dir, name string, args []string) error {
	path, err := find(frrPrograms, name, "frr")
	if err != nil {
		return err
	}
	client, err := find("/usr/bin", "vtysh", "frr")
	if err != nil {
		return err
	}
	in := func(file string) string { return filepath.Join(frrHome, file) }
	command := append([]string{"sh", "-c", inPlace, dir, path, "--config_file", in(name + ".conf"), "--pid_file", in(name + ".pid"),
		"--socket", in("zserv"), "--vty_socket", frrHome, "--vty_port", "0", "--log", "stdout", "--log-level", "warnings"}, args...)
	p, err := launch(ctx, s, dir, name, command...)
	if err != nil {
		return err
	}
	f.running = append(f.running, p)
	return p.await(ctx, func() error {
		_, err := ask(ctx, dir, client, "--vty_socket", ".", "-d", name, "-c", "show version")
		return err
	})
}

// Pids are zebra's and bgpd's.
func (f *FRR) Pids() []int { return f.running.pids() }

// Stop kills them.
func (f *FRR) Stop(ctx context.Context) error {
	if err := f.running.kill(ctx); err != nil {
		return fmt.Errorf("stopping FRR: %w", err)
	}
	f.running = nil
	return nil
}
