package scenarios

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/hostroute/hostroute/internal/lab"
	"github.com/hostroute/hostroute/internal/lab/scenario"
)

// chapter is a part of a story, told by a method of the world.
type chapter struct {
	title string
	tell  func(*world, context.Context) error
}

// serving makes a scenario whose chapters begin where everything serves: agents
// and BFD on every hypervisor, the guests' addresses in the log, every route over
// both planes, and on each hypervisor guests that are on, by hand: how they get
// their addresses is told elsewhere.
func serving(name, summary string, chapters ...chapter) scenario.Scenario {
	return servingBy(func(*world) error { return nil }, name, summary, chapters...)
}

// servingBy is serving with something done to the lab before programs are started.
func servingBy(prepare func(*world) error, name, summary string, chapters ...chapter) scenario.Scenario {
	return servingOn(lab.Reference(), "Three hypervisors serve four guests over two planes", prepare, name, summary, chapters...)
}

// servingOn is servingBy on another topology than the reference, told by the title.
func servingOn(t lab.Topology, title string, prepare func(*world) error, name, summary string, chapters ...chapter) scenario.Scenario {
	return scenario.Scenario{Name: name, Summary: summary, NeedsVRF: true, Tell: func(ctx context.Context, s *scenario.Story) error {
		var w *world
		err := s.Step(ctx, title, func(ctx context.Context) (err error) {
			if w, err = newWorld(ctx, s, t); err != nil {
				return err
			}
			s.OnFailure(func(out io.Writer) { w.Logs(out, 15) })
			if err := prepare(w); err != nil {
				return err
			}
			s.Say("Paths are watched by BFD each %v; one is lost after %v of silence.", lab.PathBFD().Interval, lab.PathBFD().Detection())
			return w.serve(ctx)
		})
		if err != nil {
			return err
		}
		for _, c := range chapters {
			if err := s.Step(ctx, c.title, func(ctx context.Context) error { return c.tell(w, ctx) }); err != nil {
				return err
			}
		}
		return nil
	}}
}

// serve starts what there is to start.
func (w *world) serve(ctx context.Context) error {
	if _, err := w.StartLog(ctx, w.story.Binary); err != nil {
		return err
	}
	if _, err := w.hostroute(ctx, lab.NodeControl, "publish", w.WorldFile(), "--log", w.LogURL()); err != nil {
		return err
	}
	var errs []error
	var mu sync.Mutex
	var group sync.WaitGroup
	together := func(do func() error) {
		group.Go(func() {
			if err := do(); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		})
	}
	for _, h := range w.Topology.Hypervisors {
		together(func() error { _, err := w.StartAgent(ctx, w.story.Binary, h.Name); return err })
	}
	for _, g := range w.Topology.Guests {
		together(func() error { return w.Configure(ctx, g.Name) })
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	w.recovered(ctx, "every agent is healthy, and every guest's prefixes are in every VRF over all planes")
	return nil
}

// recovered wants everybody healthy and everything routed over all planes.
func (w *world) recovered(ctx context.Context, what string) {
	start := time.Now()
	if _, ok := w.story.Eventually(ctx, what, 4*settle, func() error {
		return w.everywhere(func(hv string) error {
			return firstError(w.healthy(ctx, hv), w.routedEverywhere(ctx, hv, w.planes()))
		})
	}); ok {
		w.story.MeasureTime("until "+what, time.Since(start))
	}
}

// planes are the letters of all.
func (w *world) planes() (letters string) {
	for _, p := range w.Topology.Planes {
		letters += p.Name
	}
	return letters
}

// trafficInterval is how often a packet is sent on every flow.
const trafficInterval = 10 * time.Millisecond

// traffic runs between two guests, both ways, in both families, and flows.
func (w *world) traffic(ctx context.Context, a, b string) (*lab.Traffic, error) {
	flows, err := w.Topology.Both(a, b, "public")
	if err != nil {
		return nil, err
	}
	t, err := w.StartTraffic(trafficInterval, flows...)
	if err != nil {
		return nil, err
	}
	if err := lab.Eventually(ctx, "traffic between "+a+" and "+b, settle, t.Flows); err != nil {
		t.Stop(ctx)
		return nil, err
	}
	return t, nil
}

// losses ends the traffic and tells what it lost.
func (w *world) losses(ctx context.Context, t *lab.Traffic, when string) (lost error) {
	for _, l := range t.Stop(ctx) {
		w.story.Measure(fmt.Sprintf("%s: %s", when, l.Flow), l.String())
		if l.Lost > 0 {
			lost = errors.Join(lost, fmt.Errorf("%s: %s", l.Flow, l))
		}
	}
	return lost
}

// lossless ends the traffic and wants it to have lost nothing.
func (w *world) lossless(ctx context.Context, t *lab.Traffic, when string) {
	w.story.Check("no packet was lost: "+when, w.losses(ctx, t, when))
}

// showStatus quotes what a hypervisor says of itself, healthy or not.
func (w *world) showStatus(ctx context.Context, hv string) {
	out, _ := w.hostroute(ctx, hv, "status", "--socket", w.AgentSocket(hv)) // ends with 1: it isn't healthy
	w.story.Show("hostroute status    (on "+hv+")", out)
}

// complains wants a hypervisor to name a problem by these words.
func (w *world) complains(ctx context.Context, hv, words string) error {
	var s status
	if err := w.ask(ctx, hv, "status", &s); err != nil {
		return err
	}
	if all := strings.Join(s.Problems, "; "); !strings.Contains(all, words) {
		return fmt.Errorf("%s doesn't say %q: %q", hv, words, all)
	}
	return nil
}

// reaches lists every guest that is on to every other, both families.
func (w *world) reaches(guests ...string) []probe {
	var probes []probe
	for _, from := range guests {
		for _, to := range guests {
			for _, family := range families {
				if from != to {
					probes = append(probes, probe{from: from, to: w.address(to, "public", family)})
				}
			}
		}
	}
	return probes
}
