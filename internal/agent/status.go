package agent

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/hostroute/hostroute/internal/bfd/control"
	"github.com/hostroute/hostroute/internal/bgp/session"
	"github.com/hostroute/hostroute/internal/config"
	"github.com/hostroute/hostroute/projector"
)

// socket makes the task that answers the local host.
func (a *Agent) socket() *socket {
	return &socket{path: a.cfg.Socket, log: a.log, private: profiles(a.flight), answers: map[string]answer{
		PathStatus:  func(*http.Request) (any, error) { return a.status(), nil },
		PathDesired: func(*http.Request) (any, error) { return projector.Desired(a.ledger.State(), a.cfg.Hypervisor), nil },
		PathRoutes:  a.routes,
		PathExplain: a.explain(a.guests.facts),
		PathPeers:   func(*http.Request) (any, error) { return a.peers(), nil },
		PathGuests: func(r *http.Request) (any, error) {
			list := guests(a.ledger.State(), a.cfg.Hypervisor, a.taps(r.Context()))
			handover := a.apply.moving.status()
			for i := range list {
				list[i].Handover = handover.of(list[i].VM)
			}
			return onlyGuest(list, r.URL.Query().Get("vm"))
		},
	}}
}

// taps collects what is known of the taps. Counters that can't be read are left
// out: what the log says is worth more than them.
func (a *Agent) taps(ctx context.Context) taps {
	drops, err := a.kernel.Drops(ctx)
	if err != nil {
		a.log.Warn("reading the filter's counters", "err", err)
		drops = nil
	}
	return taps{present: a.apply.snapshot().present, services: a.guests.status(), drops: drops}
}

func (a *Agent) status() Status {
	s, _ := a.look()
	return s
}

// look gives the status, and its problems with their kinds.
func (a *Agent) look() (Status, []problem) {
	applied := a.apply.snapshot()
	s := Status{
		Hypervisor: a.cfg.Hypervisor, Version: a.Version, Started: a.started,
		Log: a.ledger.status(), Kernel: a.kernelStatus(applied), BGP: a.bgpStatus(), BFD: a.bfdStatus(),
		Guests: countGuests(a.ledger.State(), a.cfg.Hypervisor), Services: failures(a.guests.status()),
	}
	if n := len(applied.orphans.list); n > 0 {
		s.Log.HeldBack, s.Log.HeldBackRoutes = applied.orphans.holding(), n
	}
	s.Drain = a.drain.status()
	s.Handover = a.apply.moving.status()
	s.Late = a.flight.lastLate()
	peers := a.peers()
	s.Planes = a.planes(peers)
	found := findings(s, peers)
	s.Problems, s.Healthy = texts(found), len(found) == 0
	return s, found
}

func (a *Agent) kernelStatus(r applyReport) KernelStatus {
	s := KernelStatus{
		Applied: r.at, Operations: r.operations, AbsentTaps: []string{},
		Errors: r.errs, Problems: r.problems, Learned: map[string]int{},
	}
	for _, name := range r.waiting {
		if slices.ContainsFunc(a.cfg.Uplinks, func(u config.Uplink) bool { return u.Interface == name }) {
			s.AbsentUplinks = append(s.AbsentUplinks, name)
		} else {
			s.AbsentTaps = append(s.AbsentTaps, name)
		}
	}
	tables := map[string]session.TableStatus{}
	for _, t := range a.speaker.Tables() {
		tables[t.VRF] = t
	}
	for _, v := range a.cfg.VRFs {
		stats := a.fib.Stats(v.Name)
		s.Learned[v.Name] = stats.IPv4 + stats.IPv6
		if text := unwritten(v.Name, stats.Dirty, tables[v.Name]); text != "" {
			s.Errors = append(s.Errors, text)
		}
	}
	return s
}

// unwritten says in words which learned routes of a VRF could not be written,
// and why. Those that a sweep could not delete have no reason on record.
func unwritten(name string, dirty int, t session.TableStatus) string {
	switch {
	case t.Failed > 0:
		return fmt.Sprintf("%s learned in VRF %s, tried again; last: %s",
			plural(t.Failed, "route"), name, strings.ReplaceAll(t.LastError, "\n", "; "))
	case dirty > 0:
		return fmt.Sprintf("%s learned in VRF %s, tried again", plural(dirty, "route"), name)
	}
	return ""
}

func (a *Agent) bgpStatus() BGPStatus {
	announced, _ := a.apply.current()
	s := BGPStatus{Announced: len(announced)}
	for _, p := range a.speaker.Peers() {
		s.Configured++
		if p.State == session.Established {
			s.Established++
		}
	}
	return s
}

func (a *Agent) bfdStatus() BFDStatus {
	state, watched := a.paths.state()
	s := BFDStatus{Configured: len(a.paths.specs), Connected: state.Connected, LastError: state.LastError}
	for _, session := range state.Sessions {
		if watched && session.Up() {
			s.Up++
		}
	}
	return s
}

// problem is one that Status tells of. Its kind is for those who count.
type problem struct{ kind, text string }

// problemKinds are all that there are, as the metrics have them.
var problemKinds = []string{"log", "snapshot", "held_back", "kernel", "uplink", "plane", "bgp", "bfd", "service", "unservable", "tap", "contested", "arrival", "quarantine"}

// problems says in words what is wrong with a hypervisor and what to do.
func problems(s Status, peers []Peer) []string { return texts(findings(s, peers)) }

func texts(list []problem) (texts []string) {
	for _, p := range list {
		texts = append(texts, p.text)
	}
	return texts
}

// findings are the problems, each with its kind, of problemKinds.
func findings(s Status, peers []Peer) (list []problem) {
	add := func(kind, format string, args ...any) {
		list = append(list, problem{kind, fmt.Sprintf(format, args...)})
	}
	switch {
	case !s.Log.Connected && s.Log.InSync:
		add("log", "the log is out of reach (%s): check %s; all that is known is served on", s.Log.reason(), s.Log.URL)
	case !s.Log.InSync && s.Log.Restored:
		add("log", "not caught up with the log since the start (%s): serving from the local snapshot, nothing is swept; check %s and `hostroute log serve`", s.Log.reason(), s.Log.URL)
	case !s.Log.InSync:
		add("log", "not caught up with the log yet (%s): nothing is swept, nothing is announced; check %s and `hostroute log serve`", s.Log.reason(), s.Log.URL)
	case s.Log.Behind:
		add("log", "behind the log (%s): check `hostroute log serve` on %s; all that is known is served on", s.Log.reason(), s.Log.URL)
	case !s.Log.Registered:
		add("log", "the log doesn't know hypervisor %s, so nothing is swept or announced: `hostroute hypervisor register %s`, or correct its name in the configuration", s.Hypervisor, s.Hypervisor)
	}
	if s.Log.SnapshotError != "" {
		add("snapshot", "%s", s.Log.SnapshotError)
	}
	if s.Log.HeldBack != "" {
		add("held_back", "%s", s.Log.HeldBack)
	}
	for _, e := range s.Kernel.Errors {
		add("kernel", "the kernel refuses: %s", e)
	}
	for _, name := range s.Kernel.AbsentUplinks {
		add("uplink", "uplink %s is not on this host: bring it back, or correct its name in the configuration", name)
	}
	list = append(list, survey(s, peers)...)
	if s.BFD.Configured > 0 && !s.BFD.Connected {
		add("bfd", "BFD isn't running, a path that dies silently is noticed by the hold time only: %s", orUnknown(s.BFD.LastError))
	}
	for _, f := range s.Services {
		add("service", "a guest isn't served: %s; tried again until it is", f)
	}
	for _, p := range s.Kernel.Problems {
		add("unservable", "can't be served: %s", p)
	}
	for _, tap := range s.Kernel.AbsentTaps {
		add("tap", "tap %s is not on this host: start the guest, or correct its interface in the log", tap)
	}
	list = append(list, s.Handover.problems()...)
	if n := len(s.Log.Quarantined); n > 0 {
		q := s.Log.Quarantined[0]
		add("quarantine", "%s of the log put aside, first sequence %d (%s): %s", plural(n, "message"), q.Sequence, q.Subject, q.Reason)
	}
	return list
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

// reason says why the log isn't followed, and since when it is out of reach.
func (l LogStatus) reason() string {
	if l.OutOfReachSince.IsZero() {
		return orUnknown(l.LastError)
	}
	return fmt.Sprintf("%s; since %s", orUnknown(l.LastError), l.OutOfReachSince.Format("2006-01-02 15:04:05 MST"))
}

func orUnknown(reason string) string {
	if reason == "" {
		return "no reason known yet"
	}
	return reason
}

func (a *Agent) peers() []Peer {
	list := []Peer{}
	for _, p := range a.speaker.Peers() {
		var path *control.Status
		if a.paths.client != nil {
			if told, ok := a.paths.client.Session(bfdName(p.VRF, p.Plane, p.Address)); ok {
				path = &told
			}
		}
		list = append(list, Peer{
			BFD: path,
			VRF: p.VRF, Plane: p.Plane, Uplink: p.Uplink, Address: p.Address.String(), AS: p.AS,
			State: string(p.State), Since: p.Since, HoldTime: p.HoldTime.Seconds(),
			Received: p.Received.IPv4 + p.Received.IPv6, Announced: p.Announced.IPv4 + p.Announced.IPv6,
			Keepalive: p.Keepalive.Seconds(), MessagesIn: p.MessagesIn, MessagesOut: p.MessagesOut, UpdatesIn: p.UpdatesIn, UpdatesOut: p.UpdatesOut,
			Falls: p.Falls, LastError: p.LastError, LastErrorTime: p.LastErrorTime, LastFall: p.LastFall, LastFallTime: p.LastFallTime, Kept: p.Kept,
		})
	}
	return list
}
