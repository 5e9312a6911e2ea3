package ipv6

import (
	"net/netip"
	"slices"
	"time"
)

const (
	// preference makes a client take the first Advertise at once instead of
	// collecting them for a second (RFC 8415, section 18.2.1).
	preference = 255
	// retryMax is how long a client that got nothing may at most wait before it
	// asks again: an hour by default (SOL_MAX_RT), which is long for a guest
	// that is assigned an address now.
	retryMax = 5 * time.Minute
	// How long what an Information-Request got may be kept (RFC 8415, section
	// 21.23): the lease time within these.
	shortestRefresh = 10 * time.Minute
	longestRefresh  = 24 * time.Hour
	// infinite is the lifetime that never ends (RFC 8415, section 7.7).
	infinite = 0xffffffff * time.Second
)

// Answer is what the guest of this lease is told, or why it is told nothing.
// Nothing is remembered from one message to the next: what a guest has is known
// from its tap, so there is nothing that a claimed identity could change or
// that many of them could use up.
func (l Lease) Answer(m DHCPMessage) (DHCPAnswer, DHCPIgnored) {
	if why := m.check(); why != "" {
		return DHCPAnswer{}, why
	}
	a := DHCPAnswer{Kind: DHCPReply, Transaction: m.Transaction, Client: m.Client, Server: ServerDUID()}
	if m.Unicast {
		a.Status = StatusUseMulticast // RFC 8415, section 18.4: and nothing else
		return a, ""
	}
	switch m.Kind {
	case DHCPSolicit:
		l.solicit(&a, m)
	case DHCPRequest:
		a.IAs = l.request(m.IAs)
	case DHCPRenew, DHCPRebind:
		a.IAs = l.renew(m.IAs)
	case DHCPConfirm:
		if a.Status = l.confirm(m.IAs); a.Status == StatusNone {
			return DHCPAnswer{}, IgnoredNothing
		}
		return a, ""
	case DHCPRelease, DHCPDecline:
		a.Status, a.IAs = StatusSuccess, l.giveUp(m.IAs)
		return a, ""
	case DHCPInformationRequest:
		if slices.Contains(m.Wanted, DHCPOptionRefresh) {
			a.Refresh = min(max(l.Valid, shortestRefresh), longestRefresh)
		}
	}
	l.tell(&a, m.Wanted)
	return a, ""
}

// solicit is RFC 8415, section 18.3.1. Rapid commit is used only where there is
// something to commit: a client that got nothing shall go on asking.
func (l Lease) solicit(a *DHCPAnswer, m DHCPMessage) {
	a.IAs = l.grant(m.IAs)
	something := slices.ContainsFunc(a.IAs, func(ia IA) bool { return len(ia.Leased) > 0 })
	if m.Rapid && something {
		a.Rapid = true
		return
	}
	a.Kind, a.Preference = DHCPAdvertise, preference
}

// request is RFC 8415, section 18.3.2: a client that asks for an address of
// elsewhere is sent back to Solicit.
func (l Lease) request(asked []IA) []IA {
	out := l.grant(asked)
	for i, ia := range asked {
		if ia.Kind != IAPD && len(l.foreign(ia)) > 0 {
			out[i] = IA{Kind: ia.Kind, ID: ia.ID, Status: StatusNotOnLink}
		}
	}
	return out
}

// renew is RFC 8415, sections 18.3.4 and 18.3.5: the guest has what its tap has,
// whatever it thought, and loses the rest at once.
func (l Lease) renew(asked []IA) []IA {
	out := l.grant(asked)
	for i, ia := range asked {
		gone := l.foreign(ia)
		if len(gone) == 0 {
			continue
		}
		out[i].Leased = append(out[i].Leased, gone...)
		out[i].Status = StatusNone
	}
	return out
}

// confirm is RFC 8415, section 18.3.3. Nothing but the guest's own addresses
// belongs on its link, also where it believes to share a subnet with others.
func (l Lease) confirm(asked []IA) DHCPStatus {
	status := StatusNone
	for _, ia := range asked {
		for _, leased := range ia.Leased {
			switch {
			case ia.Kind == IAPD || isHint(ia.Kind, leased.Prefix):
			case !l.owns(ia.Kind, leased.Prefix):
				return StatusNotOnLink
			default:
				status = StatusSuccess
			}
		}
	}
	return status
}

// giveUp is RFC 8415, sections 18.3.7 and 18.3.8: only what the guest doesn't
// have is mentioned. What it gave up stays its own and is given to it again.
func (l Lease) giveUp(asked []IA) []IA {
	var out []IA
	for _, ia := range asked {
		if !l.ownsAny(ia) {
			out = append(out, IA{Kind: ia.Kind, ID: ia.ID, Status: StatusNoBinding})
		}
	}
	return out
}

// grant gives everything of a kind to one association of that kind, and nothing
// to the others, in the order they came in.
func (l Lease) grant(asked []IA) []IA {
	na, pd := l.chosen(asked, IANA), l.chosen(asked, IAPD)
	out := make([]IA, len(asked))
	for i, ia := range asked {
		out[i] = IA{Kind: ia.Kind, ID: ia.ID}
		if i == na || i == pd {
			out[i].Leased = l.leased(ia.Kind)
		}
		switch {
		case len(out[i].Leased) > 0:
			out[i].T1, out[i].T2 = l.timers()
		case ia.Kind == IAPD:
			out[i].Status = StatusNoPrefixAvail
		default: // also for IA_TA: privacy is the guest's own business, within its own /64
			out[i].Status = StatusNoAddrsAvail
		}
	}
	return out
}

// chosen is the place of the association that gets all there is of its kind:
// the first that has some of it already, so that the order in which a client
// lists them moves nothing, otherwise the first; -1: there is none.
func (l Lease) chosen(asked []IA, kind IAKind) int {
	if i := slices.IndexFunc(asked, func(ia IA) bool { return ia.Kind == kind && l.ownsAny(ia) }); i >= 0 {
		return i
	}
	return slices.IndexFunc(asked, func(ia IA) bool { return ia.Kind == kind })
}

// leased is what the guest has of a kind.
func (l Lease) leased(kind IAKind) []Leased {
	var out []Leased
	valid := within(l.Valid, infinite)
	for _, p := range l.own(kind) {
		out = append(out, Leased{Prefix: p, Preferred: within(l.Preferred, valid), Valid: valid})
	}
	return out
}

func (l Lease) own(kind IAKind) []netip.Prefix {
	switch kind {
	case IANA:
		var out []netip.Prefix
		for _, a := range onlyIPv6(l.Addresses) {
			out = append(out, netip.PrefixFrom(a, a.BitLen()))
		}
		return out
	case IAPD:
		return l.Delegated
	}
	return nil
}

func (l Lease) owns(kind IAKind, p netip.Prefix) bool { return slices.Contains(l.own(kind), p) }

func (l Lease) ownsAny(ia IA) bool {
	return slices.ContainsFunc(ia.Leased, func(x Leased) bool { return l.owns(ia.Kind, x.Prefix) })
}

// foreign is what a client lists and doesn't have, each once and with lifetimes
// of 0. Wishes are not among it.
func (l Lease) foreign(ia IA) []Leased {
	var out []Leased
	for _, x := range ia.Leased {
		gone := Leased{Prefix: x.Prefix}
		if !isHint(ia.Kind, x.Prefix) && !l.owns(ia.Kind, x.Prefix) && !slices.Contains(out, gone) {
			out = append(out, gone)
		}
	}
	return out
}

// isHint tells a wish (any address, or any prefix of some length; RFC 8415,
// section 18.2.4) from something that the client believes to have.
func isHint(kind IAKind, p netip.Prefix) bool {
	return !p.IsValid() || p.Addr().IsUnspecified() || kind != IAPD && !p.IsSingleIP()
}

// timers are what RFC 8415, section 21.4, recommends.
func (l Lease) timers() (t1, t2 time.Duration) {
	preferred := within(l.Preferred, within(l.Valid, infinite))
	if preferred == infinite {
		return infinite, infinite
	}
	return preferred / 2, preferred / 5 * 4
}

// tell adds the configuration that the client asked for (RFC 8415, section
// 18.3.1: nothing else).
func (l Lease) tell(a *DHCPAnswer, wanted []DHCPOption) {
	for _, option := range wanted {
		switch option {
		case DHCPOptionDNS:
			a.DNS = onlyIPv6(l.DNS)
		case DHCPOptionSearch:
			a.Search = onlyNames(l.Search)
		case DHCPOptionNTP:
			a.NTP = onlyIPv6(l.NTP)
		case DHCPOptionSolicitMax:
			a.SolicitMax = retryMax
		case DHCPOptionInformationMax:
			a.InformationMax = retryMax
		}
	}
}

func onlyIPv6(addrs []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, a := range addrs {
		if a.Is6() && !a.Is4In6() {
			out = append(out, a.WithZone(""))
		}
	}
	return out
}

// onlyNames leaves out what is no domain name, which would spoil the others.
func onlyNames(domains []string) []string {
	var out []string
	for _, d := range domains {
		if name, ok := domainName(d); ok {
			out = append(out, name)
		}
	}
	return out
}
