package log

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/testenv"
)

// written is the store of a server that was stopped, what is in its log, and
// what a follower of hv1 had kept.
type written struct {
	store  string
	list   []raw
	kept   FollowerOptions
	before Checkpoint
	mirror map[string]place
}

// write fills a store, of many small blocks so that every part of it has some.
func write(t *testing.T) written {
	t.Helper()
	w := written{store: t.TempDir()}
	s, stop := startServer(t, ServerOptions{Store: w.store})
	l := &lab{t: t, ctx: testContext(t), server: s, nc: connect(t, s)}
	var err error
	if l.ledger, err = Open(l.ctx, l.nc, Options{}); err != nil {
		t.Fatal(err)
	}
	l.serve()
	l.base()
	for i := range 60 {
		l.publish(assign(fmt.Sprintf("203.0.113.%d/32", i+1), fmt.Sprintf("vm%d", i%2+1)))
		if i%3 == 0 {
			l.publish(&events.IPReleased{Prefix: pfx(fmt.Sprintf("203.0.113.%d/32", i+1))})
		}
	}
	f, end := l.followFrom(connect(t, s), "hv1", FollowerOptions{})
	want := desired(t, l.replay(), "hv1")
	testenv.Eventually(t, "the follower follows", func() bool { return desired(t, f.State(), "hv1") == want })
	w.kept.State, w.kept.Cursor = f.Checkpoint()
	l.publish(assign("203.0.113.200/32", "vm1"), assign("203.0.113.201/32", "vm2")) // so that it needs a snapshot
	w.list = l.all()
	v, err := l.ledger.Verify(l.ctx, VerifyOptions{}, func(f Finding) { t.Errorf("before any damage: %s", f) })
	if err != nil {
		t.Fatal(err)
	}
	w.before, w.mirror = v.Checkpoint, mirrored(l)
	end()
	stop()
	return w
}

// TestDamagedFilesAreNamedAndWithdrawNothing does things to the files of a
// stopped server. Whatever the log isn't any more is named, and a follower that
// comes back serves what it did.
func TestDamagedFilesAreNamedAndWithdrawNothing(t *testing.T) {
	w := write(t)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 18 {
		what, do := "a flipped bit", flip
		switch i % 6 {
		case 3:
			what, do = "a file that is cut", cut
		case 4:
			what, do = "a block of zeroes", wipe
		case 5:
			what, do = "a file that is gone", remove
		}
		t.Run(fmt.Sprintf("%s %d", what, i), func(t *testing.T) {
			store := t.TempDir()
			if err := os.CopyFS(store, os.DirFS(w.store)); err != nil {
				t.Fatal(err)
			}
			file := pick(t, store, random)
			if err := do(file, random); err != nil {
				t.Fatal(err)
			}
			w.judge(t, store, strings.TrimPrefix(file, store))
		})
	}
}

// pick chooses one of the files that hold messages.
func pick(t *testing.T, store string, random *rand.Rand) string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(store, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".blk") || !strings.Contains(path, "hostroute") {
			return err
		}
		if info, err := entry.Info(); err != nil || info.Size() > 0 { // that of checkpoints has none
			files = append(files, path)
		}
		return nil
	})
	if err != nil || len(files) == 0 {
		t.Fatalf("the store has no blocks: %v", err)
	}
	return files[random.IntN(len(files))]
}

// alter rewrites a file.
func alter(file string, change func([]byte) []byte) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if len(content) == 0 {
		return errors.New(file + " is empty")
	}
	return os.WriteFile(file, change(content), 0o600)
}

func flip(file string, random *rand.Rand) error {
	return alter(file, func(b []byte) []byte {
		b[random.IntN(len(b))] ^= 1 << random.IntN(8)
		return b
	})
}

func cut(file string, random *rand.Rand) error {
	return alter(file, func(b []byte) []byte { return b[:random.IntN(len(b))] })
}

func wipe(file string, random *rand.Rand) error {
	return alter(file, func(b []byte) []byte {
		at := random.IntN(len(b))
		clear(b[at:min(at+512, len(b))])
		return b
	})
}

func remove(file string, _ *rand.Rand) error { return os.Remove(file) }

// judge starts a server on a damaged store.
func (w written) judge(t *testing.T, store, file string) {
	t.Helper()
	s, _ := startServer(t, ServerOptions{Store: store})
	l := &lab{t: t, ctx: testContext(t), server: s, nc: connect(t, s)}
	var err error
	if l.ledger, err = Open(l.ctx, l.nc, Options{Timeout: time.Second}); err != nil {
		t.Logf("%s: the log can't be opened, which is a way of saying so: %v", file, err)
		return
	}
	l.serve()
	var found []Finding
	if _, err := l.ledger.Verify(l.ctx, VerifyOptions{Checkpoints: []Checkpoint{w.before}}, func(f Finding) { found = append(found, f) }); err != nil {
		t.Fatal(err)
	}
	lost, mirror := w.differences(l.all()), !maps.Equal(w.mirror, mirrored(l))
	t.Logf("%s: %d messages differ, the mirror too: %v; found %d: %.300v", file, len(lost), mirror, len(found), found)
	for _, sequence := range lost {
		if !named(found, sequence) {
			t.Errorf("%s: #%d isn't what it was, and nothing says so", file, sequence)
		}
	}
	if (len(lost) > 0 || mirror) != (len(found) > 0) {
		t.Errorf("%s: %d messages differ, the mirror %v, and found is %v", file, len(lost), mirror, found)
	}
	f := NewFollower(connect(t, s), "hv1", FollowerOptions{State: w.kept.State, Cursor: w.kept.Cursor, Interval: 50 * time.Millisecond, Logger: testLogger()})
	task(t, f.Run)
	testenv.Eventually(t, "the follower has asked", func() bool { return f.Status().InSync || f.Status().LastError != "" })
	for _, g := range w.kept.State.Guests() {
		now := f.State().Guest(g.VM)
		if now == nil {
			t.Errorf("%s: a follower that comes back has forgotten guest %s", file, g.VM)
			continue
		}
		for _, a := range g.Addresses {
			if !slices.Contains(now.Addresses, a) {
				t.Errorf("%s: a follower that comes back has forgotten %s of guest %s", file, a.Prefix, g.VM)
			}
		}
	}
}

// differences lists the sequences that aren't there or not what they were.
func (w written) differences(list []raw) (lost []uint64) {
	now := map[uint64]raw{}
	for _, r := range list {
		now[r.Sequence] = r
	}
	for _, r := range w.list {
		if n, ok := now[r.Sequence]; !ok || n.link() != r.link() || !bytes.Equal(n.Body, r.Body) {
			lost = append(lost, r.Sequence)
		}
	}
	return lost
}

// mirrored is the newest message of every subject in the mirror of the feeds.
func mirrored(l *lab) map[string]place {
	l.t.Helper()
	newest := map[string]place{}
	s := scan{stream: l.ledger.feeds, last: true, timeout: l.ledger.timeout}
	if err := s.run(l.ctx, func(r raw) error { newest[r.Subject] = placeOf(r); return nil }); err != nil {
		l.t.Fatal(err)
	}
	return newest
}
