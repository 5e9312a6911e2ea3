package agent

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/hostroute/hostroute/internal/bgp"
	"github.com/hostroute/hostroute/internal/bgp/session"
	"github.com/hostroute/hostroute/internal/config"
	"github.com/hostroute/hostroute/projector"
	"github.com/hostroute/hostroute/vrf"
)

// PathExplain answers with an Explanation; query: address, and vrf for one VRF
// only.
const PathExplain = "/explain"

// Explanation says in plain words where a packet for an address goes, and why.
type Explanation struct {
	Address netip.Addr `json:"address"`
	Routed  bool       `json:"routed"` // something leads there, in one VRF at least
	// Sentences hold for all VRFs, or for none of them.
	Sentences []string      `json:"sentences,omitempty"`
	VRFs      []Destination `json:"vrfs"` // in the order of the configuration
}

// Destination is where a packet for an address goes in one VRF.
type Destination struct {
	VRF    string           `json:"vrf"`
	To     DestinationKind  `json:"to"`
	Prefix *netip.Prefix    `json:"prefix,omitempty"` // of the route that it takes
	VM     string           `json:"vm,omitempty"`
	Tap    string           `json:"tap,omitempty"`
	Hops   []DestinationHop `json:"next_hops,omitempty"`
	// Announced tells whether this hypervisor announces the prefix, and with
	// what preference.
	Announced  bool     `json:"announced"`
	Preference uint32   `json:"preference,omitempty"`
	Sentences  []string `json:"sentences"`
}

// DestinationHop is one way out.
type DestinationHop struct {
	Address netip.Addr `json:"address"`
	Uplink  string     `json:"uplink"`
	Plane   string     `json:"plane"`
}

// DestinationKind is what a packet meets at the end of its way here.
type DestinationKind string

// The kinds of destinations.
const (
	ToGuest      DestinationKind = "guest"      // a guest of this hypervisor
	ToLearned    DestinationKind = "learned"    // out, by what BGP has told
	ToGateway    DestinationKind = "gateway"    // the hypervisor answers as the gateway of a network
	ToHypervisor DestinationKind = "hypervisor" // the hypervisor's own address on an uplink
	ToPlane      DestinationKind = "plane"      // a neighbour on the uplink's own subnet
	ToNowhere    DestinationKind = "nowhere"    // the unreachable default
)

// ServiceFacts is what the services of a tap remember of its guest.
type ServiceFacts struct {
	DHCPv4     time.Time // last acknowledged; zero: not since the agent started
	DHCPv6     time.Time // last answered with addresses or prefixes
	Advertised time.Time // last router advertisement
}

// explainFacts is all that an explanation is made of, as it was at one time.
type explainFacts struct {
	address    netip.Addr
	hypervisor string
	now        time.Time

	state     *projector.State
	host      projector.Host  // as applied last
	present   map[string]bool // taps that exist and can be served
	leftOut   []string        // taps that exist and can't be served
	errs      []string        // of the last apply
	announced []bgp.Announcement
	said      bool // announced was said at all

	uplinks       []config.Uplink
	absentUplinks []string
	interconnects []netip.Prefix
	configured    []string // all VRFs of the configuration
	vrfs          []vrfFacts
	services      func(tap string) (ServiceFacts, bool) // nil: not known
}

// vrfFacts is what is known of an address in one VRF.
type vrfFacts struct {
	name string
	// learned are the routes that hold the address, longest prefix first.
	learned    []bgp.Route
	reflectors []reflectorFacts
	handover   []string // what goes on with a prefix that holds it
	// leftover counts routes in the kernel that BGP hasn't confirmed since the
	// agent started.
	leftover int
}

type reflectorFacts struct {
	established, complete bool
	announces             bool // the family of the address is announced to it
}

// explain answers where a packet for an address goes; the services of a tap
// may tell what they remember.
func (a *Agent) explain(services func(tap string) (ServiceFacts, bool)) answer {
	return func(r *http.Request) (any, error) {
		q := r.URL.Query()
		address, err := parseAddress(q.Get("address"))
		if err != nil {
			return nil, errQuery{err}
		}
		vrfs := a.vrfs() // all of them
		if name := q.Get("vrf"); name != "" {
			if !slices.Contains(vrfs, name) {
				return nil, errQuery{fmt.Errorf("vrf %q: this hypervisor has %s", name, strings.Join(vrfs, ", "))}
			}
			vrfs = []string{name}
		}
		f := a.facts(address, vrfs)
		f.services = services
		return explain(f), nil
	}
}

// parseAddress reads the address of a packet.
func parseAddress(s string) (netip.Addr, error) {
	address, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		return address, fmt.Errorf("address %q: not an IP address; write it like 203.0.113.7 or 2001:db8::7", s)
	case address.Zone() != "":
		return address, fmt.Errorf("address %q: an address with a zone never leaves its link; leave the zone out", s)
	}
	return address.Unmap(), nil
}

// facts collects what is known of an address in some VRFs.
func (a *Agent) facts(address netip.Addr, vrfs []string) explainFacts {
	applied := a.apply.snapshot()
	announced, said := a.apply.current()
	f := explainFacts{
		address: address, hypervisor: a.cfg.Hypervisor, now: time.Now(),
		state: a.ledger.State(), host: applied.host, present: applied.present, leftOut: applied.leftOut, errs: applied.errs,
		announced: announced, said: said,
		uplinks: a.cfg.Uplinks, absentUplinks: applied.waiting, interconnects: a.cfg.Guests.Interconnects, configured: a.vrfs(),
	}
	for _, name := range vrfs {
		f.vrfs = append(f.vrfs, a.vrfFacts(name, address))
	}
	return f
}

func (a *Agent) vrfFacts(name string, address netip.Addr) vrfFacts {
	f := vrfFacts{name: name, handover: a.apply.moving.on(name, address)}
	for bits := address.BitLen(); bits >= 0; bits-- {
		p, err := address.Prefix(bits)
		if err != nil {
			break
		}
		if r, ok := a.speaker.Routes(name, p); ok && len(r.Paths) > 0 {
			f.learned = append(f.learned, r)
		}
	}
	family := bgp.FamilyOf(netip.PrefixFrom(address, address.BitLen())).String()
	for _, p := range a.speaker.Peers() {
		if p.VRF == name {
			f.reflectors = append(f.reflectors, reflectorFacts{
				established: p.State == session.Established, complete: p.Complete,
				announces: slices.Contains(p.Families, family) && !slices.Contains(p.Unannounced, family),
			})
		}
	}
	for _, t := range a.speaker.Tables() {
		if t.VRF == name {
			f.leftover = leftover(a.fib.Stats(name), t)
		}
	}
	return f
}

// leftover counts the routes in the kernel beyond those that BGP has told.
func leftover(kernel vrf.Stats, told session.TableStatus) int {
	return max(0, kernel.IPv4-told.Prefixes.IPv4) + max(0, kernel.IPv6-told.Prefixes.IPv6)
}
