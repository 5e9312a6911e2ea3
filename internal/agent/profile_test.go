package agent

import (
	"context"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hostroute/hostroute/internal/config"
)

func TestProfilesOnSocket(t *testing.T) {
	s := &socket{path: filepath.Join(t.TempDir(), "s"), log: slog.New(slog.DiscardHandler), private: profiles(nil)}
	listener, err := s.listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", s.path)
	}}}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://agent"+PathProfile+"goroutine?debug=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK || !strings.Contains(string(text), "goroutine profile:") {
		t.Errorf("answered %s: %.200s", response.Status, text)
	}
}

// The socket's group may ask, but neither order nor look into memory.
func TestProfilesOfOthers(t *testing.T) {
	s := &socket{private: profiles(nil)}
	for path := range s.private {
		for who, ctx := range map[string]context.Context{
			"unknown":      t.Context(),
			"another user": context.WithValue(t.Context(), userKey{}, uint32(4242)),
		} {
			w := httptest.NewRecorder()
			s.mux().ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, path, nil))
			if w.Code != http.StatusForbidden {
				t.Errorf("%s got %d for %q, want 403", who, w.Code, path)
			}
		}
	}
}

func TestNoProfilesOnMetrics(t *testing.T) {
	m := newMonitor(config.Metrics{}, prometheus.NewRegistry(), nil, slog.New(slog.DiscardHandler))
	paths := append(slices.Collect(maps.Keys(profiles(nil))), PathProfile, PathProfile+"cmdline", PathProfile+"symbol")
	for _, path := range paths {
		w := httptest.NewRecorder()
		m.handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		if w.Code != http.StatusNotFound {
			t.Errorf("monitoring answers %d for %q, want 404", w.Code, path)
		}
	}
}
