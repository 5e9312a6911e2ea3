package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ErrNoReport is in the chain of the error when the guest ended without an exit status of the command.
var ErrNoReport = errors.New("the virtual machine ended without reporting an exit status")

// ErrNotPrepared is in the chain of the error when there is no kernel to boot.
var ErrNotPrepared = errors.New("no kernel for the virtual machine: run `make setup` first")

// InVMEnv is set to 1 in the environment of what runs in the machine.
const InVMEnv = "HOSTROUTE_IN_VM"

// Options says what to run and on what machine. The zero value of every field but Command is useful.
type Options struct {
	// Dir holds the unpacked kernel: vmlinuz, busybox and lib/modules. Default: .cache/vm in the
	// working directory or the nearest parent that has it, or else in those of the program.
	Dir string
	// Command is the program and its arguments, looked up in PATH inside the machine.
	Command []string
	// WorkDir is where the command starts. Default: the working directory of the caller.
	WorkDir string
	// Env is added to a small fixed environment (PATH, HOME, LANG, TERM) in the form "key=value".
	Env []string
	// Stdout gets what the command prints on both its outputs. Default: discarded.
	Stdout io.Writer
	// Terminal connects the command to the caller's own terminal instead, for a shell.
	Terminal bool
	// Timeout limits the whole run, the boot included. Default: 30 minutes.
	Timeout time.Duration
	// CPUs and MemoryMB size the machine. Default: those of the host, at most 4 CPUs and 4096 MB
	// (taken as they are touched, not at the start).
	CPUs, MemoryMB int
}

// Run boots the machine, runs the command and returns its exit status. The error is nil exactly when
// the guest reported that status; whether it is 0 is for the caller to judge.
func Run(ctx context.Context, opts Options) (exitCode int, err error) {
	opts, err = opts.withDefaults()
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, opts.Timeout)
	defer cancel()
	accel, err := chooseAccel(ctx, opts)
	if err != nil {
		return 0, err
	}
	return boot(ctx, opts, accel)
}

func (o Options) withDefaults() (Options, error) {
	if len(o.Command) == 0 {
		return o, errors.New("starting a virtual machine: no command to run in it")
	}
	wd, err := os.Getwd()
	if err != nil {
		return o, fmt.Errorf("finding the working directory: %w", err)
	}
	if o.Dir == "" {
		if o.Dir, err = defaultDir(wd); err != nil {
			return o, err
		}
	}
	if o.WorkDir == "" {
		o.WorkDir = wd
	}
	if o.Stdout == nil {
		o.Stdout = io.Discard
	}
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Minute
	}
	if o.CPUs == 0 {
		o.CPUs = defaultCPUs()
	}
	if o.MemoryMB == 0 {
		o.MemoryMB = defaultMemoryMB()
	}
	return o, nil
}

// defaultDir looks around the working directory and then around the program, which `make` builds in the tree.
func defaultDir(wd string) (string, error) {
	dir, err := FindDir(wd)
	if err == nil {
		return dir, nil
	}
	if program, progErr := os.Executable(); progErr == nil {
		if dir, progErr := FindDir(filepath.Dir(program)); progErr == nil {
			return dir, nil
		}
	}
	return "", err
}

// FindDir returns the .cache/vm that `make setup` filled, in dir or the nearest of its parents.
func FindDir(dir string) (string, error) {
	for d := dir; ; d = filepath.Dir(d) {
		candidate := filepath.Join(d, ".cache", "vm")
		if _, err := os.Stat(filepath.Join(candidate, "complete")); err == nil {
			return candidate, nil
		}
		if d == filepath.Dir(d) {
			return "", fmt.Errorf("looking for .cache/vm from %s upwards: %w", dir, ErrNotPrepared)
		}
	}
}

// boot runs the machine once with the given accelerator.
func boot(ctx context.Context, opts Options, accel string) (int, error) {
	tmp, err := os.MkdirTemp("", "hostroute-vm-")
	if err != nil {
		return 0, fmt.Errorf("making a directory for the virtual machine: %w", err)
	}
	defer os.RemoveAll(tmp)
	if err := writeInitrd(filepath.Join(tmp, "initrd"), opts); err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", qemuArgs(opts, accel, tmp)...)
	var qemuErr strings.Builder
	// Never the caller's own file: QEMU sets its output non-blocking, for everyone who shares it.
	cmd.Stderr, cmd.Stdout = &qemuErr, struct{ io.Writer }{opts.Stdout}
	if opts.Terminal {
		cmd.Stdin, cmd.Stdout = os.Stdin, os.Stdout
	}
	cmd.WaitDelay = 5 * time.Second
	runErr := cmd.Run()
	if errors.Is(runErr, exec.ErrNotFound) {
		return 0, fmt.Errorf("starting the virtual machine: %w (Debian package qemu-system-x86)", runErr)
	}
	code, reported := readStatus(filepath.Join(tmp, "status"))
	switch {
	case reported:
		return code, nil
	case errors.Is(ctx.Err(), context.Canceled):
		return 0, fmt.Errorf("running %q in the virtual machine: %w", opts.Command[0], context.Cause(ctx))
	case ctx.Err() != nil:
		return 0, fmt.Errorf("running %q in the virtual machine: %w%s", opts.Command[0], fmt.Errorf("not done after %v: %w", opts.Timeout, ctx.Err()), consoleTail(tmp, qemuErr.String()))
	case runErr != nil:
		return 0, fmt.Errorf("running %q in the virtual machine: %w: %w%s", opts.Command[0], ErrNoReport, runErr, consoleTail(tmp, qemuErr.String()))
	default:
		return 0, fmt.Errorf("running %q in the virtual machine: %w%s", opts.Command[0], ErrNoReport, consoleTail(tmp, qemuErr.String()))
	}
}

// readStatus reads the line that the guest's init writes as its very last act.
func readStatus(path string) (code int, ok bool) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(raw)) {
		rest, found := strings.CutPrefix(strings.TrimSpace(line), statusPrefix)
		if !found {
			continue
		}
		if code, err := strconv.Atoi(rest); err == nil {
			return code, true
		}
	}
	return 0, false
}

// consoleTail is the evidence in an error: what the kernel and QEMU said last.
func consoleTail(tmp, qemuErr string) string {
	const keep = 60
	raw, _ := os.ReadFile(filepath.Join(tmp, "console")) // no console is an empty one
	lines := strings.Split(strings.TrimSpace(strings.ReplaceAll(string(raw), "\r", "")), "\n")
	if len(lines) > keep {
		lines = lines[len(lines)-keep:]
	}
	var b strings.Builder
	if qemuErr = strings.TrimSpace(qemuErr); qemuErr != "" {
		fmt.Fprintf(&b, "\nqemu: %s", qemuErr)
	}
	b.WriteString("\nend of the console:")
	for _, line := range lines {
		b.WriteString("\n  | " + line)
	}
	return b.String()
}
