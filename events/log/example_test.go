package log_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/events/log"
)

// withLog runs a log as `hostroute log serve` does, in this process.
func withLog(work func(ctx context.Context, l *log.Ledger) error) error {
	dir, err := os.MkdirTemp("", "hostroute-example")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	server := log.NewServer(log.ServerOptions{Store: dir})
	return server.While(context.Background(), func(ctx context.Context) error {
		nc, err := server.Connect(log.ConnectOptions{Name: "example"})
		if err != nil {
			return err
		}
		defer nc.Close()
		l, err := log.Open(ctx, nc, log.Options{})
		if err != nil {
			return err
		}
		return work(ctx, l)
	})
}

var world = []events.Data{
	&events.NetworkDefined{Network: "web", VRF: "public",
		Subnets: []events.Subnet{{Prefix: events.PrefixFrom(netip.MustParsePrefix("203.0.113.0/25"))}}},
	&events.HypervisorRegistered{Hypervisor: "hv1"},
	&events.VMCreated{VM: "web-1", Hypervisor: "hv1", Interfaces: []events.Interface{
		{Tap: "tap1", MAC: events.MAC{Octets: [6]byte{2, 0, 0, 0, 1, 1}}, Network: "web"}}},
	&events.VMCreated{VM: "web-2", Hypervisor: "hv1", Interfaces: []events.Interface{
		{Tap: "tap2", MAC: events.MAC{Octets: [6]byte{2, 0, 0, 0, 2, 1}}, Network: "web"}}},
}

// An address has one owner. Publishing again what was stored is no error, and
// what is refused says who has it.
func ExampleLedger_Publish() {
	err := withLog(func(ctx context.Context, l *log.Ledger) error {
		for _, data := range world {
			if _, err := l.Publish(ctx, events.Event{Source: "example", Data: data}); err != nil {
				return err
			}
		}
		address := events.PrefixFrom(netip.MustParsePrefix("203.0.113.7/32"))
		assigned := events.Event{ID: "order-17", Source: "example", Data: &events.IPAssigned{Prefix: address, VM: "web-1"}}
		for range 2 {
			stored, err := l.Publish(ctx, assigned)
			if err != nil {
				return err
			}
			fmt.Println("stored before:", stored.Duplicate)
		}
		_, err := l.Publish(ctx, events.Event{Data: &events.IPAssigned{Prefix: address, VM: "web-2"}})
		var refused *events.Error
		if !errors.As(err, &refused) {
			return err
		}
		fmt.Println(refused.Code, "by", refused.Held.VM, "since sequence", refused.Held.Sequence)
		return nil
	})
	if err != nil {
		fmt.Println(err)
	}
	// Output:
	// stored before: false
	// stored before: true
	// taken by web-1 since sequence 12
}

// History is read by what it is about.
func ExampleLedger_Read() {
	err := withLog(func(ctx context.Context, l *log.Ledger) error {
		for _, data := range world {
			if _, err := l.Publish(ctx, events.Event{Source: "example", Data: data}); err != nil {
				return err
			}
		}
		return l.Read(ctx, log.Filter{VM: "web-2"}, false, func(e log.Entry) error {
			fmt.Println(e.Type, "by", e.Source)
			return e.Err
		})
	})
	if err != nil {
		fmt.Println(err)
	}
	// Output: VMCreated by example
}
