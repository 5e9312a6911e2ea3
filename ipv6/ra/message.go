package ra

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/mdlayher/ndp"

	"github.com/hostroute/hostroute/ipv6"
	"github.com/hostroute/hostroute/vrf"
)

// messages are the packets of an advertisement, without checksums.
func messages(a ipv6.Advertisement) ([][]byte, error) {
	var out [][]byte
	for _, part := range a.Parts() {
		b, err := ndp.MarshalMessage(message(part))
		if err != nil {
			return nil, fmt.Errorf("writing a router advertisement: %w", err)
		}
		runs(part.Search, len(part.Search), func(names []string, lifetime time.Duration) {
			b = appendSearch(b, names, lifetime)
		})
		out = append(out, b)
	}
	return out, nil
}

func message(a ipv6.Advertisement) *ndp.RouterAdvertisement {
	m := &ndp.RouterAdvertisement{
		CurrentHopLimit:           ipv6.HopLimit,
		ManagedConfiguration:      a.Managed,
		OtherConfiguration:        a.Other,
		RouterSelectionPreference: preference(a.Preference),
		RouterLifetime:            a.Lifetime,
		Options:                   []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: vrf.TapMAC[:]}},
	}
	if a.Lifetime == 0 {
		m.RouterSelectionPreference = ndp.Medium // RFC 4191, section 2.2
	}
	if a.MTU > 0 {
		m.Options = append(m.Options, ndp.NewMTU(uint32(a.MTU)))
	}
	for _, p := range a.Prefixes {
		m.Options = append(m.Options, &ndp.PrefixInformation{
			Prefix: p.Prefix.Addr(), PrefixLength: uint8(p.Prefix.Bits()),
			OnLink: p.OnLink, AutonomousAddressConfiguration: p.Autonomous,
			ValidLifetime: p.Valid, PreferredLifetime: p.Preferred,
		})
	}
	for _, r := range a.Routes {
		m.Options = append(m.Options, &ndp.RouteInformation{
			Prefix: r.Value.Addr(), PrefixLength: uint8(r.Value.Bits()),
			Preference: preference(a.Preference), RouteLifetime: r.Lifetime,
		})
	}
	runs(a.DNS, resolversPerOption, func(servers []netip.Addr, lifetime time.Duration) {
		m.Options = append(m.Options, &ndp.RecursiveDNSServer{Lifetime: lifetime, Servers: servers})
	})
	return m
}

// resolversPerOption is how many the library can write: it counts the bytes of
// an option in a byte, which is why it can't write a search list of any length
// either.
const resolversPerOption = 15

// appendSearch adds a DNS search list option (RFC 8106, section 5.2). That the
// names are valid and fit is checked already.
func appendSearch(b []byte, names []string, lifetime time.Duration) []byte {
	const searchList = 31
	start := len(b)
	b = append(b, searchList, 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(lifetime/time.Second))
	for _, name := range names {
		for label := range strings.SplitSeq(name, ".") {
			b = append(append(b, byte(len(label))), label...)
		}
		b = append(b, 0)
	}
	for (len(b)-start)%8 != 0 {
		b = append(b, 0)
	}
	b[start+1] = byte((len(b) - start) / 8)
	return b
}

// runs calls add for every run of neighbours that have the same lifetime, with
// so many of them at most.
func runs[T comparable](all []ipv6.Lasting[T], most int, add func([]T, time.Duration)) {
	for len(all) > 0 {
		var values []T
		lifetime := all[0].Lifetime
		for len(all) > 0 && len(values) < most && all[0].Lifetime == lifetime {
			values, all = append(values, all[0].Value), all[1:]
		}
		add(values, lifetime)
	}
}

func preference(p ipv6.Preference) ndp.Preference {
	switch p {
	case ipv6.PreferenceLow:
		return ndp.Low
	case ipv6.PreferenceHigh:
		return ndp.High
	default:
		return ndp.Medium
	}
}
