package main

import (
	"context"
	"fmt"

	"github.com/hostroute/hostroute/internal/config"
	"github.com/hostroute/hostroute/projector"
	"github.com/hostroute/hostroute/vrf"
	"github.com/hostroute/hostroute/vrf/kernel"
)

// difference is what keeps this host's kernel from being what the log says, as
// --json shows it.
type difference struct {
	Operations []string `json:"operations"` // that would end it
	Absent     []string `json:"absent"`     // links that aren't on this host
	Problems   []string `json:"problems"`
}

func (d *difference) any() bool { return len(d.Operations)+len(d.Absent)+len(d.Problems) > 0 }

// diffKernel compares the kernel with what a hypervisor must serve, learned
// routes and blackholes of what moves apart. It changes nothing.
func diffKernel(ctx context.Context, cfg *config.Config, host projector.Host) (*difference, error) {
	desired := cfg.Host()
	desired.Taps = host.Taps
	k := kernel.New(kernel.Options{})
	defer k.Close()
	actual, err := k.Read(ctx, desired)
	if err != nil {
		return nil, fmt.Errorf("reading the kernel's state: %w", err)
	}
	desired.Blackholes = passing(desired, actual, host)
	plan := vrf.Plan(desired, actual, vrf.Options{Sweep: true})
	d := &difference{Operations: []string{}, Absent: append([]string{}, plan.Waiting...), Problems: []string{}}
	for _, op := range plan.Ops {
		d.Operations = append(d.Operations, op.String())
	}
	for _, p := range plan.Problems {
		d.Problems = append(d.Problems, p.Error())
	}
	return d, nil
}

// passing lists the kernel's blackholes for what has left with its guest, or has
// come with it. They stand for a while at most, and only the agent knows for how
// long: whether they are there or not is no difference.
func passing(desired vrf.Host, actual vrf.Actual, host projector.Host) []vrf.Blackhole {
	moving := map[vrf.Blackhole]bool{}
	for _, d := range host.Departures {
		moving[vrf.Blackhole{VRF: d.VRF, Prefix: d.Prefix}] = true
	}
	for _, t := range host.Taps {
		for _, r := range t.Routes {
			moving[vrf.Blackhole{VRF: t.VRF, Prefix: r.Prefix}] = true
		}
	}
	var list []vrf.Blackhole
	for _, r := range actual.Routes {
		for _, v := range desired.VRFs {
			b := vrf.Blackhole{VRF: v.Name, Prefix: r.Prefix}
			over := r.Metric == vrf.MetricBlackholeOver
			if (over || r.Metric == vrf.MetricBlackhole) && r.Table == v.Table && moving[b] {
				b.Over = over
				list = append(list, b)
			}
		}
	}
	return list
}

// tellDifference words a comparison with the kernel.
func (a *app) tellDifference(d *difference) error {
	if !d.any() {
		_, err := fmt.Fprintln(a.stdout, "\nthe kernel is as the log says")
		return err
	}
	fmt.Fprintln(a.stdout)
	t := newTable(a.stdout, "KERNEL", "DIFFERENCE")
	for _, op := range d.Operations {
		t.row("needs", op)
	}
	for _, link := range d.Absent {
		t.row("absent", link+" isn't on this host")
	}
	for _, p := range d.Problems {
		t.row("problem", p)
	}
	return t.flush()
}
