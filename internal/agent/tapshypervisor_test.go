package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/bgp"
	"github.com/hostroute/hostroute/projector"
	"github.com/hostroute/hostroute/vrf"
	"github.com/hostroute/hostroute/vrf/kernel"
)

// latest is a State that is replaced as a whole, safely for concurrent use.
type latest struct {
	state atomic.Pointer[projector.State]
}

func (l *latest) State() *projector.State { return l.state.Load().Clone() }
func (l *latest) InSync() bool            { return true }
func (l *latest) Known() bool             { return true }
func (l *latest) Current() bool           { return true }

// tally is how much is announced.
type tally struct {
	wanted int
	n      atomic.Int64
	all    chan struct{}
}

func (a *tally) Announce(set []bgp.Announcement) {
	if len(set) >= a.wanted && int(a.n.Load()) < a.wanted {
		close(a.all)
	}
	a.n.Store(int64(len(set)))
}

func (a *tally) Hush() {}

// hypervisor is the tasks of an agent that have to do with taps, in the namespace
// of the process.
type hypervisor struct {
	*applier
	feed     *latest
	told     *tally
	kernel   *kernel.Kernel
	services *services
}

// guestsOnTaps is a state with that many guests, each with an address of both
// families in subnets that all share, so that each tap has all servers.
func guestsOnTaps(b *testing.B, taps int) *projector.State {
	p := projection{state: projector.New()}
	publish := func(data events.Data) {
		p.seq++
		d, err := projector.Decide(p.state, events.Event{Data: data})
		if err == nil {
			_, err = p.state.Apply(projector.Record{Sequence: p.seq, Event: d.Event})
		}
		must(b, err)
	}
	prefix := func(s string) events.Prefix { return events.PrefixFrom(netip.MustParsePrefix(s)) }
	publish(&events.HypervisorRegistered{Hypervisor: "hv1"})
	publish(&events.NetworkDefined{Network: "web", VRF: "public",
		Subnets:  []events.Subnet{{Prefix: prefix("10.64.0.0/16")}, {Prefix: prefix("2001:db8::/64")}},
		Gateways: []events.Addr{events.AddrFrom(netip.MustParseAddr("10.64.255.254"))},
		IPv6:     events.IPv6{Style: events.IPv6Shared},
	})
	for i := range taps {
		vm := fmt.Sprintf("vm%d", i)
		publish(&events.VMCreated{VM: vm, Hypervisor: "hv1", Interfaces: []events.Interface{{Tap: fmt.Sprintf("tap%d", i), MAC: burstMAC(i), Network: "web"}}})
		publish(&events.IPAssigned{Prefix: prefix(fmt.Sprintf("10.64.%d.%d/32", (i+1)>>8, (i+1)&0xff)), VM: vm})
		publish(&events.IPAssigned{Prefix: prefix(fmt.Sprintf("2001:db8::1:%x/128", i+1)), VM: vm})
	}
	return p.state
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func newHypervisor(taps int) *hypervisor {
	quiet := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	h := &hypervisor{feed: &latest{}, told: &tally{wanted: 2 * taps, all: make(chan struct{})}, kernel: kernel.New(kernel.Options{}), services: newServices(quiet)}
	fixed := vrf.Host{VRFs: []vrf.VRF{{Name: "public", Table: 90, NoDevice: true}}}
	h.applier = newApplier("hv1", fixed, h.feed, h.kernel, h.services, quiet)
	h.applier.announcer = h.told
	h.services.saw = h.Saw
	return h
}

// run runs the tasks until the benchmark ends.
func (h *hypervisor) run(b *testing.B) {
	fib := kernel.NewFIB(kernel.Options{}, h.fixed.VRFs, nil)
	watch := &linkWatch{
		up: map[string]bool{}, lost: map[string]bool{}, fib: fib, sessions: deafSessions{}, changed: h.Notice,
		failed: make(chan struct{}, 1), log: h.applier.log, running: hasCarrier,
		watch: func(ctx context.Context, f func(kernel.Notice)) error {
			return kernel.Watch(ctx, kernel.Options{}, []uint32{90}, f)
		},
	}
	mender := newMender(h.fixed.VRFs, fib, h.Notice, watch.problem, watch.log)
	watch.routes = mender.Notice
	ctx, cancel := context.WithCancel(b.Context())
	group, ctx := errgroup.WithContext(ctx)
	for _, run := range []func(context.Context) error{h.applier.Run, watch.Run, mender.Run, h.services.Run} {
		group.Go(func() error { return run(ctx) })
	}
	b.Cleanup(func() {
		cancel()
		if err := group.Wait(); err != nil {
			b.Error(err)
		}
	})
}

// settled waits until there is nothing more to do: the apply loop rests, and the
// process uses no CPU to speak of.
func (h *hypervisor) settled(b *testing.B) {
	b.Helper()
	const window = 200 * time.Millisecond
	before, rounds := processTime(), uint64(0)
	for deadline := time.Now().Add(patienceForBurst); ; {
		wait := time.NewTimer(window)
		<-wait.C
		h.alive(b.Context())
		now := processTime()
		quiet := now.of(before) < window/20 && h.snapshot().rounds == rounds
		before, rounds = now, h.snapshot().rounds
		if quiet {
			return
		}
		if time.Now().After(deadline) {
			b.Fatal("the hypervisor doesn't come to rest")
		}
	}
}

type usage struct{ user, system time.Duration }

func (u usage) of(before usage) time.Duration {
	return u.user + u.system - before.user - before.system
}

func processTime() usage {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		panic(err)
	}
	return usage{time.Duration(r.Utime.Nano()), time.Duration(r.Stime.Nano())}
}

// holdings is what the process has of what may be scarce.
func processHoldings(b *testing.B) (memory, descriptors, goroutines int) {
	status, err := os.ReadFile("/proc/self/status")
	must(b, err)
	for line := range strings.Lines(string(status)) {
		if kb, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			memory, err = strconv.Atoi(strings.Fields(kb)[0])
			must(b, err)
		}
	}
	files, err := os.ReadDir("/proc/self/fd")
	must(b, err)
	return memory * 1024, len(files), runtime.NumGoroutine()
}

// hypervisorOfBurst is the process of the hypervisor.
func hypervisorOfBurst(b *testing.B) {
	taps, err := strconv.Atoi(os.Getenv(burstTaps))
	must(b, err)
	must(b, bringUp("lo"))
	// As programs in a namespace see it, ip-netns(8) does the same.
	must(b, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	must(b, unix.Mount("sysfs", "/sys", "sysfs", 0, ""))
	guests := startGuests(b)
	known, h := guestsOnTaps(b, taps), newHypervisor(taps)
	if os.Getenv(burstOrder) == tapsLast {
		h.feed.state.Store(known)
	} else {
		h.feed.state.Store(projector.New())
		guests.order("plug")
	}
	h.run(b)
	<-h.brought
	h.settled(b)
	var r burst
	memory, descriptors, goroutines := processHoldings(b)
	had, cpu, start := h.snapshot(), processTime(), time.Now()
	if os.Getenv(burstOrder) == tapsLast {
		guests.order("plug")
		r.Plugged = time.Since(start).Seconds()
	} else {
		h.feed.state.Store(known)
		h.Wake()
	}
	guests.send("ask")
	<-h.told.all
	r.Announced = time.Since(start).Seconds()
	guests.await("ask")
	r.Answered = time.Since(start).Seconds()
	h.settled(b)
	used, has := processTime(), h.snapshot()
	r.User, r.System = (used.user - cpu.user).Seconds(), (used.system - cpu.system).Seconds()
	r.Rounds, r.Operations = has.rounds-had.rounds, has.operations-had.operations
	m, d, g := processHoldings(b)
	r.Memory, r.Descriptors, r.Goroutines = m-memory, d-descriptors, g-goroutines
	r.Idle = h.idle(b)
	r.Left, r.Broken = h.check(b, known)
	must(b, json.NewEncoder(os.NewFile(burstResult, "result")).Encode(r))
}

// idle is how much of a CPU the process uses when nothing happens.
func (h *hypervisor) idle(b *testing.B) float64 {
	d, err := time.ParseDuration(os.Getenv(burstIdle))
	if err != nil {
		d = 3 * time.Second
	}
	before, start := processTime(), time.Now()
	wait := time.NewTimer(d)
	<-wait.C
	return processTime().of(before).Seconds() / time.Since(start).Seconds()
}

// check looks independently whether all is there: it reads the whole kernel, and asks
// the servers.
func (h *hypervisor) check(b *testing.B, state *projector.State) (left int, broken []string) {
	desired := h.fixed
	desired.Taps = projector.Desired(state, "hv1").Taps
	k := kernel.New(kernel.Options{})
	defer k.Close()
	actual, err := k.Read(b.Context(), desired)
	must(b, err)
	plan := vrf.Plan(desired, actual, vrf.Options{Sweep: true})
	for _, err := range plan.Problems {
		broken = append(broken, err.Error())
	}
	serving := h.services.status()
	if len(serving) != len(desired.Taps) {
		broken = append(broken, fmt.Sprintf("%d of %d taps are served", len(serving), len(desired.Taps)))
	}
	return len(plan.Ops) + len(plan.Waiting) + len(plan.LeftOut), append(broken, failures(serving)...)
}
