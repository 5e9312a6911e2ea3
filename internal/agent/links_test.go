package agent

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"

	"github.com/hostroute/hostroute/vrf/kernel"
)

type watched struct{ journal *[]string }

func (w watched) note(format string, args ...any) {
	*w.journal = append(*w.journal, fmt.Sprintf(format, args...))
}
func (w watched) UplinkChanged(name string, up bool) { w.note("sessions %s %v", name, up) }

type watchedFIB struct{ watched }

func (w watchedFIB) UplinkChanged(_ context.Context, name string, up bool) error {
	w.note("fib %s %v", name, up)
	return nil
}
func (w watchedFIB) Repair(context.Context) error { w.note("repair"); return nil }

func TestNotices(t *testing.T) {
	var journal []string
	lost := map[string]bool{}
	w := &linkWatch{
		uplinks: []string{"a", "b"}, up: map[string]bool{"a": true, "b": true},
		fib: watchedFIB{watched{&journal}}, sessions: watched{&journal},
		changed: func(kernel.Notice) { journal = append(journal, "wake") },
		running: func(name string) bool { return !lost[name] },
		log:     slog.New(slog.DiscardHandler),
	}
	for _, step := range []struct {
		name   string
		notice kernel.Notice
		lost   []string
		want   []string
	}{
		{"a tap", kernel.Notice{Links: []string{"tap1"}}, nil, []string{"wake"}},
		{"an uplink falls", kernel.Notice{Links: []string{"b"}}, []string{"b"}, []string{"sessions b false", "fib b false", "repair", "wake"}},
		{"the same again", kernel.Notice{Links: []string{"b"}}, []string{"b"}, []string{"repair", "wake"}},
		{"next hops deleted", kernel.Notice{NextHops: true}, []string{"b"}, []string{"repair", "wake"}},
		{"messages lost", kernel.Notice{Resync: true}, nil, []string{"sessions b true", "fib b true", "repair", "wake"}},
	} {
		journal = nil
		clear(lost)
		for _, name := range step.lost {
			lost[name] = true
		}
		w.notice(t.Context(), step.notice)
		if !slices.Equal(journal, step.want) {
			t.Errorf("%s: got %q, want %q", step.name, journal, step.want)
		}
	}
}
