package udp

import (
	"context"
	"fmt"
	"log/slog"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/hostroute/hostroute/internal/bfd"
	"github.com/hostroute/hostroute/internal/testenv"
)

// bgpSpeaker runs BIRD with one BGP session over the wire, and asks it.
func bgpSpeaker(t *testing.T, n *testenv.Netns, local, remote int, bfdConfig, bfdOption string) (ask func(command string) string) {
	t.Helper()
	dir := shortDir(t)
	writeFile(t, dir+"/bird.conf", fmt.Sprintf(`
log stderr all;
router id 10.0.0.%d;
protocol device { scan time 1; }
%s
protocol bgp peer {
	local 192.0.2.%d as 65000; neighbor 192.0.2.%d as 65000; direct; connect delay time 1; hold time 240; %s
	ipv4 { import all; export all; };
}
`, local, bfdConfig, local, remote, bfdOption))
	daemon(t, n.Command("bird", "-f", "-c", dir+"/bird.conf", "-s", dir+"/ctl"))
	return func(command string) string {
		return output(exec.Command("birdc", append([]string{"-s", dir + "/ctl"}, strings.Fields(command)...)...))
	}
}

// TestARestartLeavesBGPAlone is what the state is for: BIRD watches its BGP
// session by BFD, and our process ends and starts anew.
func TestARestartLeavesBGPAlone(t *testing.T) {
	t.Parallel()
	testenv.RequireTool(t, "bird")
	w := newWire(t)
	bgpSpeaker(t, w.a, 1, 2, "", "")
	ask := bgpSpeaker(t, w.b, 2, 1, `protocol bfd { interface "port" { interval 300 ms; multiplier 10; }; }`, "bfd on;")
	path := shortDir(t) + "/state"
	var e *Engine
	run := func() (stop func()) {
		ctx, cancel := context.WithCancel(context.Background())
		e = New(Options{Log: slog.New(slog.NewTextHandler(&syncBuffer{}, nil)), In: w.a.Do, State: path})
		done := make(chan error, 1)
		go func(e *Engine) { done <- e.Run(ctx) }(e)
		return func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	get := func() (s bfd.Status) {
		if all := e.Status(); len(all) > 0 {
			s = all[0]
		}
		return s
	}
	say := func() string { return fmt.Sprintf("%+v\n%s", get(), ask("show protocols all peer")) }
	stop := run()
	if err := e.Set([]bfd.Spec{spec(v4, 0, params(300*ms, 300*ms, 10))}); err != nil {
		t.Fatal(err)
	}
	established := func() bool { return strings.Contains(ask("show protocols all peer"), "Established") }
	eventually(t, "BGP and BFD", func() bool {
		return established() && get().DetectionTime == 3000*ms && strings.Contains(ask("show bfd sessions"), "Up")
	}, say)
	first := get()
	since := func() time.Time { // BGP is up; BIRD's word for it wobbles by a millisecond
		for _, line := range strings.Split(ask("show protocols peer"), "\n") {
			if f := strings.Fields(line); len(f) == 6 && f[0] == "peer" && f[5] == "Established" {
				at, _ := time.Parse("15:04:05.000", f[4])
				return at
			}
		}
		return time.Time{}
	}
	before := since()
	for range 5 {
		stop()
		stop = run() // and nobody asks for the session
		eventually(t, "packets both ways", func() bool { s := get(); return s.Received >= 5 && s.Sent >= 5 }, say)
	}
	defer func() { stop() }()
	s := get()
	if s.State != bfd.Up || s.Falls != 0 || s.LocalDiscriminator != first.LocalDiscriminator || s.Source != first.Source || !s.Since.Equal(first.Since) {
		t.Errorf("the session isn't the same: %+v\nbefore: %+v", s, first)
	}
	if d := since().Sub(before).Abs(); d > 10*ms {
		t.Errorf("BGP is up since another time, %v away: %s", d, say())
	}
}
