package log

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestTheServerOutlivesTheWork(t *testing.T) {
	s := NewServer(ServerOptions{Store: t.TempDir(), SyncInterval: time.Second})
	ctx, cancel := context.WithCancel(t.Context())
	err := s.While(ctx, func(ctx context.Context) error {
		nc, err := s.Connect(ConnectOptions{})
		if err != nil {
			return err
		}
		defer nc.Close()
		cancel()
		<-ctx.Done()
		return nc.FlushTimeout(patience) // it is still served
	})
	if err != nil {
		t.Error(err)
	}
}

func TestTheWorkEndsWithAServerThatFails(t *testing.T) {
	dir := t.TempDir()
	first := NewServer(ServerOptions{Store: dir, SyncInterval: time.Second})
	err := first.While(t.Context(), func(ctx context.Context) error {
		err := NewServer(ServerOptions{Store: dir, SyncInterval: time.Second}).While(ctx, func(context.Context) error {
			return errors.New("the work ran without a server")
		})
		if err == nil || !strings.Contains(err.Error(), "in use by another process") {
			t.Errorf("a second server on the same store: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
