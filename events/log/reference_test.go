package log

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/access"
	"github.com/hostroute/hostroute/internal/testenv"
)

// TestReferenceConfiguration has NATS read the files in deploy, and compares
// what it understood with the roles, and its limits with the embedded server's.
func TestReferenceConfiguration(t *testing.T) {
	g := &guarded{t: t, dir: t.TempDir()}
	g.certify()
	for _, name := range []string{access.ServerFile, access.UsersFile} {
		text, err := os.ReadFile(filepath.Join(testenv.ModuleRoot(t), "deploy", "nats", name))
		if err != nil {
			t.Fatal(err)
		}
		g.write(name, placed(string(text), g.dir))
	}
	o, err := server.ProcessConfigFile(filepath.Join(g.dir, access.ServerFile))
	if err != nil {
		t.Fatal(err)
	}
	embedded, err := NewServer(ServerOptions{Store: "/store"}).serverOptions()
	if err != nil {
		t.Fatal(err)
	}
	for name, pair := range map[string][2]any{
		"limits": {o.JetStreamLimits, embedded.JetStreamLimits}, "sync": {o.SyncAlways, embedded.SyncAlways}, "strict": {o.NoJetStreamStrict, embedded.NoJetStreamStrict},
		"payload": {o.MaxPayload, embedded.MaxPayload}, "deadline": {o.WriteDeadline, embedded.WriteDeadline},
	} {
		if !reflect.DeepEqual(pair[0], pair[1]) {
			t.Errorf("%s: %+v, embedded %+v", name, pair[0], pair[1])
		}
	}
	if o.TLSConfig == nil || o.Cluster.TLSConfig == nil || o.Cluster.TLSConfig.ClientAuth.String() != "RequireAndVerifyClientCert" || len(o.Routes) != 3 {
		t.Errorf("TLS %v, cluster %+v", o.TLSConfig != nil, o.Cluster)
	}
	if o.NoAuthUser != "" || len(o.Users) != 0 || o.SystemAccount != "SYS" {
		t.Errorf("users without a key: %q, %v; system account %q", o.NoAuthUser, o.Users, o.SystemAccount)
	}
	compareUsers(t, o)
}

// compareUsers compares what NATS read with the roles as data.
func compareUsers(t *testing.T, o *server.Options) {
	t.Helper()
	want := []struct {
		user    string
		account string
	}{{"agent:hv1", "HOSTROUTE"}, {"agent:hv2", "HOSTROUTE"}, {"publisher:api", "HOSTROUTE"}, {"auditor:alice", "AUDIT"}, {"service:log", "HOSTROUTE"},
		{"operator:ops", "HOSTROUTE"}, {"system:ops", "SYS"}}
	if len(o.Nkeys) != len(want) {
		t.Errorf("%d users; want %d", len(o.Nkeys), len(want))
	}
	for _, w := range want {
		u, err := access.ParseUser(w.user)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(o.Nkeys, func(n *server.NkeyUser) bool {
			return n.Account.Name == w.account && sameRights(n, access.RightsOf(u.Role, u.Name, n.Nkey))
		})
		if i < 0 {
			t.Errorf("%s has other rights, or isn't in account %s", w.user, w.account)
		}
	}
}

func sameRights(n *server.NkeyUser, r access.Rights) bool {
	if n.Permissions == nil {
		return len(r.Publish)+len(r.Subscribe) == 0
	}
	p := n.Permissions
	return slices.Equal(p.Publish.Allow, r.Publish) && slices.Equal(p.Publish.Deny, r.DenyPublish) && slices.Equal(p.Subscribe.Allow, r.Subscribe)
}

// TestSubjectsOfRequests: package access can't import this one.
func TestSubjectsOfRequests(t *testing.T) {
	if r := access.RightsOf(access.Publisher, "api", "K"); !slices.Equal(slices.Sorted(slices.Values(r.Publish)), []string{SubjectEffect, SubjectEffect + ".*", SubjectPublish}) {
		t.Errorf("a publisher publishes to %v", r.Publish)
	}
	r := access.RightsOf(access.Agent, "hv1", "K")
	if !slices.Contains(r.Publish, SubjectSnapshot+"hv1") {
		t.Errorf("an agent publishes to %v", r.Publish)
	}
	for _, subject := range r.Publish { // the others are for answers
		if subject != SubjectSnapshot+"hv1" && subject != "_INBOX.*.hv1.*" && subject != "_R_.>" {
			t.Errorf("an agent publishes to %s", subject)
		}
	}
	heard := []string{liveSubject(events.SubjectTick("hv1")), liveSubject(events.SubjectFeed("hv1", "*")), liveSubject(events.SubjectNetTick), SubjectEffect + ".hv1"}
	for _, subject := range heard {
		if !slices.Contains(r.Subscribe, subject) {
			t.Errorf("an agent doesn't hear %s", subject)
		}
	}
}

// TestUsersChangeWhileTheServerRuns rotates a key, takes away another, and looks
// whether anybody else notices.
func TestUsersChangeWhileTheServerRuns(t *testing.T) {
	g, l := newGuardedLab(t)
	bystander, replaced, revoked := g.dial("agent:hv2"), g.dial("agent:hv1"), g.dial("publisher:api")
	g.user("agent:hv1") // whose file has the new key from now on
	g.user("agent:hv3")
	g.reload(t)
	f, _ := l.followFrom(g.dial("agent:hv1"), "hv1", FollowerOptions{})
	if f.Status().Registered == false || !replaced.IsConnected() {
		t.Error("the new key doesn't work, or the old one doesn't any more")
	}
	g.dial("agent:hv3")
	if err := g.cluster.Retire(access.Agent, "hv1"); err != nil {
		t.Fatal(err)
	}
	if err := g.cluster.Revoke(access.Publisher, "api"); err != nil {
		t.Fatal(err)
	}
	g.reload(t)
	testenv.Eventually(t, "who lost the key is disconnected", func() bool { return !replaced.IsConnected() && !revoked.IsConnected() })
	if n := bystander.Stats().Reconnects; n != 0 || !bystander.IsConnected() {
		t.Errorf("somebody else was disconnected, %d times", n)
	}
	l.publish(assign("203.0.113.7/32", "vm1"))
	want := desired(t, l.replay(), "hv1")
	testenv.Eventually(t, "the new key follows", func() bool { return desired(t, f.State(), "hv1") == want })
	if n := l.nc.Stats().Reconnects; n != 0 {
		t.Errorf("the service was disconnected %d times", n)
	}
}

// reload does what nats-server --signal reload does.
func (g *guarded) reload(t *testing.T) {
	t.Helper()
	g.configure()
	for _, s := range g.servers {
		if err := s.Reload(); err != nil {
			t.Fatal(err)
		}
	}
}
