package vmtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/hostroute/hostroute/internal/lab/vm"
)

// ErrFailed is in the chain of the error when the machine worked and the tests or the command did not.
var ErrFailed = errors.New("tests in the VM failed")

// Options says what to run in the one boot.
type Options struct {
	// List is the file of deferred tests that internal/testenv wrote.
	List string
	// Root is the directory of go.mod, Module the module's path.
	Root, Module string
	// Command, if any, runs after the tests in the same boot; its output is passed through as it comes.
	Command []string
	// Stdout gets the report. Verbose passes the tests' own output through as it comes.
	Stdout  io.Writer
	Verbose bool
	// Timeout limits the boot with all that runs in it.
	Timeout time.Duration
}

// Run builds, boots, runs and judges.
func Run(ctx context.Context, opts Options) error {
	suites, err := readList(opts.List, opts.Root, opts.Module)
	if err != nil {
		return err
	}
	if len(suites) == 0 {
		return fmt.Errorf("no test was deferred to the VM, though some need VRF: was %s written by this run?", opts.List)
	}
	if err := build(ctx, opts.Root, suites); err != nil {
		return err
	}
	r := newReport(opts.Stdout, suites, opts.Verbose)
	code, err := vm.Run(ctx, vm.Options{
		Command: []string{"sh", "-c", script(suites, opts.Command)},
		WorkDir: opts.Root,
		Env:     []string{vm.RequireVRFEnv + "=1", "CI=true"},
		Stdout:  r,
		Timeout: opts.Timeout,
	})
	r.finish()
	if err != nil {
		return fmt.Errorf("running the tests that need VRF: %w", err)
	}
	return r.verdict(code)
}

// build compiles each suite's test binary next to the kernel, where a second run finds most of it cached.
func build(ctx context.Context, root string, suites []suite) error {
	out := filepath.Join(root, ".cache", "vmtests")
	if err := os.MkdirAll(out, 0o755); err != nil {
		return fmt.Errorf("making a directory for the test binaries: %w", err)
	}
	for i, s := range suites {
		suites[i].binary = filepath.Join(out, strings.ReplaceAll(s.pkg, "/", "_")+".test")
		cmd := exec.CommandContext(ctx, "go", "test", "-c", "-o", suites[i].binary, ".")
		cmd.Dir = s.dir
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if text, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("building the tests of %s: %w\n%s", s.pkg, err, text)
		}
	}
	return nil
}

// script runs the suites one after the other, each between two marks that the report understands, and then
// the command, whose exit status becomes the script's.
func script(suites []suite, command []string) string {
	var b strings.Builder
	for _, s := range suites {
		fmt.Fprintf(&b, "printf '\\026package %s\\n'\n", s.pkg)
		fmt.Fprintf(&b, "(cd %s && exec %s -test.v=test2json -test.timeout=10m -test.run %s) 2>&1\n",
			quote(s.dir), quote(s.binary), quote(s.pattern()))
		fmt.Fprintf(&b, "printf '\\n\\026status %%d\\n' $?\n")
	}
	if len(command) > 0 {
		b.WriteString("printf '\\026command\\n'\n")
		for _, arg := range command {
			b.WriteString(quote(arg) + " ")
		}
		b.WriteString("\n")
	}
	return b.String()
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
