package lab

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/config"
	"github.com/hostroute/hostroute/projector"
)

// TestAgentConfigsAreValid has the agent's own parser read what the lab writes.
func TestAgentConfigsAreValid(t *testing.T) {
	l := Open(Reference(), t.TempDir())
	if err := l.writeAgentConfigs(); err != nil {
		t.Fatal(err)
	}
	for _, h := range l.Topology.Hypervisors {
		c := parseConfig(t, l.AgentConfig(h.Name))
		if c.Hypervisor != h.Name || c.Log.URL != l.LogURL() || c.Socket != l.AgentSocket(h.Name) || c.BGP.RouterID != h.Management {
			t.Errorf("the configuration of %s is %+v", h.Name, c)
		}
		if len(c.Uplinks) != 4 || len(c.BGP.Reflectors) != 4 || len(c.VRFs) != 2 {
			t.Errorf("%s has %d uplinks, %d reflectors and %d VRFs, want 4, 4 and 2", h.Name, len(c.Uplinks), len(c.BGP.Reflectors), len(c.VRFs))
		}
	}
	if c := parseConfig(t, l.ControlConfig()); c.Log.Embedded == nil {
		t.Errorf("the log service's configuration embeds no server: %+v", c.Log)
	}
}

func parseConfig(t *testing.T, path string) *config.Config {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse(strings.NewReader(string(raw)))
	if err != nil {
		t.Fatalf("%s: %v\n%s", path, err, raw)
	}
	return c
}

// TestReferenceAddresses holds the addresses that the documentation names.
func TestReferenceAddresses(t *testing.T) {
	topology := Reference()
	got := map[string]string{}
	for _, u := range topology.Uplinks(topology.Hypervisors[0]) {
		got[u.Interface] = u.V4.String() + " " + u.V6.String() + " " + fmt.Sprint(u.Reflectors)
	}
	for _, network := range []string{"public", "private"} {
		for _, family := range []int{4, 6} {
			a, err := topology.Address("vm4", network, family)
			if err != nil {
				t.Fatal(err)
			}
			got["vm4 "+network] += a.String() + " "
		}
	}
	want := map[string]string{
		"a-public":    "100.64.0.11/24 2001:db8:a::11/64 [100.64.0.1]",
		"a-private":   "100.64.1.11/24 2001:db8:a:1::11/64 [100.64.1.1]",
		"b-public":    "100.64.2.11/24 2001:db8:b::11/64 [100.64.2.1]",
		"b-private":   "100.64.3.11/24 2001:db8:b:1::11/64 [100.64.3.1]",
		"vm4 public":  "203.0.113.14 2001:db8:cb00:7104:0:ff:fe00:400 ",
		"vm4 private": "203.0.113.144 2001:db8:cb00:7180::14 ",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
}

// TestWorldIsValid reads the lab's events as `hostroute publish` does and folds them.
func TestWorldIsValid(t *testing.T) {
	l := Open(Reference(), t.TempDir())
	if err := l.writeWorld(); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(l.WorldFile())
	if err != nil {
		t.Fatal(err)
	}
	state, sequence := projector.New(), uint64(0)
	for line := range bytes.Lines(raw) {
		e, err := events.Parse(line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if e, err = projector.Complete(state, e); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		sequence++
		if _, err := state.Apply(projector.Record{Sequence: sequence, Event: e}); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
	for _, g := range l.Topology.Guests {
		if got := state.Guest(g.Name); got == nil || len(got.Addresses) != 4 {
			t.Errorf("guest %s is %+v, want it with its four prefixes", g.Name, got)
		}
	}
}
