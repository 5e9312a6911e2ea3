package log

import (
	"context"
	"testing"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/projector"
)

// TestASnapshotIsOfOneMoment moves an address between two guests of one
// hypervisor all the time: whenever a snapshot is taken, one of them has it.
func TestASnapshotIsOfOneMoment(t *testing.T) {
	l := newLab(t)
	l.base()
	l.publish(guest("vm9", "hv1", "web"), assign("203.0.113.7/32", "vm1"))
	ctx, cancel := context.WithCancel(l.ctx)
	done := make(chan error, 1)
	go func() {
		for i := 0; ; i++ {
			to := []string{"vm9", "vm1"}[i%2]
			if _, err := l.ledger.Publish(ctx, events.Event{Data: &events.IPMoved{Prefix: pfx("203.0.113.7/32"), To: to}}); err != nil {
				done <- err
				return
			}
		}
	}()
	defer func() { cancel(); <-done }()
	for round := range 60 {
		holders := map[string]bool{}
		var newest uint64
		end, err := l.ledger.snapshot(l.ctx, "hv1", snapshotRequest{}, func(r raw) error {
			_, register, err := readRegister(r)
			if g, ok := register.(*projector.Guest); ok {
				newest = max(newest, r.Sequence)
				for _, a := range g.Addresses {
					if a.Prefix == pfx("203.0.113.7/32").Prefix {
						holders[g.VM] = true
					}
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(holders) != 1 || newest > end.Tick.Sequence {
			t.Fatalf("round %d: the address is with %v; newest message %d, tick %d", round, holders, newest, end.Tick.Sequence)
		}
	}
}
