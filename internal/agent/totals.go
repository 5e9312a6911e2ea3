package agent

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hostroute/hostroute/vrf"
)

// counted is a counter that every tap has, and its last label or two.
type counted struct {
	metric        string // the field of metrics that it is summed in
	service, what string
}

// totals sums counters over all taps. Taps come and go, and a sum over those
// that are here would fall, which Prometheus takes for a restart: so what a tap
// has counted stays in the sum when it is gone.
type totals struct {
	// fromFirst leaves out what the first scrape finds: what is counted outlives
	// the agent.
	fromFirst bool

	mu   sync.Mutex
	sum  map[counted]uint64
	last map[string]map[counted]uint64 // by tap
}

// add takes what the taps that are here have counted, and gives the sums.
func (t *totals) add(taps map[string]map[counted]uint64) map[counted]uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	first := t.sum == nil
	if first {
		t.sum = map[counted]uint64{}
	}
	for tap, now := range taps {
		before := t.last[tap]
		for what, n := range now {
			had := before[what]
			switch {
			case first && t.fromFirst:
				had = n
			case n < had: // another tap of that name, or another guest on it
				had = 0
			}
			t.sum[what] += n - had
		}
	}
	t.last = taps
	sum := make(map[counted]uint64, len(t.sum))
	for what, n := range t.sum {
		sum[what] = n
	}
	return sum
}

func (c *collector) guestServices(ch chan<- prometheus.Metric, known taps) {
	failing := map[string]int{"dhcpv4": 0, "ra": 0, "nd_proxy": 0, "dhcpv6": 0}
	counts := make(map[string]map[counted]uint64, len(known.services))
	for tap, s := range known.services {
		counts[tap] = s.counts()
		for service, err := range s.errors() {
			if err != "" {
				failing[service]++
			}
		}
	}
	for service, n := range failing {
		c.failing.tell(ch, float64(n), service)
	}
	for what, n := range c.services.add(counts) {
		switch what.metric {
		case "requests":
			c.requests.tell(ch, float64(n), what.service, what.what)
		case "answers":
			c.answers.tell(ch, float64(n), what.service, what.what)
		case "ignored":
			c.ignored.tell(ch, float64(n), what.service, what.what)
		case "unsent":
			c.unsent.tell(ch, float64(n), what.service)
		case "limited":
			c.limited.tell(ch, float64(n), what.service)
		case "panics":
			c.panics.tell(ch, float64(n), what.service)
		}
	}
	if known.drops == nil { // unreadable just now
		return
	}
	for what, n := range c.drops.add(dropCounts(known.drops)) {
		c.dropped.tell(ch, float64(n), what.what)
	}
}

// dropCounts has no drops at all as well.
func dropCounts(drops map[string]vrf.Drops) map[string]map[counted]uint64 {
	counts := map[string]map[counted]uint64{"": {{what: "spoofed"}: 0, {what: "refused"}: 0, {what: "limited"}: 0}}
	for tap, d := range drops {
		counts[tap] = map[counted]uint64{{what: "spoofed"}: d.Spoofed, {what: "refused"}: d.Refused, {what: "limited"}: d.Limited}
	}
	return counts
}

// errors are why services don't run on a tap, of those that it has.
func (s GuestServices) errors() map[string]string {
	errs := map[string]string{}
	if s.DHCPv4 != nil {
		errs["dhcpv4"] = s.DHCPv4.Error
	}
	if s.RA != nil {
		errs["ra"] = s.RA.Error
	}
	if s.NDProxy != nil {
		errs["nd_proxy"] = s.NDProxy.Error
	}
	if s.DHCPv6 != nil {
		errs["dhcpv6"] = s.DHCPv6.Error
	}
	return errs
}

// counts are what a tap's services have counted.
func (s GuestServices) counts() map[counted]uint64 {
	n := map[counted]uint64{}
	if d := s.DHCPv4; d != nil {
		c := d.Counters
		for what, count := range map[string]uint64{"discover": c.Discovers, "request": c.Requests, "inform": c.Informs, "release": c.Releases, "decline": c.Declines} {
			n[counted{"requests", "dhcpv4", what}] = count
		}
		for what, count := range map[string]uint64{"offer": c.Offers, "ack": c.Acks, "nak": c.Naks} {
			n[counted{"answers", "dhcpv4", what}] = count
		}
		by(n, "ignored", "dhcpv4", c.Ignored)
		troubles(n, "dhcpv4", c.Unsent, c.Limited, c.Panics)
	}
	if r := s.RA; r != nil {
		n[counted{"requests", "ra", "solicitation"}] = r.Solicitations
		n[counted{"answers", "ra", "advertisement"}] = r.Advertisements
		n[counted{"ignored", "ra", "invalid"}] = r.Invalid
		troubles(n, "ra", r.Failed, r.Limited, r.Panics)
	}
	if p := s.NDProxy; p != nil {
		n[counted{"answers", "nd_proxy", "advertisement"}] = p.Answers
		by(n, "ignored", "nd_proxy", p.Ignored)
		troubles(n, "nd_proxy", p.Failed, p.Limited, p.Panics)
	}
	if d := s.DHCPv6; d != nil {
		by(n, "requests", "dhcpv6", d.Received)
		by(n, "answers", "dhcpv6", d.Sent)
		by(n, "ignored", "dhcpv6", d.Ignored)
		troubles(n, "dhcpv6", d.Unsent, d.Limited, d.Panics)
	}
	return n
}

// by takes over a counter by reasons or kinds, which are words of this program.
func by[K ~string](n map[counted]uint64, metric, service string, list map[K]uint64) {
	for what, count := range list {
		n[counted{metric, service, string(what)}] = count
	}
}

func troubles(n map[counted]uint64, service string, unsent, limited, panics uint64) {
	n[counted{"unsent", service, ""}] = unsent
	n[counted{"limited", service, ""}] = limited
	n[counted{"panics", service, ""}] = panics
}
