package scenarios

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/hostroute/hostroute/internal/lab"
)

// replayed is what the scenarios look at of `hostroute replay --json`.
type replayed struct {
	Taps []struct {
		Name     string       `json:"name"`
		VRF      string       `json:"vrf"`
		Gateways []netip.Addr `json:"gateways"`
		Routes   []struct {
			Prefix netip.Prefix `json:"prefix"`
			Via    string       `json:"via"`
		} `json:"routes"`
		Neighbours []struct {
			Address netip.Addr `json:"address"`
			MAC     string     `json:"mac"`
		} `json:"neighbours"`
	} `json:"taps"`
}

func (w *world) replayEqualsKernel(ctx context.Context) error {
	out, err := w.hostroute(ctx, lab.NodeControl, "events", "--log", w.LogURL())
	if err != nil {
		return err
	}
	w.story.Show("hostroute events", out)
	for _, h := range w.Topology.Hypervisors {
		want, err := w.replay(ctx, h.Name)
		if err != nil {
			return err
		}
		got, err := w.served(ctx, h.Name)
		if err != nil {
			return err
		}
		w.story.Check(fmt.Sprintf("replay of the log equals the kernel of %s (%d routes, neighbours and gateways)", h.Name, strings.Count(want, "\n")), same(want, got))
	}
	return w.diffKernel(ctx)
}

// diffKernel has hostroute itself compare the log with kernels, and with agents.
func (w *world) diffKernel(ctx context.Context) error {
	for _, h := range w.Topology.Hypervisors {
		out, err := w.hostroute(ctx, h.Name, "replay", "--hypervisor", h.Name, "--diff-kernel", "--config", w.AgentConfig(h.Name),
			"--diff-agent", "--socket", w.AgentSocket(h.Name), "--log", w.LogURL(), "--json")
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		w.story.Check("hostroute replay --diff-kernel --diff-agent finds nothing on "+h.Name, err)
	}
	return nil
}

// replay writes what the log says a hypervisor serves: a line a fact.
func (w *world) replay(ctx context.Context, hv string) (string, error) {
	out, err := w.hostroute(ctx, lab.NodeControl, "replay", "--hypervisor", hv, "--json", "--log", w.LogURL())
	if err != nil {
		return "", err
	}
	var r replayed
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		return "", fmt.Errorf("reading the replay of %s: %w", hv, err)
	}
	var b strings.Builder
	for _, t := range r.Taps {
		for _, route := range t.Routes {
			fmt.Fprintf(&b, "route %s %s %s via %q\n", t.VRF, route.Prefix, t.Name, route.Via)
		}
		for _, n := range t.Neighbours {
			fmt.Fprintf(&b, "neighbour %s %s %s\n", t.Name, n.Address, n.MAC)
		}
		for _, g := range t.Gateways {
			fmt.Fprintf(&b, "gateway %s %s\n", t.Name, g)
		}
	}
	return b.String(), nil
}

// served writes the same of what a hypervisor's kernel has, read with ip(8).
func (w *world) served(ctx context.Context, hv string) (string, error) {
	var b strings.Builder
	for _, family := range families {
		routes, err := w.routes(ctx, hv, family)
		if err != nil {
			return "", err
		}
		for at, r := range routes {
			if at.metric != metricGuest {
				continue
			}
			via := r.Gateway
			if r.Via != nil {
				via = r.Via.Host
			}
			fmt.Fprintf(&b, "route %s %s %s via %q\n", at.vrf, at.prefix, r.Dev, via)
		}
	}
	err := errors.Join(w.neighbours(ctx, hv, &b), w.gateways(ctx, hv, &b))
	return b.String(), err
}

// tapPrefix is how the names of taps begin in the reference topology.
const tapPrefix = "tap"

func (w *world) neighbours(ctx context.Context, hv string, b *strings.Builder) error {
	out, err := w.Exec(ctx, hv, "ip", "-j", "neighbour", "show", "nud", "permanent")
	if err != nil {
		return err
	}
	var list []struct {
		Dst    netip.Addr `json:"dst"`
		Dev    string     `json:"dev"`
		LLAddr string     `json:"lladdr"`
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return fmt.Errorf("reading the neighbours of %s: %w", hv, err)
	}
	for _, n := range list {
		if strings.HasPrefix(n.Dev, tapPrefix) {
			fmt.Fprintf(b, "neighbour %s %s %s\n", n.Dev, n.Dst, n.LLAddr)
		}
	}
	return nil
}

// link is a link with its addresses as ip(8) tells them.
type link struct {
	Name      string `json:"ifname"`
	Addresses []struct {
		Local netip.Addr `json:"local"`
	} `json:"addr_info"`
}

func (w *world) gateways(ctx context.Context, hv string, b *strings.Builder) error {
	out, err := w.Exec(ctx, hv, "ip", "-j", "address", "show")
	if err != nil {
		return err
	}
	var links []link
	if err := json.Unmarshal([]byte(out), &links); err != nil {
		return fmt.Errorf("reading the addresses of %s: %w", hv, err)
	}
	for _, l := range links {
		if !strings.HasPrefix(l.Name, tapPrefix) {
			continue
		}
		linkLocal := false
		for _, a := range l.Addresses {
			linkLocal = linkLocal || a.Local == netip.MustParseAddr("fe80::1")
			if a.Local.Is4() {
				fmt.Fprintf(b, "gateway %s %s\n", l.Name, a.Local)
			}
		}
		if !linkLocal {
			return fmt.Errorf("%s of %s has no fe80::1", l.Name, hv)
		}
	}
	return nil
}
