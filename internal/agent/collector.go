package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hostroute/hostroute/events/log"
	"github.com/hostroute/hostroute/internal/bfd/control"
	"github.com/hostroute/hostroute/internal/bgp/session"
	"github.com/hostroute/hostroute/internal/config"
	"github.com/hostroute/hostroute/vrf"
)

// observation is what one scrape has found.
type observation struct {
	status           Status
	findings         []problem
	rounds, failures uint64
	uplinks          []config.Uplink
	peers            []observedPeer
	paths            []observedPath
	tables           []session.TableStatus
	fib              map[string]vrf.Stats // by VRF
	taps             taps
}

// place is which session it is, as labels: vrf, plane, peer.
type place struct{ vrf, plane, peer string }

type observedPeer struct {
	place
	session.PeerStatus
}

type observedPath struct {
	place
	control.Status
}

// observe looks at everything that the metrics tell of.
func (a *Agent) observe(ctx context.Context) observation {
	o := observation{uplinks: a.cfg.Uplinks, tables: a.speaker.Tables(), fib: map[string]vrf.Stats{}, taps: a.taps(ctx)}
	o.status, o.findings = a.look()
	applied := a.apply.snapshot()
	o.rounds, o.failures = applied.rounds, applied.failures
	for _, v := range a.cfg.VRFs {
		o.fib[v.Name] = a.fib.Stats(v.Name)
	}
	seen := map[string]bool{}
	for i, p := range a.speaker.Peers() { // in the order of the configuration
		r := a.cfg.BGP.Reflectors[i]
		at := place{p.VRF, p.Plane, p.Address.String()}
		if name := bfdName(r.VRF, r.Plane, r.Address); a.paths.client != nil && !seen[name] {
			seen[name] = true // another port of a reflector has the same path
			if told, ok := a.paths.client.Session(name); ok {
				o.paths = append(o.paths, observedPath{at, told})
			}
		}
		if r.Port != 179 {
			at.peer = fmt.Sprintf("%s port %d", at.peer, r.Port)
		}
		o.peers = append(o.peers, observedPeer{at, p})
	}
	return o
}

// collector answers Prometheus with what is the case when it asks.
type collector struct {
	*metrics
	observe  func(context.Context) observation
	services totals
	drops    totals
}

func newCollector(observe func(context.Context) observation) *collector {
	return &collector{metrics: newMetrics(), observe: observe, drops: totals{fromFirst: true}}
}

var _ prometheus.Collector = (*collector)(nil)

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.all {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	o := c.observe(context.Background())
	c.health(ch, o)
	c.log(ch, o.status.Log)
	c.kernel(ch, o)
	c.routes(ch, o)
	for _, p := range o.peers {
		c.peer(ch, p)
	}
	c.bfd(ch, o)
	c.guestServices(ch, o.taps)
}

func (c *collector) health(ch chan<- prometheus.Metric, o observation) {
	c.build.tell(ch, 1, o.status.Version, o.status.Hypervisor)
	c.healthy.tell(ch, truth(o.status.Healthy))
	count := map[string]int{}
	for _, p := range o.findings {
		count[p.kind]++
	}
	for _, kind := range problemKinds {
		c.problems.tell(ch, float64(count[kind]), kind)
	}
}

func (c *collector) log(ch chan<- prometheus.Metric, l LogStatus) {
	c.connected.tell(ch, truth(l.Connected))
	c.inSync.tell(ch, truth(l.InSync))
	c.behind.tell(ch, truth(l.Behind))
	c.registered.tell(ch, truth(l.Registered))
	c.restored.tell(ch, truth(l.Restored))
	c.unsaved.tell(ch, truth(l.SnapshotError != ""))
	c.cursor.tell(ch, float64(l.Tick), "hypervisor")
	c.cursor.tell(ch, float64(l.NetworkTick), "networks")
	c.gaps.tell(ch, float64(l.Gaps))
	c.snapshots.tell(ch, float64(l.Snapshots))
	c.quarantined.tell(ch, float64(len(l.Quarantined)))
	c.heldBack.tell(ch, float64(l.HeldBackRoutes))
	c.lost.when(ch, l.OutOfReachSince)
}

func (c *collector) kernel(ch chan<- prometheus.Metric, o observation) {
	k := o.status.Kernel
	c.operations.tell(ch, float64(k.Operations))
	c.rounds.tell(ch, float64(o.rounds-o.failures), "success")
	c.rounds.tell(ch, float64(o.failures), "failure")
	c.applied.when(ch, k.Applied)
	c.absentTaps.tell(ch, float64(len(k.AbsentTaps)))
	for _, u := range o.uplinks {
		c.uplinkPresent.tell(ch, truth(!slices.Contains(k.AbsentUplinks, u.Interface)), u.Interface, u.VRF, u.Plane)
	}
	for _, p := range o.status.Planes {
		c.planeSound.tell(ch, truth(p.State == planeSound), p.Plane)
		for _, u := range p.Uplinks {
			c.uplinkCarrier.tell(ch, truth(u.Carrier), u.Interface, u.VRF, p.Plane)
			c.uplinkUsed.tell(ch, truth(u.Used), u.Interface, u.VRF, p.Plane)
		}
	}
	c.guests.tell(ch, float64(o.status.Guests.Home), "home")
	c.guests.tell(ch, float64(o.status.Guests.Preparing), "preparing")
	c.guests.tell(ch, float64(o.status.Guests.Forwarding), "forwarding")
	c.handover(ch, o.status.Handover)
	c.drain(ch, o.status.Drain)
}

func (c *collector) handover(ch chan<- prometheus.Metric, h HandoverStatus) {
	count := map[string]int{}
	for _, m := range h.Moves {
		count[m.State]++
	}
	for _, claim := range h.Claims {
		count[claim.State]++
	}
	for _, a := range h.Arrivals {
		count[a.State]++
	}
	for m, states := range map[*metric][]string{
		&c.handovers: {moveAnnouncing, moveForwarding, moveDropping}, &c.yielded: {claimYielded, claimContested}, &c.arrivals: {arrivalSeen, arrivalLate},
	} {
		for _, state := range states {
			m.tell(ch, float64(count[state]), state)
		}
	}
}

func (c *collector) drain(ch chan<- prometheus.Metric, d *log.Drain) {
	c.drained.tell(ch, truth(d != nil))
	if d == nil {
		return
	}
	c.drainGuests.tell(ch, float64(d.Guests), "homed")
	c.drainGuests.tell(ch, float64(d.Members), "member")
	c.drainDelivered.tell(ch, float64(d.Delivered))
	c.drainWatched.tell(ch, d.Window)
}

func (c *collector) routes(ch chan<- prometheus.Metric, o observation) {
	for name, s := range o.fib {
		c.learned.tell(ch, float64(s.IPv4), name, "ipv4")
		c.learned.tell(ch, float64(s.IPv6), name, "ipv6")
		c.dirty.tell(ch, float64(s.Dirty), name)
		c.groups.tell(ch, float64(s.Groups), name)
	}
	for _, t := range o.tables {
		c.pending.tell(ch, float64(t.Pending), t.VRF)
		c.writeErrors.tell(ch, float64(t.WriteErrors), t.VRF)
	}
	c.announcements.tell(ch, float64(o.status.BGP.Announced))
}

func (c *collector) peer(ch chan<- prometheus.Metric, p observedPeer) {
	c.established.tell(ch, truth(p.State == session.Established), p.vrf, p.plane, p.peer)
	c.since.when(ch, p.Since, p.vrf, p.plane, p.peer)
	c.falls.tell(ch, float64(p.Falls), p.vrf, p.plane, p.peer)
	c.malformed.tell(ch, float64(p.Malformed), p.vrf, p.plane, p.peer)
	stale := map[string]int{}
	for _, k := range p.Kept {
		stale[strings.ToLower(k.Family)] += k.Paths
	}
	for family, n := range map[string][3]int{
		"ipv4": {p.Received.IPv4, p.Announced.IPv4, stale["ipv4"]},
		"ipv6": {p.Received.IPv6, p.Announced.IPv6, stale["ipv6"]},
	} {
		c.received.tell(ch, float64(n[0]), p.vrf, p.plane, p.peer, family)
		c.announced.tell(ch, float64(n[1]), p.vrf, p.plane, p.peer, family)
		c.kept.tell(ch, float64(n[2]), p.vrf, p.plane, p.peer, family)
	}
}

func (c *collector) bfd(ch chan<- prometheus.Metric, o observation) {
	if o.status.BFD.Configured > 0 {
		c.bfdConnected.tell(ch, truth(o.status.BFD.Connected))
	}
	for _, s := range o.paths {
		c.bfdUp.tell(ch, truth(s.Up()), s.vrf, s.plane, s.peer)
		c.bfdFalls.tell(ch, float64(s.Falls), s.vrf, s.plane, s.peer)
		if s.Loss != nil {
			c.bfdLoss.tell(ch, *s.Loss, s.vrf, s.plane, s.peer)
		}
		c.bfdDetection.tell(ch, time.Duration(s.DetectionTime).Seconds(), s.vrf, s.plane, s.peer)
	}
}

// when sends a time, unless there was none.
func (m metric) when(ch chan<- prometheus.Metric, t time.Time, labels ...string) {
	if !t.IsZero() {
		m.tell(ch, float64(t.UnixMilli())/1000, labels...)
	}
}
