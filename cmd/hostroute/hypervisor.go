package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/hostroute/hostroute/events"
)

func (a *app) hypervisorCommand() *cobra.Command {
	return group("hypervisor", "Register, drain, fence and list hypervisors",
		a.hypervisor("register", "Make a hypervisor known, so that guests may live there", func(ctx context.Context, hv string) error {
			return a.publish(ctx, &events.HypervisorRegistered{Hypervisor: hv})
		}),
		a.hypervisorWhy("drain", "Prefer others: whatever has another way leaves this hypervisor", drainLong, "new kernel",
			func(hv, reason string) events.Data { return &events.HypervisorDrained{Hypervisor: hv, Reason: reason} }),
		a.hypervisorBack("undrain", "Take a drain back",
			func(hv string) events.Data { return &events.HypervisorUndrained{Hypervisor: hv} }),
		a.hypervisorWhy("fence", "Say that a hypervisor runs no guests any more, so that they may be homed elsewhere", fenceLong, "no power",
			func(hv, reason string) events.Data { return &events.HypervisorFenced{Hypervisor: hv, Reason: reason} }),
		a.hypervisorBack("unfence", "Take a fence back",
			func(hv string) events.Data { return &events.HypervisorUnfenced{Hypervisor: hv} }),
		a.hypervisorList(),
	)
}

func (a *app) hypervisor(name, short string, publish func(ctx context.Context, hv string) error) *cobra.Command {
	return a.command(name+" HV", short, "hostroute hypervisor "+name+" hv1", func(ctx context.Context, args []string) error {
		return publish(ctx, args[0])
	})
}

func (a *app) hypervisorBack(name, short string, data func(hv string) events.Data) *cobra.Command {
	var wait time.Duration
	c := a.hypervisor(name, short, func(ctx context.Context, hv string) error { return a.publishAndWait(ctx, data(hv), wait) })
	return waiting(c, &wait)
}

const (
	drainLong = "Prefer others: whatever has another way leaves this hypervisor, and no guest is created on it\n" +
		"or prepared for it. Guests that are there stay, and are reached: migrate them yourself.\n" +
		"`hypervisor undrain` takes it back. With --wait it ends when no guest is left but those\n" +
		"that hold anycast addresses only, and these were sent nothing for 5 s."
	fenceLong = "Say that a hypervisor runs no guests any more, so that they may be homed elsewhere: with\n" +
		"`vm migrate` for each. It announces nothing when it comes back, until `hypervisor unfence`.\n" +
		"This switches nothing off. Make sure that it is off first: a guest that runs twice\n" +
		"destroys its disk. See docs/moving.md."
)

func (a *app) hypervisorWhy(name, short, long, why string, data func(hv, reason string) events.Data) *cobra.Command {
	var reason string
	var wait time.Duration
	c := a.command(name+" HV", short, fmt.Sprintf("hostroute hypervisor %s hv1 --reason %q", name, why),
		func(ctx context.Context, args []string) error {
			return a.publishAndWait(ctx, data(args[0], reason), wait)
		})
	c.Long = long
	c.Flags().StringVar(&reason, "reason", "", "`TEXT` that says why, for whoever reads the log")
	return waiting(c, &wait)
}
