package agent

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/events/log"
	"github.com/hostroute/hostroute/internal/config"
	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/projector"
)

// sampleState has every kind of register, one that has ended among them.
func sampleState(t *testing.T) *projector.State {
	p := &projection{state: projector.New()}
	prefix := func(s string) events.Prefix { return events.PrefixFrom(netip.MustParsePrefix(s)) }
	p.publish(t, &events.HypervisorRegistered{Hypervisor: "hv1"})
	p.publish(t, &events.HypervisorRegistered{Hypervisor: "hv2"})
	p.publish(t, &events.NetworkDefined{Network: "web", VRF: "public", Subnets: []events.Subnet{{Prefix: prefix("203.0.113.0/24")}}})
	for i, vm := range []string{"a", "b"} {
		p.publish(t, &events.VMCreated{VM: vm, Hypervisor: "hv1", Interfaces: []events.Interface{
			{Tap: "tap-" + vm, MAC: events.MAC{Octets: [6]byte{2, 0, 0, 0, 0, byte(i)}}, Network: "web"}}})
	}
	p.publish(t, &events.IPAssigned{Prefix: prefix("203.0.113.10/32"), VM: "a"})
	p.publish(t, &events.VMMigrationStarted{VM: "a", To: "hv2"})
	p.publish(t, &events.VMDeleted{VM: "b"})
	p.state.Quarantine(projector.Quarantined{Sequence: 99, Subject: "hr.vm.c", Reason: "rubbish"})
	return p.state
}

var sampleCursor = log.Cursor{Ledger: "then", Tick: log.Link{Sequence: 7, Hash: "ab"}, NetTick: log.Link{Sequence: 3, Hash: "cd"}}

func TestSnapshotRoundTrips(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	if s, _, err := restore(dir, "hv1"); s != nil || err != nil {
		t.Errorf("no snapshot gives %v, %v", s, err)
	}
	want := sampleState(t)
	for range 2 { // over none, and over an older one
		if err := save(dir, "hv1", want, sampleCursor); err != nil {
			t.Fatal(err)
		}
	}
	got, c, err := restore(dir, "hv1")
	if err != nil || c != sampleCursor {
		t.Fatalf("cursor %+v, %v", c, err)
	}
	a, err := encodeSnapshot("hv1", want, c)
	if err != nil {
		t.Fatal(err)
	}
	b, err := encodeSnapshot("hv1", got, c)
	if diff := cmp.Diff(string(a), string(b)); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
}

// TestDamagedSnapshotIsNeverUsed flips every byte and cuts at every length.
func TestDamagedSnapshotIsNeverUsed(t *testing.T) {
	whole, err := encodeSnapshot("hv1", sampleState(t), sampleCursor)
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		if _, _, err := decodeSnapshot("hv1", whole[:i]); err == nil {
			t.Fatalf("cut at %d of %d it is used", i, len(whole))
		}
		bad := []byte(string(whole))
		bad[i] ^= 0x20
		s, c, err := decodeSnapshot("hv1", bad)
		if err != nil {
			continue
		}
		// The case of a key in the header means nothing to encoding/json.
		if again, err := encodeSnapshot("hv1", s, c); err != nil || string(again) != string(whole) {
			t.Fatalf("with byte %d changed it is used, and says something else", i)
		}
	}
}

func TestUnusableSnapshotIsSetAside(t *testing.T) {
	dir := t.TempDir()
	if err := save(dir, "hv9", sampleState(t), sampleCursor); err != nil {
		t.Fatal(err)
	}
	_, _, err := restore(dir, "hv1")
	if err == nil || !strings.Contains(err.Error(), `it is of hypervisor "hv9", not of "hv1"`) || !strings.Contains(err.Error(), "set aside as") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, snapshotName+".damaged")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, snapshotName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still in its place: %v", err)
	}
}

// TestAnAgentStartsWithoutTheLog keeps what a run knew and starts another with
// a log that nobody serves.
func TestAnAgentStartsWithoutTheLog(t *testing.T) {
	dir := t.TempDir()
	if err := save(dir, "hv1", sampleState(t), sampleCursor); err != nil {
		t.Fatal(err)
	}
	cfg := &config.Config{Hypervisor: "hv1", State: dir, Log: config.Log{URL: "nats://127.0.0.1:1"}}
	task := newLogTask(cfg, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- task.Run(ctx) }()
	testenv.Eventually(t, "the guest to be known", func() bool { return task.State().Guest("a") != nil })
	if task.Known() || task.InSync() {
		t.Error("a snapshot is announced at once, or taken for all there is")
	}
	task.giveUpWaiting()
	if !task.Known() || task.InSync() {
		t.Error("a snapshot is not announced when the log stays away, or taken for all there is")
	}
	s := Status{Log: task.status()}
	if list := problems(s, nil); len(list) == 0 || !strings.Contains(list[0], "serving from the local snapshot, nothing is swept") {
		t.Errorf("problems: %q", list)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestASnapshotOfThePreviousReleaseIsRead has an agent that was upgraded while
// the log is out of reach serve what it knew, in the form of before.
func TestASnapshotOfThePreviousReleaseIsRead(t *testing.T) {
	p := &projection{state: projector.New()}
	p.publish(t, &events.NetworkDefined{Network: "web", VRF: "public", Subnets: []events.Subnet{{Prefix: events.PrefixFrom(netip.MustParsePrefix("2001:db8::/64"))}},
		IPv6: events.IPv6{Style: events.IPv6Shared, Interval: 200}})
	now, err := encodeSnapshot("hv1", p.state, sampleCursor)
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(now), "\n")
	before := strings.NewReplacer(`"schema":2,`, "", `"ipv6":{"style":"shared","interval":200}`, `"ipv6":"shared","ra":{"interval":200}`).Replace(body)
	if strings.Contains(before, "schema") || !strings.Contains(before, `"ra"`) {
		t.Fatalf("the snapshot is %s", before)
	}
	header := snapshotHeader{Format: snapshotFormat, Version: snapshotVersion, Hypervisor: "hv1", Cursor: sampleCursor, Registers: strings.Count(before, "\n")}
	if header.Hash, err = header.hash([]byte(before)); err != nil {
		t.Fatal(err)
	}
	first, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	s, c, err := decodeSnapshot("hv1", []byte(string(first)+"\n"+before))
	if err != nil || c != sampleCursor {
		t.Fatalf("cursor %+v, %v", c, err)
	}
	if again, err := encodeSnapshot("hv1", s, c); err != nil || string(again) != string(now) {
		t.Errorf("it is read as\n%s\nwant\n%s", again, now)
	}
}
