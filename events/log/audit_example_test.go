package log_test

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/events/log"
	"github.com/hostroute/hostroute/projector"
)

// Who held an address, in every VRF: each change of its register has the event
// and the owners from then on. A time becomes a place in the log, whose order
// decides.
func ExampleLedger_Histories() {
	err := withLog(func(ctx context.Context, l *log.Ledger) error {
		address := netip.MustParsePrefix("203.0.113.7/32")
		for _, data := range append(world[:len(world):len(world)],
			&events.IPAssigned{Prefix: events.PrefixFrom(address), VM: "web-1"},
			&events.IPMoved{Prefix: events.PrefixFrom(address), To: "web-2"},
			&events.IPReleased{Prefix: events.PrefixFrom(address)}) {
			if _, err := l.Publish(ctx, events.Event{Source: "example", Data: data}); err != nil {
				return err
			}
		}
		until, err := l.SequenceBefore(ctx, time.Now())
		if err != nil {
			return err
		}
		histories, err := l.Histories(ctx, events.SubjectIP("*", address))
		if err != nil {
			return err
		}
		for _, change := range histories[events.SubjectIP("public", address)] {
			if change.Err != nil || change.Sequence > until {
				continue
			}
			fmt.Print(change.Type, " by ", change.Source, ":")
			for _, owner := range change.Register.(*projector.Claim).Owners {
				fmt.Print(" ", owner.VM)
			}
			fmt.Println()
		}
		return nil
	})
	if err != nil {
		fmt.Println(err)
	}
	// Output:
	// IPAssigned by example: web-1
	// IPMoved by example: web-2
	// IPReleased by example:
}
