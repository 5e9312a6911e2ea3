package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hostroute/hostroute/internal/agent"
)

// profile is a look into the agent's process.
type profile struct {
	kind, path string
	timed      bool // it takes --seconds
	suffix     string
	query      url.Values
	tells      string // what is in it
	read       string // how it is read, FILE standing for the file
}

var profiles = []profile{
	{"cpu", agent.PathProfile + "profile", true, "pprof", nil, "where CPU time went", "go tool pprof -top FILE"},
	{"heap", agent.PathProfile + "heap", false, "pprof", nil, "what is in memory, and who made it", "go tool pprof -top FILE"},
	{"allocs", agent.PathProfile + "allocs", true, "pprof", nil, "what was allocated, and by whom", "go tool pprof -sample_index=alloc_space -top FILE"},
	{"goroutines", agent.PathProfile + "goroutine", false, "txt", url.Values{"debug": {"2"}}, "what each goroutine is doing, and for how long it has waited", "less FILE"},
	{"mutex", agent.PathProfile + "mutex", true, "pprof", nil, "which locks were waited for", "go tool pprof -top FILE"},
	{"block", agent.PathProfile + "block", true, "pprof", nil, "what goroutines waited for", "go tool pprof -top FILE"},
	{"trace", agent.PathProfile + "trace", true, "trace", nil, "what each goroutine did when", "go tool trace FILE"},
	{"recent", agent.PathRecent, false, "trace", nil, "what each goroutine did in the last seconds", "go tool trace FILE"},
}

func (a *app) profileCommand() *cobra.Command {
	var socket, out string
	var seconds int
	var kinds []string
	for _, p := range profiles {
		kinds = append(kinds, p.kind)
	}
	c := a.command("profile KIND", "Look into the agent: where its CPU time, memory and waiting go",
		"hostroute profile cpu\n  hostroute profile goroutines --out -\n  hostroute profile recent",
		func(ctx context.Context, args []string) error {
			i := slices.IndexFunc(profiles, func(p profile) bool { return p.kind == args[0] })
			if i < 0 {
				return fmt.Errorf("profile %q: there are %s", args[0], strings.Join(kinds, ", "))
			}
			if seconds < 1 || seconds > agent.LongestProfile {
				return fmt.Errorf("--seconds %d: want 1 to %d", seconds, agent.LongestProfile)
			}
			return a.profile(ctx, socket, profiles[i], seconds, out)
		})
	var long strings.Builder
	long.WriteString("Writes a profile of the running agent into a file, and says how to read it. It stops\nnothing; only root, and who the agent runs as, may ask. KIND is one of\n\n")
	for _, p := range profiles {
		fmt.Fprintf(&long, "  %-11s %s\n", p.kind, p.tells)
	}
	long.WriteString("\nTo read one on another machine, copy the file there: Go is all that it takes. Send it\nto who asks for it; it names functions, and no guests or addresses but for those in\n\"goroutines\", which may have some.")
	c.Long = long.String()
	c.ValidArgs = kinds
	c.Flags().StringVar(&socket, "socket", defaultSocket, "`PATH` of the agent's socket")
	c.Flags().IntVar(&seconds, "seconds", 30, "how long to look, for cpu, allocs, mutex, block and trace")
	c.Flags().StringVar(&out, "out", "", "`FILE` to write, - for the output (default: hostroute-KIND-TIME in this folder)")
	return c
}

// profile asks for one and writes it.
func (a *app) profile(ctx context.Context, socket string, p profile, seconds int, out string) error {
	query, wait := url.Values{}, patience
	for k, v := range p.query {
		query[k] = v
	}
	if p.timed {
		query.Set("seconds", strconv.Itoa(seconds))
		wait += time.Duration(seconds) * time.Second
		if isTerminal(a.stderr) {
			fmt.Fprintf(a.stderr, "looking for %s\n", count(seconds, "second"))
		}
	}
	response, err := requestWithin(ctx, wait, http.MethodGet, socket, p.path, query)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if out == "-" {
		_, err := io.Copy(a.stdout, response.Body)
		return cmp.Or(ctx.Err(), err)
	}
	if out == "" {
		out = fmt.Sprintf("hostroute-%s-%s.%s", p.kind, a.now().UTC().Format("20060102T150405Z"), p.suffix)
	}
	n, err := writeTo(out, response.Body)
	if err != nil {
		return fmt.Errorf("writing the profile: %w", cmp.Or(ctx.Err(), err))
	}
	read := strings.ReplaceAll(p.read, "FILE", out)
	if a.json {
		return writeJSON(a.stdout, map[string]any{"file": out, "bytes": n, "read": read})
	}
	_, err = fmt.Fprintf(a.stdout, "%s: %s, %d kB. Read it with:\n  %s\n", out, p.tells, (n+999)/1000, read)
	return err
}

// writeTo makes a file that only its owner reads; of one that fails nothing is left.
func writeTo(path string, from io.Reader) (int64, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(f, from)
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(path)
	}
	return n, err
}
