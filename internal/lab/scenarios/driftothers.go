package scenarios

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/hostroute/hostroute/internal/lab"
)

// foreign is what somebody else has on a hypervisor, and what shows it.
type foreign struct{ command, show, words string }

// foreigners are of each kind that hostroute has, in its tables and on its links
// where they can be: not a neighbour on a link that changes its VRF, since the kernel
// itself forgets that then.
var foreigners = []foreign{
	{"ip route add blackhole 198.18.5.0/24 table 90 proto static", "ip route show table 90", "blackhole 198.18.5.0/24 proto static"},
	{"ip route add blackhole 198.18.5.0/24 table 90 proto static metric 100", "ip route show table 90", "blackhole 198.18.5.0/24 proto static metric 100"},
	{"ip -6 route add blackhole 2001:db8:f00d::/48 table 90 proto static metric 200", "ip -6 route show table 90", "blackhole 2001:db8:f00d::/48 dev lo proto static metric 200"},
	{"ip rule add pref 500 to 198.18.6.0/24 lookup main", "ip rule show", "500:\tfrom all to 198.18.6.0/24 lookup main"},
	{"ip -6 rule add pref 500 to 2001:db8:f00d::/48 lookup main", "ip -6 rule show", "500:\tfrom all to 2001:db8:f00d::/48 lookup main"},
	{"ip address add 198.18.8.1/32 dev tap1", "ip address show dev tap1", "inet 198.18.8.1/32"},
	{"ip address add 2001:db8:f00d::1/128 dev tap1 nodad", "ip address show dev tap1", "inet6 2001:db8:f00d::1/128"},
	{"ip address add 198.18.9.1/24 dev a-private", "ip address show dev a-private", "inet 198.18.9.1/24"},
	{"ip neighbour add 198.18.9.2 lladdr 02:00:00:00:99:03 dev a-private nud permanent", "ip neighbour show dev a-private", "198.18.9.2 lladdr 02:00:00:00:99:03 PERMANENT"},
	{"ip nexthop add id 777 blackhole proto static", "ip nexthop show", "id 777 blackhole"},
	{"ip nexthop add id 2010077777 blackhole proto static", "ip nexthop show", "id 2010077777 blackhole"},
	{"nft add table inet others", "nft list tables", "table inet others"},
	{"nft add table ip hostroute", "nft list tables", "table ip hostroute"},
}

// putOthers puts what is somebody else's beside ours.
func (w *world) putOthers(ctx context.Context) error {
	for _, f := range foreigners {
		if _, err := w.each(ctx, f.command); err != nil {
			return fmt.Errorf("putting what is others' beside ours: %w", err)
		}
	}
	return w.others(ctx)
}

// others wants what is somebody else's to be there still.
func (w *world) others(ctx context.Context) error {
	for _, f := range foreigners {
		out, err := w.each(ctx, f.show)
		if err != nil {
			return err
		}
		if !strings.Contains(out, f.words) {
			return fmt.Errorf("%s has no %q:\n%s", f.show, f.words, out)
		}
	}
	return nil
}

// whole is loose while both planes are in use: which are may change at any time, and
// what stands in the kernel with it.
func (w *world) whole(ctx context.Context) (shown string, err error) {
	both := func() error { return w.routedEverywhere(ctx, drifting, "ab") }
	err = lab.Eventually(ctx, "both planes to be in use", 4*settle, func() error {
		if err := both(); err != nil {
			return err
		}
		var err error
		shown, err = w.loose(ctx)
		return firstError(err, both())
	})
	return shown, err
}

// loose is what a repair must restore: the kernel as ip(8) and nft(8) show it, but
// for numbers that nobody chose.
func (w *world) loose(ctx context.Context) (string, error) {
	all, err := w.kernel(ctx, drifting)
	if err != nil {
		return "", err
	}
	for _, v := range w.Topology.VRFs {
		out, err := w.each(ctx, "ip -o -brief link show master "+v.Name)
		if err != nil {
			return "", err
		}
		all += out
	}
	filter, err := w.each(ctx, "nft -s list ruleset")
	return withoutNumbers(all + filter), err
}

// asBefore wants the whole kernel to be as it was. How long each repair may take is
// checked elsewhere; what is not repaired never is as it was.
func (w *world) asBefore(ctx context.Context, before string) {
	w.story.Eventually(ctx, "the whole kernel is as it was", 4*settle, func() error {
		after, err := w.loose(ctx)
		if err != nil {
			return err
		}
		return same(before, after)
	})
}

var (
	// nextHopIDs are new ones after a loss; what they lead to isn't, nor how many are in a group
	// and with what weights.
	nextHopIDs = regexp.MustCompile(`\b(nhid|id|group) [0-9,/]+`)
	anID       = regexp.MustCompile(`([ /])[0-9]+`)
	// heardElements are those of a set that packets fill: they come and go.
	heardElements = regexp.MustCompile(`(?s)(flags [a-z,]*dynamic[^}=]*?)elements = \{.*?\}`)
	// setElements are shown in no order, and in lines of some length.
	setElements = regexp.MustCompile(`(?s)elements = \{.*?\}`)
	// briefAddresses are all on one line, in no order.
	briefAddresses = regexp.MustCompile(`(?m)^(\S+ +(?:UP|DOWN|UNKNOWN)) +((?:[0-9a-f.:]+/\d+ ?)+)$`)
	// restless is what an address is for a moment only.
	restless = regexp.MustCompile(`(?m) tentative\b`)
	// blankLines are left where something was taken away.
	blankLines = regexp.MustCompile(`(?m)^\s*\n`)
)

// withoutNumbers leaves of what ip(8) and nft(8) show that which somebody wants so, one
// thing a line.
func withoutNumbers(shown string) string {
	shown = nextHopIDs.ReplaceAllStringFunc(shown, func(id string) string { return anID.ReplaceAllString(id, "${1}N") })
	shown = heardElements.ReplaceAllString(shown, "$1")
	shown = setElements.ReplaceAllStringFunc(shown, func(list string) string {
		return strings.NewReplacer("{", "{\n", ",", "\n", "}", "\n}").Replace(list)
	})
	shown = briefAddresses.ReplaceAllStringFunc(shown, func(line string) string {
		f := strings.Fields(line)
		return f[0] + " " + f[1] + "\n" + f[0] + " " + strings.Join(f[2:], "\n"+f[0]+" ")
	})
	return blankLines.ReplaceAllString(restless.ReplaceAllString(shown, ""), "")
}
