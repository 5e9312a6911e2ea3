package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/hostroute/hostroute/internal/bgp/session"
	"github.com/hostroute/hostroute/internal/config"
	"github.com/hostroute/hostroute/vrf"
	"github.com/hostroute/hostroute/vrf/kernel"
)

func TestPreflightEndsWhatNoRetryCanMend(t *testing.T) {
	for _, c := range []struct{ refuse, want error }{
		{nil, nil},
		{errors.New("no buffer space"), nil},
		{kernel.ErrNoVRF, kernel.ErrNoVRF},
		{kernel.ErrNotPermitted, kernel.ErrNotPermitted},
	} {
		b := newTestbed(t)
		b.kernel.Fault = func(op vrf.Op) error {
			if _, ok := op.(vrf.CreateVRF); ok && c.refuse != nil {
				return fmt.Errorf("creating VRF public: %w", c.refuse)
			}
			return nil
		}
		a := &Agent{apply: b.applier}
		if err := a.preflight(t.Context()); err != c.want {
			t.Errorf("%v ends the start with %v", c.refuse, err)
		}
	}
}

func TestSessionsAreBoundToTheirUplinks(t *testing.T) {
	cfg := &config.Config{
		Hypervisor: "hv1",
		Uplinks: []config.Uplink{
			{Interface: "a0", Plane: "a", VRF: "public", Addresses: []netip.Prefix{
				netip.MustParsePrefix("100.64.0.11/24"), netip.MustParsePrefix("fe80::11/64"), netip.MustParsePrefix("2001:db8:a::11/64")}},
			{Interface: "b0", Plane: "b", VRF: "public", Addresses: []netip.Prefix{netip.MustParsePrefix("2001:db8:b::11/64")}},
		},
		BGP: config.BGP{
			AS: 65000, RouterID: netip.MustParseAddr("192.0.2.11"), HoldTime: 9 * time.Second,
			Reflectors: []config.Reflector{
				{VRF: "public", Plane: "a", Address: netip.MustParseAddr("100.64.0.1"), AS: 65000, TTLSecurity: true},
				{VRF: "public", Plane: "b", Address: netip.MustParseAddr("2001:db8:b::1"), AS: 65001, Password: "x"},
			},
		},
	}
	c := sessionConfig(cfg, true)
	want := []session.Peer{
		{VRF: "public", Plane: "a", Uplink: "a0", Address: netip.MustParseAddr("100.64.0.1"), AS: 65000,
			LocalV4: netip.MustParseAddr("100.64.0.11"), LocalV6: netip.MustParseAddr("2001:db8:a::11")},
		{VRF: "public", Plane: "b", Uplink: "b0", Address: netip.MustParseAddr("2001:db8:b::1"), AS: 65001, Password: "x",
			LocalV6: netip.MustParseAddr("2001:db8:b::11"), NoTTLSecurity: true},
	}
	if !slices.Equal(c.Peers, want) || c.AS != 65000 || c.HoldTime != 9*time.Second || !c.Restarting {
		t.Errorf("got %+v", c)
	}
}

func TestRoutesThatAreNotWrittenAreReportedWithTheReason(t *testing.T) {
	refused := session.TableStatus{Failed: 2, LastError: "route 192.0.2.1/32: no next-hop id is left\nand more"}
	for _, c := range []struct {
		dirty int
		table session.TableStatus
		want  string
	}{
		{0, session.TableStatus{LastError: "of yesterday"}, ""},
		{3, refused, "2 routes learned in VRF public, tried again; last: route 192.0.2.1/32: no next-hop id is left; and more"},
		{1, session.TableStatus{}, "1 route learned in VRF public, tried again"},
	} {
		if got := unwritten("public", c.dirty, c.table); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

func TestAnUplinkIsNotReportedAsATap(t *testing.T) {
	cfg := &config.Config{Uplinks: []config.Uplink{{Interface: "eth1"}}}
	a := &Agent{cfg: cfg, speaker: session.New(session.Config{}, nil, slog.New(slog.DiscardHandler))}
	s := a.kernelStatus(applyReport{waiting: []string{"eth1", "tap1"}})
	if !slices.Equal(s.AbsentTaps, []string{"tap1"}) || !slices.Equal(s.AbsentUplinks, []string{"eth1"}) {
		t.Errorf("absent taps %v, uplinks %v", s.AbsentTaps, s.AbsentUplinks)
	}
}

func TestAHypervisorAloneIsInformed(t *testing.T) {
	a := &Agent{speaker: session.New(session.Config{}, nil, slog.New(slog.DiscardHandler))}
	if !a.informed("public") {
		t.Error("a VRF without reflectors waits for one")
	}
	a.speaker = session.New(session.Config{Peers: []session.Peer{{VRF: "public", Address: netip.MustParseAddr("100.64.0.1")}}}, nil, slog.New(slog.DiscardHandler))
	if a.informed("public") {
		t.Error("a VRF is swept though no reflector has told anything")
	}
}
