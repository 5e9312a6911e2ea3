package agent

import (
	"slices"
	"time"

	"github.com/hostroute/hostroute/internal/bfd"
	"github.com/hostroute/hostroute/internal/bfd/control"
)

// PlaneStatus is what a plane is worth to this hypervisor, over all VRFs.
type PlaneStatus struct {
	Plane string `json:"plane"`
	// State is "sound", or the worst of what is the case: "lost", "no carrier" (on
	// an uplink), "partial" (lost in a VRF), "lossy", "unsteady" (it comes and
	// goes), "degraded" (a reflector is down, or a session).
	State string `json:"state"`
	// Loss is the worst that is measured on a path that is up, 0 to 1, in
	// LossWindow, with the reflector LossPeer; absent: too little is known.
	Loss       *float64         `json:"loss,omitempty"`
	LossWindow control.Duration `json:"loss_window,omitempty"`
	LossPeer   string           `json:"loss_peer,omitempty"`
	Uplinks    []UplinkStatus   `json:"uplinks"`
}

// UplinkStatus is how an uplink is used.
type UplinkStatus struct {
	Interface string `json:"interface"`
	VRF       string `json:"vrf"`
	Carrier   bool   `json:"carrier"`
	// Used tells whether learned routes lead over it wherever they can. One that
	// isn't is still used by those that have no other way.
	Used bool `json:"used"`
	// Unsound tells that it comes and goes or loses too much, and that others are
	// asked to send over another plane (see docs/adr/0011).
	Unsound bool `json:"unsound"`
	// Falls in the last 15 minutes, of the path that fell most.
	Falls int `json:"falls"`
	// HeldUntil is until when it has to stay up before it is used again.
	HeldUntil *time.Time `json:"held_until,omitempty"`
}

// planes tells of each plane, in the order of the configuration.
func (a *Agent) planes(peers []Peer) []PlaneStatus {
	var list []PlaneStatus
	for _, u := range a.cfg.Uplinks {
		i := slices.IndexFunc(list, func(p PlaneStatus) bool { return p.Plane == u.Plane })
		if i < 0 {
			i = len(list)
			list = append(list, PlaneStatus{Plane: u.Plane})
		}
		st := a.paths.uplinkStatus(u.Interface)
		if up, err := hasCarrier(u.Interface); err == nil {
			st.Carrier = up
		}
		list[i].Uplinks = append(list[i].Uplinks, st)
	}
	for i := range list {
		list[i].worstLoss(peers)
	}
	return list
}

func (p *PlaneStatus) worstLoss(peers []Peer) {
	for _, peer := range peers {
		if peer.Plane != p.Plane || peer.BFD == nil || peer.BFD.Loss == nil || !peer.BFD.Up() {
			continue
		}
		if p.Loss == nil || *peer.BFD.Loss > *p.Loss {
			p.Loss, p.LossWindow, p.LossPeer = peer.BFD.Loss, peer.BFD.LossWindow, peer.Address
		}
	}
}

// uplinkStatus tells how an uplink is used.
func (w *pathWatch) uplinkStatus(name string) UplinkStatus {
	w.mu.Lock()
	defer w.mu.Unlock()
	st := UplinkStatus{Interface: name, Used: true, Carrier: true}
	now := w.now()
	for u := range w.uplinks() {
		if u.Interface != name {
			continue
		}
		st.VRF, st.Used, st.Unsound = u.VRF, !u.lost, u.unsound
		var until bfd.Instant
		for _, p := range u.paths {
			st.Falls = max(st.Falls, p.Falls(now))
			if t, held := p.Held(now); held {
				until = max(until, t)
			}
		}
		if until > 0 && u.unsound {
			at := w.origin.Add(time.Duration(until)).Round(0)
			st.HeldUntil = &at
		}
	}
	return st
}
