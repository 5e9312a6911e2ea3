package scenarios

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hostroute/hostroute/internal/lab"
)

func TestFaultTable(t *testing.T) {
	none := []lab.FlowLoss{{Sent: 100}, {Sent: 100}, {Sent: 100}, {Sent: 100}}
	some := []lab.FlowLoss{{Sent: 90, Lost: 3, Outage: 40 * time.Millisecond}, {Sent: 90}, {Sent: 90, Lost: 9, Outage: 900 * time.Millisecond}, {Sent: 90}}
	got := faultTable([]faultRow{
		{fault: planeFault{short: "it rains"}, over: "bc", says: []string{"wet", "cold"}, during: some, after: none},
		{fault: planeFault{short: "it drizzles", random: true}, over: "abc", during: some, after: some},
		{fault: planeFault{short: "a cloud"}, over: "abc", during: none, after: none},
	})
	want := `fault        flows over  lost of sent: IPv4 →  ←         IPv6 →    ←         outage          at its end
it rains     b c         3 of 90               0 of 90   9 of 90   0 of 90   900 ms          0 of 400
    status: wet
    status: cold
it drizzles  a b c       3 of 90               0 of 90   9 of 90   0 of 90   here and there  12 of 360
a cloud      a b c       0 of 100              0 of 100  0 of 100  0 of 100  none            0 of 400
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the table (-want +got):\n%s", diff)
	}
	if lossOf(none) != nil || lossOf(some) == nil {
		t.Errorf("losses: %v, %v", lossOf(none), lossOf(some))
	}
}

// TestPlaneFaults wants every fault to be possible, to leave a plane, and none to
// make a path fall so often that it is left for that.
func TestPlaneFaults(t *testing.T) {
	topology := largest()
	all := (&world{Lab: &lab.Lab{Topology: topology}}).planes()
	lost := map[rune]int{}
	for _, f := range planeFaults {
		for hv := range f.says {
			if _, err := topology.Hypervisor(hv); err != nil {
				t.Errorf("%s: %v", f.title, err)
			}
		}
		if f.planes == "" || len(f.says) == 0 || strings.Trim(f.planes, all) != "" || f.begin == nil || f.end == nil {
			t.Errorf("%s: the planes %q, of %q, and %v", f.title, f.planes, all, f.says)
		}
		for _, plane := range all {
			if !strings.ContainsRune(f.planes, plane) && !f.random {
				lost[plane]++
			}
		}
	}
	for plane, n := range lost {
		if n > 2 {
			t.Errorf("plane %c is lost %d times: the third within 15 minutes costs it 10 s", plane, n)
		}
	}
	first := planeFaults[0].says["hv1"]
	if !hasAll("plane a has no carrier on a-public and a-private: check the cable; traffic flows over planes b, c and d", first) || hasAll("plane a", first) {
		t.Errorf("words are found wrongly: %q", first)
	}
}
