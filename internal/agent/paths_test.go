package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hostroute/hostroute/internal/bfd/control"
	"github.com/hostroute/hostroute/internal/bgp/session"
	"github.com/hostroute/hostroute/internal/config"
)

// pathLog notes what is told about paths, in order.
type pathLog struct {
	mu    sync.Mutex
	told  []string
	peers []session.PeerStatus
}

func (l *pathLog) note(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told = append(l.told, fmt.Sprintf(format, args...))
}

// take gives what was told since it was called last.
func (l *pathLog) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	told := l.told
	l.told = nil
	return told
}

func (l *pathLog) PeerDown(uplink string, address netip.Addr, reason string, tell bool) {
	told := ""
	if tell {
		told = ", and is told"
	}
	l.note("peer %s over %s down: %s%s", address, uplink, reason, told)
}

func (l *pathLog) UplinkUnsound(uplink string, unsound bool) {
	l.note("uplink %s unsound %t", uplink, unsound)
}

func (l *pathLog) Peers() []session.PeerStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.peers)
}

func (l *pathLog) uplink(_ context.Context, name string, lost bool) {
	l.note("uplink %s lost %t", name, lost)
}

const watchedPaths = `
hypervisor: hv1
log: {embedded: {listen: ""}}
uplinks:
  - {interface: a-public, plane: a, vrf: public, addresses: [100.64.0.11/24, "2001:db8:a::11/64"]}
  - {interface: b-public, plane: b, vrf: public, addresses: [100.64.2.11/24]}
bgp:
  as: 65000
  router_id: 198.51.100.11
  reflectors:
    - {vrf: public, plane: a, address: 100.64.0.1}
    - {vrf: public, plane: a, address: "2001:db8:a::2"}
    - {vrf: public, plane: b, address: 100.64.2.1}
    - {vrf: public, plane: b, address: 100.64.2.1, port: 1179}
    - {vrf: public, plane: b, address: 100.64.2.2, bfd: false}
`

func TestEveryReflectorsPathIsWatchedOnce(t *testing.T) {
	cfg, err := config.Parse(strings.NewReader(watchedPaths))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range bfdSpecs(cfg) {
		if err := s.Check(); err != nil {
			t.Error(err)
		}
		got = append(got, fmt.Sprintf("%s %s %s→%s", s.Name, s.Interface, s.Local, s.Remote))
	}
	want := []string{
		"public/a/100.64.0.1 a-public 100.64.0.11→100.64.0.1",
		"public/a/2001:db8:a::2 a-public 2001:db8:a::11→2001:db8:a::2",
		"public/b/100.64.2.1 b-public 100.64.2.11→100.64.2.1",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestALostPathIsToldToTheFIBAndThenToTheSession(t *testing.T) {
	cfg, err := config.Parse(strings.NewReader(watchedPaths))
	if err != nil {
		t.Fatal(err)
	}
	told := &pathLog{}
	w := newPathWatch(t.Context(), cfg, told, told.uplink, slog.New(slog.DiscardHandler))
	specs := bfdSpecs(cfg)
	says := func(i int, state string, failed bool) {
		s := control.Status{State: state, Failed: failed, Reason: "silence"}
		if state == "admin-down" { // the reflector says so
			s.State, s.RemoteState = "down", state
		}
		s.Name, s.Interface, s.Remote = specs[i].Name, specs[i].Interface, specs[i].Remote
		w.changed(t.Context(), s)
	}
	for _, step := range []struct {
		what   string
		i      int
		state  string
		failed bool
		want   []string
	}{
		{"it never was up", 2, "down", false, nil},
		{"it comes up", 2, "up", false, nil},
		{"it falls", 2, "down", true, []string{"uplink b-public lost true", "peer 100.64.2.1 over b-public down: BFD: silence"}},
		{"it is heard again", 2, "init", true, nil},
		{"it is up again", 2, "up", false, []string{"uplink b-public lost false"}},
		{"it is shut on purpose", 2, "down", false, nil},
		{"it falls again", 2, "down", true, []string{"uplink b-public lost true", "peer 100.64.2.1 over b-public down: BFD: silence"}},
		{"BFD's process was restarted", 2, "down", false, nil},
		{"the reflector takes BFD back", 2, "admin-down", false, []string{"uplink b-public lost false"}},
		{"one of two on an uplink falls", 0, "down", true, []string{"peer 100.64.0.1 over a-public down: BFD: silence"}},
		{"the other falls", 1, "down", true, []string{"uplink a-public lost true", "peer 2001:db8:a::2 over a-public down: BFD: silence"}},
		{"the first is back", 0, "up", false, []string{"uplink a-public lost false"}},
	} {
		says(step.i, step.state, step.failed)
		if got := told.take(); !slices.Equal(got, step.want) {
			t.Errorf("%s: told %q, want %q", step.what, got, step.want)
		}
	}
}
