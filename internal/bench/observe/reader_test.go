package observe

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hostroute/hostroute/internal/bench"
	"github.com/hostroute/hostroute/internal/bench/site"
	"github.com/hostroute/hostroute/internal/testenv"
)

// kernel is a site whose table has routes that ip(8) writes.
type kernel struct {
	*testing.T
	site   *site.Site
	table  *bench.Table
	reader *Reader
	want   Want
}

func newKernel(t *testing.T, f bench.Family, compat string) *kernel {
	testenv.RequireRoot(t)
	s, err := site.New(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	k := &kernel{T: t, site: s, table: bench.NewTable(bench.Job{Family: f, Routes: 100}, 1)}
	k.want = Want{Table: k.table, Planes: []int{0, 1}}
	k.run("ip", "netns", "exec", s.DUT, "sysctl", "-q", "-w", "net.ipv4.nexthop_compat_mode="+compat)
	if k.reader, err = NewReader(s, f); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.reader.Close() })
	return k
}

func (k *kernel) run(program string, args ...string) {
	k.Helper()
	if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		k.Fatalf("%s %s: %v: %s", program, strings.Join(args, " "), err, out)
	}
}

func (k *kernel) ip(format string, args ...any) {
	k.Helper()
	k.run("ip", append([]string{"-n", k.site.DUT}, strings.Fields(fmt.Sprintf(format, args...))...)...)
}

func (k *kernel) batch(lines []string) {
	k.Helper()
	file := filepath.Join(k.TempDir(), "lines")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		k.Fatal(err)
	}
	k.ip("-b %s", file)
}

// multipath writes a route as a contender without next-hop objects does.
func (k *kernel) multipath(verb string, i int) {
	k.Helper()
	k.ip("route %s %s table 90 nexthop via %s dev up-a nexthop via %s dev up-b", verb, k.table.Address(i), k.table.NextHop(i, 0), k.table.NextHop(i, 1))
}

// expect asks both questions.
func (k *kernel) expect(what string, want Difference) {
	k.Helper()
	got, err := k.reader.Compare(k.want)
	if err != nil {
		k.Fatal(err)
	}
	if got.Missing != want.Missing || got.Wrong != want.Wrong || got.Foreign != want.Foreign || len(got.Differing) != want.Missing+want.Wrong {
		k.Errorf("%s: %v; want %v; differing: %v", what, got, want, got.Differing)
	}
	all := make([]int, k.table.Len())
	for i := range all {
		all[i] = i
	}
	right, err := k.reader.Right(k.want, all)
	if err != nil {
		k.Fatal(err)
	}
	first := len(all)
	for _, i := range got.Differing {
		first = min(first, i)
	}
	if right != first {
		k.Errorf("%s: %d are right before the first one that is not; want %d", what, right, first)
	}
}

func TestReaderTellsWhatIsRight(t *testing.T) {
	for _, f := range []bench.Family{4, 6} {
		for _, compat := range []string{"0", "1"} {
			t.Run(fmt.Sprintf("IPv%d, compat mode %s", f, compat), func(t *testing.T) { testReader(newKernel(t, f, compat)) })
		}
	}
}

func testReader(k *kernel) {
	k.expect("nothing", Difference{Missing: 100})
	var lines []string
	for i := range 60 {
		lines = append(lines, fmt.Sprintf("route add %s table 90 nexthop via %s dev up-a nexthop via %s dev up-b", k.table.Address(i), k.table.NextHop(i, 0), k.table.NextHop(i, 1)))
	}
	k.batch(lines)
	k.expect("multipath", Difference{Missing: 40})
	k.ip("nexthop add id 1 via %s dev up-a", k.table.NextHop(0, 0))
	k.ip("nexthop add id 2 via %s dev up-b", k.table.NextHop(0, 1))
	k.ip("nexthop add id 3 group 1/2")
	lines = nil
	for i := 60; i < 100; i++ {
		lines = append(lines, fmt.Sprintf("route add %s table 90 nhid 3", k.table.Address(i)))
	}
	k.batch(lines)
	k.expect("objects", Difference{})
	k.ip("route add unreachable default table 90 metric 4278198272")
	k.expect("a last resort", Difference{})
	k.ip("nexthop replace id 3 group 1")
	k.expect("a group without a plane", Difference{Wrong: 40})
	k.ip("nexthop replace id 3 group 1/2")
	k.ip("nexthop replace id 2 via %s dev up-b", otherHost(k.table))
	k.expect("an object with another gateway", Difference{Wrong: 40})
	k.ip("nexthop replace id 2 via %s dev up-b", k.table.NextHop(0, 1))
	k.ip("route del %s table 90", k.table.Address(7))
	k.expect("a route less", Difference{Missing: 1})
	k.multipath("add", 7)
	k.ip("route replace %s table 90 via %s dev up-a", k.table.Address(9), k.table.NextHop(9, 0))
	k.expect("a next hop less", Difference{Wrong: 1})
	k.multipath("replace", 9)
	foreign := map[bool]string{true: "1.2.3.4", false: "2001:db9::1"}[k.table.Address(0).Is4()]
	k.ip("route add %s table 90 via %s dev up-a", foreign, k.table.NextHop(9, 0))
	k.expect("a foreign one", Difference{Foreign: 1})
	k.ip("route del %s table 90", foreign)
	k.expect("all again", Difference{})
	family := bench.Family(4)
	if k.table.Address(0).Is6() {
		family = 6
	}
	if err := Empty(k.site, family); err != nil {
		k.Fatal(err)
	}
	k.expect("emptied", Difference{Missing: 100})
}

// otherHost is an address in plane b that is no next hop of the first routes.
func otherHost(t *bench.Table) string {
	other := bench.NewTable(bench.Job{Family: map[bool]bench.Family{true: 4, false: 6}[t.Address(0).Is4()], Routes: 1000}, 1)
	return other.NextHop(900, 1).String()
}
