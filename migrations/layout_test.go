package migrations

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"testing"
)

// released are the checksums of migrations as servers out there have them. A
// new migration adds a line; a line never changes.
var released = []string{
	"ebaaa0de056aeab7dd0581b80ab2abea860d947b890c78a7bdfd0da1f02335d2",
	"62442f97568f30d4d6f0fe1aa5163119a784fc8abc85e556961a4c70d3e00bc3",
}

func TestMigrationsAreNumberedWithoutGap(t *testing.T) {
	for i, m := range All() {
		if m.Number != i+1 {
			t.Errorf("migration %q has number %d at place %d", m.Name, m.Number, i+1)
		}
		if m.Name == "" || len(m.Streams) == 0 {
			t.Errorf("migration %d has no name or changes nothing", m.Number)
		}
	}
}

func TestReleasedMigrationsAreNeverEdited(t *testing.T) {
	all := All()
	if len(all) != len(released) {
		t.Fatalf("%d migrations and %d checksums: a new migration needs its checksum here", len(all), len(released))
	}
	for i, m := range all {
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(b)
		if got := hex.EncodeToString(sum[:]); got != released[i] {
			t.Errorf("migration %d %q has checksum %s, want %s: write a new migration instead", m.Number, m.Name, got, released[i])
		}
	}
}

func TestLatestHasEveryStreamOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range Latest() {
		if seen[s.Name] {
			t.Errorf("stream %s is there twice", s.Name)
		}
		if s.Mirror != nil && !seen[s.Mirror.Stream] {
			t.Errorf("mirror %s comes before %s", s.Name, s.Mirror.Stream)
		}
		if s.MaxMsgsPerSubject == 1 {
			t.Errorf("stream %s keeps one message a subject, which makes reading the last per subject a full scan", s.Name)
		}
		seen[s.Name] = true
	}
	if !seen[Ledger] || !seen[Feeds] {
		t.Errorf("layout has %v; want %s and %s", seen, Ledger, Feeds)
	}
}
