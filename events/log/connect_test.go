package log

import (
	"strings"
	"testing"
	"time"
)

func TestPasswordsStayOutOfErrors(t *testing.T) {
	_, err := Connect("nats://ops:secret@127.0.0.1:1,nats://127.0.0.1:2", ConnectOptions{})
	if err == nil || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "nats://ops:xxxxx@127.0.0.1:1,nats://127.0.0.1:2") {
		t.Errorf("got %v", err)
	}
}

func TestConnectionIsBoundToItsDevice(t *testing.T) {
	s, _ := startServer(t, ServerOptions{Store: t.TempDir(), Listen: "127.0.0.1:0", SyncInterval: time.Second})
	if nc, err := Connect(s.URL(), ConnectOptions{Device: "lo"}); err != nil {
		t.Errorf("through the loopback device: %v", err)
	} else {
		nc.Close()
	}
	if nc, err := Connect(s.URL(), ConnectOptions{Device: "nowhere0"}); err == nil {
		nc.Close()
		t.Error("a device that isn't there carried a connection")
	}
}
