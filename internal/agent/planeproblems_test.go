package agent

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hostroute/hostroute/internal/bfd/control"
	"github.com/hostroute/hostroute/internal/bgp/session"
)

// planeBed is a hypervisor with two VRFs, two planes, and on plane a two
// reflectors in VRF public; all is well.
type planeBed struct {
	status Status
	peers  []Peer
}

func newPlaneBed() *planeBed {
	b := &planeBed{status: Status{Log: LogStatus{Connected: true, InSync: true, Registered: true}, BFD: BFDStatus{Configured: 5, Connected: true}}}
	for _, plane := range []string{"a", "b"} {
		p := PlaneStatus{Plane: plane}
		for _, vrf := range []string{"public", "private"} {
			p.Uplinks = append(p.Uplinks, UplinkStatus{Interface: plane + "-" + vrf, VRF: vrf, Carrier: true, Used: true})
		}
		b.status.Planes = append(b.status.Planes, p)
	}
	for _, at := range [][3]string{
		{"a", "public", "100.64.0.1"}, {"a", "public", "100.64.0.2"}, {"a", "private", "100.64.1.1"},
		{"b", "public", "100.64.2.1"}, {"b", "private", "100.64.3.1"},
	} {
		b.peers = append(b.peers, Peer{
			Plane: at[0], VRF: at[1], Address: at[2], Uplink: at[0] + "-" + at[1], State: "established",
			BFD: &control.Status{State: "up", RemoteState: "up", DetectionTime: control.Duration(900 * time.Millisecond)},
		})
	}
	return b
}

// each changes the peers with these addresses; all of them if there is none.
func (b *planeBed) each(change func(*Peer), list ...string) {
	for i := range b.peers {
		if len(list) == 0 || slices.Contains(list, b.peers[i].Address) {
			change(&b.peers[i])
		}
	}
}

func noBGP(p *Peer) { p.State, p.LastError = "connect", "i/o timeout" }

// deaf is a path on which nothing arrives.
func deaf(p *Peer) {
	noBGP(p)
	p.BFD.State, p.BFD.Failed, p.BFD.DetectionTime, p.BFD.RemoteState = "down", true, 0, "down"
	p.BFD.Reason = "nothing was heard of the peer for 900ms"
}

// mute is a path on which nothing that is sent arrives.
func mute(p *Peer) {
	noBGP(p)
	p.BFD.State, p.BFD.Failed, p.BFD.RemoteState, p.BFD.RemoteDiagnostic = "init", true, "down", "control detection time expired"
	p.BFD.Reason = "the peer doesn't hear this side any more"
}

func lossy(loss float64) func(*Peer) {
	return func(p *Peer) { p.BFD.Loss, p.BFD.LossWindow = &loss, control.Duration(time.Minute) }
}

func (b *planeBed) uplinks(plane int, change func(*UplinkStatus)) {
	for i := range b.status.Planes[plane].Uplinks {
		change(&b.status.Planes[plane].Uplinks[i])
	}
}

func avoided(u *UplinkStatus) { u.Used, u.Unsound = false, true }

func TestWhatStatusSaysOfPlanes(t *testing.T) {
	at := time.Date(2026, 11, 22, 12, 0, 5, 0, time.UTC)
	onB := []string{"100.64.2.1", "100.64.3.1"}
	for _, c := range []struct {
		name   string
		change func(*planeBed)
		states string
		want   []string
	}{
		{"all is well", func(*planeBed) {}, "sound sound", nil},
		{"little is lost", func(b *planeBed) { b.each(lossy(0.049)) }, "sound sound", nil},
		{"a reflector's host is dead", func(b *planeBed) { b.each(deaf, "100.64.0.2") }, "degraded sound",
			[]string{"reflector 100.64.0.2 of plane a is down, the plane works: nothing arrives from 100.64.0.2; check that host"}},
		{"a plane is dead", func(b *planeBed) { b.each(deaf, onB...) }, "sound lost",
			[]string{"plane b is lost: nothing arrives from 100.64.2.1 and 100.64.3.1; check its cables, switches and reflectors; traffic flows over plane a"}},
		{"a plane delivers nothing that is sent", func(b *planeBed) { b.each(mute, onB...) }, "sound lost",
			[]string{"plane b is lost: what is sent to 100.64.2.1 and 100.64.3.1 doesn't arrive there, though what they send does arrive here; " +
				"check its cables, switches and reflectors; traffic flows over plane a"}},
		{"a plane delivered nothing that was sent, and then nothing", func(b *planeBed) {
			b.each(deaf, onB...)
			b.each(func(p *Peer) { p.BFD.LastFallDirection = "sending" }, onB...)
		}, "sound lost",
			[]string{"plane b is lost: what was sent to 100.64.2.1 and 100.64.3.1 didn't arrive there any more, as they said before they fell silent; " +
				"check its cables, switches and reflectors; traffic flows over plane a"}},
		{"a plane is dead in one VRF", func(b *planeBed) { b.each(deaf, "100.64.3.1") }, "sound partial",
			[]string{"plane b is lost in VRF private: nothing arrives from 100.64.3.1; check its cables, switches and reflector; traffic flows over plane a"}},
		{"a plane is dead, and nobody watches it", func(b *planeBed) { b.each(func(p *Peer) { noBGP(p); p.BFD = nil }, onB...) }, "sound lost",
			[]string{"plane b is lost: no session with 100.64.2.1 and 100.64.3.1: i/o timeout; check its cables, switches and reflectors; traffic flows over plane a"}},
		{"this host can't send", func(b *planeBed) {
			b.each(func(p *Peer) { deaf(p); p.BFD.Trouble = "network is unreachable" }, onB...)
		}, "sound lost",
			[]string{"plane b is lost: this host can't send to 100.64.2.1 and 100.64.3.1: network is unreachable; check its cables, switches and reflectors; traffic flows over plane a"}},
		{"all reflectors are dead", func(b *planeBed) {
			b.each(deaf)
			b.peers[0].Kept = []session.Kept{{Until: at}, {Until: at.Add(-time.Hour)}}
		}, "lost lost",
			[]string{"all reflectors are out of reach: what was learned is kept as stale until 2026-11-22 12:00:05 UTC; check them, and planes a and b"}},
		{"all reflectors are dead, after long", func(b *planeBed) { b.each(noBGP); b.each(func(p *Peer) { p.BFD = nil }) }, "lost lost",
			[]string{"all reflectors are out of reach: nothing that they told is kept; check them, and planes a and b"}},
		{"all reflectors of a VRF are dead", func(b *planeBed) { b.each(deaf, "100.64.1.1", "100.64.3.1") }, "partial partial",
			[]string{"all reflectors of VRF private are out of reach: nothing that they told is kept; check them, and planes a and b"}},
		{"a plane has no carrier", func(b *planeBed) {
			b.each(deaf, onB...)
			b.uplinks(1, func(u *UplinkStatus) { u.Carrier, u.Used = false, false })
		}, "sound no carrier",
			[]string{"plane b has no carrier on b-public and b-private: check the cable and the port of the switch; traffic flows over plane a"}},
		{"an uplink is gone", func(b *planeBed) {
			b.each(deaf, "100.64.3.1")
			b.status.Kernel.AbsentUplinks = []string{"b-private"}
			b.status.Planes[1].Uplinks[1].Carrier = false
		}, "sound sound",
			[]string{"uplink b-private is not on this host: bring it back, or correct its name in the configuration"}},
		{"a plane is lossy", func(b *planeBed) { b.each(lossy(0.304), onB...); b.uplinks(1, avoided) }, "sound lossy",
			[]string{"plane b loses about 30 % of packets (BFD with 100.64.2.1, last 60 s): check its cables and switches; it is avoided"}},
		{"a plane is lossy, and BGP fails for it", func(b *planeBed) { b.each(lossy(0.3), onB...); b.each(noBGP, "100.64.3.1"); b.uplinks(1, avoided) }, "sound lossy",
			[]string{"plane b loses about 30 % of packets (BFD with 100.64.2.1, last 60 s): check its cables and switches; it is avoided"}},
		{"a plane is a little lossy", func(b *planeBed) { b.each(lossy(0.07), onB...) }, "sound lossy",
			[]string{"plane b loses about 7 % of packets (BFD with 100.64.2.1, last 60 s): check its cables and switches; it is used"}},
		{"all planes are lossy", func(b *planeBed) {
			b.each(lossy(0.25))
			for i := range b.status.Planes {
				b.uplinks(i, func(u *UplinkStatus) { u.Unsound = true })
			}
		}, "lossy lossy", []string{
			"plane a loses about 25 % of packets (BFD with 100.64.0.1, last 60 s): check its cables and switches; it is used, since no other plane is sound",
			"plane b loses about 25 % of packets (BFD with 100.64.2.1, last 60 s): check its cables and switches; it is used, since no other plane is sound"}},
		{"a reflector's cable is lossy", func(b *planeBed) { b.each(lossy(0)); b.each(lossy(0.4), "100.64.0.2") }, "lossy sound",
			[]string{"the path to 100.64.0.2 over plane a loses about 40 % of packets (BFD, last 60 s), others of the plane don't: check the cable there; it is used"}},
		{"a plane comes and goes", func(b *planeBed) {
			b.each(func(p *Peer) {
				p.BFD.LastFall, p.BFD.LastFallTime = "nothing was heard of the peer for 900ms", &at
			}, "100.64.2.1")
			until := at.Add(20 * time.Second)
			b.uplinks(1, func(u *UplinkStatus) { u.Used, u.Unsound, u.Falls, u.HeldUntil = false, true, 4, &until })
		}, "sound unsteady",
			[]string{"plane b comes and goes, 4 falls within 15 minutes (last at 12:00:05: nothing was heard of the peer for 900ms): " +
				"check its cables and switches; it is avoided, until it has been up until 12:00:25"}},
		{"BGP alone is down", func(b *planeBed) { b.each(noBGP, "100.64.2.1") }, "sound degraded",
			[]string{"no BGP session with 100.64.2.1 in VRF public over plane b (connect), though its path works: i/o timeout; check BGP there"}},
		{"BFD alone is down", func(b *planeBed) { b.each(func(p *Peer) { deaf(p); p.State = "established" }, "100.64.2.1") }, "sound degraded",
			[]string{"no BFD session with 100.64.2.1 in VRF public over plane b (down), though BGP works: nothing was heard of the peer for 900ms; check BFD there, or set bfd: false"}},
		{"BFD's process is down", func(b *planeBed) {
			b.each(deaf)
			b.each(func(p *Peer) { p.State = "established" })
			b.status.BFD.Connected = false
		}, "sound sound",
			[]string{"BFD isn't running, a path that dies silently is noticed by the hold time only: no reason known yet"}},
		{"worst first", func(b *planeBed) { b.each(lossy(0.1), "100.64.0.1", "100.64.0.2", "100.64.1.1"); b.each(deaf, onB...) }, "lossy lost", []string{
			"plane b is lost: nothing arrives from 100.64.2.1 and 100.64.3.1; check its cables, switches and reflectors; traffic flows over plane a",
			"plane a loses about 10 % of packets (BFD with 100.64.0.1, last 60 s): check its cables and switches; it is used"}},
		{"one plane dies while the other is lossy", func(b *planeBed) {
			b.each(lossy(0.3), "100.64.0.1", "100.64.0.2", "100.64.1.1")
			b.uplinks(0, avoided)
			b.each(deaf, "100.64.2.1", "100.64.3.1")
		}, "lossy lost", []string{
			"plane b is lost: nothing arrives from 100.64.2.1 and 100.64.3.1; check its cables, switches and reflectors; no other plane works",
			"plane a loses about 30 % of packets (BFD with 100.64.0.1, last 60 s): check its cables and switches; it is avoided"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newPlaneBed()
			c.change(b)
			for i := range b.status.Planes {
				b.status.Planes[i].worstLoss(b.peers)
			}
			got := problems(b.status, b.peers)
			if !slices.Equal(got, c.want) {
				t.Errorf("says\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
			var states []string
			for _, p := range b.status.Planes {
				states = append(states, p.State)
			}
			if strings.Join(states, " ") != c.states {
				t.Errorf("planes are %q, want %q", states, c.states)
			}
		})
	}
}
