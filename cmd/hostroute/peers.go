package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hostroute/hostroute/internal/agent"
)

func (a *app) peersCommand() *cobra.Command {
	return question(a, "peers", "List the BGP sessions", agent.PathPeers, nothing, a.showPeers)
}

func (a *app) showPeers(peers []agent.Peer) error {
	t := newTable(a.stdout, "VRF", "PLANE", "UPLINK", "PEER", "AS", "STATE", "FOR", "HOLD", "RECEIVED", "ANNOUNCED", "FALLS", "LAST ERROR")
	for _, p := range peers {
		hold := ""
		if p.HoldTime > 0 {
			hold = fmt.Sprintf("%gs", p.HoldTime)
		}
		t.row(p.VRF, p.Plane, p.Uplink, p.Address, p.AS, p.State, a.since(p.Since), hold, p.Received, p.Announced, p.Falls, p.LastError)
	}
	return t.flush()
}
