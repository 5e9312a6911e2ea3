package log

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// partEnv tells this test program to be a part of a log whose CPU time is
// measured by itself.
const partEnv = "HOSTROUTE_TEST_PART"

// part is a server, or a log service, in a process of its own.
type part struct {
	Store   string   // of a server
	Service string   // of a service: the URL of its server
	TLS     bool     // a server that wants TLS and a user's nkey, without a log
	Users   []string // public nkeys
	Key     []byte   // the server's, and its certificate, in PEM

	url string
	pid int
}

// bePart is what such a process does until it is told to end. It says where it
// is reached when it is.
func bePart(description string) error {
	var p part
	if err := json.Unmarshal([]byte(description), &p); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	switch {
	case p.Service != "":
		return p.serve(ctx)
	case p.TLS:
		return p.listenTLS(ctx)
	}
	s := NewServer(ServerOptions{Store: p.Store, Listen: "127.0.0.1:0", SyncInterval: time.Minute, Logger: testLogger()})
	go func() {
		<-s.Ready()
		fmt.Println(s.URL())
	}()
	return s.Run(ctx)
}

func (p *part) serve(ctx context.Context) error {
	nc, err := Connect(p.Service, ConnectOptions{Logger: testLogger()})
	if err != nil {
		return err
	}
	defer nc.Close()
	ledger, err := Open(ctx, nc, Options{})
	if err != nil {
		return err
	}
	s := NewService(ledger, testLogger())
	go func() {
		<-s.Ready()
		fmt.Println(p.Service)
	}()
	return s.Run(ctx)
}

func (p *part) listenTLS(ctx context.Context) error {
	pair, err := tls.X509KeyPair(p.Key, p.Key)
	if err != nil {
		return err
	}
	o := &server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, TLSTimeout: 30, AuthTimeout: 30,
		TLS: true, TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13},
	}
	for _, key := range p.Users {
		o.Nkeys = append(o.Nkeys, &server.NkeyUser{Nkey: key})
	}
	s, err := server.NewServer(o)
	if err != nil {
		return err
	}
	go s.Start()
	if !s.ReadyForConnections(patience) {
		return fmt.Errorf("the server doesn't become ready")
	}
	fmt.Println(strings.Replace(s.ClientURL(), "nats:", "tls:", 1))
	<-ctx.Done()
	s.Shutdown()
	s.WaitForShutdown()
	return nil
}

// start runs the part until the benchmark ends.
func (p *part) start(b *testing.B) *part {
	b.Helper()
	description, err := json.Marshal(p)
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^$") //nolint:gosec // ourselves
	cmd.Env = append(os.Environ(), partEnv+"="+string(description))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // nothing depends on how it ended
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatalf("a part of the log doesn't come up: %v", err)
	}
	p.url, p.pid = strings.TrimSpace(line), cmd.Process.Pid
	return p
}

// cpu is what the part has used so far.
func (p *part) cpu(b *testing.B) time.Duration {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+2:]))
	var ticks int64
	for _, f := range fields[11:13] { // utime and stime, proc(5)
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// rss is the resident memory of the part, in MB.
func (p *part) rss(b *testing.B) float64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.pid))
	if err != nil {
		b.Fatal(err)
	}
	pages, err := strconv.ParseFloat(strings.Fields(string(text))[1], 64)
	if err != nil {
		b.Fatal(err)
	}
	return pages * float64(os.Getpagesize()) / 1e6
}

// ownCPU is what this process has used so far.
func ownCPU(b *testing.B) time.Duration {
	return (&part{pid: os.Getpid()}).cpu(b)
}

// selfSigned is a key and a certificate of 127.0.0.1 for it, in PEM.
func selfSigned(b *testing.B) []byte {
	b.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		b.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		b.Fatal(err)
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret})...)
}
