package ipv6

import "bytes"

// DHCPIgnored is why a message gets no answer; empty: it gets one. The reasons
// are a small fixed set.
type DHCPIgnored string

// Why messages are ignored.
const (
	IgnoredKind      DHCPIgnored = "not a kind that a server answers"
	IgnoredRelayed   DHCPIgnored = "relayed"
	IgnoredNoClient  DHCPIgnored = "no client identifier"
	IgnoredClient    DHCPIgnored = "client identifier of a wrong length"
	IgnoredNoServer  DHCPIgnored = "no server identifier"
	IgnoredServer    DHCPIgnored = "for another server"
	IgnoredAnyServer DHCPIgnored = "names a server where none may be named"
	IgnoredUnicast   DHCPIgnored = "sent by unicast"
	IgnoredIA        DHCPIgnored = "an identity association where none may be"
	IgnoredNothing   DHCPIgnored = "nothing to confirm"
	IgnoredExcess    DHCPIgnored = "too much in it"
)

// A DUID has a type of 2 bytes and 1 to 128 more (RFC 8415, section 11.1).
const (
	shortestDUID = 3
	longestDUID  = 130
)

// More than any client has a use for; it bounds the answer, which repeats what
// it withdraws.
const (
	mostIAs    = 16
	mostLeased = 32 // in one of them
)

// check is RFC 8415, section 16: which messages a server discards.
func (m DHCPMessage) check() DHCPIgnored {
	switch m.Kind {
	case DHCPSolicit, DHCPConfirm, DHCPRebind: // 16.2, 16.5, 16.7
		return firstOf(m.checkMulticast(), m.checkClient(), m.checkNoServer(), m.checkSize())
	case DHCPRequest, DHCPRenew, DHCPDecline, DHCPRelease: // 16.4, 16.6, 16.8, 16.9
		return firstOf(m.checkClient(), m.checkServer(), m.checkSize())
	case DHCPInformationRequest: // 16.12; it may come without a client identifier
		return firstOf(m.checkMulticast(), m.checkInformation())
	case DHCPRelayForward, DHCPRelayReply:
		// No relay has any business between a guest and its tap.
		return IgnoredRelayed
	}
	return IgnoredKind
}

func firstOf(reasons ...DHCPIgnored) DHCPIgnored {
	for _, r := range reasons {
		if r != "" {
			return r
		}
	}
	return ""
}

func (m DHCPMessage) checkMulticast() DHCPIgnored {
	if m.Unicast {
		return IgnoredUnicast
	}
	return ""
}

func (m DHCPMessage) checkClient() DHCPIgnored {
	switch n := len(m.Client); {
	case n == 0:
		return IgnoredNoClient
	case n < shortestDUID || n > longestDUID:
		return IgnoredClient
	}
	return ""
}

func (m DHCPMessage) checkServer() DHCPIgnored {
	switch {
	case len(m.Server) == 0:
		return IgnoredNoServer
	case !bytes.Equal(m.Server, ServerDUID()):
		return IgnoredServer
	}
	return ""
}

func (m DHCPMessage) checkNoServer() DHCPIgnored {
	if len(m.Server) > 0 {
		return IgnoredAnyServer
	}
	return ""
}

func (m DHCPMessage) checkInformation() DHCPIgnored {
	switch {
	case len(m.Server) > 0 && !bytes.Equal(m.Server, ServerDUID()):
		return IgnoredServer
	case len(m.IAs) > 0:
		return IgnoredIA
	case len(m.Client) > 0:
		return m.checkClient()
	}
	return ""
}

func (m DHCPMessage) checkSize() DHCPIgnored {
	if len(m.IAs) > mostIAs {
		return IgnoredExcess
	}
	for _, ia := range m.IAs {
		if len(ia.Leased) > mostLeased {
			return IgnoredExcess
		}
	}
	return ""
}
