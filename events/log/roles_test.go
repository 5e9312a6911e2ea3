package log

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/hostroute/hostroute/internal/access"
	"github.com/hostroute/hostroute/internal/testenv"
)

// guarded is a server that runs from the files that hostroute log init
// --cluster writes, but for the places of its files and its addresses.
type guarded struct {
	t       testing.TB
	dir     string
	cluster access.Cluster
	keys    map[string]string // of each user, as in "agent:hv1"
	servers []*server.Server
	routes  string // the port of servers among themselves
	number  int    // of attempts to mislead
}

// everybody are the users of a guarded server, one of each role and a second
// hypervisor.
func everybody() []string {
	return []string{"agent:hv1", "agent:hv2", "publisher:api", "auditor:alice", "service:log", "operator:ops", "system:ops"}
}

func newGuarded(t *testing.T) *guarded { return newGuardedOn(t, "127.0.0.1") }

// newGuardedOn runs a server on each of some loopback addresses.
func newGuardedOn(t *testing.T, hosts ...string) *guarded {
	t.Helper()
	g := &guarded{t: t, dir: t.TempDir(), keys: map[string]string{}}
	g.cluster.Name = "hostroute"
	var list []access.Server
	for i, host := range hosts {
		list = append(list, access.Server{Name: fmt.Sprintf("n%d", i+1), Host: host})
	}
	if err := g.cluster.AddServers(list...); err != nil {
		t.Fatal(err)
	}
	for _, name := range everybody() {
		g.user(name)
	}
	g.certify()
	g.routes = fmt.Sprint(freePort(t))
	g.configure()
	for _, s := range list {
		g.start(s)
	}
	for _, s := range g.servers {
		if !s.ReadyForConnections(patience) {
			t.Fatal("a server doesn't become ready")
		}
	}
	testenv.Eventually(t, "the servers have a leader", func() bool {
		return len(hosts) == 1 || slices.ContainsFunc(g.servers, func(s *server.Server) bool {
			return s.JetStreamIsLeader() && len(s.JetStreamClusterPeers()) == len(hosts)
		})
	})
	return g
}

func (g *guarded) start(s access.Server) {
	g.t.Helper()
	options, err := server.ProcessConfigFile(filepath.Join(g.dir, s.Name+".conf"))
	if err != nil {
		g.t.Fatal(err)
	}
	options.NoSigs = true
	running, err := server.NewServer(options)
	if err != nil {
		g.t.Fatal(err)
	}
	running.SetLoggerV2(newServerLogger(testLogger()), false, false, false)
	go running.Start()
	g.t.Cleanup(func() { running.Shutdown(); running.WaitForShutdown() })
	g.servers = append(g.servers, running)
}

// user gives a user a further key.
func (g *guarded) user(name string) {
	g.t.Helper()
	u, err := access.ParseUser(name)
	if err != nil {
		g.t.Fatal(err)
	}
	pair, err := nkeys.CreateUser()
	if err != nil {
		g.t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		g.t.Fatal(err)
	}
	seed, err := pair.Seed()
	if err != nil {
		g.t.Fatal(err)
	}
	g.cluster.AddKey(u.Role, u.Name, public)
	g.keys[name] = public
	g.write(strings.ReplaceAll(name, ":", "-")+".nk", "# a comment\n"+string(seed)+"\n")
}

func (g *guarded) write(file, text string) {
	g.t.Helper()
	if err := os.WriteFile(filepath.Join(g.dir, file), []byte(text), 0o600); err != nil {
		g.t.Fatal(err)
	}
}

// configure writes the files of all servers.
func (g *guarded) configure() {
	for _, s := range g.cluster.Servers {
		g.write(s.Name+".conf", strings.NewReplacer("0.0.0.0", s.Host, ":6222", ":"+g.routes, "/var/lib/nats", filepath.Join(g.dir, s.Name)).
			Replace(placed(g.cluster.ServerConf(s), g.dir)))
	}
	g.write(access.UsersFile, g.cluster.UsersConf())
}

// placed moves a server's configuration to a folder and to any free port.
func placed(text, dir string) string {
	return strings.NewReplacer(
		"/etc/nats", dir, ":4222", ":-1", "http: \"127.0.0.1:8222\"", "", "max_file_store: 100GB", "max_file_store: 1GB",
	).Replace(text)
}

// certify makes an authority and the server's certificate.
func (g *guarded) certify() {
	g.t.Helper()
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "n1"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(127, 0, 0, 2), net.IPv4(127, 0, 0, 3)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	rootKey, leafKey := ecKey(g.t), ecKey(g.t)
	for _, c := range []struct {
		file     string
		template *x509.Certificate
		key      *ecdsa.PrivateKey
	}{{"ca.pem", authority, rootKey}, {"server.pem", leaf, leafKey}} {
		der, err := x509.CreateCertificate(rand.Reader, c.template, authority, &c.key.PublicKey, rootKey)
		if err != nil {
			g.t.Fatal(err)
		}
		g.write(c.file, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	}
	der, err := x509.MarshalECPrivateKey(leafKey)
	if err != nil {
		g.t.Fatal(err)
	}
	g.write("server-key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})))
}

func ecKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (g *guarded) url() string {
	return strings.Replace(g.servers[0].ClientURL(), "nats://", "tls://", 1)
}

// dial connects as a user, as every program of hostroute does.
func (g *guarded) dial(user string) *nats.Conn {
	g.t.Helper()
	nc, err := Connect(g.url(), g.as(user))
	if err != nil {
		g.t.Fatalf("connecting as %s: %v", user, err)
	}
	g.t.Cleanup(nc.Close)
	return nc
}

func (g *guarded) as(user string) ConnectOptions {
	return ConnectOptions{
		Name: user, Logger: testLogger(), CA: filepath.Join(g.dir, "ca.pem"),
		Credentials: filepath.Join(g.dir, strings.ReplaceAll(user, ":", "-")+".nk"),
	}
}

// refused tells whether the server refuses what act does. It says so before it
// answers the ping that follows, so nothing has to be waited for.
func refused(t testing.TB, nc *nats.Conn, subject string, act func() error) bool {
	t.Helper()
	if err := act(); err != nil {
		t.Fatalf("%s: %v", subject, err)
	}
	if err := nc.FlushTimeout(patience); err != nil {
		t.Fatalf("%s: %v", subject, err)
	}
	err := nc.LastError()
	return err != nil && strings.Contains(err.Error(), "ermissions Violation") && strings.Contains(err.Error(), fmt.Sprintf("%q", subject))
}

// attempt is something that is tried as every role, and those who may.
type attempt struct {
	verb    string // pub or sub
	subject string
	may     string // letters of roles, see letters
}

// letters stand for users: the agents of hv1 and hv2, publisher, auditor,
// service, operator, and system, which has an account of its own.
func letters() map[string]byte {
	return map[string]byte{
		"agent:hv1": '1', "agent:hv2": '2', "publisher:api": 'p', "auditor:alice": 'a', "service:log": 's', "operator:ops": 'o',
	}
}

// attempts is written out, and not made from what it is to prove.
func attempts(key func(string) string) []attempt {
	return []attempt{
		{"sub", "hrlive.feed.hv1", "1"}, {"sub", "hrlive.feed.hv1.*", "1"}, {"sub", "hrlive.feed.hv1.vm1", "1"},
		{"sub", "hrlive.feed.hv2", "2"}, {"sub", "hrlive.feed.hv2.*", "2"}, {"sub", "hrlive.feed.hv2.vm1", "2"},
		{"sub", "hrlive.net", "12"}, {"sub", "hrlive.feed.*", ""}, {"sub", "hrlive.feed.hv1.>", "1"}, // as the server reads "*"; nothing is that deep {"sub", "hrlive.feed.>", ""},
		{"sub", "hrlive.ip.public.*", ""}, {"sub", "hrlive.vm.vm1", ""}, {"sub", "hrlive.>", ""}, {"sub", ">", ""}, {"sub", "*", ""},
		{"sub", "hr.>", ""}, {"sub", "hr.feed.hv1", ""}, {"sub", "hr.net", ""}, {"sub", "hr-checkpoint", ""},
		{"sub", "_INBOX.>", ""}, {"sub", "_INBOX." + key("agent:hv1") + ".x", "1"}, {"sub", "_INBOX." + key("agent:hv2") + ".x", "2"},
		{"sub", "_INBOX." + key("publisher:api") + ".x", "p"}, {"sub", "_INBOX." + key("auditor:alice") + ".x", "a"},
		{"sub", "_INBOX." + key("service:log") + ".x", "s"}, {"sub", "_INBOX." + key("operator:ops") + ".x", "o"},
		{"sub", "hostroute.publish", "so"}, {"sub", "hostroute.snapshot.*", "so"}, {"sub", "hostroute.snapshot.hv1", "so"},
		{"sub", "hostroute.effect", "so"}, {"sub", "hostroute.effect.hv1", "1"}, {"sub", "hostroute.effect.hv2", "2"}, {"sub", "hostroute.effect.hv3", ""},
		{"sub", "hostroute.effect.*", ""}, {"sub", "hostroute.>", ""}, {"sub", "_R_.>", ""}, {"sub", "_INBOX.*.hv1.*", ""},
		{"sub", "$SRV.>", "so"}, {"sub", "$JS.EVENT.>", "o"}, {"sub", "$JS.API.>", ""}, {"sub", "$JS.ACK.>", ""}, {"sub", "$KV.>", ""},
		{"sub", "$SYS.>", ""}, {"sub", "$SYS.ACCOUNT.>", ""},

		{"pub", "hostroute.publish", "po"}, {"pub", "hostroute.snapshot.hv1", "1o"}, {"pub", "hostroute.snapshot.hv2", "2o"},
		{"pub", "hostroute.snapshot.hv3", "o"}, {"pub", "hostroute.other", ""},
		{"pub", "hostroute.effect", "pao"}, {"pub", "hostroute.effect.hv1", "pao"}, {"pub", "hostroute.effect.hv3", "pao"},
		{"pub", "_INBOX." + key("publisher:api") + ".hv1.x", "1so"}, {"pub", "_INBOX." + key("publisher:api") + ".hv2.x", "2so"},
		{"pub", "_INBOX." + key("agent:hv2") + ".hv1.x", "1so"}, {"pub", "_INBOX.x.hv1", "so"}, {"pub", "_INBOX.x.hv1.y.z", "so"}, {"pub", "_INBOX.x.y.hv1.z", "so"},
		{"pub", "_R_.guess", "12so"},
		{"pub", "hr.ip.public.203-0-113-7", "so"}, {"pub", "hr.vm.vm1", "so"}, {"pub", "hr.hv.hv1", "so"}, {"pub", "hr.feed.hv1", "so"},
		{"pub", "hr.feed.hv1.vm1", "so"}, {"pub", "hr.net", "so"}, {"pub", "hr-checkpoint", "ao"},
		{"pub", "hrlive.feed.hv1", ""}, {"pub", "hrlive.feed.hv1.vm1", ""}, {"pub", "hrlive.net", ""},
		{"pub", "_INBOX." + key("agent:hv1") + ".x", "so"}, {"pub", "_INBOX." + key("publisher:api") + ".x", "so"},
		{"pub", "$SRV.PING", "o"}, {"pub", "$KV.hostroute-meta.lock", "o"}, {"pub", "$KV.other.x", ""}, {"pub", "$JS.ACK.hostroute.c.1.1.1.1.0", ""},
		{"pub", "$SYS.REQ.SERVER.PING", ""}, {"pub", "$SYS.REQ.ACCOUNT.HOSTROUTE.CONNZ", ""},

		{"pub", "$JS.API.INFO", "o"}, {"pub", "$JS.API.STREAM.NAMES", "o"}, {"pub", "$JS.API.STREAM.LIST", "o"},
		{"pub", "$JS.API.STREAM.CREATE.other", "o"}, {"pub", "$JS.API.STREAM.CREATE.hostroute", "o"}, {"pub", "$JS.API.STREAM.UPDATE.hostroute", "o"},
		{"pub", "$JS.API.STREAM.DELETE.hostroute", ""}, {"pub", "$JS.API.STREAM.PURGE.hostroute", ""}, {"pub", "$JS.API.STREAM.MSG.DELETE.hostroute", ""},
		{"pub", "$JS.API.STREAM.DELETE.hostroute-checkpoints", ""}, {"pub", "$JS.API.STREAM.PURGE.hostroute-checkpoints", ""},
		{"pub", "$JS.API.STREAM.DELETE.hostroute-feeds", "o"}, {"pub", "$JS.API.STREAM.PURGE.hostroute-feeds", "o"},
		{"pub", "$JS.API.STREAM.SNAPSHOT.hostroute", "o"}, {"pub", "$JS.API.STREAM.RESTORE.hostroute", "o"},
		{"pub", "$JS.API.STREAM.PEER.REMOVE.hostroute", "o"}, {"pub", "$JS.API.STREAM.LEADER.STEPDOWN.hostroute", "o"},
		{"pub", "$JS.API.STREAM.INFO.hostroute", "aso"}, {"pub", "$JS.API.STREAM.INFO.hostroute-feeds", "so"}, {"pub", "$JS.API.STREAM.INFO.other", "o"},
		{"pub", "$JS.API.STREAM.MSG.GET.hostroute", "so"}, {"pub", "$JS.API.STREAM.MSG.GET.other", "o"},
		{"pub", "$JS.API.DIRECT.GET.hostroute-feeds", "o"}, {"pub", "$JS.API.DIRECT.GET.hostroute-feeds.hr.feed.hv1.vm1", "o"},
		{"pub", "$JS.API.CONSUMER.CREATE.hostroute.x", "so"}, {"pub", "$JS.API.CONSUMER.CREATE.hostroute-feeds.x", "so"},
		{"pub", "$JS.API.CONSUMER.CREATE.hostroute-checkpoints.x", "o"}, {"pub", "$JS.API.CONSUMER.MSG.NEXT.hostroute-checkpoints.x", "o"},
		{"pub", "$JS.API.CONSUMER.CREATE.hostroute", "o"}, {"pub", "$JS.API.CONSUMER.CREATE.hostroute.x.hr.>", "o"},
		{"pub", "$JS.API.CONSUMER.DURABLE.CREATE.hostroute.x", "o"}, {"pub", "$JS.API.CONSUMER.CREATE.other.x", "o"},
		{"pub", "$JS.API.CONSUMER.NAMES.hostroute", "o"}, {"pub", "$JS.API.CONSUMER.LIST.hostroute", "o"}, {"pub", "$JS.API.CONSUMER.INFO.hostroute.x", "o"},
		{"pub", "$JS.API.CONSUMER.MSG.NEXT.hostroute.x", "so"}, {"pub", "$JS.API.CONSUMER.DELETE.hostroute.x", "so"},
		{"pub", "$JS.SNAPSHOT.ACK.hostroute.x.1.1", "o"}, {"pub", "$JS.SNAPSHOT.RESTORE.hostroute.x", "o"},
		{"pub", "$JS.HOSTROUTE.API.STREAM.INFO.hostroute", "a"}, {"pub", "$JS.HOSTROUTE.API.STREAM.MSG.GET.hostroute", "a"},
		{"pub", "$JS.HOSTROUTE.API.STREAM.MSG.GET.hostroute-checkpoints", "a"}, {"pub", "$JS.HOSTROUTE.API.STREAM.INFO.other", ""},
		{"pub", "$JS.HOSTROUTE.API.CONSUMER.CREATE.hostroute.x", "a"}, {"pub", "$JS.HOSTROUTE.API.CONSUMER.CREATE.hostroute-checkpoints.x", ""},
		{"pub", "$JS.HOSTROUTE.API.CONSUMER.MSG.NEXT.hostroute-feeds.x", "a"}, {"pub", "$JS.HOSTROUTE.API.CONSUMER.NAMES.hostroute", ""},
		{"pub", "$JS.HOSTROUTE.API.STREAM.DELETE.hostroute", ""}, {"pub", "$JS.HOSTROUTE.API.STREAM.PURGE.hostroute", ""},
		{"pub", "$JS.HOSTROUTE.API.STREAM.MSG.DELETE.hostroute", ""}, {"pub", "$JS.HOSTROUTE.API.STREAM.CREATE.x", ""},
		{"pub", "$JS.HOSTROUTE.API.STREAM.UPDATE.hostroute", ""},
		{"pub", "$JS.API.CONSUMER.PAUSE.hostroute.x", "o"}, {"pub", "$JS.API.META.LEADER.STEPDOWN", "o"}, {"pub", "$JS.API.SERVER.REMOVE", "o"},
	}
}

// TestEveryRoleOnEverySubject tries all of it; -v prints the table.
func TestEveryRoleOnEverySubject(t *testing.T) {
	g := newGuarded(t)
	conns := map[string]*nats.Conn{}
	for user := range letters() {
		conns[user] = g.dial(user)
	}
	t.Logf("%-56s %s", "", strings.Join(everybody()[:6], " "))
	for _, a := range attempts(func(user string) string { return g.keys[user] }) {
		line := ""
		for _, user := range everybody()[:6] {
			nc, may := conns[user], strings.IndexByte(a.may, letters()[user]) >= 0
			denied := refused(t, nc, a.subject, func() error {
				if a.verb == "pub" {
					return nc.Publish(a.subject, nil)
				}
				sub, err := nc.SubscribeSync(a.subject)
				if err == nil {
					err = sub.AutoUnsubscribe(1)
				}
				return err
			})
			if denied == may {
				t.Errorf("%s %s as %s: refused is %t", a.verb, a.subject, user, denied)
			}
			word := map[bool]string{true: "-", false: "yes"}[denied]
			line += fmt.Sprintf("%-*s ", len(user), word)
		}
		subject := strings.NewReplacer(g.keys["agent:hv1"], "HV1", g.keys["agent:hv2"], "HV2", g.keys["publisher:api"], "API",
			g.keys["auditor:alice"], "ALICE", g.keys["service:log"], "LOG", g.keys["operator:ops"], "OPS").Replace(a.subject)
		t.Logf("%s %-52s %s", a.verb, subject, line)
	}
}

// TestNobodyGetsInWithoutAKey tries no key, a foreign one, a foreign authority
// and no TLS.
func TestNobodyGetsInWithoutAKey(t *testing.T) {
	g := newGuarded(t)
	stranger := newKeyFile(t)
	for name, o := range map[string]ConnectOptions{
		"no key":          {CA: filepath.Join(g.dir, "ca.pem")},
		"a foreign key":   {CA: filepath.Join(g.dir, "ca.pem"), Credentials: stranger},
		"no authority":    {Credentials: g.as("publisher:api").Credentials},
		"no such file":    {CA: filepath.Join(g.dir, "ca.pem"), Credentials: filepath.Join(g.dir, "nobody.nk")},
		"no credentials":  {CA: filepath.Join(g.dir, "ca.pem"), Credentials: filepath.Join(g.dir, "ca.pem")},
		"wrong authority": {CA: filepath.Join(newAuthority(t), "ca.pem"), Credentials: g.as("publisher:api").Credentials},
	} {
		if nc, err := Connect(g.url(), o); err == nil {
			nc.Close()
			t.Errorf("%s: connected", name)
		}
	}
	plain, err := nats.Connect(g.servers[0].ClientURL(), nats.NoReconnect())
	if err == nil {
		plain.Close()
		t.Error("connected without TLS and key")
	}
}

func newKeyFile(t testing.TB) string {
	t.Helper()
	g := &guarded{t: t, dir: t.TempDir(), keys: map[string]string{}}
	g.user("publisher:api")
	return g.as("publisher:api").Credentials
}

func newAuthority(t testing.TB) string {
	t.Helper()
	g := &guarded{t: t, dir: t.TempDir()}
	g.certify()
	return g.dir
}
