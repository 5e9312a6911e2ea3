package scenarios

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hostroute/hostroute/internal/lab"
	"github.com/hostroute/hostroute/internal/lab/scenario"
)

// All lists the scenarios in the order in which they should be read.
func All() []scenario.Scenario {
	return []scenario.Scenario{
		firstLight, disguise,
		planeCut, planeOneWay, planeLossy, rrKill, bothRRKill, hostPowerOff, agentKill, agentUpgrade, agentLeave, coldStart, logOutage, drift,
		fourPlanes,
		migrate, migrateBackAndForth, migrateAbort, migrateDestinationDies, migrateUnderPartition, elasticMove,
		anycastSpread, anycastMemberDies, drain, fenceAndReturn,
	}
}

// settle is how long the lab may take to follow a change. It is stretched on
// slow machines.
const settle = 20 * time.Second

// world is a standing lab in a story.
type world struct {
	*lab.Lab
	story *scenario.Story
	homes map[string]string // guest → hypervisor
	// newProgram and oldProgram are what an upgrade is to, and from.
	newProgram, oldProgram string
	// clients are the programs that configure the guests that have booted.
	clients map[string][]*lab.Client
	// carriers is how often the carrier of a guest that moves had changed before.
	carriers string
	// faults are those of planes that were told of.
	faults []faultRow
}

// newWorld builds a topology. Its nodes have to be among those of the largest that
// there is, by which a lab is found again.
func newWorld(ctx context.Context, s *scenario.Story, t lab.Topology) (*world, error) {
	l, err := lab.Up(ctx, t, s.Dir)
	if err != nil {
		return nil, err
	}
	w := &world{Lab: l, story: s, homes: map[string]string{}, clients: map[string][]*lab.Client{}}
	for _, g := range w.Topology.Guests {
		w.homes[g.Name] = g.Hypervisor
	}
	return w, nil
}

// hostroute runs the program in a node.
func (w *world) hostroute(ctx context.Context, node string, args ...string) (string, error) {
	return w.Exec(ctx, node, append([]string{w.story.Binary}, args...)...)
}

// publish runs a publishing command in the control plane's node, and tells it.
func (w *world) publish(ctx context.Context, args ...string) error {
	out, err := w.hostroute(ctx, lab.NodeControl, append(args, "--log", w.LogURL(), "--source", "demo")...)
	w.story.Show("hostroute "+strings.Join(args, " "), out)
	return err
}

// ask runs a command that asks an agent, and decodes its answer.
func (w *world) ask(ctx context.Context, hypervisor, command string, answer any, args ...string) error {
	args = append([]string{command, "--json", "--socket", w.AgentSocket(hypervisor)}, args...)
	out, err := w.hostroute(ctx, hypervisor, args...)
	if decodeErr := json.Unmarshal([]byte(out), answer); decodeErr != nil {
		return errors.Join(err, fmt.Errorf("reading the answer of %s: %w", command, decodeErr))
	}
	return nil // an unhealthy agent answers too, with exit status 1
}

// status is what the scenarios look at of `hostroute status --json`.
type status struct {
	Healthy  bool     `json:"healthy"`
	Problems []string `json:"problems"`
	Log      struct {
		InSync      bool         `json:"in_sync"`
		Quarantined []quarantine `json:"quarantined"`
	} `json:"log"`
	BFD struct {
		Up int `json:"up"`
	} `json:"bfd"`
	BGP struct {
		Established int `json:"established"`
		Configured  int `json:"configured"`
	} `json:"bgp"`
}

// quarantine is a message of the log that an agent has put aside.
type quarantine struct {
	Sequence uint64 `json:"sequence"`
	Subject  string `json:"subject"`
	Reason   string `json:"reason"`
}

// healthy tells why an agent doesn't call itself healthy; nil: it does.
func (w *world) healthy(ctx context.Context, hypervisor string) error {
	var s status
	if err := w.ask(ctx, hypervisor, "status", &s); err != nil {
		return err
	}
	if serious := slices.DeleteFunc(s.Problems, starved); len(serious) > 0 {
		return fmt.Errorf("%s: %s", hypervisor, strings.Join(serious, "; "))
	}
	return nil
}

// starved tells the problem that an emulated machine has with itself: BFD's
// packets come late where every process waits for its turn, and some are taken
// for lost. A plane that is avoided for it is none of that.
func starved(problem string) bool {
	return lab.TimeFactor() > 1 && strings.Contains(problem, "loses about") && strings.Contains(problem, "it is used")
}

// everywhere asks for every hypervisor.
func (w *world) everywhere(ask func(hypervisor string) error) error {
	for _, h := range w.Topology.Hypervisors {
		if err := ask(h.Name); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
	return nil
}

// kernelRoute is a route as ip(8) tells it.
type kernelRoute struct {
	Table    string `json:"table"`
	Type     string `json:"type"`
	Dst      string `json:"dst"`
	Protocol string `json:"protocol"`
	Metric   int    `json:"metric"`
	Dev      string `json:"dev"`
	Gateway  string `json:"gateway"`
	Via      *struct {
		Host string `json:"host"`
	} `json:"via"`
	NextHopID uint32 `json:"nhid"`
	NextHops  []struct {
		Dev string `json:"dev"`
	} `json:"nexthops"`
}

// prefix is the destination, "default" and bare addresses included.
func (r kernelRoute) prefix(family int) (netip.Prefix, error) {
	if r.Dst == "default" {
		if family == 6 {
			return netip.MustParsePrefix("::/0"), nil
		}
		return netip.MustParsePrefix("0.0.0.0/0"), nil
	}
	if a, err := netip.ParseAddr(r.Dst); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	return netip.ParsePrefix(r.Dst)
}

// kernelNextHop is a next hop, or a group of them, as ip(8) tells it.
type kernelNextHop struct {
	ID      uint32         `json:"id"`
	Dev     string         `json:"dev"`
	Gateway string         `json:"gateway"`
	Group   []kernelMember `json:"group"`
}

type kernelMember struct {
	ID uint32 `json:"id"`
}

// devices lists the links that a route leads out of.
func (r kernelRoute) devices(nextHops map[uint32]kernelNextHop) []string {
	var devs []string
	for _, h := range r.NextHops {
		devs = append(devs, h.Dev)
	}
	if hop, ok := nextHops[r.NextHopID]; ok {
		for _, member := range hop.Group {
			devs = append(devs, nextHops[member.ID].Dev)
		}
		if hop.Dev != "" {
			devs = append(devs, hop.Dev)
		}
	}
	if len(devs) == 0 && r.Dev != "" {
		devs = append(devs, r.Dev)
	}
	return devs
}

// floors are gateways that nobody has, on which groups stand and which nothing uses
// while another member works (docs/adr/0016-floor.md).
var floors = []string{"192.0.0.8", "100::1"}

// nextHops reads the next hops of a hypervisor with ip(8), groups without their floor.
func (w *world) nextHops(ctx context.Context, hypervisor string) (map[uint32]kernelNextHop, error) {
	out, err := w.Exec(ctx, hypervisor, "ip", "-j", "nexthop", "show")
	if err != nil {
		return nil, err
	}
	var hops []kernelNextHop
	if err := json.Unmarshal([]byte(out), &hops); err != nil {
		return nil, fmt.Errorf("reading the next hops of %s: %w", hypervisor, err)
	}
	byID := map[uint32]kernelNextHop{}
	for _, h := range hops {
		byID[h.ID] = h
	}
	for id, h := range byID {
		h.Group = slices.DeleteFunc(h.Group, func(m kernelMember) bool { return slices.Contains(floors, byID[m.ID].Gateway) })
		byID[id] = h
	}
	return byID, nil
}

// Metrics of the routes in a VRF table: a guest's own, and learned ones.
const (
	metricGuest   = 100
	metricLearned = 200
)

// tableRoute is where a route stands: its VRF, and how good it is.
type tableRoute struct {
	vrf    string
	metric int
	prefix netip.Prefix
}

// routes reads our routes of a family in all VRFs of a hypervisor with ip(8).
func (w *world) routes(ctx context.Context, hypervisor string, family int) (map[tableRoute]kernelRoute, error) {
	out, err := w.Exec(ctx, hypervisor, "ip", fmt.Sprintf("-%d", family), "-j", "route", "show", "table", "all", "proto", "201")
	if err != nil {
		return nil, err
	}
	var list []kernelRoute
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return nil, fmt.Errorf("reading the routes of %s: %w", hypervisor, err)
	}
	routes := map[tableRoute]kernelRoute{}
	for _, r := range list {
		p, err := r.prefix(family)
		if err != nil {
			return nil, fmt.Errorf("reading the routes of %s: %w", hypervisor, err)
		}
		routes[tableRoute{w.vrfOf(r.Table), r.Metric, p}] = r
	}
	return routes, nil
}

// vrfOf names the VRF of a table; a table of none keeps its own name.
func (w *world) vrfOf(table string) string {
	for _, v := range w.Topology.VRFs {
		if table == strconv.Itoa(v.Table) {
			return v.Name
		}
	}
	return table
}
