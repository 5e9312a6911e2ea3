package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/hostroute/hostroute/internal/agent"
)

func TestStatusSaysForHowLongTheLogIsAway(t *testing.T) {
	now := time.Date(2026, 11, 22, 3, 30, 0, 0, time.UTC)
	var out bytes.Buffer
	a := &app{stdout: &out, now: func() time.Time { return now }}
	s := agent.Status{Log: agent.LogStatus{
		URL: "nats://198.51.100.10:4222", InSync: true, OutOfReachSince: now.Add(-63 * time.Minute),
		LastError: "dial tcp 198.51.100.10:4222: connect: connection refused",
	}}
	if err := a.showStatus(s); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"not connected with nats://198.51.100.10:4222\n", "out of reach for 1h3m\n", "connect: connection refused\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}
