package main

import (
	"fmt"
	"io"
	"math"
	"time"

	"github.com/spf13/cobra"

	"github.com/hostroute/hostroute/internal/agent"
	"github.com/hostroute/hostroute/internal/bfd/control"
)

func (a *app) peersCommand() *cobra.Command {
	return question(a, "peers", "List the BGP sessions, and the BFD sessions that watch their paths", agent.PathPeers, nothing, a.showPeers)
}

func (a *app) showPeers(peers []agent.Peer) error {
	t := newTable(a.stdout, "VRF", "PLANE", "UPLINK", "PEER", "AS", "BGP", "FOR", "HOLD", "ALIVE", "IN", "OUT", "RECEIVED", "ANNOUNCED", "FALLS")
	watched := false
	for _, p := range peers {
		t.row(p.VRF, p.Plane, p.Uplink, p.Address, p.AS, p.State, a.since(p.Since), timer(p.HoldTime), timer(p.Keepalive),
			p.MessagesIn, p.MessagesOut, p.Received, p.Announced, p.Falls)
		watched = watched || p.BFD != nil
	}
	if err := t.flush(); err != nil {
		return err
	}
	if watched {
		if err := a.showPaths(peers); err != nil {
			return err
		}
	}
	return a.showReasons(peers)
}

// timer writes seconds, and nothing where none are agreed upon.
func timer(s float64) string {
	if s == 0 {
		return ""
	}
	return fmt.Sprintf("%gs", s)
}

// showPaths lists the BFD sessions. A silence of so many intervals takes a path
// down, here and at the peer.
func (a *app) showPaths(peers []agent.Peer) error {
	if _, err := fmt.Fprintln(a.stdout); err != nil {
		return err
	}
	t := newTable(a.stdout, "VRF", "PLANE", "UPLINK", "PEER", "BFD", "FOR", "DETECTS AFTER", "PEER DETECTS AFTER", "LOSS", "IN", "OUT", "FALLS")
	for _, p := range peers {
		b := p.BFD
		if b == nil {
			continue
		}
		here, there := "", ""
		if b.DetectionTime > 0 && b.RemoteMultiplier > 0 {
			here = detection(b.RemoteMultiplier, time.Duration(b.DetectionTime)/time.Duration(b.RemoteMultiplier))
			there = detection(b.Multiplier, time.Duration(b.TransmitInterval))
		}
		t.row(p.VRF, p.Plane, p.Uplink, p.Address, b.State, a.since(b.Since), here, there, loss(b), b.Received, b.Sent, b.Falls)
	}
	return t.flush()
}

func detection(multiplier uint8, interval time.Duration) string {
	return fmt.Sprintf("%d × %v = %v", multiplier, interval, time.Duration(multiplier)*interval)
}

// loss is what is measured, and nothing where nothing is.
func loss(b *control.Status) string {
	if b.Loss == nil {
		return ""
	}
	return fmt.Sprintf("%.0f%%", math.Round(*b.Loss*100))
}

// showReasons says why sessions are down and why they fell, and what they left.
func (a *app) showReasons(peers []agent.Peer) error {
	w := &reasons{w: a.stdout}
	for _, p := range peers {
		if p.LastError != "" && p.State != "established" {
			w.say(p, "BGP failed%s: %s", a.when(p.LastErrorTime), p.LastError)
		}
		if p.LastFall != "" && (p.LastFall != p.LastError || p.State == "established") {
			w.say(p, "BGP fell%s: %s", a.when(p.LastFallTime), p.LastFall)
		}
		if b := p.BFD; b != nil {
			switch {
			case b.Trouble != "":
				w.say(p, "BFD can't send: %s", b.Trouble)
			case b.Reason != "" && !b.Failed:
				w.say(p, "no BFD session: %s", b.Reason)
			}
			if b.LastFall != "" {
				w.say(p, "BFD fell%s: %s", a.when(b.LastFallTime), b.LastFall)
			}
			if b.LossUnknown != "" {
				w.say(p, "loss can't be told: %s", b.LossUnknown)
			}
		}
		for _, k := range p.Kept {
			use := "while it restarts"
			if k.State != "restarting" {
				use = "where nothing better is left"
			}
			w.say(p, "%s of %s kept, used %s, until %s", count(k.Paths, "path"), k.Family, use, stamp(k.Until))
		}
	}
	return w.err
}

// when says how long ago something was, and when that was.
func (a *app) when(t *time.Time) string {
	if t == nil {
		return ""
	}
	return fmt.Sprintf(" %s (%s)", a.ago(*t), stamp(*t))
}

// reasons writes lines about peers below the tables.
type reasons struct {
	w    io.Writer
	said bool
	err  error
}

func (r *reasons) say(p agent.Peer, format string, args ...any) {
	if r.err == nil && !r.said {
		_, r.err = fmt.Fprintln(r.w)
		r.said = true
	}
	if r.err == nil {
		_, r.err = fmt.Fprintf(r.w, "%s in %s: %s\n", p.Address, p.VRF, fmt.Sprintf(format, args...))
	}
}
