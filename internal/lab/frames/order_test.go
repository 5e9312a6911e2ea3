package frames

import (
	"slices"
	"testing"

	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/vrf"
)

func TestEveryStepOfAPlan(t *testing.T) {
	testenv.RequireRoot(t)
	everyStep(t, false)
}

func TestEveryStepOfAPlanVRF(t *testing.T) {
	testenv.RequireVRF(t)
	everyStep(t, true)
}

// everyStep: while a plan is carried out, nothing illegal passes after any operation, be it the first plan of a
// host or one that finds the filter gone.
func everyStep(t *testing.T, devices bool) {
	w := rawWorld(t, devices)
	w.listenOn("")
	if !devices {
		w.surround()
	}
	w.stepByStep()
	if devices {
		w.surround() // enslaving took it away
	}

	w.removeFilter()
	w.loose()
	probes := handful()
	w.send(probes, guest{})
	if !slices.ContainsFunc(probes, func(p *probe) bool { return len(p.arrived()) > 0 }) {
		t.Error("without the filter nothing is seen either, so nothing is proven")
	}
	w.stepByStep()
}

// handful is a bit of what no guest may do, in plain frames.
func handful() []*probe {
	few := []identity{{name: "free address", value: ip("203.0.113.77")}, {name: "other guest's", value: two.v4}}
	few6 := []identity{{name: "free address", value: ip("2001:db8:cb00:7100::77")}, {name: "other guest's", value: two.v6}}
	list := slices.Concat(
		matrix("IPv4", true, few, func(p *packet, i identity) { p.src = i.value }),
		matrix("IPv6", false, few6, func(p *packet, i identity) { p.src = i.value }),
		matrix("MAC", true, macs[1:2], func(p *packet, i identity) { p.from = i.mac }),
		arpProbes(few, func(a *arp, i identity) { a.senderAddr = i.value }),
	)
	return slices.DeleteFunc(list, func(p *probe) bool { return p.column != "plain" })
}

// stepByStep executes a plan operation by operation and looks after each.
func (w *world) stepByStep() {
	w.t.Helper()
	actual, err := w.kernel.Read(w.t.Context(), w.host)
	w.check(err)
	plan := vrf.Plan(w.host, actual, vrf.Options{Sweep: true})
	if len(plan.Ops) == 0 || len(plan.Problems) > 0 {
		w.t.Fatalf("the plan has %d operations and the problems %v", len(plan.Ops), plan.Problems)
	}
	for i, op := range plan.Ops {
		w.check(w.kernel.Execute(w.t.Context(), []vrf.Op{op}))
		w.loose()
		probes := handful()
		w.send(probes, guest{})
		for _, p := range probes {
			if s := p.wrong(); s != "" {
				w.t.Fatalf("after operation %d of %d, %s: %s", i+1, len(plan.Ops), op, s)
			}
		}
	}
	w.t.Logf("%d operations, %d frames after each", len(plan.Ops), len(handful()))
}
