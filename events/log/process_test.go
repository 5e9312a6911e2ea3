package log

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/hostroute/hostroute/internal/testenv"
)

// serverEnv tells this test program to be a server, and which one.
const serverEnv = "HOSTROUTE_TEST_SERVER"

// node is a server of a cluster in a process of its own, which can be killed
// and paused like one.
type node struct {
	Name    string
	Store   string
	Port    int
	Cluster int
	Routes  []string
	// Sync is how often it forces to disk what it stored; 0: always.
	Sync time.Duration

	process *os.Process
	ended   chan struct{}
}

// beServer is what such a process does; it returns when it is told to end.
func beServer(description string) error {
	var n node
	if err := json.Unmarshal([]byte(description), &n); err != nil {
		return err
	}
	o := &server.Options{
		ServerName: n.Name, Host: "127.0.0.1", Port: n.Port, NoSigs: true,
		JetStream: true, StoreDir: n.Store, SyncInterval: max(n.Sync, time.Millisecond), SyncAlways: n.Sync == 0,
		Cluster: server.ClusterOpts{Name: "hostroute-test", Host: "127.0.0.1", Port: n.Cluster},
	}
	for _, r := range n.Routes {
		o.Routes = append(o.Routes, &url.URL{Scheme: "nats", Host: r})
	}
	s, err := server.NewServer(o)
	if err != nil {
		return err
	}
	s.SetLoggerV2(newServerLogger(testLogger()), false, false, false)
	go s.Start()
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM)
	<-told
	s.Shutdown()
	s.WaitForShutdown()
	return nil
}

// startProcesses runs a cluster of three.
func startProcesses(t *testing.T, sync time.Duration) []*node {
	t.Helper()
	var nodes []*node
	var routes []string
	for i := range 3 {
		n := &node{Name: fmt.Sprintf("s%d", i), Store: t.TempDir(), Port: freePort(t), Cluster: freePort(t), Sync: sync}
		routes = append(routes, fmt.Sprintf("127.0.0.1:%d", n.Cluster))
		nodes = append(nodes, n)
	}
	for _, n := range nodes {
		n.Routes = routes
		n.start(t)
		t.Cleanup(func() { n.kill(t) })
	}
	return nodes
}

func (n *node) start(t *testing.T) {
	t.Helper()
	description, err := json.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^$") //nolint:gosec // ourselves
	cmd.Env = append(os.Environ(), serverEnv+"="+string(description))
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	n.process, n.ended = cmd.Process, make(chan struct{})
	ended := n.ended
	go func() {
		_ = cmd.Wait() // it is killed
		close(ended)
	}()
}

// kill ends the process as a power cut does, and waits until it is gone.
func (n *node) kill(t *testing.T) {
	t.Helper()
	n.signal(t, syscall.SIGKILL)
	select {
	case <-n.ended:
	case <-time.After(patience):
		t.Errorf("server %s doesn't end", n.Name)
	}
}

func (n *node) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := n.process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
}

// urls is how clients find the cluster, a given server first.
func urls(nodes []*node, first int) string {
	var list []string
	for i := range nodes {
		list = append(list, fmt.Sprintf("nats://127.0.0.1:%d", nodes[(first+i)%len(nodes)].Port))
	}
	return strings.Join(list, ",")
}

// openLedger connects to a cluster and opens its log, as soon as both can be.
func openLedger(t *testing.T, l *lab, nodes []*node, first int) *Ledger {
	t.Helper()
	nc, err := Connect(urls(nodes, first), ConnectOptions{Name: t.Name(), Logger: testLogger(), Wait: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	var ledger *Ledger
	testenv.Eventually(t, "the log of the cluster opens", func() bool {
		ledger, err = Open(l.ctx, nc, Options{Replicas: 3, Timeout: 2 * time.Second})
		return err == nil
	})
	l.nc, l.ledger = nc, ledger
	return ledger
}
