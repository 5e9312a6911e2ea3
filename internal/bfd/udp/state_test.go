package udp

import (
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hostroute/hostroute/internal/bfd"
)

func TestStateIsReadAsItWasWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "folder", "state")
	e := New(Options{Log: quiet, State: path})
	s := bfd.Status{Spec: spec(v6, 0, params(50*ms, 100*ms, 7)), Since: time.Unix(12, 0).UTC(), FellAt: time.Unix(11, 0).UTC(), Source: 50000, Report: bfd.Report{
		State: bfd.Up, LocalDiscriminator: 1, RemoteDiscriminator: 2, RemoteMinTx: 3 * ms, RemoteMinRx: 4 * ms,
		RemoteMultiplier: 5, RemoteIndependent: true, Falls: 6, Fell: bfd.Fall{Diagnostic: bfd.TimeExpired, Detection: 900 * ms},
	}}
	e.writeState()
	if _, err := os.Stat(path); err == nil {
		t.Error("wrote a state before there was one")
	}
	e.public, e.set = []bfd.Status{s}, 1
	e.writeState()
	again := New(Options{Log: quiet, State: path})
	former := again.resume()
	if got := former[s.Key]; !reflect.DeepEqual(got, s) || !got.Resumable() {
		t.Errorf("read %+v\nwrote %+v", got, s)
	}
	if o := again.wanted.Load(); o == nil || len(o.specs) != 1 || o.specs[0] != s.Spec {
		t.Errorf("asked for %+v", o)
	}
}

func TestAStateThatCannotBeUsedCostsNothing(t *testing.T) {
	for text, want := range map[string]string{
		`{"version":1,"sessions":[{"Spec":{`:              "unexpected end of JSON input",
		`{"version":2}`:                                   "has version 2 and not 1",
		`{"version":1,"sessions":[{"Spec":{"Name":""}}]}`: "a session has no name",
		``: "unexpected end of JSON input",
	} {
		path := filepath.Join(t.TempDir(), "state")
		writeFile(t, path, text)
		log := &syncBuffer{}
		e := New(Options{Log: slog.New(slog.NewTextHandler(log, nil)), State: path})
		if former := e.resume(); len(former) > 0 || e.wanted.Load() != nil || !strings.Contains(log.String(), want) {
			t.Errorf("%q: %v, %s", text, former, log)
		}
	}
}

func TestAStateOfOthersIsNotAskedFor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	e := New(Options{Log: quiet, State: path})
	e.public, e.set = []bfd.Status{{Spec: spec(v4, 0, bfd.Default())}}, 1
	e.writeState()
	again := New(Options{Log: quiet, State: path})
	if err := again.Set(nil); err != nil {
		t.Fatal(err)
	}
	if again.resume(); len(again.wanted.Load().specs) != 0 {
		t.Error("the former set replaced what was asked for")
	}
}
