package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// answer computes what a path of the socket answers, as a JSON value.
type answer func(*http.Request) (any, error)

// errQuery marks an error of the asker.
type errQuery struct{ error }

// socket answers questions of the local host over a unix socket, HTTP with
// JSON. Only the socket's owner and group may ask.
type socket struct {
	path    string
	answers map[string]answer
	orders  map[string]http.Handler // for root, and who the agent runs as
	private map[string]http.Handler // questions, for the same
	log     *slog.Logger
}

// Serve answers on a listener until the context ends.
func (s *socket) Serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{Handler: s.mux(), ReadHeaderTimeout: 5 * time.Second, ConnContext: withUser}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving %s: %w", s.path, err)
	}
	return nil
}

// mux is who answers what.
func (s *socket) mux() *http.ServeMux {
	mux := http.NewServeMux()
	for path, a := range s.answers {
		mux.HandleFunc("GET "+path, s.handler(a))
	}
	for path, h := range s.orders {
		mux.Handle("POST "+path, ordered(h))
	}
	for path, h := range s.private {
		mux.Handle("GET "+path, ordered(h))
	}
	return mux
}

// listen makes the socket. One that a former run left behind is taken over; one
// that a living process listens on is not.
func (s *socket) listen(ctx context.Context) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(s.path), 0o755); err != nil {
		return nil, fmt.Errorf("making the folder of the socket: %w", err)
	}
	if err := s.takeOver(ctx); err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "unix", s.path)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", s.path, err)
	}
	if err := os.Chmod(s.path, 0o660); err != nil {
		_ = listener.Close()
		return nil, fmt.Errorf("restricting %s to its owner and group: %w", s.path, err)
	}
	return listener, nil
}

// takeOver removes the socket of a former run: one that nobody listens on.
func (s *socket) takeOver(ctx context.Context) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", s.path)
	switch {
	case err == nil:
		_ = conn.Close()
		return fmt.Errorf("another agent answers on %s: stop it, or set socket to another path", s.path)
	case errors.Is(err, os.ErrNotExist):
		return nil
	case !errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("asking whether another agent answers on %s: %w", s.path, err)
	}
	if err := os.Remove(s.path); err != nil {
		return fmt.Errorf("removing the socket of a former run: %w", err)
	}
	return nil
}

func (s *socket) handler(a answer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		value, err := a(r)
		if err != nil {
			status := http.StatusInternalServerError
			if errors.As(err, &errQuery{}) {
				status = http.StatusBadRequest
			}
			http.Error(w, err.Error(), status)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(value); err != nil {
			s.log.Debug("answering on the socket", "path", r.URL.Path, "err", err)
		}
	}
}
