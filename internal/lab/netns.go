package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

// run starts a program on this machine and returns what it printed; the error has its last words.
func run(ctx context.Context, stdin string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	if stdin != "" {
		cmd.Stdin = strings.NewReader(stdin)
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return stdout.String(), fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), context.Cause(ctx))
		}
		words := strings.TrimSpace(stderr.String())
		if words == "" {
			words = strings.TrimSpace(stdout.String())
		}
		return stdout.String(), fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, words)
	}
	return stdout.String(), nil
}

// batch collects commands of ip(8) for one namespace and runs them in one process.
type batch struct{ lines []string }

func (b *batch) add(format string, args ...any) {
	b.lines = append(b.lines, fmt.Sprintf(format, args...))
}

// run executes the batch in the namespace; an empty one means this machine's own.
func (b *batch) run(ctx context.Context, namespace string) error {
	if len(b.lines) == 0 {
		return nil
	}
	args := []string{"-batch", "-"}
	if namespace != "" {
		args = append([]string{"-n", namespace}, args...)
	}
	if _, err := run(ctx, strings.Join(b.lines, "\n")+"\n", "ip", args...); err != nil {
		return fmt.Errorf("configuring %s: %w%s", namespace, err, b.culprit(err))
	}
	return nil
}

// culprit quotes the command that ip(8) names as "Command failed -:LINE".
func (b *batch) culprit(err error) string {
	_, after, _ := strings.Cut(err.Error(), "Command failed -:")
	n, convErr := strconv.Atoi(strings.TrimSpace(after))
	if convErr != nil || n < 1 || n > len(b.lines) {
		return ""
	}
	return fmt.Sprintf(" (ip %s)", b.lines[n-1])
}

// namespaces lists those whose name starts with the prefix.
func namespaces(ctx context.Context, prefix string) ([]string, error) {
	out, err := run(ctx, "", "ip", "netns", "list")
	if err != nil {
		return nil, fmt.Errorf("listing network namespaces: %w", err)
	}
	var names []string
	for line := range strings.Lines(out) {
		if fields := strings.Fields(line); len(fields) > 0 && strings.HasPrefix(fields[0], prefix) {
			names = append(names, fields[0])
		}
	}
	return names, nil
}

// exitStatus is the status of a program that ran and failed, or -1.
func exitStatus(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}
