package lab

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestLargestTopology has the reflectors of four planes die one by one and a host lose its cables, with a BIRD where
// the agents would be.
func TestLargestTopology(t *testing.T) {
	t.Parallel()
	topology, err := Sized(MaxPlanes, MaxReflectors)
	if err != nil {
		t.Fatal(err)
	}
	l := testLabOf(t, topology.WithHypervisors(2))
	ctx := t.Context()
	announceFromHV1(t, l)
	checkEdgeUses(t, l, "abcd", 8)
	c, err := l.Topology.Plane("c")
	if err != nil {
		t.Fatal(err)
	}
	killReflector(t, l, c.Reflectors[0])
	checkEdgeUses(t, l, "abcd", 7)
	killReflector(t, l, c.Reflectors[1])
	checkEdgeUses(t, l, "abcd", 6) // it keeps what they told, as they asked it to
	for _, r := range c.Reflectors {
		if err := l.StartReflector(ctx, c, r); err != nil {
			t.Fatal(err)
		}
	}
	checkEdgeUses(t, l, "abcd", 8)
	if err := l.CutPlane(ctx, "a", "hv1"); err != nil {
		t.Fatal(err)
	}
	checkEdgeUses(t, l, "bcd", 8) // its own cables are fine
	if err := l.RestorePlane(ctx, "a", "hv1"); err != nil {
		t.Fatal(err)
	}
	checkEdgeUses(t, l, "abcd", 8)
}

func killReflector(t *testing.T, l *Lab, r Reflector) {
	t.Helper()
	for _, name := range l.ReflectorDaemons(r) {
		d, err := l.Daemon(r.Node, name)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Stop(t.Context(), syscall.SIGKILL, 5*time.Second); err != nil {
			t.Fatal(err)
		}
	}
}

// checkEdgeUses wants the edge to reach vm1 over these planes and no other, and to have so many sessions.
func checkEdgeUses(t *testing.T, l *Lab, planes string, sessions int) {
	t.Helper()
	eventually(t, fmt.Sprintf("the edge to reach vm1 over the planes %s, with %d sessions", planes, sessions), 40*time.Second, func() error {
		out, err := l.Exec(t.Context(), "edge", "ip", "route", "show", "203.0.113.11")
		if err != nil {
			return err
		}
		var uses []string
		for _, p := range l.Topology.Planes {
			if strings.Contains(out, "dev "+p.Name+"-public") {
				uses = append(uses, p.Name)
			}
		}
		if !slices.Equal(uses, strings.Split(planes, "")) {
			return fmt.Errorf("its route is %s", out)
		}
		out, err = l.BIRD(t.Context(), "edge", "show", "protocols")
		if got := strings.Count(out, "Established"); err == nil && got != sessions {
			return fmt.Errorf("%d sessions are established:\n%s", got, out)
		}
		return err
	})
}
