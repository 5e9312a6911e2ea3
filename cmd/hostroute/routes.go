package main

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hostroute/hostroute/internal/agent"
)

func (a *app) routesCommand() *cobra.Command {
	var vrf string
	c := question(a, "routes [PREFIX]", "List routes with every way to them; PREFIX or an address: what leads there", agent.PathRoutes,
		func(args []string) (url.Values, error) {
			q := url.Values{}
			if vrf != "" {
				q.Set("vrf", vrf)
			}
			if len(args) > 0 {
				q.Set("prefix", args[0])
			}
			return q, nil
		}, a.showRoutes)
	c.Example = "  hostroute routes 203.0.113.7"
	c.Flags().StringVar(&vrf, "vrf", "", "of one `VRF` only")
	return c
}

func (a *app) showRoutes(routes []agent.Route) error {
	t := newTable(a.stdout, "VRF", "PREFIX", "", "NEXT HOP", "UPLINK", "PLANE", "PEER", "PREF", "AS PATH", "COMMUNITIES")
	for _, r := range routes {
		if r.Local != nil {
			t.row(r.VRF, r.Prefix, "*", "guest "+r.Local.VM, r.Local.Tap, "", "", "", "", "")
		}
		for _, p := range r.Paths {
			t.row(r.VRF, r.Prefix, mark(p), p.NextHop, p.Uplink, p.Plane, p.Peer, p.Preference, p.ASPath, strings.Join(p.Communities, ","))
		}
		if r.Local == nil && len(r.Paths) == 0 {
			t.row(r.VRF, r.Prefix, "", "", "", "", "", "", "", "")
		}
	}
	if err := t.flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(a.stdout, "%s; * in use, s stale\n", prefixes(len(routes)))
	return err
}

func mark(p agent.Path) string {
	m := ""
	if p.Chosen {
		m = "*"
	}
	if p.Stale {
		m += "s"
	}
	return m
}
