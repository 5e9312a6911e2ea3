package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// DefaultDir is the run directory of the lab that `hostroute lab` builds.
const DefaultDir = "/run/hostroute-lab"

// ErrStanding is in the chain of the error of Up when a lab of the same prefix is there already.
var ErrStanding = errors.New("a lab is standing: remove it with `hostroute lab down`")

// Lab is a topology that stands, and the directory where its files are.
type Lab struct {
	Topology Topology
	// Dir holds the agents' and routers' configuration, state directories, pid files and logs.
	Dir string
}

// Open returns the lab without building it, for another process than the one that did.
func Open(t Topology, dir string) *Lab { return &Lab{Topology: t, Dir: dir} }

// Up builds the topology, writes every configuration file, and starts the reflectors and the edge. It does
// not start hostroute on any host. When something goes wrong it takes down what it made.
func Up(ctx context.Context, t Topology, dir string) (*Lab, error) {
	l := Open(t, dir)
	if os.Geteuid() != 0 {
		return nil, errors.New("the lab makes network namespaces: run this as root")
	}
	standing, err := l.namespaces(ctx)
	if err != nil {
		return nil, err
	}
	if len(standing) > 0 {
		return nil, fmt.Errorf("building the lab: %w (namespaces %v)", ErrStanding, standing)
	}
	if err := claim(dir); err != nil {
		return nil, fmt.Errorf("building the lab: %w", err)
	}
	if err := l.up(ctx); err != nil {
		// The caller's context may be what ended; cleaning up is not optional.
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		return nil, errors.Join(err, l.Down(clean))
	}
	return l, nil
}

func (l *Lab) up(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Join(l.Dir, logsDir), 0o755); err != nil {
		return fmt.Errorf("making the lab's directory: %w", err)
	}
	if err := l.build(ctx); err != nil {
		return err
	}
	if err := errors.Join(l.writeAgentConfigs(), l.writeWorld(), l.writeClientFiles()); err != nil {
		return err
	}
	return l.startRouters(ctx)
}

// Down ends every process in the lab's namespaces, removes them and the lab's directory. It finds them by
// name, so it also clears up after a crash, and finding nothing is no error. Namespaces of other names and a
// directory that no lab was built in are left alone.
func (l *Lab) Down(ctx context.Context) error {
	if err := claimed(l.Dir); err != nil {
		return fmt.Errorf("removing the lab: %w", err)
	}
	names, err := l.namespaces(ctx)
	if err != nil {
		return err
	}
	if err := killAll(ctx, names); err != nil {
		return err
	}
	var b batch
	for _, name := range names {
		b.add("netns del %s", name)
	}
	if err := b.run(ctx, ""); err != nil {
		return fmt.Errorf("removing the lab's namespaces: %w", err)
	}
	if err := os.RemoveAll(l.Dir); err != nil {
		return fmt.Errorf("removing the lab's directory: %w", err)
	}
	return nil
}

// Exec runs a program in a node and returns what it printed. The error of a program that failed has the
// end of its output.
func (l *Lab) Exec(ctx context.Context, node string, args ...string) (string, error) {
	out, err := run(ctx, "", "ip", append([]string{"netns", "exec", l.Topology.Namespace(node)}, args...)...)
	if err != nil {
		return out, fmt.Errorf("in %s: %w", node, err)
	}
	return out, nil
}

// Standing says whether anything of the lab is there. It is an error when the directory is something else's.
func (l *Lab) Standing(ctx context.Context) (bool, error) {
	if err := claimed(l.Dir); err != nil {
		return false, err
	}
	names, err := l.namespaces(ctx)
	return len(names) > 0, err
}

// namespaces lists what stands of the lab. The names are compared as a whole: others may begin alike.
func (l *Lab) namespaces(ctx context.Context) ([]string, error) {
	names, err := namespaces(ctx, l.Topology.Prefix)
	ours := l.Topology.everyNode()
	return slices.DeleteFunc(names, func(name string) bool {
		return !slices.Contains(ours, strings.TrimPrefix(name, l.Topology.Prefix))
	}), err
}

// Logs writes the last lines of every log of the lab, for when something went wrong.
func (l *Lab) Logs(w io.Writer, lines int) {
	files, err := filepath.Glob(l.path(logsDir, "*.log"))
	if err != nil {
		return // only a bad pattern is an error
	}
	for _, file := range files {
		d := Daemon{Log: file}
		fmt.Fprintf(w, "\n== the end of %s\n%s\n", file, d.Tail(lines))
	}
}

// path is a file in the lab's directory.
func (l *Lab) path(elem ...string) string {
	return filepath.Join(append([]string{l.Dir}, elem...)...)
}
