package eventpath

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/events/log"
	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/migrations"
	"github.com/hostroute/hostroute/vrf"
)

// BenchmarkEventPath prints how long events take to become routes, at several
// rates, and the CPU time that each costs.
func BenchmarkEventPath(b *testing.B) {
	w := newWorld(b, 1000)
	for _, step := range []struct{ rate, events int }{{1, 20}, {100, 1000}, {1000, 4000}} {
		b.Run(fmt.Sprintf("rate=%d", step.rate), func(b *testing.B) {
			before := w.cpu()
			if fmt.Sprint(step.rate) == cmp.Or(os.Getenv(profileRateKey), "1000") && os.Getenv(profileKey) != "" {
				w.signal(syscall.SIGUSR1)
			}
			started := time.Now()
			made := w.publish(b, step.rate, step.events)
			took := time.Since(started)
			w.settle(b, made)
			after := w.cpu()
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(len(made))/took.Seconds(), "events/s")
			for name := range after {
				b.ReportMetric(float64(after[name]-before[name])*10/float64(len(made)), name+"-cpu-ms/event")
			}
			for _, m := range []struct {
				name string
				of   *heard
				gone bool
			}{{"hv1", w.here, false}, {"hv2", w.there, false}, {"hv1-gone", w.here, true}, {"hv2-gone", w.there, true}} {
				report(b, m.name, w.latencies(b, made, m.of, m.gone))
			}
		})
	}
}

func report(b *testing.B, name string, d []time.Duration) {
	slices.Sort(d)
	for _, q := range []struct {
		name string
		at   float64
	}{{"p50", 0.5}, {"p99", 0.99}, {"max", 1}} {
		b.ReportMetric(float64(d[int(q.at*float64(len(d)-1))].Microseconds())/1000, name+"-"+q.name+"-ms")
	}
}

// TestEventPath has few events on few guests go the whole way.
func TestEventPath(t *testing.T) {
	w := newWorld(t, 5)
	made := w.publish(t, 50, 20)
	w.settle(t, made)
	for _, m := range []*heard{w.here, w.there} {
		for _, gone := range []bool{false, true} {
			if n := len(w.latencies(t, made, m, gone)); n != len(made)/2 {
				t.Errorf("%d of %d were measured", n, len(made)/2)
			}
		}
	}
}

// world is a site whose guests are all there, and the publisher.
type world struct {
	*site
	client      *log.Client
	ledger      jetstream.Stream
	here, there *heard
	guests      int
	held        []netip.Prefix // by each guest beside its own; invalid: none
	next        uint32
}

// made is an event that was stored.
type made struct {
	prefix   netip.Prefix
	gone     bool
	sequence uint64
}

type dialer struct{ s *site }

func (d dialer) Dial(string, string) (net.Conn, error) { return d.s.dial() }

func newWorld(t testing.TB, guests int) *world {
	s := newSite(t)
	s.taps(guests)
	w := &world{site: s, guests: guests, held: make([]netip.Prefix, guests)}
	w.here, w.there = listen(t, s.hv[0], vrf.MetricGuest), listen(t, s.hv[1], vrf.MetricLearned)
	s.start()
	nc, err := log.Connect("nats://"+logAddress, log.ConnectOptions{Name: "publisher", Dialer: dialer{s}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	w.client = log.NewClient(nc, 0)
	w.ledger = ledger(t, nc)
	w.populate()
	return w
}

func ledger(t testing.TB, nc *nats.Conn) (stream jetstream.Stream) {
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, "the log is there", func() bool {
		stream, err = js.Stream(t.Context(), migrations.Ledger)
		return err == nil
	})
	return stream
}

// populate defines the guests and waits until each is reached from the other host.
func (w *world) populate() {
	testenv.Eventually(w.t, "the log service answers", func() bool {
		_, err := w.store(&events.NetworkDefined{Network: "web", VRF: "public", Subnets: []events.Subnet{{Prefix: prefix(netip.MustParsePrefix("10.0.0.0/8"))}},
			Gateways: []events.Addr{events.AddrFrom(netip.MustParseAddr("10.255.255.254"))}})
		return err == nil
	})
	for i := range w.hv {
		if _, err := w.store(&events.HypervisorRegistered{Hypervisor: fmt.Sprintf("hv%d", i+1)}); err != nil {
			w.t.Fatal(err)
		}
	}
	var group errgroup.Group
	group.SetLimit(underWay / 4)
	for i := range w.guests {
		group.Go(func() error {
			mac := events.MAC{Octets: [6]byte{2, 0, 0, 0, byte(i >> 8), byte(i)}}
			_, err := w.store(&events.VMCreated{VM: vm(i), Hypervisor: "hv1", Interfaces: []events.Interface{{Tap: tap(i), MAC: mac, Network: "web"}}})
			if err == nil {
				_, err = w.store(&events.IPAssigned{Prefix: prefix(address(10<<24 + uint32(i) + 1)), VM: vm(i)})
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		w.t.Fatal(err)
	}
	testenv.Eventually(w.t, "all guests are reached", func() bool {
		for i := range w.guests {
			if _, ok := w.there.at(address(10<<24+uint32(i)+1), false); !ok {
				return false
			}
		}
		return true
	})
}

func vm(i int) string { return fmt.Sprintf("vm-%d", i) }

func prefix(p netip.Prefix) events.Prefix { return events.Prefix{Prefix: p} }

func address(n uint32) netip.Prefix {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return netip.PrefixFrom(netip.AddrFrom4(b), 32)
}

func (w *world) store(d events.Data) (sequence uint64, err error) {
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	stored, err := w.client.Publish(ctx, events.Event{Data: d})
	return stored.Sequence, err
}

// underWay is how many events wait for the log's answer at most. A log that doesn't
// keep up is seen by the rate that is reached.
const underWay = 64

// publish gives further addresses to one guest after the other and takes them back
// later, at a rate: half of the events are of either kind.
func (w *world) publish(t testing.TB, rate, n int) []made {
	list := make([]made, n)
	var group errgroup.Group
	group.SetLimit(min(underWay, max(1, w.guests/2))) // far fewer than guests, whose events have an order
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	window := min(n/2, w.guests)
	for i := range n {
		m, g := &list[i], i%window
		m.gone = i/window%2 == 1
		var d events.Data
		if m.gone {
			m.prefix = w.held[g]
			d = &events.IPReleased{Prefix: prefix(m.prefix), VRF: "public"}
		} else {
			w.next++
			m.prefix = address(10<<24 + 128<<16 + w.next)
			w.held[g] = m.prefix
			d = &events.IPAssigned{Prefix: prefix(m.prefix), VM: vm(g), Role: events.RoleSecondary}
		}
		<-tick.C
		group.Go(func() (err error) {
			m.sequence, err = w.store(d)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	return list
}

// settle waits until all has had its effect in both kernels.
func (w *world) settle(t testing.TB, list []made) {
	var late made
	defer func() {
		if t.Failed() {
			t.Logf("no effect of %+v", late)
		}
	}()
	testenv.Eventually(t, "all events have had their effect", func() bool {
		return !slices.ContainsFunc(list, func(m made) bool {
			late = m
			_, here := w.here.at(m.prefix, m.gone)
			_, there := w.there.at(m.prefix, m.gone)
			return !here || !there
		})
	})
}

// latencies are those of the events that gave an address, or took one.
func (w *world) latencies(t testing.TB, list []made, of *heard, gone bool) (d []time.Duration) {
	for _, m := range list {
		if m.gone != gone {
			continue
		}
		stored, err := w.ledger.GetMsg(t.Context(), m.sequence)
		if err != nil {
			t.Fatal(err)
		}
		at, _ := of.at(m.prefix, gone)
		d = append(d, at.Sub(stored.Time))
	}
	return d
}

func (w *world) signal(s os.Signal) {
	for _, name := range []string{"hv1", "hv2", "log"} {
		if err := w.procs[name].Signal(s); err != nil {
			w.t.Fatal(err)
		}
	}
}
