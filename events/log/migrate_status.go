package log

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hostroute/hostroute/migrations"
)

// Layout is how the log's layout compares with what package migrations says.
type Layout struct {
	// At is the last migration up to which all are applied.
	At         int               `json:"at"`
	Migrations []MigrationStatus `json:"migrations"`
	// Newer were applied by a newer release, and aren't known to this one.
	Newer []Applied `json:"newer,omitempty"`
}

// MigrationStatus is one migration, compared with the streams.
type MigrationStatus struct {
	Number int    `json:"number"`
	Name   string `json:"name"`
	// State is applied, pending or drifted.
	State MigrationState `json:"state"`
	// Applied says who applied it and when, where that was written down: what
	// came with the log, nobody applied.
	Applied *Applied `json:"applied,omitempty"`
	// Steps are what Up does, in order.
	Steps []string `json:"steps,omitempty"`
	// Drift are settings that no migration made.
	Drift []Drift `json:"drift,omitempty"`

	steps []step
}

// MigrationState is how far a migration is.
type MigrationState string

// The states of a migration.
const (
	MigrationApplied MigrationState = "applied"
	MigrationPending MigrationState = "pending"
	MigrationDrifted MigrationState = "drifted" // a stream is set as no migration has it
)

// Drift is a setting of a stream that isn't what the layout wants.
type Drift struct {
	Stream string `json:"stream"`
	Field  string `json:"field"`
	Have   string `json:"have"`
	Want   string `json:"want"`
}

// Applied is what is written down of a migration that somebody applied.
type Applied struct {
	Number int       `json:"number"`
	Name   string    `json:"name"`
	By     string    `json:"by"`
	Begun  time.Time `json:"begun"`
	Done   time.Time `json:"done,omitzero"` // none: it was ended in between
}

// UpToDate says that every migration known here is applied.
func (l Layout) UpToDate() bool { return l.At == len(l.Migrations) }

// Drifted lists every setting that no migration made.
func (l Layout) Drifted() (list []Drift) {
	for _, m := range l.Migrations {
		list = append(list, m.Drift...)
	}
	return list
}

// refusal is why nothing may be migrated.
func (l Layout) refusal() error {
	var errs []error
	for _, d := range l.Drifted() {
		errs = append(errs, &DriftError{Stream: d.Stream, Field: d.Field, Have: d.Have, Want: d.Want})
	}
	return errors.Join(errs...)
}

// unfinished says that somebody began and didn't write down that it is done.
func (s MigrationStatus) unfinished() bool { return s.Applied != nil && s.Applied.Done.IsZero() }

// Status compares the streams with every migration. It changes nothing. Without
// a log the error is [ErrNoLog].
func (m *Migrator) Status(ctx context.Context) (Layout, error) {
	layout := Layout{Migrations: []MigrationStatus{}}
	ledger, ok, err := m.config(ctx, migrations.Ledger)
	if err == nil && !ok {
		err = ErrNoLog
	}
	if err != nil {
		return layout, fmt.Errorf("looking at the layout of the log: %w", explain(m.nc, err))
	}
	found := map[string]standing{}
	for _, migration := range m.all {
		s := MigrationStatus{Number: migration.Number, Name: migration.Name, State: MigrationApplied}
		for _, stream := range migration.Streams {
			at, known := found[stream.Name]
			if !known {
				if at, err = m.standing(ctx, stream.Name, ledger.Replicas); err != nil {
					return layout, fmt.Errorf("looking at the layout of the log: %w", explain(m.nc, err))
				}
				found[stream.Name] = at
			}
			if s.compare(migration.Number, stream, at) {
				at.there = true // by then
				found[stream.Name] = at
			}
		}
		layout.Migrations = append(layout.Migrations, s)
		if s.State == MigrationApplied && layout.At == migration.Number-1 {
			layout.At = migration.Number
		}
	}
	return layout, m.remember(ctx, &layout)
}

// standing is where a stream is on the way through the migrations.
type standing struct {
	there    bool
	number   int     // of the migration whose definition it has, or is closest to
	drift    []Drift // from that definition
	replicas int
}

// standing finds the definition that a stream has.
func (m *Migrator) standing(ctx context.Context, name string, replicas int) (standing, error) {
	have, there, err := m.config(ctx, name)
	if err != nil || !there {
		return standing{replicas: replicas}, err
	}
	at := standing{there: true, replicas: have.Replicas}
	for _, migration := range m.all {
		for _, s := range migration.Streams {
			if s.Name != name {
				continue
			}
			differs := drifts(have, configOf(s, have.Replicas))
			if at.number > 0 && len(differs) > len(at.drift) {
				continue
			}
			at.number, at.drift = migration.Number, nil
			for _, d := range differs {
				at.drift = append(at.drift, Drift{Stream: d.Stream, Field: d.Field, Have: d.Have, Want: d.Want})
			}
		}
	}
	return at, nil
}

// compare adds a stream of the migration, and tells whether there is anything to
// be done about it.
func (s *MigrationStatus) compare(number int, stream migrations.Stream, at standing) bool {
	switch {
	case len(at.drift) > 0 && at.number == number:
		s.State, s.Drift = MigrationDrifted, append(s.Drift, at.drift...)
		return false
	case at.number >= number:
		return false
	}
	if s.State == MigrationApplied {
		s.State = MigrationPending
	}
	do := step{want: configOf(stream, at.replicas), make: !at.there, text: "alter stream " + stream.Name}
	if do.make {
		do.text = "make stream " + stream.Name
	}
	s.steps, s.Steps = append(s.steps, do), append(s.Steps, do.text)
	return true
}

// known looks whether a stream is set as a layout has it that is served; an error
// says how it differs from the newest definition where none is like it.
func known(have jetstream.StreamConfig, replicas int) error {
	var differs error
	for number := len(migrations.All()); migrations.Served(number); number-- {
		for _, s := range migrations.At(number) {
			if s.Name != have.Name {
				continue
			}
			err := drift(have, configOf(s, replicas))
			if err == nil {
				return nil
			}
			if differs == nil {
				differs = err
			}
		}
	}
	return differs
}
