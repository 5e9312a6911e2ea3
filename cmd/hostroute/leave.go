package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/hostroute/hostroute/internal/agent"
	"github.com/hostroute/hostroute/internal/bgp/session"
)

// lastBreath is how long an agent that has left may take to end.
const lastBreath = 10 * time.Second

func (a *app) leaveCommand() *cobra.Command {
	var socket string
	var timeout time.Duration
	var abandon bool
	c := a.command("leave", "Have the agent withdraw everything and end for good",
		"hostroute hypervisor drain hv1\n  hostroute vm migrate web-1 --to hv2\n  hostroute leave",
		func(ctx context.Context, _ []string) error {
			if timeout <= 0 {
				return fmt.Errorf("--timeout %s: write how long to wait for reflectors, like 30s", timeout)
			}
			query := url.Values{"timeout": {timeout.String()}, "abandon_guests": {strconv.FormatBool(abandon)}}
			return a.leave(ctx, socket, query)
		})
	c.Long = `Has the agent of this host withdraw everything, wait until each route reflector has
confirmed that, end BFD in peace, and end for good: with exit status 3, after which
systemd doesn't start it again. Any other end of an agent is a restart, over which
reflectors keep its routes.

Routes and filter stay in the kernel. What was begun goes on if this command is
interrupted; a second one shows how far it is. Starting the agent undoes it.

Exit status: 0 everybody has confirmed; 1 refused, since guests are here, or
somebody hasn't confirmed, and is named; 2 the agent wasn't reached, or its end
wasn't seen.`
	c.Flags().StringVar(&socket, "socket", defaultSocket, "`PATH` of the agent's socket")
	c.Flags().DurationVar(&timeout, "timeout", 30*time.Second, "wait so long for reflectors, also for those without a session, and then end anyway")
	c.Flags().BoolVar(&abandon, "abandon-guests", false, "leave although guests are here, or may be: nobody but guests of this host reaches them then")
	return c
}

// leave gives the order and follows it to the end.
func (a *app) leave(ctx context.Context, socket string, query url.Values) error {
	response, err := request(ctx, http.MethodPost, socket, agent.PathLeave, query)
	if errors.As(err, new(nobody)) {
		return fmt.Errorf("%w. Without an agent nothing is withdrawn: reflectors forget this host by themselves when bgp.restart_time and bgp.long_lived_stale_time are over", err)
	}
	if err != nil {
		return err
	}
	defer response.Body.Close()
	last, err := a.follow(response.Body)
	if err == nil {
		err = ended(ctx, socket)
	} else {
		err = unfinished(ctx, last, err)
	}
	switch {
	case a.json:
		err = errors.Join(writeJSON(a.stdout, last), err)
	case last.Done:
		err = errors.Join(a.showLeft(last), err)
	}
	return errors.Join(err, missing(last))
}

// follow reads how far it is until it is done, and shows that on a terminal.
func (a *app) follow(lines io.Reader) (last agent.Leaving, err error) {
	show := a.progressOf()
	defer show("")
	scanner := bufio.NewScanner(lines)
	scanner.Buffer(nil, maxLine)
	for scanner.Scan() {
		var next agent.Leaving
		if err := json.Unmarshal(scanner.Bytes(), &next); err != nil {
			return last, fmt.Errorf("reading how far the agent is: %w", err)
		}
		show(waitingFor(next), newly(last.Reflectors, next.Reflectors)...)
		last = next
		if last.Done {
			return last, nil
		}
	}
	if err := scanner.Err(); err != nil {
		return last, err
	}
	return last, io.ErrUnexpectedEOF
}

// progressOf shows, on a terminal, who confirms, a line each, and below what is
// waited for.
func (a *app) progressOf() func(text string, confirmed ...session.Departure) {
	if !isTerminal(a.stderr) || a.env("TERM") == "dumb" {
		return func(string, ...session.Departure) {}
	}
	return func(text string, confirmed ...session.Departure) {
		for _, d := range confirmed {
			fmt.Fprintf(a.stderr, "\r\x1b[K%s has confirmed\n", reflector(d))
		}
		fmt.Fprintf(a.stderr, "\r\x1b[K%s", text)
	}
}

// newly are those that have confirmed since.
func newly(before, now []session.Departure) (list []session.Departure) {
	for i, d := range now {
		if d.Confirmed && (i >= len(before) || !before[i].Confirmed) {
			list = append(list, d)
		}
	}
	return list
}

func waitingFor(l agent.Leaving) string {
	for _, d := range l.Reflectors {
		if !d.Confirmed {
			return fmt.Sprintf("%s; until %s waiting for %s (%s)", tally(l), l.Until.Local().Format(time.TimeOnly), d.Address, d.Reason)
		}
	}
	return tally(l) + "; ending BFD"
}

func tally(l agent.Leaving) string {
	n := 0
	for _, d := range l.Reflectors {
		if d.Confirmed {
			n++
		}
	}
	return fmt.Sprintf("%d of %s confirmed", n, count(len(l.Reflectors), "session"))
}

func reflector(d session.Departure) string {
	return fmt.Sprintf("%s in VRF %s over plane %s", d.Address, d.VRF, d.Plane)
}

// unfinished says in which state an end that wasn't seen leaves the host.
func unfinished(ctx context.Context, last agent.Leaving, err error) error {
	last.Hypervisor = orDefault(last.Hypervisor, "this host")
	if ctx.Err() != nil {
		return fmt.Errorf("interrupted: %s goes on leaving, until %s at most (%s so far): `hostroute leave` shows how far it is; to stay, restart the agent",
			last.Hypervisor, last.Until.Local().Format(time.TimeOnly), tally(last))
	}
	return fmt.Errorf("the agent's connection ended before %s had left (%s; %w): if it is started again it announces everything again, so give the order again then",
		last.Hypervisor, tally(last), err)
}

// ended waits until nobody answers on the socket any more.
func ended(ctx context.Context, socket string) error {
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for deadline := time.After(lastBreath); ; {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
		switch {
		case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
			return nil
		case err == nil:
			_ = conn.Close()
		}
		select {
		case <-ctx.Done():
			return errors.New("interrupted before the agent's end; it comes by itself")
		case <-deadline:
			return fmt.Errorf("an agent answers on %s still or again: what starts it must not do so after exit status %d (systemd: RestartPreventExitStatus=%d)", socket, exitLeft, exitLeft)
		case <-again.C:
		}
	}
}

func (a *app) showLeft(l agent.Leaving) error {
	fmt.Fprintf(a.stdout, "%s has left: %s withdrawn, and the agent ends for good.\n", l.Hypervisor, prefixes(l.Withdrawn))
	t := newTable(a.stdout, "VRF", "PLANE", "REFLECTOR", "CONFIRMED")
	for _, d := range l.Reflectors {
		t.row(d.VRF, d.Plane, d.Address, confirmation(d.Confirmed, d.Reason))
	}
	if f := l.BFD; f != nil {
		t.row("", "", fmt.Sprintf("BFD (%s)", count(f.Sessions, "session")), confirmation(f.Confirmed, f.Reason))
	}
	if err := t.flush(); err != nil {
		return err
	}
	if n := len(l.Abandoned); n > 0 {
		fmt.Fprintf(a.stdout, "Left behind: %s (%s).\n", count(n, "guest"), strings.Join(l.Abandoned, ", "))
	}
	_, err := io.WriteString(a.stdout, `Routes and filter stay in the kernel: guests of this host reach each other, and can't spoof.
So that it isn't started at boot: systemctl disable hostroute-agent, and systemctl disable --now hostroute-bfd.
`)
	return err
}

func confirmation(confirmed bool, reason string) string {
	if confirmed {
		return "yes"
	}
	return "NO: " + reason
}

// missing names who hasn't confirmed, and what becomes of that.
func missing(l agent.Leaving) error {
	if !l.Done || l.Complete() {
		return nil
	}
	var names []string
	for _, d := range l.Reflectors {
		if !d.Confirmed {
			names = append(names, fmt.Sprintf("%s (%s)", reflector(d), d.Reason))
		}
	}
	var texts []string
	if len(names) > 0 {
		texts = append(texts, fmt.Sprintf("not confirmed by %s: it may keep the routes of %s for %s: clear its session there, or start the agent when it is back and give the order again",
			strings.Join(names, ", "), l.Hypervisor, inUnits(int(l.KeptFor))))
	}
	if l.BFD != nil && !l.BFD.Confirmed {
		texts = append(texts, fmt.Sprintf("BFD's sessions may be up still (%s): end hostroute bfd", l.BFD.Reason))
	}
	return found{errors.New(strings.Join(texts, "; "))}
}
