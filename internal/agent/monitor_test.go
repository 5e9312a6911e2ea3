package agent

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hostroute/hostroute/internal/config"
	"github.com/hostroute/hostroute/internal/testenv"
)

func TestHealthzSaysWhatStatusSays(t *testing.T) {
	for _, c := range []struct {
		status Status
		code   int
		body   string
	}{
		{Status{Hypervisor: "hv1", Healthy: true}, http.StatusOK, "hv1 healthy\n"},
		{Status{Hypervisor: "hv1", Problems: []string{"no BGP session", "the kernel\nrefuses"}}, http.StatusServiceUnavailable, "no BGP session\nthe kernel refuses\n"},
	} {
		m := newMonitor(config.Metrics{}, prometheus.NewRegistry(), func() Status { return c.status }, slog.New(slog.DiscardHandler))
		w := httptest.NewRecorder()
		m.handler.ServeHTTP(w, httptest.NewRequest("GET", "/healthz", nil))
		if w.Code != c.code || w.Body.String() != c.body {
			t.Errorf("got %d %q, want %d %q", w.Code, w.Body, c.code, c.body)
		}
	}
}

// TestMonitoringWaitsForItsAddress starts while another process has it.
func TestMonitoringWaitsForItsAddress(t *testing.T) {
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort(other.Addr().String())
	var said lines
	m := newMonitor(config.Metrics{Listen: at}, prometheus.NewRegistry(), func() Status { return Status{Hypervisor: "hv1", Healthy: true} }, slog.New(slog.NewTextHandler(&said, nil)))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	testenv.Eventually(t, "it says why it waits", func() bool { return strings.Contains(said.String(), "address already in use") })
	_ = other.Close()
	testenv.Eventually(t, "it answers", func() bool {
		answer, err := http.Get("http://" + at.String() + "/healthz")
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		return err == nil && string(body) == "hv1 healthy\n"
	})
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestMonitoringCanBeOff(t *testing.T) {
	m := newMonitor(config.Metrics{}, prometheus.NewRegistry(), nil, slog.New(slog.DiscardHandler))
	if err := m.Run(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestMonitoringIsBoundToItsVRF: a device that isn't there is waited for, and
// loopback stands in for a VRF.
func TestMonitoringIsBoundToItsVRF(t *testing.T) {
	for device, want := range map[string]string{"lo": "", "nowhere0": "binding to nowhere0"} {
		m := newMonitor(config.Metrics{Listen: netip.MustParseAddrPort("127.0.0.1:0"), VRF: device}, prometheus.NewRegistry(), nil, slog.New(slog.DiscardHandler))
		listener, err := m.listen(t.Context())
		if err == nil {
			_ = listener.Close()
		}
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", device, err, want)
		}
	}
}
