package log

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/migrations"
)

// newGuardedLab is a log whose parts have no more rights than they need: the
// operator made it, the service serves it.
func newGuardedLab(t *testing.T) (*guarded, *lab) {
	t.Helper()
	g := newGuarded(t)
	l := &lab{t: t, ctx: testContext(t)}
	operator := g.dial("operator:ops")
	if _, err := Open(l.ctx, operator, Options{}); err != nil {
		t.Fatalf("making the log as operator: %v", err)
	}
	m, err := NewMigrator(operator, MigratorOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if layout, err := m.Up(l.ctx, UpOptions{}); err != nil || !layout.UpToDate() {
		t.Fatalf("migrating as operator: %+v, %v", layout, err)
	}
	l.nc = g.dial("service:log")
	if l.ledger, err = Open(l.ctx, l.nc, Options{}); err != nil {
		t.Fatalf("opening the log as service: %v", err)
	}
	l.serve()
	l.base()
	return g, l
}

// TestEveryRoleDoesItsWork has each role do all that it is for.
func TestEveryRoleDoesItsWork(t *testing.T) {
	g, l := newGuardedLab(t)
	f, _ := l.followFrom(g.dial("agent:hv1"), "hv1", FollowerOptions{})
	publisher := NewClient(g.dial("publisher:api"), 0)
	if _, err := publisher.Publish(l.ctx, events.Event{Data: assign("203.0.113.7/32", "vm1")}); err != nil {
		t.Fatalf("publishing as publisher: %v", err)
	}
	want := desired(t, l.replay(), "hv1")
	testenv.Eventually(t, "the agent follows", func() bool { return desired(t, f.State(), "hv1") == want })
	testPlain(t, g)

	auditor, err := Open(l.ctx, g.dial("auditor:alice"), Options{Timeout: time.Second})
	if err != nil {
		t.Fatalf("opening the log as auditor: %v", err)
	}
	state, _, err := auditor.Replay(l.ctx, Until{})
	if err != nil || desired(t, state, "hv1") != want {
		t.Errorf("replaying as auditor: %v", err)
	}
	if _, err := auditor.Verify(l.ctx, VerifyOptions{}, func(f Finding) { t.Errorf("verify finds %s", f) }); err != nil {
		t.Errorf("verifying as auditor: %v", err)
	}
	history, err := auditor.Histories(l.ctx, events.SubjectVM("vm1"))
	if err != nil || len(history[events.SubjectVM("vm1")]) != 2 {
		t.Errorf("reading a history as auditor: %+v, %v", history, err)
	}
	if err := auditor.PublishCheckpoint(l.ctx, "signed"); err != nil {
		t.Errorf("publishing a checkpoint as auditor: %v", err)
	}
	if _, err := auditor.Publish(l.ctx, events.Event{Data: hypervisor("hv3")}); err == nil {
		t.Error("the auditor wrote to the ledger")
	}
	testSystem(t, g, l)
}

// testPlain publishes with no code of ours, as docs/publishing.md says.
func testPlain(t *testing.T, g *guarded) {
	t.Helper()
	o := g.as("publisher:api")
	key, err := nats.NkeyOptionFromSeed(o.Credentials)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(g.url(), key, nats.RootCAs(o.CA), nats.CustomInboxPrefix("_INBOX."+g.keys["publisher:api"]))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	m, err := nc.Request("hostroute.publish", []byte(`{"id":"plain","type":"HypervisorRegistered","data":{"hypervisor":"hv8"}}`), patience)
	if err != nil || errorReply(m) {
		t.Errorf("publishing with a plain client: %v, %+v", err, m)
	}
}

// testSystem looks after the servers, and has nothing to do with the log.
func testSystem(t *testing.T, g *guarded, l *lab) {
	t.Helper()
	nc := g.dial("system:ops")
	if m, err := nc.Request("$SYS.REQ.SERVER.PING.JSZ", nil, patience); err != nil || !json.Valid(m.Data) {
		t.Errorf("asking the server as system: %v", err)
	}
	before, err := l.ledger.LastSequence(l.ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{"hr.net", "hostroute.publish", "$JS.API.STREAM.DELETE.hostroute", "$JS.API.STREAM.PURGE.hostroute"} {
		if m, err := nc.Request(subject, nil, patience); err == nil && !errorReply(m) {
			t.Errorf("%s as system is answered %s", subject, m.Data)
		}
	}
	if after, err := l.ledger.LastSequence(l.ctx); err != nil || after != before {
		t.Errorf("the log ends at %d, before at %d (%v)", after, before, err)
	}
}

func errorReply(m *nats.Msg) bool {
	var reply struct {
		Error *struct{} `json:"error"`
	}
	return json.Unmarshal(m.Data, &reply) == nil && reply.Error != nil
}

// TestNobodyWritesThroughAnother: an answer, or a delivery, goes where the asker
// says. Who is trusted to write to the ledger, or to the agents, must not be led
// to do so by who isn't.
func TestNobodyWritesThroughAnother(t *testing.T) {
	g, l := newGuardedLab(t)
	agent := g.dial("agent:hv1")
	f, _ := l.followFrom(agent, "hv1", FollowerOptions{})
	task(t, NewEffectWitness(agent, "hv1", always, testLogger()).Run)
	before, err := l.ledger.LastSequence(l.ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, victim := range []string{
		"hr.net", "hr.feed.hv1", "hr.feed.hv1.vm1", "hr.ip.public.203-0-113-7", "hrlive.feed.hv1", "hrlive.feed.hv1.vm1",
		"hrlive.net", "hostroute.publish", "$JS.API.STREAM.DELETE.hostroute-feeds",
	} {
		g.mislead(victim)
	}
	if _, err := NewClient(g.dial("publisher:api"), 0).Publish(l.ctx, events.Event{ID: "last", Data: assign("203.0.113.9/32", "vm1")}); err != nil {
		t.Fatal(err)
	}
	for _, r := range l.all() {
		if r.Sequence > before && r.Header.Get(headerID) != "last" {
			t.Errorf("somebody wrote %d on %s: %s", r.Sequence, r.Subject, r.Body)
		}
	}
	want := desired(t, l.replay(), "hv1")
	testenv.Eventually(t, "the agent follows", func() bool { return desired(t, f.State(), "hv1") == want })
	if s := f.Status(); s.Quarantined != 0 {
		t.Errorf("the agent was misled: %+v", s)
	}
}

// mislead asks, as all who aren't trusted, everything that they may ask, with
// somebody else as the one who gets the answer.
func (g *guarded) mislead(victim string) {
	g.t.Helper()
	event := `{"id":"x","type":"HypervisorRegistered","data":{"hypervisor":"hv9"}}`
	g.number++
	name := fmt.Sprintf("x%d", g.number)
	create := func(stream string) string {
		return `{"stream_name":"` + stream + `","config":{"name":"` + name + `","deliver_subject":"` + victim + `","ack_policy":"none","deliver_policy":"all","mem_storage":true}}`
	}
	for _, c := range []struct{ user, subject, payload string }{
		{"agent:hv1", "hostroute.snapshot.hv1", ""}, {"agent:hv1", "hostroute.snapshot.hv1", "rubbish"},
		{"publisher:api", "hostroute.publish", "rubbish"}, {"publisher:api", "hostroute.publish", event},
		{"auditor:alice", "$JS.HOSTROUTE.API.STREAM.INFO.hostroute", ""},
		{"auditor:alice", "$JS.HOSTROUTE.API.STREAM.MSG.GET.hostroute", `{"seq":1}`},
		{"auditor:alice", "$JS.HOSTROUTE.API.CONSUMER.CREATE.hostroute." + name, ""},
		{"auditor:alice", "$JS.HOSTROUTE.API.CONSUMER.CREATE.hostroute." + name, create(migrations.Checkpoints)},
		{"auditor:alice", "$JS.HOSTROUTE.API.CONSUMER.CREATE.hostroute." + name, create(migrations.Ledger)},
		{"auditor:alice", "$JS.HOSTROUTE.API.CONSUMER.CREATE.hostroute-feeds." + name, create(migrations.Feeds)},
		{"auditor:alice", migrations.SubjectCheckpoint, event},
		{"publisher:api", SubjectEffect, `{"sequence":1}`}, {"publisher:api", SubjectEffect, "rubbish"}, {"auditor:alice", SubjectEffect, `{"sequence":1}`},
		{"publisher:api", SubjectEffect + ".hv1", `{}`}, {"publisher:api", SubjectEffect + ".hv1", "rubbish"}, {"auditor:alice", SubjectEffect + ".hv1", `{}`},
	} {
		nc := g.dial(c.user)
		if err := errors.Join(nc.PublishRequest(c.subject, victim, []byte(c.payload)), nc.FlushTimeout(patience)); err != nil {
			g.t.Fatal(err)
		}
		nc.Close()
	}
	// What the server was asked before, it has answered.
	nc := g.dial("auditor:alice")
	defer nc.Close()
	if _, err := nc.Request("$JS.HOSTROUTE.API.STREAM.INFO.hostroute", nil, patience); err != nil {
		g.t.Fatal(err)
	}
}

// TestWhoMayAskForEffects: publishers, operators and auditors are answered by the
// agents, in an inbox where each can write under its own name only.
func TestWhoMayAskForEffects(t *testing.T) {
	g, l := newGuardedLab(t)
	for _, hv := range []string{"hv1", "hv2"} {
		nc := g.dial("agent:" + hv)
		task(t, NewEffectWitness(nc, hv, always, testLogger()).Run)
		testenv.Eventually(t, hv+" listens", func() bool { return nc.NumSubscriptions() == 1 })
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	sequence := l.publish(assign("203.0.113.7/32", "vm1"))[0].Sequence
	for _, user := range []string{"publisher:api", "operator:ops", "auditor:alice"} {
		client := NewClient(g.dial(user), 0)
		x, err := client.Effect(l.ctx, sequence)
		if err != nil || len(x.Hypervisors) != 2 {
			t.Errorf("%s is told %+v, %v", user, x, err)
			continue
		}
		list, err := client.Await(l.ctx, x, AwaitOptions{Timeout: patience})
		if got := told(list); err != nil || got != "hv1 has, hv2 has" {
			t.Errorf("%s hears %s, %v", user, got, err)
		}
	}
}

// TestAnAgentCantAnswerForAnother lets hv2's key answer in the place of hv1's.
func TestAnAgentCantAnswerForAnother(t *testing.T) {
	g, l := newGuardedLab(t)
	liar := g.dial("agent:hv2")
	if _, err := liar.Subscribe(SubjectEffect+".hv2", func(m *nats.Msg) {
		_ = liar.Publish(strings.Replace(m.Reply, ".hv2.", ".hv1.", 1), []byte(`{"hypervisor":"hv1","has":true}`))
		_ = m.Respond([]byte(`{"hypervisor":"hv2","has":true}`))
	}); err != nil {
		t.Fatal(err)
	}
	if err := liar.Flush(); err != nil {
		t.Fatal(err)
	}
	client := NewClient(g.dial("publisher:api"), 0)
	x, err := client.Effect(l.ctx, l.publish(assign("203.0.113.7/32", "vm1"))[0].Sequence)
	if err != nil {
		t.Fatal(err)
	}
	list, err := client.Await(l.ctx, x, AwaitOptions{Timeout: time.Second})
	if got := told(list); err != nil || got != "hv1 silent no agent answers, hv2 has" {
		t.Errorf("heard %s, %v", got, err)
	}
}
