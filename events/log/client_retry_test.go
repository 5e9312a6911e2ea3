package log

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hostroute/hostroute/events"
)

// TestAnUnavailableServiceIsAskedAgain answers as a service does that is being
// restarted, and then as its successor.
func TestAnUnavailableServiceIsAskedAgain(t *testing.T) {
	s, _ := startServer(t, ServerOptions{Store: t.TempDir(), SyncInterval: time.Second})
	nc, err := s.Connect(ConnectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	asked := 0
	sub, err := nc.Subscribe(SubjectPublish, func(m *nats.Msg) {
		asked++
		answer := `{"error":{"code":"unavailable","reason":"stopping"}}`
		if asked == 3 {
			answer = `{"sequence":7,"id":"x","duplicate":true}`
		}
		if err := m.Respond([]byte(answer)); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Unsubscribe() //nolint:errcheck // the connection is closed next
	e := events.Event{ID: "x", Data: &events.VMDeleted{VM: "a"}}
	stored, err := NewClient(nc, 0).Publish(testContext(t), e)
	if err != nil || stored.Sequence != 7 || asked != 3 {
		t.Errorf("asked %d times: %+v, %v", asked, stored, err)
	}
	ctx, cancel := context.WithTimeout(testContext(t), 10*time.Millisecond) // it never answers otherwise again
	defer cancel()
	if _, err := NewClient(nc, 0).Publish(ctx, e); err == nil {
		t.Error("what is unavailable was published")
	}
}
