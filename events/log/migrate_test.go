package log

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/migrations"
)

// oldLab is a server with a log that has the first layout, and something in it.
func oldLab(t *testing.T) *lab {
	t.Helper()
	s, _ := startServer(t, ServerOptions{Store: t.TempDir()})
	l := &lab{t: t, ctx: testContext(t), server: s, nc: connect(t, s)}
	js := l.jetstream()
	for _, stream := range migrations.At(1) {
		if _, err := js.CreateStream(l.ctx, configOf(stream, 1)); err != nil {
			t.Fatal(err)
		}
	}
	l.raw("hr.unheard.of", nil, "the log isn't empty")
	var err error
	if l.ledger, err = Open(l.ctx, l.nc, Options{}); err != nil {
		t.Fatalf("a log with the first layout isn't served: %v", err)
	}
	return l
}

func (l *lab) jetstream() jetstream.JetStream {
	l.t.Helper()
	js, err := jetstream.New(l.nc)
	if err != nil {
		l.t.Fatal(err)
	}
	return js
}

func (l *lab) migrator(by string) *Migrator {
	l.t.Helper()
	m, err := NewMigrator(l.nc, MigratorOptions{By: by})
	if err != nil {
		l.t.Fatal(err)
	}
	return m
}

func (l *lab) layout(m *Migrator) Layout {
	l.t.Helper()
	layout, err := m.Status(l.ctx)
	if err != nil {
		l.t.Fatal(err)
	}
	return layout
}

func states(l Layout) (all []string) {
	for _, m := range l.Migrations {
		all = append(all, fmt.Sprintf("%d %s %s %v", m.Number, m.Name, m.State, m.Steps))
	}
	return all
}

func wantStates(t *testing.T, l Layout, want ...string) {
	t.Helper()
	if have := states(l); !slices.Equal(have, want) {
		t.Errorf("the migrations are\n%s\nwant\n%s", strings.Join(have, "\n"), strings.Join(want, "\n"))
	}
}

func TestMigrateUp(t *testing.T) {
	l := oldLab(t)
	m := l.migrator("somebody")
	wantStates(t, l.layout(m), "1 ledger applied []", "2 checkpoints pending [make stream hostroute-checkpoints]")

	var said []string
	say := func(s string) { said = append(said, s) }
	before := l.layout(m)
	if layout, err := m.Up(l.ctx, UpOptions{DryRun: true, Say: say}); err != nil || !reflect.DeepEqual(layout, before) || !reflect.DeepEqual(l.layout(m), before) {
		t.Errorf("a dry run makes %v of it: %v", states(layout), err)
	}
	if _, err := m.Up(l.ctx, UpOptions{Say: say}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"make stream hostroute-checkpoints", "make stream hostroute-checkpoints"}; !slices.Equal(said, want) {
		t.Errorf("it said %q; want %q", said, want)
	}
	after := l.layout(m)
	wantStates(t, after, "1 ledger applied []", "2 checkpoints applied []")
	a := after.Migrations[1].Applied
	if !after.UpToDate() || a == nil || !strings.HasPrefix(a.By, "somebody on ") || a.Begun.IsZero() || a.Done.Before(a.Begun) || after.Migrations[0].Applied != nil {
		t.Errorf("written down is %+v", a)
	}
	// Once more there is nothing to do, and nothing is written.
	if _, err := l.migrator("another").Up(l.ctx, UpOptions{}); err != nil || !reflect.DeepEqual(l.layout(m), after) {
		t.Errorf("again: %v, %+v", err, l.layout(m))
	}
}

// altering are the migrations with a further one that alters a stream and makes
// another, as one may in the future.
func altering() []migrations.Migration {
	checkpoints := migrations.All()[1].Streams[0]
	checkpoints.MaxConsumers, checkpoints.MaxMsgsPerSubject = 50, 1000
	return append(migrations.All(), migrations.Migration{Number: 3, Name: "further", Streams: []migrations.Stream{
		checkpoints, {Name: "hostroute-further", Subjects: []string{"hr-further"}, MaxConsumers: 10},
	}})
}

// TestACrashBetweenAnyTwoStepsIsResumed ends a run before each of its steps, as
// if the process had died there, and runs another.
func TestACrashBetweenAnyTwoStepsIsResumed(t *testing.T) {
	crash := errors.New("crash")
	for after := 0; ; after++ {
		l := oldLab(t)
		m := l.migrator("first")
		m.all = altering()
		n, where := 0, ""
		m.step = func(s string) error {
			if n++; n > after {
				where = s
				return crash
			}
			return nil
		}
		_, err := m.Up(l.ctx, UpOptions{})
		if err == nil {
			if after < 7 {
				t.Errorf("only %d steps", after)
			}
			return
		}
		if !errors.Is(err, crash) {
			t.Fatalf("before step %d, %s: %v", after, where, err)
		}
		again := l.migrator("second")
		again.all = altering()
		layout, err := again.Up(l.ctx, UpOptions{})
		if err != nil || !layout.UpToDate() {
			t.Errorf("after a crash before step %d, %s: %v, %v", after, where, states(layout), err)
		}
		for _, m := range layout.Migrations[1:] {
			if m.Applied == nil || m.unfinished() {
				t.Errorf("after a crash before step %d, %s, migration %d says %+v", after, where, m.Number, m.Applied)
			}
		}
	}
}

// TestTheLockOfTheDeadRunsOut waits for one who will never let go.
func TestTheLockOfTheDeadRunsOut(t *testing.T) {
	l := oldLab(t)
	m := l.migrator("living")
	dead := l.migrator("dead")
	dead.o.Lease = time.Second
	if err := dead.locked(l.ctx, func(string) {}, func(func(context.Context) error) error {
		var said []string
		_, err := m.Up(l.ctx, UpOptions{Say: func(s string) { said = append(said, s) }})
		if len(said) != 2 || !strings.HasPrefix(said[0], "wait for dead on ") {
			t.Errorf("it said %q", said)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if !l.layout(m).UpToDate() {
		t.Error("nothing was applied")
	}
}

func TestWhoLosesTheLockStops(t *testing.T) {
	l := oldLab(t)
	m := l.migrator("slow")
	m.all = altering()
	m.step = func(what string) error {
		if !strings.HasPrefix(what, "make") {
			return nil
		}
		kv, err := l.jetstream().KeyValue(l.ctx, metaBucket)
		if err != nil {
			return err
		}
		return kv.Delete(l.ctx, lockKey)
	}
	if _, err := m.Up(l.ctx, UpOptions{}); !errors.Is(err, ErrLockLost) {
		t.Errorf("got %v", err)
	}
}

func TestManyWhoMigrateAtOnce(t *testing.T) {
	l := oldLab(t)
	var mu sync.Mutex
	begun := 0
	var group sync.WaitGroup
	for i := range 5 {
		m := l.migrator(fmt.Sprintf("number %d", i))
		m.step = func(what string) error {
			if strings.HasSuffix(what, "begins") {
				mu.Lock()
				begun++
				mu.Unlock()
			}
			return nil
		}
		group.Go(func() {
			if layout, err := m.Up(l.ctx, UpOptions{}); err != nil || !layout.UpToDate() {
				t.Errorf("%v: %v", states(layout), err)
			}
		})
	}
	group.Wait()
	if begun != 1 {
		t.Errorf("%d began; want one, since the others wait", begun)
	}
}

// TestDriftIsNamedAndLeftAlone alters a stream by hand.
func TestDriftIsNamedAndLeftAlone(t *testing.T) {
	l := oldLab(t)
	c := configOf(migrations.At(1)[1], 1)
	c.MaxConsumers, c.MaxMsgsPerSubject = 7, 3
	if _, err := l.jetstream().UpdateStream(l.ctx, c); err != nil {
		t.Fatal(err)
	}
	m := l.migrator("somebody")
	layout := l.layout(m)
	want := []Drift{
		{migrations.Feeds, "max_msgs_per_subject", "3", "2"},
		{migrations.Feeds, "max_consumers", "7", "10000"},
	}
	if have := layout.Drifted(); !slices.Equal(have, want) || layout.Migrations[0].State != MigrationDrifted || layout.At != 0 {
		t.Errorf("drifted are %v in %v", have, states(layout))
	}
	_, err := m.Up(l.ctx, UpOptions{})
	var drifted *DriftError
	if !errors.As(err, &drifted) || drifted.Stream != migrations.Feeds {
		t.Errorf("got %v", err)
	}
	if after := l.layout(m); !reflect.DeepEqual(after, layout) {
		t.Errorf("something was done: %v", states(after))
	}
	if _, err := Open(l.ctx, l.nc, Options{}); !errors.As(err, &drifted) {
		t.Errorf("it is served: %v", err)
	}
}

func TestMigrationsOfANewerRelease(t *testing.T) {
	l := oldLab(t)
	newer := l.migrator("newer")
	newer.all = altering()
	if _, err := newer.Up(l.ctx, UpOptions{}); err != nil {
		t.Fatal(err)
	}
	layout := l.layout(l.migrator("older"))
	if len(layout.Newer) != 1 || layout.Newer[0].Number != 3 || layout.Newer[0].Name != "further" {
		t.Errorf("newer are %+v", layout.Newer)
	}
}

func TestNothingToMigrate(t *testing.T) {
	s, _ := startServer(t, ServerOptions{Store: t.TempDir()})
	l := &lab{t: t, ctx: testContext(t), server: s, nc: connect(t, s)}
	m := l.migrator("somebody")
	if _, err := m.Up(l.ctx, UpOptions{}); !errors.Is(err, ErrNoLog) {
		t.Errorf("without a log: %v", err)
	}
	if _, err := Open(l.ctx, l.nc, Options{}); err != nil {
		t.Fatal(err)
	}
	if layout := l.layout(m); !layout.UpToDate() || layout.Migrations[1].Applied != nil {
		t.Errorf("a new log has %v", states(layout))
	}
}

func TestOpenMigratesWhereItIsTold(t *testing.T) {
	l := oldLab(t)
	m := l.migrator("somebody")
	if layout := l.layout(m); layout.At != 1 {
		t.Errorf("merely opened, the log has %v", states(layout))
	}
	for range 2 {
		if _, err := Open(l.ctx, l.nc, Options{Migrate: true}); err != nil {
			t.Fatal(err)
		}
		if layout := l.layout(m); !layout.UpToDate() {
			t.Errorf("the log has %v", states(layout))
		}
	}
}

// TestAgentsOfThePreviousReleaseGoOn migrates under a service and a follower that
// know the first layout alone, with events all the time.
func TestAgentsOfThePreviousReleaseGoOn(t *testing.T) {
	l := oldLab(t)
	l.base()
	l.serve()
	f := l.follow("hv1", FollowerOptions{})
	m := l.migrator("somebody")
	m.all = altering()
	events := 0
	m.step = func(string) error { // before each step, and so between all of them
		events++
		l.publish(assign(fmt.Sprintf("203.0.113.%d/32", events), "vm1"))
		return nil
	}
	if layout, err := m.Up(l.ctx, UpOptions{}); err != nil || !layout.UpToDate() {
		t.Fatalf("%v: %v", states(layout), err)
	}
	l.publish(assign("203.0.113.200/32", "vm1"))
	want := desired(t, l.replay(), "hv1")
	testenv.Eventually(t, "the follower has all", func() bool { return desired(t, f.State(), "hv1") == want })
	if s := f.Status(); s.Gaps > 0 || s.Snapshots != 1 || s.Quarantined > 0 || events < 5 {
		t.Errorf("after %d events the follower says %+v", events, s)
	}
	// A verification has nothing to say but of what this test wrote first.
	v, err := l.ledger.Verify(l.ctx, VerifyOptions{}, func(f Finding) {
		if f.Sequence != 1 {
			t.Error(f)
		}
	})
	if err != nil || v.Events == 0 {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestPublishedCheckpoints(t *testing.T) {
	l := oldLab(t)
	secret, public, err := NewCheckpointKey("auditor")
	if err != nil {
		t.Fatal(err)
	}
	_, stranger, err := NewCheckpointKey("auditor")
	if err != nil {
		t.Fatal(err)
	}
	c := Checkpoint{Ledger: l.ledger.Identity(), Size: 1}
	signed, err := c.Sign(secret)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.ledger.PublishCheckpoint(l.ctx, signed); !errors.Is(err, errNoCheckpoints) {
		t.Errorf("in a log without their stream: %v", err)
	}
	if _, err := l.ledger.PublishedCheckpoints(l.ctx, public); !errors.Is(err, errNoCheckpoints) {
		t.Errorf("in a log without their stream: %v", err)
	}
	if _, err := l.migrator("somebody").Up(l.ctx, UpOptions{}); err != nil {
		t.Fatal(err)
	}
	l.raw(migrations.SubjectCheckpoint, nil, "rubbish")
	for range 2 {
		if err := l.ledger.PublishCheckpoint(l.ctx, signed); err != nil {
			t.Fatal(err)
		}
	}
	if list, err := l.ledger.PublishedCheckpoints(l.ctx, public); err != nil || !slices.Equal(list, []Checkpoint{c, c}) {
		t.Errorf("got %v, %v; want it twice", list, err)
	}
	if list, err := l.ledger.PublishedCheckpoints(l.ctx, stranger); err != nil || len(list) > 0 {
		t.Errorf("signed by somebody else are %v, %v", list, err)
	}
}
