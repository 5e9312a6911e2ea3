package scenarios

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/hostroute/hostroute/internal/lab"
)

// probe is one ping that shall or shall not be answered.
type probe struct {
	from string
	to   netip.Addr
	via  string // the interface or the address to send from; empty: the kernel's choice
}

func (p probe) String() string {
	if p.via != "" {
		return fmt.Sprintf("%s (%s) → %s", p.from, p.via, p.to)
	}
	return fmt.Sprintf("%s → %s", p.from, p.to)
}

// atOnce is how many pings run at a time.
const atOnce = 8

// unanswered sends the probes and returns those without an answer.
func (w *world) unanswered(ctx context.Context, probes []probe) ([]probe, error) {
	var mu sync.Mutex
	var silent []probe
	var failures []error
	var group sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for _, p := range probes {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			var extra []string
			if p.via != "" {
				extra = []string{"-I", p.via}
			}
			err := w.Ping(ctx, p.from, p.to, extra...)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case errors.Is(err, lab.ErrNoAnswer):
				silent = append(silent, p)
			case err != nil:
				failures = append(failures, err)
			}
		})
	}
	group.Wait()
	return silent, errors.Join(failures...)
}

// all wants an answer to every probe.
func (w *world) all(ctx context.Context, probes []probe) error {
	silent, err := w.unanswered(ctx, probes)
	if err != nil {
		return err
	}
	if len(silent) > 0 {
		return fmt.Errorf("%d of %d unanswered: %s", len(silent), len(probes), list(silent))
	}
	return nil
}

// none wants no answer to any probe.
func (w *world) none(ctx context.Context, probes []probe) error {
	silent, err := w.unanswered(ctx, probes)
	if err != nil {
		return err
	}
	answered := slices.DeleteFunc(slices.Clone(probes), func(p probe) bool { return slices.Contains(silent, p) })
	if len(answered) > 0 {
		return fmt.Errorf("%d of %d answered: %s", len(answered), len(probes), list(answered))
	}
	return nil
}

func list(probes []probe) string {
	const most = 4
	var words []string
	for _, p := range probes[:min(most, len(probes))] {
		words = append(words, p.String())
	}
	if len(probes) > most {
		words = append(words, "…")
	}
	return strings.Join(words, ", ")
}

// mesh lists every guest to every other on a network, in a family.
func (w *world) mesh(network string, family int) []probe {
	var probes []probe
	for _, from := range w.Topology.Guests {
		for _, to := range w.Topology.Guests {
			if from.Name != to.Name {
				probes = append(probes, probe{from: from.Name, to: w.address(to.Name, network, family)})
			}
		}
	}
	return probes
}

// outward lists every guest to the internet, in a family.
func (w *world) outward(family int) []probe {
	to := w.Topology.Internet4
	if family == 6 {
		to = w.Topology.Internet6
	}
	var probes []probe
	for _, g := range w.Topology.Guests {
		probes = append(probes, probe{from: g.Name, to: to})
	}
	return probes
}

// across lists what must stay apart: from the public interface of every guest
// to the private address of the next one, in both families.
func (w *world) across() []probe {
	var probes []probe
	guests := w.Topology.Guests
	for i, g := range guests {
		to := guests[(i+1)%len(guests)].Name
		for _, family := range families {
			probes = append(probes, probe{from: g.Name, to: w.address(to, "private", family), via: "eth0"})
		}
	}
	return probes
}

// families are the two that everything is shown in.
var families = []int{4, 6}

// everyone lists all that must always be answered.
func (w *world) everyone() []probe {
	var probes []probe
	for _, family := range families {
		probes = slices.Concat(probes, w.mesh("public", family), w.mesh("private", family), w.outward(family))
	}
	return probes
}

// address is a guest's on a network of the reference topology, which has all.
func (w *world) address(guest, network string, family int) netip.Addr {
	a, err := w.Topology.Address(guest, network, family)
	if err != nil {
		panic(err) // the topology is a constant
	}
	return a
}
