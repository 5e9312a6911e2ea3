package kernel

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/vrf"
)

// Limits per tap, as token buckets. They are far above what a guest needs when
// it boots or when a /64 of neighbours comes alive, and far below what would
// cost the hypervisor anything.
const (
	dhcpRate, dhcpBurst           = 20, 40 // DHCPv4 and DHCPv6 together
	rsRate, rsBurst               = 10, 20
	ndRate, ndBurst               = 200, 400 // neighbour solicitations and advertisements
	arpRate, arpBurst             = 200, 400
	sourceRate, sourceBurst       = 1, 60              // IPv6 addresses that were not heard of late
	limitMemory                   = time.Minute        // after which an idle bucket is full anyway
	sourceMemory                  = 5 * time.Minute    // from the first packet on, not the last, or addresses would add up
	dropsMemory                   = 7 * 24 * time.Hour // idle counters that long are forgotten
	mostTaps                      = 65535              // bounds what names of taps can fill
	mostSources                   = 48 << 10           // leaves room in the kernel's table of neighbours, which holds 64 << 10
	filterTable                   = "hostroute"
	filterPriority          int32 = -450 // before anybody defragments: fragments are judged as they come
)

// set is a set of a table.
type set struct {
	name    string
	types   []setType
	ranges  bool          // of intervals
	dynamic time.Duration // filled by rules, elements live that long
	most    uint32        // elements, if dynamic
}

// setType is a type of a key, with its number in nft(8).
type setType struct{ id, size uint32 }

var (
	typeName  = setType{41, 16}
	typeMAC   = setType{9, 6}
	typeAddr4 = setType{7, 4}
	typeAddr6 = setType{8, 16}
)

// chain is a chain and its rules. Only a base chain has a hook.
type chain struct {
	name  string
	hook  int // -1: none
	order int32
	rules []ruleExprs
}

type ruleExprs []expr.Any

// table is one of the two tables of the filter.
type table struct {
	family byte
	sets   []set
	chains []chain
}

// ruleset is all that depends on no guest.
type ruleset struct {
	static vrf.FilterStatic
	tables []table
	// fingerprint is in the comment of every rule, followed by the number of
	// the rule, so that a missing, a changed and a strange rule are seen.
	fingerprint string
	description []string // sorted
}

func newRuleset(s vrf.FilterStatic) (*ruleset, error) {
	r := &ruleset{static: s, tables: []table{inetTable(s), arpTable(s)}}
	sum := sha256.New()
	for _, t := range r.tables {
		fmt.Fprintln(sum, t.family, t.sets)
		for _, c := range t.chains {
			fmt.Fprintln(sum, c.name, c.hook, c.order, len(c.rules))
			for _, rule := range c.rules {
				for _, e := range rule {
					b, err := expr.Marshal(t.family, e)
					if err != nil {
						return nil, fmt.Errorf("encoding chain %s: %w", c.name, err)
					}
					sum.Write(b)
				}
				fmt.Fprintln(sum)
			}
		}
	}
	r.fingerprint = hex.EncodeToString(sum.Sum(nil)[:8])
	r.describe()
	return r, nil
}

func inetTable(s vrf.FilterStatic) table {
	return table{
		family: unix.NFPROTO_INET,
		sets: []set{
			{name: "taps", types: []setType{typeName}}, {name: "vrftaps", types: []setType{typeName}}, {name: "exempt", types: []setType{typeName}},
			{name: "macs", types: []setType{typeName, typeMAC}},
			{name: "hosts4", types: []setType{typeName, typeAddr4}}, {name: "hosts6", types: []setType{typeName, typeAddr6}},
			{name: "subnets6", types: []setType{typeName, typeAddr6}},
			{name: "prefixes4", types: []setType{typeName, typeAddr4}, ranges: true}, {name: "prefixes6", types: []setType{typeName, typeAddr6}, ranges: true},
			{name: "gateways4", types: []setType{typeName, typeAddr4}}, {name: "gateways6", types: []setType{typeName, typeAddr6}},
			counters("spoofed"), counters("refused"), counters("limited"), buckets("dhcp"), buckets("rs"), buckets("nd"), buckets("source"),
			{name: "heard", types: []setType{typeName, typeAddr6}, dynamic: sourceMemory, most: mostSources},
		},
		chains: append([]chain{
			guestChain(), ipv4Chain(), ipv4OwnChain(s), ipv6Chain(), ipv6UnspecifiedChain(), ipv6LinkLocalChain(), ipv6OnLinkChain(), ipv6OnLinkFragmentChain(),
			ipv6OwnChain(s), ipv6FragmentChain(),
			heardChain(), localChain("local", iifname(), "refused"), localChain("local_vrf", sdifname(), "refused_vrf"),
			limitChain("limit_dhcp", "dhcp", dhcpRate, dhcpBurst), limitChain("limit_rs", "rs", rsRate, rsBurst), limitChain("limit_nd", "nd", ndRate, ndBurst),
			dropChain("spoofed", "spoofed", iifname()), dropChain("refused", "refused", iifname()),
			dropChain("refused_vrf", "refused", sdifname()), dropChain("limited", "limited", iifname()),
		}, hookChains(s)...),
	}
}

func arpTable(s vrf.FilterStatic) table {
	return table{
		family: unix.NFPROTO_ARP,
		sets: []set{
			{name: "taps", types: []setType{typeName}}, {name: "exempt", types: []setType{typeName}},
			{name: "macs", types: []setType{typeName, typeMAC}},
			{name: "hosts4", types: []setType{typeName, typeAddr4}}, {name: "prefixes4", types: []setType{typeName, typeAddr4}, ranges: true},
			{name: "gateways4", types: []setType{typeName, typeAddr4}},
			counters("spoofed"), counters("limited"), buckets("arp"),
		},
		chains: []chain{
			arpGuestChain(), arpSenderChain(),
			limitChain("limit_arp", "arp", arpRate, arpBurst),
			dropChain("spoofed", "spoofed", iifname()), dropChain("limited", "limited", iifname()),
			{name: "input", hook: 0, order: 0, rules: guestsOf(s)}, // NF_ARP_IN
		},
	}
}

func counters(name string) set {
	return set{name: name, types: []setType{typeName}, dynamic: dropsMemory, most: mostTaps}
}
func buckets(name string) set {
	return set{name: "rate_" + name, types: []setType{typeName}, dynamic: limitMemory, most: mostTaps}
}

// hookChains come last, when all that they jump to is there.
func hookChains(s vrf.FilterStatic) []chain {
	return []chain{
		{name: "prerouting", hook: unix.NF_INET_PRE_ROUTING, order: filterPriority, rules: guestsOf(s)},
		// In a VRF the interface is the VRF device by now, except for ND, and the
		// tap is the slave.
		{name: "input", hook: unix.NF_INET_LOCAL_IN, order: filterPriority, rules: []ruleExprs{
			rule(iifname(), in("taps"), jump("local")),
			rule(sdifname(), in("taps"), jump("local_vrf")),
		}},
		// A tap that still is the interface here has not been enslaved, or was
		// released: its guest must not stand in the host's own network.
		{name: "forward", hook: unix.NF_INET_FORWARD, order: filterPriority, rules: []ruleExprs{
			rule(iifname(), in("vrftaps"), jump("refused")),
		}},
		// The kernel reads hop-by-hop options before any hook, and tells the
		// source of a bad one, whoever that is said to be.
		{name: "output", hook: unix.NF_INET_LOCAL_OUT, order: filterPriority, rules: []ruleExprs{
			rule(icmp6(parameterProblem, parameterProblem), drop()),
		}},
	}
}

// guestsOf tells guests' interfaces from others.
func guestsOf(s vrf.FilterStatic) []ruleExprs {
	rules := []ruleExprs{
		rule(iifname(), in("taps"), jump("guest")),
		rule(iifname(), in("exempt"), accept()),
		rule(meta(expr.MetaKeyIIFGROUP), equal(native32(vrf.TapGroup)...), jump("guest")),
	}
	for _, p := range s.Patterns {
		rules = append(rules, rule(iifname(), equal(patternBytes(p)...), jump("guest")))
	}
	return rules
}

// patternBytes are what a name is compared with: all of it with its end, or
// its beginning.
func patternBytes(p string) []byte {
	if p[len(p)-1] == '*' {
		return []byte(p[:len(p)-1])
	}
	return nameBytes(p)
}

func nameBytes(name string) []byte {
	b := make([]byte, typeName.size)
	copy(b, name)
	return b
}

// dropChain counts and drops. Counting is a rule of its own, since a rule ends
// where its set is full.
func dropChain(name, counter string, who expr.Any) chain {
	return chain{name: name, hook: -1, rules: []ruleExprs{
		rule(who, &expr.Dynset{SrcRegKey: regKey, SetName: counter, Operation: unix.NFT_DYNSET_OP_UPDATE, Timeout: dropsMemory, Exprs: []expr.Any{&expr.Counter{}}}),
		rule(drop()),
	}}
}

// limitChain lets pass what is within the rate.
func limitChain(name, bucket string, rate uint64, burst uint32) chain {
	return chain{name: name, hook: -1, rules: []ruleExprs{
		beyond(bucket, rate, burst),
		rule(accept()),
	}}
}

// beyond drops what is beyond a tap's rate.
func beyond(bucket string, rate uint64, burst uint32) ruleExprs {
	limit := &expr.Limit{Type: expr.LimitTypePkts, Rate: rate, Unit: expr.LimitTimeSecond, Burst: burst, Over: true}
	return rule(iifname(), &expr.Dynset{SrcRegKey: regKey, SetName: "rate_" + bucket, Operation: unix.NFT_DYNSET_OP_UPDATE, Timeout: limitMemory, Exprs: []expr.Any{limit}}, jump("limited"))
}
