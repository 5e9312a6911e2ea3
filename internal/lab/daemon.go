package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// logsDir is where daemons' logs go, below the lab's directory.
const logsDir = "logs"

// Daemon is a program running in a node. It outlives the process that started it.
type Daemon struct {
	Node, Name string
	// PID is the program's own process id.
	PID int
	// Log is the file with everything it printed.
	Log   string
	start string // /proc's start time, which tells a process from a later one with its id
	files []string
}

// Start runs a program in a node, its output appended to a log, its id kept in the lab's directory.
func (l *Lab) Start(ctx context.Context, node, name string, args ...string) (*Daemon, error) {
	id := node + "-" + name
	if d, err := l.Daemon(node, name); err == nil && d.Alive() {
		return nil, fmt.Errorf("starting %s in %s: it runs already with pid %d", name, node, d.PID)
	}
	d := &Daemon{Node: node, Name: name, Log: l.path(logsDir, id+".log")}
	log, err := os.OpenFile(d.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the log of %s in %s: %w", name, node, err)
	}
	defer log.Close()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// Not CommandContext: the program must live on when the context, and we, end.
	cmd := exec.Command("ip", append([]string{"netns", "exec", l.Topology.Namespace(node)}, args...)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s in %s: %w", name, node, err)
	}
	go func() { _ = cmd.Wait() }() // ends with the program; its status is of no use to anybody here
	d.PID = cmd.Process.Pid        // ip(8) becomes the program, so this is the program's id
	if d.start, err = startTime(d.PID); err != nil {
		return nil, fmt.Errorf("starting %s in %s: it ended at once:\n%s", name, node, d.Tail(10))
	}
	d.files = []string{l.path(id + ".pid")}
	if err := os.WriteFile(d.files[0], []byte(strconv.Itoa(d.PID)+" "+d.start), 0o644); err != nil {
		return nil, errors.Join(fmt.Errorf("keeping the pid of %s in %s: %w", name, node, err), d.Stop(ctx, syscall.SIGKILL, time.Second))
	}
	return d, nil
}

// Daemon finds a program that this or another process started.
func (l *Lab) Daemon(node, name string) (*Daemon, error) {
	file := l.path(node + "-" + name + ".pid")
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("looking for %s in %s: %w", name, node, err)
	}
	pid, start, _ := strings.Cut(string(raw), " ")
	n, err := strconv.Atoi(pid)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	return &Daemon{Node: node, Name: name, PID: n, Log: l.path(logsDir, node+"-"+name+".log"), start: start, files: []string{file}}, nil
}

// Alive says whether the very process that was started still runs.
func (d *Daemon) Alive() bool {
	start, err := startTime(d.PID)
	return err == nil && start == d.start
}

// Signal sends a signal to the program, if it is still that one.
func (d *Daemon) Signal(sig syscall.Signal) error {
	if !d.Alive() {
		return fmt.Errorf("sending %s to %s in %s: %w", sig, d.Name, d.Node, os.ErrProcessDone)
	}
	return syscall.Kill(d.PID, sig)
}

// Stop sends the signal and waits for the end; a program that is still there after grace is killed, and that
// is an error.
func (d *Daemon) Stop(ctx context.Context, sig syscall.Signal, grace time.Duration) error {
	defer func() {
		for _, f := range d.files {
			_ = os.Remove(f) // a pid file that stays is told apart by its start time
		}
	}()
	if err := d.Signal(sig); errors.Is(err, os.ErrProcessDone) {
		return nil
	} else if err != nil {
		return err
	}
	err := Eventually(ctx, fmt.Sprintf("%s in %s to end", d.Name, d.Node), grace, func() error {
		if d.Alive() {
			return errors.New("it still runs")
		}
		return nil
	})
	if err != nil {
		_ = syscall.Kill(d.PID, syscall.SIGKILL) // the error says that it came to this
	}
	return err
}

// Tail returns the last lines of the log.
func (d *Daemon) Tail(lines int) string {
	raw, err := os.ReadFile(d.Log)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(raw), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// startTime is field 22 of /proc/PID/stat; a zombie counts as ended.
func startTime(pid int) (string, error) {
	raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return "", err
	}
	// The second field is the name in parentheses and may contain anything.
	fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
	const state, start = 0, 19
	if len(fields) <= start || fields[state] == "Z" || fields[state] == "X" {
		return "", os.ErrProcessDone
	}
	return fields[start], nil
}

// killAll ends every process that is in one of the namespaces, the ones that ignore SIGTERM by SIGKILL.
func killAll(ctx context.Context, names []string) error {
	err := endAll(ctx, names, syscall.SIGTERM)
	if err == nil || ctx.Err() != nil {
		return err
	}
	return endAll(ctx, names, syscall.SIGKILL)
}

// endAll sends a signal to every process in the namespaces, once, and waits until none is left. One that is dying has
// left its namespace before it is gone, and one that is being started is not there yet.
func endAll(ctx context.Context, names []string, sig syscall.Signal) error {
	started := map[int]string{}
	return Eventually(ctx, "the processes in "+strings.Join(names, ", ")+" to end", 3*time.Second, func() error {
		pids, err := inside(names)
		if err != nil {
			return err
		}
		for _, pid := range pids {
			if start, err := startTime(pid); err == nil && started[pid] != start {
				started[pid] = start
				_ = syscall.Kill(pid, sig) // gone already is fine
			}
		}
		for pid, start := range started {
			if now, err := startTime(pid); err == nil && now == start {
				return fmt.Errorf("%d is still there", pid)
			}
		}
		if len(pids) > 0 {
			return fmt.Errorf("still there: %v", pids)
		}
		return nil
	})
}
