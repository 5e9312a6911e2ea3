package agent

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestAPause: who was stopped for longer than its peers wait asks the log, and
// goes on when that has answered, or after a while.
func TestAPause(t *testing.T) {
	for _, c := range []struct {
		name   string
		stop   time.Duration
		answer time.Duration // after which the log answers; 0: never
		want   string
	}{
		{"a short one", 9 * time.Second, time.Second, ""},
		{"a long one", time.Hour, time.Second, "doubt, trust after 1s"},
		{"without the log", time.Hour, 0, "doubt, trust after 10s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				var asleep time.Duration
				var said []string
				var doubted time.Time
				start := time.Now()
				p := &pauseWatch{
					longest: 9 * time.Second, log: slog.New(slog.DiscardHandler),
					clock: func() time.Duration {
						mu.Lock()
						defer mu.Unlock()
						return time.Since(start) + asleep
					},
					doubt: func() <-chan struct{} {
						doubted, said = time.Now(), append(said, "doubt")
						answered := make(chan struct{})
						if c.answer > 0 {
							time.AfterFunc(c.answer, func() { close(answered) })
						}
						return answered
					},
					trust: func() { said = append(said, "trust after "+time.Since(doubted).Round(time.Second).String()) },
				}
				ctx, end := context.WithCancel(t.Context())
				ran := make(chan error, 1)
				go func() { ran <- p.Run(ctx) }()
				time.Sleep(time.Minute)
				mu.Lock()
				asleep = c.stop - time.Second // one that the ticker doesn't see
				mu.Unlock()
				time.Sleep(time.Minute)
				end()
				if err := <-ran; err != nil {
					t.Error(err)
				}
				if got := strings.Join(said, ", "); got != c.want {
					t.Errorf("%q, want %q", got, c.want)
				}
			})
		})
	}
}

// TestInDoubtNothingIsAnnounced, not even what a snapshot has said.
func TestInDoubtNothingIsAnnounced(t *testing.T) {
	b := newTestbed(t)
	b.kernel.AddLink("tap1")
	b.wants(t, "announce 203.0.113.10/32 203.0.113.11/32")
	b.Hush()
	b.projection.inSync = false
	if got, err := b.round(t); err != nil || len(got) > 0 {
		t.Errorf("%q, %v", got, err)
	}
	b.projection.inSync = true
	if got, _ := b.round(t); !slices.Equal(got, []string{"announce 203.0.113.10/32 203.0.113.11/32"}) {
		t.Errorf("in sync again: %q", got)
	}
	task := &logTask{waited: true, restored: b.projection.state, changes: make(chan struct{}, 1)}
	if !task.Known() {
		t.Error("the snapshot isn't believed")
	}
	task.Doubt()
	if task.Known() || task.Current() {
		t.Error("it is believed, though in doubt")
	}
	task.Trust()
	if !task.Known() {
		t.Error("it isn't believed any more")
	}
}
