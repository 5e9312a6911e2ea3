package agent

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/hostroute/hostroute/events/log"
	"github.com/hostroute/hostroute/internal/bfd/control"
	"github.com/hostroute/hostroute/internal/bgp/session"
	"github.com/hostroute/hostroute/internal/config"
	"github.com/hostroute/hostroute/internal/dhcp"
	"github.com/hostroute/hostroute/internal/dhcp/server"
	"github.com/hostroute/hostroute/ipv6"
	"github.com/hostroute/hostroute/ipv6/dhcpv6"
	"github.com/hostroute/hostroute/ipv6/ndproxy"
	"github.com/hostroute/hostroute/ipv6/ra"
	"github.com/hostroute/hostroute/vrf"
)

var update = flag.Bool("update", false, "write testdata/metrics.golden anew")

const goldenMetrics = "testdata/metrics.golden"

// everything is an observation in which every metric has a sample.
func everything() observation {
	at := time.Unix(1_800_000_000, 0)
	loss := 0.25
	here := place{"public", "a", "100.64.0.1"}
	s := Status{
		Hypervisor: "hv1", Version: "v1", Healthy: false,
		Log:    LogStatus{Connected: false, InSync: true, OutOfReachSince: at, Tick: 7, NetworkTick: 3, Gaps: 1, Snapshots: 2, HeldBackRoutes: 25},
		Kernel: KernelStatus{Applied: at, Operations: 12, AbsentTaps: []string{"tap9"}, AbsentUplinks: []string{"b0"}},
		BGP:    BGPStatus{Announced: 5}, BFD: BFDStatus{Configured: 1, Connected: true}, Guests: GuestCount{Home: 4, Preparing: 2, Forwarding: 1},
		Handover: HandoverStatus{Moves: []MoveStatus{{State: moveForwarding}, {State: moveForwarding}, {State: moveDropping}},
			Claims: []ClaimStatus{{State: claimContested}}, Arrivals: []ArrivalStatus{{State: arrivalSeen}}},
		Drain:  &log.Drain{Guests: 1, Members: 2, Delivered: 30, Window: 5, Known: true},
		Planes: []PlaneStatus{{Plane: "a", State: planeLossy, Uplinks: []UplinkStatus{{Interface: "a0", VRF: "public", Carrier: true}}}},
	}
	peer := session.PeerStatus{
		State: session.Established, Since: at, Received: session.Prefixes{IPv4: 10, IPv6: 20}, Announced: session.Prefixes{IPv4: 3, IPv6: 2},
		Falls: 1, Malformed: 2, Kept: []session.Kept{{Family: "IPv4", Paths: 9}},
	}
	return observation{
		status: s, findings: []problem{{"tap", "a tap"}, {"tap", "another"}}, rounds: 9, failures: 2,
		uplinks: []config.Uplink{{Interface: "a0", VRF: "public", Plane: "a"}, {Interface: "b0", VRF: "public", Plane: "b"}},
		peers:   []observedPeer{{here, peer}},
		paths:   []observedPath{{here, control.Status{State: "up", Falls: 3, Loss: &loss, DetectionTime: control.Duration(900 * time.Millisecond)}}},
		tables:  []session.TableStatus{{VRF: "public", Pending: 4, WriteErrors: 6}},
		fib:     map[string]vrf.Stats{"public": {IPv4: 100, IPv6: 50, Groups: 2, Dirty: 1}},
		taps:    taps{services: map[string]GuestServices{"tap1": talkative()}, drops: map[string]vrf.Drops{"tap1": {Spoofed: 1}}},
	}
}

// talkative is what services know of a guest that says a lot of itself.
func talkative() GuestServices {
	return GuestServices{
		DHCPv4: &server.Status{VM: "vm1", Hostname: "gossip", VendorClass: "gossip", Counters: server.Counters{Discovers: 2, Acks: 1, Ignored: map[dhcp.Reason]uint64{dhcp.OtherMAC: 3}}},
		RA:     &ra.Status{Solicitations: 1, Advertisements: 4, LastSolicitor: netip.MustParseAddr("2001:db8::bad"), Error: "address in use"},
		NDProxy: &ndproxy.Status{Answers: 5, Ignored: map[ipv6.Ignored]uint64{ipv6.IgnoredDAD: 1},
			LastTarget: netip.MustParseAddr("2001:db8::bad")},
		DHCPv6: &dhcpv6.Status{Client: "bad0bad0", Received: map[string]uint64{"solicit": 1}, Sent: map[string]uint64{"advertise": 1}, Ignored: map[string]uint64{"relayed": 1}},
	}
}

// registry has a collector that observes what the test says.
func registry(t *testing.T, observe func() observation) *prometheus.Registry {
	r := prometheus.NewPedanticRegistry()
	if err := r.Register(newCollector(func(context.Context) observation { return observe() })); err != nil {
		t.Fatal(err)
	}
	if err := r.Register(newSteps(newFlightRecorder(config.FlightRecorder{}, t.TempDir(), slog.New(slog.DiscardHandler)))); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestMetricsKeepToTheConventions(t *testing.T) {
	problems, err := testutil.GatherAndLint(registry(t, everything))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// TestMetricsAreTheSameAsBefore: a name that changes breaks somebody's alerts.
// `go test ./internal/agent -run Metrics -update` writes the list anew.
func TestMetricsAreTheSameAsBefore(t *testing.T) {
	list, err := registry(t, everything).Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, f := range list {
		var labels []string
		for _, l := range f.Metric[0].Label {
			labels = append(labels, l.GetName())
		}
		got.WriteString(strings.TrimSpace(fmt.Sprintf("%s %s %s", f.GetName(), strings.ToLower(f.GetType().String()), strings.Join(labels, ","))) + "\n")
	}
	steps := newSteps(newFlightRecorder(config.FlightRecorder{}, "", nil))
	if defined := len(newMetrics().all) + len(steps.collectors); defined != len(list) {
		t.Errorf("%d metrics are defined, and %d have a sample", defined, len(list))
	}
	if *update {
		if err := os.WriteFile(goldenMetrics, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(goldenMetrics)
	if err != nil || got.String() != string(want) {
		t.Errorf("%v; got\n%swant\n%s", err, got.String(), want)
	}
}

// TestMetricsSayWhatIsTheCase looks at a sample of each sort.
func TestMetricsSayWhatIsTheCase(t *testing.T) {
	text := exposed(t, registry(t, everything))
	for _, want := range []string{
		`hostroute_build_info{hypervisor="hv1",version="v1"} 1`, `hostroute_healthy 0`,
		`hostroute_problems{kind="tap"} 2`, `hostroute_problems{kind="log"} 0`,
		`hostroute_log_connected 0`, `hostroute_log_out_of_reach_timestamp_seconds 1.8e+09`, `hostroute_log_held_back_routes 25`,
		`hostroute_apply_rounds_total{result="failure"} 2`, `hostroute_apply_rounds_total{result="success"} 7`,
		`hostroute_uplink_present{plane="b",uplink="b0",vrf="public"} 0`, `hostroute_absent_taps 1`,
		`hostroute_learned_routes{family="ipv6",vrf="public"} 50`, `hostroute_learned_routes_dirty{vrf="public"} 1`,
		`hostroute_bgp_session_established{peer="100.64.0.1",plane="a",vrf="public"} 1`,
		`hostroute_bgp_stale_paths{family="ipv4",peer="100.64.0.1",plane="a",vrf="public"} 9`,
		`hostroute_bfd_session_detection_seconds{peer="100.64.0.1",plane="a",vrf="public"} 0.9`,
		`hostroute_bfd_session_loss_ratio{peer="100.64.0.1",plane="a",vrf="public"} 0.25`,
		`hostroute_plane_sound{plane="a"} 0`, `hostroute_uplink_used{plane="a",uplink="a0",vrf="public"} 0`,
		`hostroute_uplink_carrier{plane="a",uplink="a0",vrf="public"} 1`,
		`hostroute_guest_ignored_total{reason="not the guest's MAC",service="dhcpv4"} 3`,
		`hostroute_guest_services_failing{service="ra"} 1`, `hostroute_guest_services_failing{service="dhcpv6"} 0`,
	} {
		if !strings.Contains(text, "\n"+want+"\n") {
			t.Errorf("no %s", want)
		}
	}
	for _, guests := range []string{"gossip", "bad", "tap1", "vm1"} { // nor taps: there are thousands
		if strings.Contains(text, guests) {
			t.Errorf("%q is in the metrics:\n%s", guests, text)
		}
	}
}

// exposed is what Prometheus gets, without comments.
func exposed(t *testing.T, g prometheus.Gatherer) string {
	t.Helper()
	m := newMonitor(config.Metrics{}, g, nil, slog.New(slog.DiscardHandler))
	w := httptest.NewRecorder()
	m.handler.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return "\n" + regexp.MustCompile(`(?m)^#.*\n`).ReplaceAllString(w.Body.String(), "")
}

// TestAHostWithoutAnythingHasMetrics: neither log nor peers nor guests, and a
// filter that can't be read.
func TestAHostWithoutAnythingHasMetrics(t *testing.T) {
	text := exposed(t, registry(t, func() observation { return observation{} }))
	if !strings.Contains(text, "hostroute_healthy 0\n") || strings.Contains(text, "timestamp") || strings.Contains(text, "filter") {
		t.Errorf("got %s", text)
	}
}

// TestSumsOverTapsNeverFall: taps go, come under the same name, and get another
// guest; and what the filter counted before the agent started is not news.
func TestSumsOverTapsNeverFall(t *testing.T) {
	key := counted{what: "x"}
	tap := func(n uint64) map[counted]uint64 { return map[counted]uint64{key: n} }
	for _, c := range []struct {
		fromFirst bool
		want      []uint64
	}{{false, []uint64{5, 8, 8, 10, 11}}, {true, []uint64{0, 3, 3, 5, 6}}} {
		sums := totals{fromFirst: c.fromFirst}
		var got []uint64
		for _, taps := range []map[string]map[counted]uint64{
			{"a": tap(5)}, {"a": tap(6), "b": tap(2)}, {"b": tap(2)}, {"a": tap(2), "b": tap(2)}, {"a": tap(1), "b": tap(2)},
		} {
			got = append(got, sums.add(taps)[key])
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("from first %t: got %v, want %v", c.fromFirst, got, c.want)
		}
	}
}

// TestAnAgentIsObserved with two reflectors at one address, which share a path.
func TestAnAgentIsObserved(t *testing.T) {
	reflector := config.Reflector{VRF: "public", Plane: "a", Address: netip.MustParseAddr("100.64.0.1"), Port: 179, AS: 65000, BFD: true}
	second := reflector
	second.Port = 1179
	cfg := &config.Config{
		Hypervisor: "hv1", State: t.TempDir(), Log: config.Log{URL: "nats://198.51.100.10:4222"},
		VRFs:    []config.VRF{{Name: "public", Table: 90}},
		Uplinks: []config.Uplink{{Interface: "hr-none0", Plane: "a", VRF: "public", Addresses: []netip.Prefix{netip.MustParsePrefix("100.64.0.11/24")}}},
		BGP:     config.BGP{AS: 65000, RouterID: netip.MustParseAddr("192.0.2.11"), HoldTime: 9 * time.Second, Reflectors: []config.Reflector{reflector, second}},
		BFD:     config.BFD{Socket: t.TempDir() + "/bfd.sock", Interval: time.Second, Multiplier: 3},
	}
	logger := slog.New(slog.DiscardHandler)
	a, err := New(cfg, logger)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.kernel.Close() }()
	a.speaker = session.New(sessionConfig(cfg, false), a.fib, logger)
	a.paths = newPathWatch(t.Context(), cfg, a.speaker, nil, logger)
	text := exposed(t, registry(t, func() observation { return a.observe(t.Context()) }))
	for _, want := range []string{
		`hostroute_bgp_session_established{peer="100.64.0.1",plane="a",vrf="public"} 0`,
		`hostroute_bgp_session_established{peer="100.64.0.1 port 1179",plane="a",vrf="public"} 0`,
		`hostroute_bfd_connected 0`, `hostroute_log_connected 0`, `hostroute_healthy 0`, `hostroute_problems{kind="log"} 1`,
		`hostroute_learned_routes{family="ipv4",vrf="public"} 0`, `hostroute_learned_routes_pending{vrf="public"} 0`,
	} {
		if !strings.Contains(text, "\n"+want+"\n") {
			t.Errorf("no %s in%s", want, text)
		}
	}
}
