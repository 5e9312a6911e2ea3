package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/hostroute/hostroute/events"
)

func (a *app) ipCommand() *cobra.Command {
	return group("ip", "Assign, move and release addresses", a.ipAssign(), a.ipMove(), a.ipRelease())
}

func (a *app) ipAssign() *cobra.Command {
	var role string
	var wait time.Duration
	d := &events.IPAssigned{}
	c := a.command("assign PREFIX", "Give an address or a prefix to a guest", "hostroute ip assign 203.0.113.7 --vm web-1",
		func(ctx context.Context, args []string) error {
			d.Prefix, d.Role = prefix(args[0]), events.Role(role)
			return a.publishAndWait(ctx, d, wait)
		})
	c.Flags().StringVar(&d.VM, "vm", "", "the guest `VM`")
	c.Flags().StringVar(&d.Interface, "interface", "", "its `TAP`, where several fit")
	c.Flags().StringVar(&role, "role", "", "`ROLE`: primary (the default), secondary, elastic, anycast or routed")
	c.Flags().StringVar(&d.VRF, "vrf", "", "the `VRF`, where several fit")
	return required(waiting(c, &wait), "vm")
}

func (a *app) ipMove() *cobra.Command {
	var wait time.Duration
	d := &events.IPMoved{}
	c := a.command("move PREFIX", "Move an address to another guest in one step", "hostroute ip move 203.0.113.7 --to web-2",
		func(ctx context.Context, args []string) error {
			d.Prefix = prefix(args[0])
			return a.publishAndWait(ctx, d, wait)
		})
	c.Long = "Move an address to another guest in one step: there is no moment with two owners and none\n" +
		"without one. Have the other guest accept it first. An anycast address goes from the one\n" +
		"guest that has it; where several do, assign it to the new one and release it from the old."
	c.Flags().StringVar(&d.To, "to", "", "the guest `VM` that gets it")
	c.Flags().StringVar(&d.Interface, "interface", "", "its `TAP`, where several fit")
	c.Flags().StringVar(&d.VRF, "vrf", "", "the `VRF`, where several fit")
	return required(waiting(c, &wait), "to")
}

func (a *app) ipRelease() *cobra.Command {
	var wait time.Duration
	d := &events.IPReleased{}
	c := a.command("release PREFIX", "Take an address from its guest", "hostroute ip release 203.0.113.7",
		func(ctx context.Context, args []string) error {
			d.Prefix = prefix(args[0])
			return a.publishAndWait(ctx, d, wait)
		})
	c.Flags().StringVar(&d.VM, "vm", "", "the guest `VM`, where several hold it")
	c.Flags().StringVar(&d.VRF, "vrf", "", "the `VRF`, where several have it")
	return waiting(c, &wait)
}
