package contender

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"text/template"
	"time"
)

// ErrNotInstalled is the error of a contender whose programs this machine doesn't have.
var ErrNotInstalled = errors.New("not installed")

//go:embed templates
var templates embed.FS

// render writes a configuration file into a directory, from the template that has its name.
func render(dir, file string, s any) error {
	name := file + ".tmpl"
	list := func(elements ...string) []string { return elements }
	t, err := template.New(name).Funcs(template.FuncMap{"list": list}).ParseFS(templates, "templates/"+name)
	if err != nil {
		return fmt.Errorf("parsing the template %s: %w", name, err)
	}
	var b strings.Builder
	if err := t.Execute(&b, s); err != nil {
		return fmt.Errorf("filling in the template %s: %w", name, err)
	}
	if err := os.WriteFile(filepath.Join(dir, file), []byte(b.String()), 0o644); err != nil {
		return fmt.Errorf("writing the configuration %s: %w", file, err)
	}
	return nil
}

// program is a process that a contender consists of.
type program struct {
	name  string
	pid   int
	log   string
	ended chan struct{} // closed when it has been waited for
}

// launch runs a program in the namespace of a site, in the directory dir, what it prints going to a log there. It has
// a session of its own, so that a terminal's ^C comes to us only, and Stop ends it.
func launch(ctx context.Context, s Site, dir, name string, args ...string) (*program, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	p := &program{name: name, log: filepath.Join(dir, name+".log"), ended: make(chan struct{})}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the log of %s: %w", name, err)
	}
	defer log.Close()
	cmd := exec.Command("ip", append([]string{"netns", "exec", s.Namespace}, args...)...) // ip(8) becomes the program
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s in %s: %w", name, s.Namespace, err)
	}
	p.pid = cmd.Process.Pid
	go func() {
		_ = cmd.Wait() // it ends when it is killed, or its log says why
		close(p.ended)
	}()
	return p, nil
}

// await asks a program until it answers.
func (p *program) await(ctx context.Context, answers func() error) error {
	const patience, pause = 20 * time.Second, 50 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := answers()
		if err == nil {
			return nil
		}
		select {
		case <-p.ended:
			return fmt.Errorf("starting %s: it ended at once:\n%s", p.name, p.tail())
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s to answer: %w (%w):\n%s", p.name, ctx.Err(), err, p.tail())
		case <-time.After(pause):
		}
	}
}

// kill ends the program at once. Its routes go with the namespace; to have them taken out one by one would take as
// long as the measuring.
func (p *program) kill(ctx context.Context) error {
	select {
	case <-p.ended:
		return nil
	default:
	}
	if err := syscall.Kill(p.pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("ending %s: %w", p.name, err)
	}
	select {
	case <-p.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("ending %s: %w", p.name, ctx.Err())
	}
}

func (p *program) tail() string {
	const lines = 10
	raw, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(raw), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// programs are those of a contender, in the order of their start.
type programs []*program

func (ps programs) pids() []int {
	var pids []int
	for _, p := range ps {
		pids = append(pids, p.pid)
	}
	return pids
}

// kill ends them all, the last one first.
func (ps programs) kill(ctx context.Context) error {
	var errs []error
	for i := len(ps) - 1; i >= 0; i-- {
		errs = append(errs, ps[i].kill(ctx))
	}
	return errors.Join(errs...)
}

// find gives the path of a program that Debian puts into dir, which need not be in PATH.
func find(dir, name, debian string) (string, error) {
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	return "", fmt.Errorf("finding %s (on Debian: apt install %s): %w", name, debian, ErrNotInstalled)
}

// ask runs a client of a program, or the program itself, to the end, and gives what it says.
func ask(ctx context.Context, dir, path string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("running %s %s: %w: %s", filepath.Base(path), strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}
