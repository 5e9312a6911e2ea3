package scenarios

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hostroute/hostroute/internal/lab"
)

var drift = serving("drift", "every kind of kernel object is deleted by hand, and comes back",
	chapter{"Objects of hv1 are deleted", (*world).deleteObjects},
	chapter{"The VRF itself is deleted", (*world).deleteVRF},
)

// deletion is what somebody does to hv1, and what shows it. Commands are separated
// by semicolons.
type deletion struct{ what, command, show string }

// deletions has a command for each kind of object.
var deletions = []deletion{
	{"the IPv4 rule", "ip rule del pref 32765", "ip rule show"},
	{"the IPv6 rule", "ip -6 rule del pref 32765", "ip -6 rule show"},
	{"an uplink's IPv4 address", "ip address del 100.64.0.11/24 dev a-public", "ip -4 -brief address show"},
	{"an uplink's IPv6 address", "ip address del 2001:db8:a::11/64 dev a-public", "ip -6 -brief address show"},
	{"a gateway's address on a tap", "ip address del 203.0.113.1/32 dev tap1", "ip -4 -brief address show"},
	{"the link-local gateway on a tap", "ip address del fe80::1/64 dev tap1", "ip -6 -brief address show"},
	{"a guest's IPv4 neighbour", "ip neighbour del 203.0.113.11 dev tap1", "ip neighbour show nud permanent"},
	{"a tap's VRF", "ip link set tap1 nomaster", "ip -brief link show master public"},
	{"an uplink's VRF", "ip link set b-public nomaster", "ip -brief link show master public"},
	{"a tap's being up", "ip link set tap1 down", "ip -brief link show dev tap1"},
	// No event tells of a lost route: kernels have millions of them. A comparison finds all of these.
	{"a route of each kind",
		"ip route del 203.0.113.11/32 table 90; ip -6 route del 2001:db8:cb00:7101::/64 table 90; " +
			"ip route del unreachable default table 90 metric 4278198272; " +
			"ip route del 203.0.113.13/32 table 90; ip -6 route del 2001:db8:cb00:7103::/64 table 90",
		"ip route show table 90 proto 201; ip -6 route show table 90 proto 201"},
}

func (w *world) deleteObjects(ctx context.Context) error {
	const hv = "hv1"
	foreign := []string{"ip route add blackhole 198.18.5.0/24 table 90 proto static", "ip rule add pref 500 to 198.18.6.0/24 lookup main", "nft add table inet others"}
	for _, c := range foreign {
		if _, err := w.Exec(ctx, hv, strings.Fields(c)...); err != nil {
			return err
		}
	}
	t, err := w.traffic(ctx, "vm3", "vm4")
	if err != nil {
		return err
	}
	all := slices.Clone(deletions)
	for _, more := range []func(context.Context, string) ([]deletion, error){w.filterDeletions, w.nextHopDeletions} {
		d, err := more(ctx, hv)
		if err != nil {
			return err
		}
		all = append(all, d...)
	}
	before, err := w.loose(ctx, hv)
	if err != nil {
		return err
	}
	for _, d := range all {
		if err := w.comesBack(ctx, hv, d); err != nil {
			return err
		}
	}
	w.story.Eventually(ctx, "the whole kernel is as it was", repairLimit(), func() error { return w.asBefore(ctx, hv, before) })
	w.story.Check("routes, rules and tables of others are still there", w.others(ctx, hv))
	w.recovered(ctx, "all healthy, both planes in use")
	w.lossless(ctx, t, "traffic between hv2 and hv3 meanwhile")
	return nil
}

// comesBack deletes something and waits for it to be shown as before.
func (w *world) comesBack(ctx context.Context, hv string, d deletion) error {
	show := func() (string, error) {
		out, err := w.each(ctx, hv, d.show)
		return ids.ReplaceAllString(out, ""), err
	}
	before, err := show()
	if err != nil {
		return err
	}
	if _, err := w.each(ctx, hv, d.command); err != nil {
		return fmt.Errorf("deleting %s: %w", d.what, err)
	}
	w.story.Eventually(ctx, d.what+", deleted, is back", repairLimit(), func() error {
		after, err := show()
		if err != nil {
			return err
		}
		return same(before, after)
	})
	return nil
}

// each runs commands, and returns what they print together.
func (w *world) each(ctx context.Context, hv, commands string) (all string, err error) {
	for command := range strings.SplitSeq(commands, ";") {
		out, err := w.Exec(ctx, hv, strings.Fields(command)...)
		if err != nil {
			return all, err
		}
		all += out
	}
	return all, nil
}

// asBefore compares the whole kernel.
func (w *world) asBefore(ctx context.Context, hv, before string) error {
	after, err := w.loose(ctx, hv)
	if err != nil {
		return err
	}
	return same(before, after)
}

// filterDeletions deletes our tables of nftables.
func (w *world) filterDeletions(ctx context.Context, hv string) ([]deletion, error) {
	out, err := w.Exec(ctx, hv, "nft", "list", "tables")
	if err != nil {
		return nil, err
	}
	var list []deletion
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) == 3 && f[2] == "hostroute" {
			list = append(list, deletion{"the " + f[1] + " filter", "nft delete table " + f[1] + " " + f[2], "nft list tables"})
		}
	}
	if len(list) == 0 {
		return nil, errors.New("hv1 has no filter")
	}
	return list, nil
}

// nextHopDeletions deletes a group, and a member of another, with the routes
// that refer to them.
func (w *world) nextHopDeletions(ctx context.Context, hv string) ([]deletion, error) {
	hops, err := w.nextHops(ctx, hv)
	if err != nil {
		return nil, err
	}
	var list []deletion
	found := map[bool]bool{}
	for _, id := range slices.Sorted(maps.Keys(hops)) {
		group := len(hops[id].Group) > 0
		if found[group] {
			continue
		}
		found[group] = true
		what := "a next hop"
		if group {
			what = "a group of next hops"
		}
		list = append(list, deletion{what, fmt.Sprintf("ip nexthop del id %d", id), "ip nexthop show proto 201"})
	}
	return list, nil
}

var (
	// ids of next hops are new ones after a loss; what they lead to isn't.
	ids = regexp.MustCompile(`\b(nhid|id|group) [0-9/]+ ?`)
	// handles and counters of sets of nftables, which their elements may have.
	counters = regexp.MustCompile(`counter packets \d+ bytes \d+`)
)

// loose is what a repair must restore: the kernel as ip(8) and nft(8) show it,
// but for numbers that nobody chose.
func (w *world) loose(ctx context.Context, hv string) (string, error) {
	all, err := w.kernel(ctx, hv)
	if err != nil {
		return "", err
	}
	for _, v := range w.Topology.VRFs {
		out, err := w.Exec(ctx, hv, "ip", "-o", "-brief", "link", "show", "master", v.Name)
		if err != nil {
			return "", err
		}
		all += out
	}
	filter, err := w.Exec(ctx, hv, "nft", "-s", "list", "ruleset")
	if err != nil {
		return "", err
	}
	return ids.ReplaceAllString(all, "") + counters.ReplaceAllString(filter, ""), nil
}

// others wants what somebody else put beside ours.
func (w *world) others(ctx context.Context, hv string) error {
	for command, words := range map[string]string{
		"ip route show table 90": "blackhole 198.18.5.0/24", "ip rule show": "to 198.18.6.0/24 lookup main", "nft list tables": "table inet others",
	} {
		out, err := w.Exec(ctx, hv, strings.Fields(command)...)
		if err != nil {
			return err
		}
		if !strings.Contains(out, words) {
			return fmt.Errorf("%s has no %q:\n%s", command, words, out)
		}
	}
	return nil
}

func (w *world) deleteVRF(ctx context.Context) error {
	const hv = "hv1"
	before, err := w.loose(ctx, hv)
	if err != nil {
		return err
	}
	if err := w.comesBack(ctx, hv, deletion{"the VRF public with all that was in it", "ip link del public", "ip -brief link show master public"}); err != nil {
		return err
	}
	w.story.Eventually(ctx, "the whole kernel is as it was", repairLimit(), func() error { return w.asBefore(ctx, hv, before) })
	w.recovered(ctx, "all healthy, both planes in use")
	w.story.Eventually(ctx, "every guest reaches every guest and the internet", settle, func() error { return w.all(ctx, w.public()) })
	return nil
}

// repairLimit is how long a repair may take that only a comparison finds: agents
// compare once a minute, on slow machines too, which then take their time.
func repairLimit() time.Duration {
	return time.Duration(float64(time.Minute)/lab.TimeFactor()) + settle/2
}
