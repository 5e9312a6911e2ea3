package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hostroute/hostroute/events"
)

func (a *app) vmCommand() *cobra.Command {
	return group("vm", "Create, move, delete and list guests", a.vmCreate(), a.vmPrepare(), a.vmMigrate(), a.vmAbort(), a.vmDelete(), a.vmList())
}

func (a *app) vmCreate() *cobra.Command {
	var ports []string
	var wait time.Duration
	d := &events.VMCreated{}
	c := a.command("create VM", "Create a guest on its first hypervisor",
		"hostroute vm create web-1 --hypervisor hv1 --interface tap=web-1-pub,mac=52:54:00:12:34:56,network=web",
		func(ctx context.Context, args []string) error {
			d.VM = args[0]
			for _, s := range ports {
				f, err := parseInterface(s)
				if err != nil {
					return err
				}
				d.Interfaces = append(d.Interfaces, f)
			}
			return a.publishAndWait(ctx, d, wait)
		})
	c.Flags().StringVar(&d.Hypervisor, "hypervisor", "", "the `HV` that it runs on")
	c.Flags().StringArrayVar(&ports, "interface", nil, "`tap=TAP,mac=MAC,network=NAME` (repeat for more)")
	c.Flags().StringVar(&d.Hostname, "hostname", "", "`NAME` that the guest is told by DHCP; default: its id")
	return required(waiting(c, &wait), "hypervisor", "interface")
}

// parseInterface reads tap=TAP,mac=MAC,network=NAME in any order.
func parseInterface(s string) (events.Interface, error) {
	var f events.Interface
	seen := map[string]bool{}
	for part := range strings.SplitSeq(s, ",") {
		key, value, _ := strings.Cut(part, "=")
		switch key {
		case "tap":
			f.Tap = value
		case "mac":
			_ = f.MAC.UnmarshalText([]byte(value)) // takes any text
		case "network":
			f.Network = value
		default:
			return f, fmt.Errorf("--interface %q: %q isn't one of tap, mac and network; write tap=TAP,mac=MAC,network=NAME", s, key)
		}
		if seen[key] {
			return f, fmt.Errorf("--interface %q: %s is given twice; repeat --interface for a second one", s, key)
		}
		seen[key] = true
	}
	return f, nil
}

func (a *app) vmPrepare() *cobra.Command {
	var wait time.Duration
	d := &events.VMMigrationStarted{}
	c := a.command("prepare VM", "Have a hypervisor prepare for a guest that will come", "hostroute vm prepare web-1 --to hv2",
		func(ctx context.Context, args []string) error {
			d.VM = args[0]
			return a.publishAndWait(ctx, d, wait)
		})
	c.Long = "Have a hypervisor prepare for a guest that will come: tap, filter, neighbours, DHCP and\n" +
		"router advertisements. It announces nothing, and nobody sends to it yet. Say it before\n" +
		"the destination's QEMU is started, then `vm migrate` when the guest runs there, or\n" +
		"`vm abort` when it doesn't go. docs/moving.md has the whole sequence."
	return destination(waiting(c, &wait), &d.To, &d.Taps)
}

func (a *app) vmMigrate() *cobra.Command {
	var wait time.Duration
	d := &events.VMMigrated{}
	c := a.command("migrate VM", "Say that a guest runs on another hypervisor now", "hostroute vm migrate web-1 --to hv2",
		func(ctx context.Context, args []string) error {
			d.VM = args[0]
			return a.publishAndWait(ctx, d, wait)
		})
	c.Long = "Say that a guest runs on another hypervisor now. That one delivers and announces it from\n" +
		"then on; the former one delivers nothing more, and sends on for 30 s. It moves no guest:\n" +
		"said too early, it cuts off one that still runs where it was. With `vm prepare` before,\n" +
		"the gap is shorter. A guest whose hypervisor died: `hypervisor fence` comes first."
	return destination(waiting(c, &wait), &d.To, &d.Taps)
}

// destination adds the flags that say where a guest goes.
func destination(c *cobra.Command, to *string, taps *[]string) *cobra.Command {
	c.Flags().StringVar(to, "to", "", "the `HV` that it goes to")
	c.Flags().StringArrayVar(taps, "tap", nil, "its `TAP` there, where that has another name (repeat for each interface, in their order)")
	return required(c, "to")
}

func (a *app) vmAbort() *cobra.Command {
	var wait time.Duration
	c := a.command("abort VM", "Undo what vm prepare has prepared", "hostroute vm abort web-1",
		func(ctx context.Context, args []string) error {
			return a.publishAndWait(ctx, &events.VMMigrationAborted{VM: args[0]}, wait)
		})
	c.Long = "Undo what `vm prepare` has prepared: the guest goes on where it is. One that was migrated\n" +
		"already is moved back by `vm migrate`."
	return waiting(c, &wait)
}

func (a *app) vmDelete() *cobra.Command {
	var wait time.Duration
	c := a.command("delete VM", "Delete a guest; every address of it is released", "hostroute vm delete web-1",
		func(ctx context.Context, args []string) error {
			return a.publishAndWait(ctx, &events.VMDeleted{VM: args[0]}, wait)
		})
	return waiting(c, &wait)
}
