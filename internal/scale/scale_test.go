package scale_test

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hostroute/hostroute/internal/bgp/session"
	"github.com/hostroute/hostroute/internal/pace"
	"github.com/hostroute/hostroute/internal/scale"
)

// small is a herd of which everything is limited by something.
func small() scale.Herd {
	p := scale.Default()
	p.Hypervisors = 300
	h := p.Herd(scale.Here())
	h.ServersBack = 2 * time.Second
	return h
}

func TestSameSeedGivesTheSameRun(t *testing.T) {
	h := small()
	if d := cmp.Diff(h.Run(), h.Run()); d != "" {
		t.Errorf("two runs of a herd differ:\n%s", d)
	}
	first := h.Run()
	h.Seed++
	if cmp.Equal(first, h.Run()) {
		t.Error("another seed gives the same run")
	}
	f := scale.Default().Fanout(scale.Here(), 200)
	f.For = 5 * time.Second
	if d := cmp.Diff(f.Run(), f.Run()); d != "" {
		t.Errorf("two runs of a fan-out differ:\n%s", d)
	}
}

func TestNoQuestionIsLost(t *testing.T) {
	for name, change := range map[string]func(*scale.Herd){
		"all live":              func(*scale.Herd) {},
		"one service":           func(h *scale.Herd) { h.Services = 1 },
		"one core":              func(h *scale.Herd) { h.Servers, h.ServerCores, h.Services, h.ServiceCores = 1, 1, 1, 1 },
		"a service dies":        func(h *scale.Herd) { h.ServiceDies = 2300 * time.Millisecond },
		"a slow link":           func(h *scale.Herd) { h.LinkRate = 1e6 },
		"connections time out":  func(h *scale.Herd) { h.Connect, h.Servers, h.ServerCores = 50*time.Millisecond, 1, 1 },
		"everything on 2 cores": func(h *scale.Herd) { h.SharedCores = 2 },
	} {
		h := small()
		change(&h)
		r := h.Run()
		if r.Connected.Count != h.Hypervisors || r.Synced.Count != h.Hypervisors || r.Answered != h.Hypervisors {
			t.Errorf("%s: %d connected, %d answered, %d in sync of %d", name, r.Connected.Count, r.Answered, r.Synced.Count, h.Hypervisors)
		}
		if r.Asked != r.Answered+r.Lost || r.Bytes != int64(h.Answer)*int64(r.Answered) {
			t.Errorf("%s: %d questions, %d answers, %d lost; %d bytes", name, r.Asked, r.Answered, r.Lost, r.Bytes)
		}
		if lost := name == "a service dies"; (r.Lost > 0) != lost {
			t.Errorf("%s: %d questions lost", name, r.Lost)
		}
		if late := name == "connections time out"; (r.Late > 0) != late {
			t.Errorf("%s: %d connections came too late", name, r.Late)
		}
	}
}

// A batch that arrives at once at a queue of one is served at N times the
// service time, and its middle at half of that.
func TestBatchTakesItsWork(t *testing.T) {
	const n, each = 1000, 3 * time.Millisecond
	r := scale.Herd{Hypervisors: n, Services: 1, ServiceCores: 1, Servers: 1, ServerCores: 1, Service: each, Seed: 1}.Run()
	want := n * each
	if first := pace.FirstQuestion; r.Synced.Last < want || r.Synced.Last > want+first {
		t.Errorf("the last is in sync after %s, want %s and up to %s more", r.Synced.Last, want, first)
	}
	if r.ServiceCPU != want {
		t.Errorf("%s of work, want %s", r.ServiceCPU, want)
	}
	if r.Synced.P50 < want/2 || r.Synced.P50 > want/2+pace.FirstQuestion {
		t.Errorf("the middle one is in sync after %s, want about %s", r.Synced.P50, want/2)
	}
}

// The mean wait in an M/D/1 queue is ρ/(2μ(1−ρ)); the simulation gives quantiles,
// of which the middle is known as well: at ρ = 0.5 half of the arrivals find the
// queue empty, and three of four wait less than a service time.
func TestFanoutIsAnMD1Queue(t *testing.T) {
	const each = time.Millisecond
	r := scale.Fanout{Events: 500, Heard: 1, Own: each, For: 200 * time.Second, Seed: 7}.Run()
	if math.Abs(r.Busy-0.5) > 0.02 {
		t.Errorf("busy for %.3f of the time, want 0.5", r.Busy)
	}
	if n := float64(r.Events.Count); math.Abs(n-100_000) > 4*math.Sqrt(100_000) {
		t.Errorf("%g events in 200 s at 500/s", n)
	}
	// P(W ≤ t) = (1−ρ) Σ (ρ(k−t))^k/k! · e^(−ρ(k−t)) for k ≤ t, in service times (Erlang).
	if p99 := quantileMD1(0.5, 0.99); math.Abs(float64(r.Events.P99-each)/float64(each)-p99) > 0.15 {
		t.Errorf("the 99th of a hundred waits %s, want %.3f service times", r.Events.P99-each, p99)
	}
	if r.Events.P50 < each || r.Events.P50 > each+each/20 {
		t.Errorf("the middle one takes %s, want %s", r.Events.P50, each)
	}
}

func quantileMD1(rho, share float64) float64 {
	below := func(t float64) float64 {
		sum, factorial := 0.0, 1.0
		for k := 0; float64(k) <= t; k++ {
			if k > 0 {
				factorial *= float64(k)
			}
			x := rho * (float64(k) - t)
			sum += math.Pow(x, float64(k)) / factorial * math.Exp(-x)
		}
		return (1 - rho) * sum
	}
	low, high := 0.0, 50.0
	for range 60 {
		if middle := (low + high) / 2; below(middle) < share {
			low = middle
		} else {
			high = middle
		}
	}
	return low
}

func TestReturnTellsEverything(t *testing.T) {
	r := scale.Return{Clients: 50, Routes: 64_000, Retry: 2 * time.Second, PerPair: time.Microsecond, Threads: 1, Bytes: 70, Seed: 1}
	result := r.Run()
	if want := 50 * 64 * time.Millisecond; result.CPU != want || result.Complete.Last < want || result.Complete.Last > want+r.Retry {
		t.Errorf("%s of work, the last complete after %s; want %s and up to %s more", result.CPU, result.Complete.Last, want, r.Retry)
	}
	if result.Established.Count != 50 || result.Complete.Count != 50 || result.Sent != 50*64_000*70 {
		t.Errorf("%+v", result)
	}
	r.Link = result.Sent / 100 // 100 s of it
	if last := r.Run().Complete.Last; last < 100*time.Second || last > 104*time.Second {
		t.Errorf("a link with 100 s of work ends after %s", last)
	}
}

// The simulation is of no use if it is further from what was measured than this.
func TestSimulatedHerdsAreAsMeasured(t *testing.T) {
	const factor = 1.4
	for _, m := range scale.MeasuredHerds() {
		r := m.Herd().Run()
		for _, q := range []struct {
			name                string
			simulated, measured time.Duration
		}{{"p50", r.Synced.P50, m.P50}, {"last", r.Synced.Last, m.Last}} {
			if ratio := float64(q.simulated) / float64(q.measured); ratio > factor || ratio < 1/factor {
				t.Errorf("%d hypervisors of %d guests: %s is simulated as %s and measured as %s", m.Hypervisors, m.Guests, q.name, q.simulated, q.measured)
			}
		}
	}
}

func TestConstantsAreThoseOfTheProduct(t *testing.T) {
	if scale.ConnectRetry != session.DefaultConnectRetry {
		t.Errorf("sessions are dialled again after %s, simulated with %s", session.DefaultConnectRetry, scale.ConnectRetry)
	}
}

func TestFiguresCountUp(t *testing.T) {
	p := scale.Default()
	want := map[string]string{
		"hypervisor/routes of a family":      "2,000,000",
		"hypervisor/BGP and BFD sessions":    "4",
		"hypervisor/kernel, IPv4":            "260 MB",
		"hypervisor/kernel, IPv6":            "1.06 GB",
		"reflector/sessions":                 "4,000",
		"log/disk a guest's life, a replica": "5.47 kB",
	}
	for _, f := range scale.Figures(p, scale.Here()) {
		if w, ok := want[f.Subject+"/"+f.Name]; ok && w != f.Result {
			t.Errorf("%s of a %s: %s = %s = %s, want %s", f.Name, f.Subject, f.Formula, f.Numbers, f.Result, w)
		}
		delete(want, f.Subject+"/"+f.Name)
	}
	for name := range want {
		t.Errorf("no figure %s", name)
	}
}

func TestPlansThatMakeNoSenseAreRefused(t *testing.T) {
	for name, change := range map[string]func(*scale.Plan){
		"no hypervisor":        func(p *scale.Plan) { p.Hypervisors = 0 },
		"too many clients":     func(p *scale.Plan) { p.Clients = p.Hypervisors + 1 },
		"no link":              func(p *scale.Plan) { p.Gigabits = 0 },
		"less than no events":  func(p *scale.Plan) { p.Events = -1 },
		"a million and a core": func(p *scale.Plan) { p.Cores = 1_000_001 },
	} {
		p := scale.Default()
		change(&p)
		if p.Check() == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if err := scale.Default().Check(); err != nil {
		t.Error(err)
	}
}
