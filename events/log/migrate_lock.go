package log

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hostroute/hostroute/migrations"
)

// metaBucket has what is written down of migrations, and the lock.
const (
	metaBucket = "hostroute-meta"
	lockKey    = "lock"
	notePrefix = "migration."
)

// ErrLockLost says that somebody else migrates meanwhile, since this one took
// longer than its lease. Running it again is safe.
var ErrLockLost = errors.New("the lock ran out meanwhile; run it again")

// locked works under the lock, which it waits for. Should this process die, the
// server lets go of it after the lease, by its own clock.
func (m *Migrator) locked(ctx context.Context, say func(string), work func(hold func(context.Context) error) error) error {
	info, err := m.js.Stream(ctx, migrations.Ledger)
	if err != nil {
		return err
	}
	kv, err := m.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: metaBucket, Description: "hostroute: who migrated what, and when", History: 8,
		Replicas: info.CachedInfo().Config.Replicas, LimitMarkerTTL: time.Second,
	})
	if err != nil {
		return fmt.Errorf("making the bucket %s: %w", metaBucket, err)
	}
	revision, err := m.lock(ctx, kv, say)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.o.Timeout)
		defer cancel()
		_ = kv.Delete(ctx, lockKey, jetstream.LastRevision(revision)) // else it runs out
	}()
	return work(func(ctx context.Context) error {
		e, err := kv.Get(ctx, lockKey)
		switch {
		case errors.Is(err, jetstream.ErrKeyNotFound), err == nil && e.Revision() != revision:
			return ErrLockLost
		case err != nil:
			return fmt.Errorf("looking at the lock: %w", err)
		}
		return nil
	})
}

// lock waits until nobody has the lock, and takes it.
func (m *Migrator) lock(ctx context.Context, kv jetstream.KeyValue, say func(string)) (uint64, error) {
	for waited := false; ; waited = true {
		revision, err := kv.Create(ctx, lockKey, []byte(m.by()), jetstream.KeyTTL(m.o.Lease))
		if err == nil || !errors.Is(err, jetstream.ErrKeyExists) {
			return revision, err
		}
		if e, err := kv.Get(ctx, lockKey); err == nil && !waited {
			say(fmt.Sprintf("wait for %s, who migrates since %s", e.Value(), e.Created().UTC().Format(time.RFC3339)))
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return 0, err
		}
	}
}

// begin writes down who begins a migration, also where somebody had begun it.
func (m *Migrator) begin(ctx context.Context, migration migrations.Migration) error {
	return m.note(ctx, migration, func(a *Applied) {
		a.By, a.Begun, a.Done = m.by(), time.Now().UTC(), time.Time{}
	})
}

// finish writes down that it is done.
func (m *Migrator) finish(ctx context.Context, migration migrations.Migration) error {
	return m.note(ctx, migration, func(a *Applied) { a.Done = time.Now().UTC() })
}

// note changes what is written down of a migration, unless somebody else does at
// the same time.
func (m *Migrator) note(ctx context.Context, migration migrations.Migration, change func(*Applied)) error {
	kv, err := m.js.KeyValue(ctx, metaBucket)
	if err != nil {
		return err
	}
	key := notePrefix + strconv.Itoa(migration.Number)
	a, revision := Applied{Number: migration.Number, Name: migration.Name}, uint64(0)
	e, err := kv.Get(ctx, key)
	switch {
	case err == nil:
		revision = e.Revision()
		if err := json.Unmarshal(e.Value(), &a); err != nil {
			return fmt.Errorf("reading key %s of bucket %s: %w", key, metaBucket, err)
		}
	case !errors.Is(err, jetstream.ErrKeyNotFound):
		return err
	}
	change(&a)
	value, err := json.Marshal(a)
	if err != nil {
		return err
	}
	_, err = kv.Update(ctx, key, value, revision)
	return err
}

// remember adds to a layout what is written down.
func (m *Migrator) remember(ctx context.Context, layout *Layout) error {
	wrong := func(err error) error {
		return fmt.Errorf("reading what was written down of migrations: %w", explain(m.nc, err))
	}
	kv, err := m.js.KeyValue(ctx, metaBucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil // nobody has migrated anything yet
	}
	if err != nil {
		return wrong(err)
	}
	keys, err := kv.Keys(ctx)
	if err != nil && !errors.Is(err, jetstream.ErrNoKeysFound) {
		return wrong(err)
	}
	for _, key := range keys {
		if !strings.HasPrefix(key, notePrefix) {
			continue
		}
		e, err := kv.Get(ctx, key)
		if err != nil {
			return wrong(err)
		}
		var a Applied
		if err := json.Unmarshal(e.Value(), &a); err != nil {
			return wrong(fmt.Errorf("key %s of bucket %s: %w", key, metaBucket, err))
		}
		switch {
		case a.Number > len(layout.Migrations):
			layout.Newer = append(layout.Newer, a)
		case a.Number >= 1:
			layout.Migrations[a.Number-1].Applied = &a
		}
	}
	return nil
}
