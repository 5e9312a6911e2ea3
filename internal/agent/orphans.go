package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/hostroute/hostroute/internal/bgp"
	"github.com/hostroute/hostroute/internal/handover"
	"github.com/hostroute/hostroute/vrf"
)

// orphanage stands between a start without local snapshot and the first sweep:
// then nothing but the kernel tells which guests were served before. Routes to
// taps that exist, in great numbers and of no guest in the log, look like a log
// that lost something: they stay, and are announced as the last choice, so that
// whoever else announces them is preferred. As with massGuard they are held to
// the last.
type orphanage struct {
	// unproven is set where there was no snapshot, until the log has proven to have
	// what the kernel has; before, none is written. Nil: there was one, and
	// massGuard knows more.
	unproven *atomic.Bool
	held     bool
}

func (o *orphanage) open() bool { return o.unproven != nil && o.unproven.Load() }

// orphans are routes in the kernel of guests that the log doesn't have.
type orphans struct {
	list []bgp.Announcement
	of   int
}

// find gives the routes that are to be kept although the log doesn't have them.
// Those that are accounted for have moved away, or are somebody else's by now.
func (o *orphanage) find(actual vrf.Actual, desired vrf.Host, accounted map[handover.Key]bool) (found orphans) {
	tables := map[uint32]string{}
	for _, v := range desired.VRFs {
		tables[v.Table] = v.Name
	}
	wanted := map[target]bool{}
	for _, tap := range desired.Taps {
		for _, r := range tap.Routes {
			wanted[target{tap.VRF, r.Prefix}] = true
		}
	}
	for _, r := range actual.Routes {
		t := target{tables[r.Table], r.Prefix}
		if r.Metric != vrf.MetricGuest || t.vrf == "" || accounted[handover.Key{VRF: t.vrf, Prefix: t.prefix}] {
			continue
		}
		found.of++
		if !wanted[t] {
			found.list = append(found.list, bgp.Announcement{VRF: t.vrf, Prefix: t.prefix, Preference: bgp.PreferenceDrained})
		}
	}
	n := len(found.list)
	few := n <= massRoutes || n*100 <= found.of*massPercent
	if o.held = n > 0 && (o.held || !few); !o.held {
		o.unproven.Store(false)
		return orphans{}
	}
	slices.SortFunc(found.list, func(a, b bgp.Announcement) int {
		if c := strings.Compare(a.VRF, b.VRF); c != 0 {
			return c
		}
		return a.Prefix.Compare(b.Prefix)
	})
	return found
}

// holding says in words what is kept; empty: nothing.
func (o orphans) holding() string {
	if len(o.list) == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d routes of guests in the kernel are of no guest in the log (such as %s in VRF %s), and there was no local snapshot that tells more; "+
		"they stay, and are announced as the last choice. "+
		"If the log is right, start the agent with --allow-mass-withdrawal; if it isn't, restore it",
		len(o.list), o.of, o.list[0].Prefix, o.list[0].VRF)
}

// orphans looks whether the log, being caught up with, has what the kernel has.
// An error says that the kernel can't be read, so that it isn't known.
func (a *applier) orphans(ctx context.Context, desired vrf.Host, accounted map[handover.Key]bool) (orphans, error) {
	actual, err := a.kernel.Read(ctx, desired)
	if err != nil {
		return orphans{}, fmt.Errorf("reading what a former run has left: %w", err)
	}
	before := a.left.held
	found := a.left.find(actual, desired, accounted)
	if text := found.holding(); text != "" && !before {
		a.log.Error(text)
	}
	a.note(func(r *applyReport) { r.orphans = found })
	return found, nil
}
