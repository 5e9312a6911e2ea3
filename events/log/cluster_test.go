package log

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/testenv"
)

// startCluster runs three servers of this process as one cluster.
func startCluster(t *testing.T) []*server.Server {
	t.Helper()
	var servers []*server.Server
	var routes []*url.URL
	var ports []int
	for range 3 {
		port := freePort(t)
		ports = append(ports, port)
		routes = append(routes, &url.URL{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", port)})
	}
	for i, port := range ports {
		o := &server.Options{
			ServerName: fmt.Sprintf("s%d", i), Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true,
			JetStream: true, StoreDir: t.TempDir(), SyncInterval: time.Minute,
			Cluster: server.ClusterOpts{Name: "hostroute-test", Host: "127.0.0.1", Port: port}, Routes: routes,
		}
		s, err := server.NewServer(o)
		if err != nil {
			t.Fatal(err)
		}
		s.SetLoggerV2(newServerLogger(testLogger()), false, false, false)
		go s.Start()
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
		servers = append(servers, s)
	}
	for _, s := range servers {
		if !s.ReadyForConnections(patience) {
			t.Fatal("a server doesn't become ready")
		}
	}
	testenv.Eventually(t, "the cluster has a leader", func() bool {
		for _, s := range servers {
			if s.JetStreamIsLeader() && len(s.JetStreamClusterPeers()) == len(servers) {
				return true
			}
		}
		return false
	})
	return servers
}

// freePort finds a port that nobody uses now.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // it was only asked for its port
	return l.Addr().(*net.TCPAddr).Port
}

// TestCluster runs the layout with three replicas: publishers on different
// servers race for the same addresses under changing networks.
func TestCluster(t *testing.T) {
	servers := startCluster(t)
	l := &lab{t: t, ctx: testContext(t)}
	var ledgers []*Ledger
	for _, s := range servers {
		nc, err := Connect(s.ClientURL(), ConnectOptions{Name: t.Name(), Logger: testLogger()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		l.nc = nc
		if l.ledger, err = Open(l.ctx, nc, Options{Replicas: 3}); err != nil {
			t.Fatal(err)
		}
		ledgers = append(ledgers, l.ledger)
	}
	l.base()
	l.serve()
	followerConn, err := Connect(servers[1].ClientURL(), ConnectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(followerConn.Close)
	f, _ := l.followFrom(followerConn, "hv1", FollowerOptions{Interval: 500 * time.Millisecond})
	l.race(t, ledgers)
	state := l.replay()
	if q := state.Quarantined(); len(q) != 0 {
		t.Errorf("replay refuses what was published: %+v", q)
	}
	checkBatches(t, l.all())
	want := desired(t, state, "hv1")
	testenv.Eventually(t, "the follower agrees with replay", func() bool { return desired(t, f.State(), "hv1") == want })
}

// race claims ten addresses from every ledger while gateways change.
func (l *lab) race(t *testing.T, ledgers []*Ledger) {
	t.Helper()
	winners := make([]int, 10)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i, ledger := range ledgers {
		wg.Go(func() {
			for a := range winners {
				_, err := ledger.Publish(l.ctx, events.Event{Data: assign(fmt.Sprintf("203.0.113.%d/32", a+1), fmt.Sprintf("vm%d", i%2+1))})
				var bad *events.Error
				switch {
				case err == nil:
					mu.Lock()
					winners[a]++
					mu.Unlock()
				case !errors.As(err, &bad) || bad.Code != events.CodeTaken && bad.Code != events.CodeExists:
					t.Errorf("server %d: %v", i, err)
				}
			}
		})
	}
	wg.Go(func() {
		d := network("web", "public", "203.0.113.0/24")
		for a := range winners {
			d.Gateways = []events.Addr{events.AddrFrom(pfx(fmt.Sprintf("203.0.113.%d/32", 100+a)).Addr())}
			if _, err := ledgers[0].Publish(l.ctx, events.Event{Data: d}); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	for a, n := range winners {
		if n != 1 {
			t.Errorf("address %d has %d winners", a+1, n)
		}
	}
}
