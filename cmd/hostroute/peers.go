package main

import (
	"cmp"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/hostroute/hostroute/internal/agent"
)

func (a *app) peersCommand() *cobra.Command {
	return question(a, "peers", "List the BGP sessions, with the BFD sessions that watch their paths", agent.PathPeers, nothing, a.showPeers)
}

func (a *app) showPeers(peers []agent.Peer) error {
	t := newTable(a.stdout, "VRF", "PLANE", "UPLINK", "PEER", "AS", "STATE", "FOR", "HOLD", "BFD", "DETECT", "RECEIVED", "ANNOUNCED", "FALLS", "LAST ERROR")
	for _, p := range peers {
		hold := ""
		if p.HoldTime > 0 {
			hold = fmt.Sprintf("%gs", p.HoldTime)
		}
		path, detect := "", ""
		if p.BFD != nil {
			path = p.BFD.State
			if d := time.Duration(p.BFD.DetectionTime); d > 0 {
				detect = d.String()
			}
		}
		t.row(p.VRF, p.Plane, p.Uplink, p.Address, p.AS, p.State, a.since(p.Since), hold, path, detect, p.Received, p.Announced, p.Falls, cmp.Or(p.LastError, p.LastFall))
	}
	if err := t.flush(); err != nil {
		return err
	}
	return a.showKept(peers)
}

// showKept says what sessions that fell have left, and for how long.
func (a *app) showKept(peers []agent.Peer) error {
	for _, p := range peers {
		for _, k := range p.Kept {
			use := "while it restarts"
			if k.State != "restarting" {
				use = "where nothing better is left"
			}
			if _, err := fmt.Fprintf(a.stdout, "%s: %s of %s kept, used %s, until %s\n", p.Address, count(k.Paths, "path"), k.Family, use, stamp(k.Until)); err != nil {
				return err
			}
		}
	}
	return nil
}
