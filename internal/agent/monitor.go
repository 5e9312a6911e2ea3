package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"
	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/config"
)

// How often an address is tried that can't be listened on, from the one to the
// other.
const (
	firstListen = time.Second
	lastListen  = time.Minute
)

// What those who ask may take: they are few, and may be anybody.
const (
	monitorConns   = 16
	monitorScrapes = 2
	scrapeTimeout  = 20 * time.Second
)

// monitor answers monitoring over HTTP: /metrics and /healthz. Whatever happens
// to it, guests are served on.
type monitor struct {
	at      config.Metrics
	handler http.Handler
	log     *slog.Logger
}

// monitoring makes the agent's. It has a registry of its own: what a library
// registers somewhere is nobody's business.
func (a *Agent) monitoring() *monitor {
	log := a.log.With("task", "metrics")
	registry := prometheus.NewRegistry()
	registry.MustRegister(newCollector(a.observe), a.steps, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return newMonitor(a.cfg.Metrics, registry, a.status, log)
}

func newMonitor(at config.Metrics, metrics prometheus.Gatherer, status func() Status, log *slog.Logger) *monitor {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn), MaxRequestsInFlight: monitorScrapes, Timeout: scrapeTimeout,
	}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { healthz(w, status()) })
	return &monitor{at: at, handler: mux, log: log}
}

// healthz says in text what `hostroute status` says of health.
func healthz(w http.ResponseWriter, s Status) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	if s.Healthy {
		_, _ = io.WriteString(w, s.Hypervisor+" healthy\n")
		return
	}
	w.WriteHeader(http.StatusServiceUnavailable)
	for _, p := range s.Problems {
		_, _ = io.WriteString(w, oneLine(p)+"\n")
	}
}

// oneLine is a text as a protocol of lines can have it.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// Run answers until the context ends. An address that isn't there yet, or that
// another process has, is tried again.
func (m *monitor) Run(ctx context.Context) error {
	if !m.at.Listen.IsValid() {
		return nil
	}
	said, pause := "", firstListen
	for {
		err := m.serve(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err.Error() != said {
			said = err.Error()
			m.log.Warn("metrics can't be asked for; trying again until they can", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(2*pause, lastListen)
	}
}

func (m *monitor) serve(ctx context.Context) error {
	listener, err := m.listen(ctx)
	if err != nil {
		return fmt.Errorf("listening on %s: %w", m.at.Listen, err)
	}
	m.log.Info("metrics can be asked for", "address", listener.Addr().String(), "vrf", m.at.VRF)
	server := &http.Server{
		Handler: m.handler, ReadTimeout: 5 * time.Second, WriteTimeout: scrapeTimeout + 10*time.Second, IdleTimeout: 5 * time.Minute,
		MaxHeaderBytes: 1 << 14, ErrorLog: slog.NewLogLogger(m.log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(netutil.LimitListener(listener, monitorConns)); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("answering on %s: %w", m.at.Listen, err)
	}
	return nil
}

// listen makes the socket, in its VRF if it has one.
func (m *monitor) listen(ctx context.Context) (net.Listener, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		if m.at.VRF == "" {
			return nil
		}
		var bound error
		if err := c.Control(func(fd uintptr) { bound = unix.BindToDevice(int(fd), m.at.VRF) }); err != nil {
			return err
		}
		if bound != nil {
			return fmt.Errorf("binding to %s: %w", m.at.VRF, bound)
		}
		return nil
	}}
	return lc.Listen(ctx, "tcp", m.at.Listen.String())
}
