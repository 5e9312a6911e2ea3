package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hostroute/hostroute/internal/agent"
)

func (a *app) statusCommand() *cobra.Command {
	return question(a, "status", "Say whether this hypervisor is served as the log wants it", agent.PathStatus, nothing, a.showStatus)
}

// verdict is the exit of a question: an agent that isn't well is something
// found, and it has said what in its answer; so is an address that nothing
// leads to.
func verdict(answer any) error {
	if e, ok := answer.(agent.Explanation); ok && !e.Routed {
		return found{}
	}
	if s, ok := answer.(agent.Status); ok && !s.Healthy {
		return found{}
	}
	return nil
}

func (a *app) showStatus(s agent.Status) error {
	t := newSheet(a.stdout)
	t.row(s.Hypervisor, healthy(s.Healthy))
	for _, p := range s.Problems {
		t.row("problem", p)
	}
	t.row("agent", fmt.Sprintf("%s, up %s", s.Version, a.since(s.Started)))
	a.showLog(t, s.Log)
	a.showKernel(t, s)
	t.row("bgp", fmt.Sprintf("%d of %d sessions established, %s announced", s.BGP.Established, s.BGP.Configured, prefixes(s.BGP.Announced)))
	if s.BFD.Configured > 0 {
		t.row("bfd", fmt.Sprintf("%d of %d paths up", s.BFD.Up, s.BFD.Configured))
	}
	if len(s.Planes) > 0 {
		t.row("planes", planes(s.Planes))
	}
	t.row("guests", fmt.Sprintf("%d at home, %d being prepared, %d forwarded", s.Guests.Home, s.Guests.Preparing, s.Guests.Forwarding))
	for _, text := range handover(s.Handover) {
		t.row("", text)
	}
	if s.Drain != nil {
		t.row("drained", left(*s.Drain))
	}
	if s.Late != nil {
		t.row("late", a.late(*s.Late))
	}
	return t.flush()
}

// late tells of a step that took too long. That it did is no problem by itself.
func (a *app) late(l agent.LateStep) string {
	took := time.Duration(l.Took * float64(time.Second)).Round(time.Millisecond)
	text := fmt.Sprintf("step %q took %s, %s; ", l.Step, took, a.ago(l.At))
	if l.File == "" {
		return text + "it could not be recorded: " + l.Error
	}
	return text + "read with go tool trace: " + l.File
}

// mostHandovers is how many of them are told in words; --json has all.
const mostHandovers = 10

// handover says what leaves, comes, and was yielded. What is a problem has been said.
func handover(h agent.HandoverStatus) (texts []string) {
	for _, m := range h.Moves {
		texts = append(texts, m.Text)
	}
	for _, c := range h.Claims {
		if c.State == "yielded" {
			texts = append(texts, c.Text)
		}
	}
	for _, a := range h.Arrivals {
		if a.State == "seen" {
			texts = append(texts, a.Text)
		}
	}
	if more := len(texts) - mostHandovers; more > 0 {
		texts = append(texts[:mostHandovers], fmt.Sprintf("and %d more that move; --json has all", more))
	}
	return texts
}

func healthy(ok bool) string {
	if ok {
		return "healthy"
	}
	return "NOT HEALTHY"
}

func (a *app) showLog(t table, l agent.LogStatus) {
	state := "not connected"
	switch {
	case l.Connected && l.InSync:
		state = "in sync"
	case l.Connected:
		state = "connected, catching up"
	}
	t.row("log", fmt.Sprintf("%s with %s", state, l.URL))
	t.row("", fmt.Sprintf("last ticks %d and %d (networks), %s, %s", l.Tick, l.NetworkTick, count(int(l.Gaps), "gap"), count(int(l.Snapshots), "snapshot")))
	if !l.OutOfReachSince.IsZero() {
		t.row("", "out of reach for "+a.since(l.OutOfReachSince))
	}
	if l.LastError != "" {
		t.row("", "last error: "+l.LastError)
	}
	for _, q := range l.Quarantined {
		t.row("quarantined", fmt.Sprintf("#%d %s on %s: %s", q.Sequence, orDefault(q.Type, "message"), q.Subject, q.Reason))
	}
}

func (a *app) showKernel(t table, s agent.Status) {
	k := s.Kernel
	t.row("kernel", fmt.Sprintf("compared %s, %s so far", a.ago(k.Applied), count(int(k.Operations), "operation")))
	for _, vrf := range slices.Sorted(maps.Keys(k.Learned)) {
		t.row("", fmt.Sprintf("%s in VRF %s", count(k.Learned[vrf], "learned route"), vrf))
	}
	if len(k.AbsentTaps) > 0 {
		t.row("", "taps that are not here yet: "+strings.Join(k.AbsentTaps, ", "))
	}
	for _, e := range slices.Concat(k.Errors, k.Problems) {
		if !slices.ContainsFunc(s.Problems, func(p string) bool { return strings.Contains(p, e) }) {
			t.row("", e)
		}
	}
}

// planes says what each plane is worth.
func planes(list []agent.PlaneStatus) string {
	var texts []string
	for _, p := range list {
		unused := !slices.ContainsFunc(p.Uplinks, func(u agent.UplinkStatus) bool { return u.Used })
		if unused && p.State != "lost" && p.State != "no carrier" {
			p.State += " and avoided"
		}
		texts = append(texts, p.Plane+" "+p.State)
	}
	return strings.Join(texts, ", ")
}

func prefixes(n int) string {
	if n == 1 {
		return "1 prefix"
	}
	return fmt.Sprintf("%d prefixes", n)
}

func (a *app) ago(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return a.since(t) + " ago"
}

// since is a time span for people: two units at most.
func (a *app) since(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	d := a.now().Sub(t)
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Hour:
		return d.Round(time.Second).String()
	case d < 48*time.Hour:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
