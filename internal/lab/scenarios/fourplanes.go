package scenarios

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hostroute/hostroute/internal/lab"
)

var fourPlanes = servingOn(largest(), "Two hypervisors serve three guests over four planes with two route reflectors each", func(*world) error { return nil },
	"planes", "four planes with two reflectors each: what flows, what is lost and what status says, whatever fails",
	append(chapters(planeFaults), chapter{"All of it", (*world).tellFaults})...)

// largest is the largest topology that there is, with as few hosts as it takes.
func largest() lab.Topology {
	t, err := lab.Sized(lab.MaxPlanes, lab.MaxReflectors)
	if err != nil {
		panic(err) // the size is a constant
	}
	return t.WithHypervisors(2)
}

// planeFault is something that fails and comes back, and what is to be seen of it.
type planeFault struct {
	title, short string // of the chapter, and in the table
	begin, end   func(*world, context.Context) error
	// planes are what learned routes lead over while it lasts.
	planes string
	// says are words of one problem that each of these hypervisors has; others stay healthy.
	says map[string][]string
	// limit is how long it may take until they say so; 0: 2 * settle.
	limit time.Duration
	// lossless wants no packet to be lost.
	lossless bool
	// random are losses with no beginning and end, so no outage.
	random bool
}

// Words of `status`, which say what is wrong and what is used instead.
const (
	saysNoCarrier  = "plane %s has no carrier on %[1]s-public and %[1]s-private"
	saysLost       = "plane %s is lost: nothing arrives from"
	saysReflectors = "of plane %s are down, the plane works" // one in each VRF
	saysLossy      = "plane %s loses about"
	saysAvoided    = "it is avoided"
	saysFlows      = "traffic flows over plane"
)

// both have the same to say.
func both(words ...string) map[string][]string {
	return map[string][]string{"hv1": words, "hv2": words}
}

// planeFaults are spread over the planes: one that falls three times in 15 minutes
// is used again only after a while, which is another story.
var planeFaults = []planeFault{
	{
		title: "hv1's uplink into plane a loses its carrier", short: "a host's uplink loses its carrier", planes: "bcd",
		begin: func(w *world, ctx context.Context) error { return w.CutPlane(ctx, "a", "hv1") },
		end:   func(w *world, ctx context.Context) error { return w.RestorePlane(ctx, "a", "hv1") },
		says:  map[string][]string{"hv1": {fmt.Sprintf(saysNoCarrier, "a"), saysFlows + "s b, c and d"}},
	},
	{
		title: "Plane b forwards nothing any more, and no carrier is lost", short: "a plane dies silently", planes: "acd",
		begin: func(w *world, ctx context.Context) error { return w.SilencePlane(ctx, "b") },
		end:   func(w *world, ctx context.Context) error { return w.RestoreSilence(ctx, "b") },
		says:  both(fmt.Sprintf(saysLost, "b"), saysFlows+"s a, c and d"),
	},
	{
		title: "One of plane c's reflectors is killed", short: "a reflector of two dies", planes: "abcd", lossless: true,
		begin: func(w *world, ctx context.Context) error { return w.eachReflector(ctx, "c", w.endOne, "rrc") },
		end:   func(w *world, ctx context.Context) error { return w.eachReflector(ctx, "c", w.StartReflector, "rrc") },
		says:  both(fmt.Sprintf(saysReflectors, "c")),
	},
	{
		title: "Both of plane d's reflectors are killed", short: "both reflectors of a plane die", planes: "abc", lossless: true,
		begin: func(w *world, ctx context.Context) error { return w.eachReflector(ctx, "d", w.endOne, "rrd", "rrd2") },
		end: func(w *world, ctx context.Context) error {
			return w.eachReflector(ctx, "d", w.StartReflector, "rrd", "rrd2")
		},
		says: both(fmt.Sprintf(saysLost, "d"), saysFlows+"s a, b and c"),
	},
	{
		title: "Plane a delivers nothing to hv1 any more, whose own packets still arrive", short: "a plane is deaf one way, to one host", planes: "bcd",
		begin: func(w *world, ctx context.Context) error { return w.Lose(ctx, "a", 100, "hv1") },
		end:   func(w *world, ctx context.Context) error { return w.RestoreLoss(ctx, "a", "hv1") },
		says:  map[string][]string{"hv1": {fmt.Sprintf(saysLost, "a"), saysFlows + "s b, c and d"}},
	},
	{
		title: "Planes b, c and d are lost at once", short: "three planes lose every carrier at once", planes: "a",
		begin: func(w *world, ctx context.Context) error { return eachPlane(ctx, "bcd", w.CutPlane) },
		end:   func(w *world, ctx context.Context) error { return eachPlane(ctx, "bcd", w.RestorePlane) },
		says:  both(fmt.Sprintf(saysNoCarrier, "d"), saysFlows+" a"),
	},
	{
		title: "Plane a loses three packets in ten", short: "a plane loses 30 % of all packets", planes: "bcd", random: true, limit: 9 * settle,
		begin: func(w *world, ctx context.Context) error { return w.Lose(ctx, "a", 30) },
		end:   func(w *world, ctx context.Context) error { return w.RestoreLoss(ctx, "a") },
		says:  both(fmt.Sprintf(saysLossy, "a"), saysAvoided),
	},
}

func chapters(faults []planeFault) (list []chapter) {
	for _, f := range faults {
		list = append(list, chapter{f.title, func(w *world, ctx context.Context) error { return f.tell(ctx, w) }})
	}
	return list
}

func eachPlane(ctx context.Context, planes string, do func(context.Context, string, ...string) error) error {
	var errs []error
	for _, plane := range planes {
		errs = append(errs, do(ctx, string(plane)))
	}
	return errors.Join(errs...)
}

// eachReflector does something to some of a plane's reflectors.
func (w *world) eachReflector(ctx context.Context, plane string, do func(context.Context, lab.Plane, lab.Reflector) error, nodes ...string) error {
	p, err := w.Topology.Plane(plane)
	if err != nil {
		return err
	}
	var errs []error
	for _, r := range p.Reflectors {
		for _, node := range nodes {
			if r.Node == node {
				errs = append(errs, do(ctx, p, r))
			}
		}
	}
	return errors.Join(errs...)
}

func (w *world) endOne(ctx context.Context, _ lab.Plane, r lab.Reflector) error {
	return w.endReflector(ctx, r)
}

// tell has the fault come and go under traffic, and keeps a row for the table.
func (f planeFault) tell(ctx context.Context, w *world) error {
	t, err := w.traffic(ctx, "vm1", "vm3")
	if err != nil {
		return err
	}
	if err := f.begin(w, ctx); err != nil {
		return err
	}
	row := faultRow{fault: f}
	limit := max(f.limit, 2*settle)
	w.story.Eventually(ctx, "status says so where it matters, and nothing elsewhere", limit, func() (err error) {
		row.says, err = w.saysAll(ctx, f.says)
		return err
	})
	w.story.Eventually(ctx, "every learned route uses the planes "+strings.Join(strings.Split(f.planes, ""), ", ")+", and no other", settle, func() error {
		return w.everywhere(func(hv string) error { return w.routedEverywhere(ctx, hv, f.planes) })
	})
	w.flows(ctx, t)
	w.story.Eventually(ctx, "every guest reaches every guest and the internet", settle, func() error { return w.all(ctx, w.publicHere()) })
	if row.over, err = w.inUse(ctx, "hv1", "vm3"); err != nil {
		return err
	}
	w.showStatus(ctx, "hv1")
	row.during = t.Stop(ctx)
	if f.lossless {
		w.story.Check("no packet was lost", lossOf(row.during))
	}
	if t, err = w.traffic(ctx, "vm1", "vm3"); err != nil {
		return err
	}
	if err := f.end(w, ctx); err != nil {
		return err
	}
	w.recovered(ctx, "it is over: all healthy, all planes in use")
	w.flows(ctx, t)
	row.after = t.Stop(ctx)
	w.story.Check("no packet was lost when it was over", lossOf(row.after))
	w.faults = append(w.faults, row)
	w.story.Show("", faultTable([]faultRow{row}))
	return nil
}

// saysAll wants hypervisors to say words, all in one problem, and others to be
// healthy. It returns all that the first of them says.
func (w *world) saysAll(ctx context.Context, words map[string][]string) (first []string, err error) {
	return first, w.everywhere(func(hv string) error {
		if words[hv] == nil {
			return w.healthy(ctx, hv)
		}
		var s status
		if err := w.ask(ctx, hv, "status", &s); err != nil {
			return err
		}
		if first == nil {
			first = s.Problems
		}
		for _, p := range s.Problems {
			if hasAll(p, words[hv]) {
				return nil
			}
		}
		return fmt.Errorf("%s has no problem with %q: %q", hv, words[hv], s.Problems)
	})
}

func hasAll(text string, words []string) bool {
	for _, word := range words {
		if !strings.Contains(text, word) {
			return false
		}
	}
	return true
}

// publicHere lists what must be answered of all guests on the public network.
func (w *world) publicHere() []probe {
	var probes []probe
	for _, family := range families {
		probes = append(append(probes, w.mesh("public", family)...), w.outward(family)...)
	}
	return probes
}

// inUse reads the planes over which a kernel reaches a guest in both families.
func (w *world) inUse(ctx context.Context, hv, guest string) (planes string, err error) {
	g, err := w.Topology.Guest(guest)
	if err != nil {
		return "", err
	}
	hops, err := w.nextHops(ctx, hv)
	if err != nil {
		return "", err
	}
	for _, p := range w.Topology.Planes {
		for _, family := range families {
			routes, err := w.routes(ctx, hv, family)
			if err != nil {
				return "", err
			}
			prefix, _ := portOn(g, "public", family)
			for _, dev := range routes[tableRoute{"public", metricLearned, prefix}].devices(hops) {
				if strings.HasPrefix(dev, p.Name+"-") && !strings.Contains(planes, p.Name) {
					planes += p.Name
				}
			}
		}
	}
	return planes, nil
}
