package dhcp

import (
	"net/netip"
	"time"
)

// Decide answers one message of the guest of a tap (RFC 2131, section 4.3). It
// keeps nothing: the service is all that there is to know, so any number of
// servers, before and after a restart or a migration, answer alike.
func Decide(s Service, r Request) (Reply, Verdict) {
	v := Verdict{Received: r.kind()}
	if v.Ignored = s.refuse(r); v.Ignored != "" {
		return Reply{}, v
	}
	requested, _ := r.address(optRequested)
	switch v.Received {
	case KindDiscover:
		if _, ok := r.Options[optRapidCommit]; ok {
			return s.grant(KindAck, r), v
		}
		return s.grant(KindOffer, r), v
	case KindRequest:
		var reply Reply
		reply, v.State, v.Ignored = s.request(r, requested)
		return reply, v
	case KindInform:
		if r.Client != s.Address {
			v.Ignored = NotItsAddress
			return Reply{}, v
		}
		return s.inform(r), v
	case KindRelease:
		if r.Client != s.Address {
			v.Ignored = NotItsAddress
		}
	case KindDecline:
		if requested != s.Address {
			v.Ignored = NotItsAddress
		}
	}
	return Reply{}, v
}

// refuse tells why a message is not even looked into. A message for another
// server is none of ours whatever else it says: the guest may be bridging, and
// a NAK would end a lease that somebody else gave (RFC 2131, section 4.3.2).
func (s Service) refuse(r Request) Reason {
	server, serverOK := r.address(optServer)
	_, requestedOK := r.address(optRequested)
	switch _, dhcp := r.Options[optKind]; {
	case r.Op != 1:
		return NotFromClient
	case !dhcp:
		return NotDHCP
	case !serverOK, !requestedOK, len(r.Options[optKind]) != 1, len(r.Options[optClient]) > 255:
		return Malformed
	case r.Relay.IsValid() && !r.Relay.IsUnspecified():
		return Relayed
	case string(r.Hardware) != string(s.MAC[:]):
		return OtherMAC
	case !s.Address.Is4(), !s.Gateway.Is4():
		return NotServed
	case server.IsValid() && server != s.Gateway && r.kind() != KindDiscover:
		return OtherServer
	}
	switch r.kind() {
	case KindDiscover, KindRequest, KindDecline, KindRelease, KindInform:
		return ""
	}
	return NotFromClient
}

// request answers a DHCPREQUEST. What tells the states of the client apart is
// table 4 of RFC 2131. A client that is sure of an address that isn't its own
// gets a NAK in every state: the tap is the authority for its guest, and there
// is nobody else to ask.
func (s Service) request(r Request, requested netip.Addr) (Reply, State, Reason) {
	current := r.Client
	if !current.IsValid() || current.IsUnspecified() {
		current = netip.Addr{}
	}
	var state State
	switch _, server := r.Options[optServer]; {
	case server:
		state = Selecting
	case requested.IsValid() && !current.IsValid():
		state = InitReboot
	case r.Unicast:
		state = Renewing
	default:
		state = Rebinding
	}
	wanted := current
	if requested.IsValid() {
		wanted = requested
	}
	switch {
	case !wanted.IsValid():
		return Reply{}, state, Malformed
	case wanted != s.Address, current.IsValid() && current != s.Address:
		return s.refusal(r), state, ""
	}
	reply := s.grant(KindAck, r)
	if current.IsValid() {
		reply.Client, reply.To = current, s.Address
	}
	return reply, state, ""
}

// grant is an offer or an acknowledgment of the guest's address.
func (s Service) grant(kind Kind, r Request) Reply {
	lease := s.seconds()
	head := []Option{
		{optKind, []byte{byte(kind)}},
		{optServer, s.Gateway.AsSlice()},
		{optLease, be32(lease)},
		{optT1, be32(lease / 2)},
		{optT2, be32(uint32(uint64(lease) * 7 / 8))},
	}
	if _, ok := r.Options[optRapidCommit]; ok && kind == KindAck && r.kind() == KindDiscover {
		head = append(head, Option{Code: optRapidCommit})
	}
	reply := s.reply(kind, r, append(head, s.parameters(r)...))
	reply.Your, reply.Lease = s.Address, time.Duration(lease)*time.Second
	return reply
}

// inform answers a DHCPINFORM: everything but a lease (RFC 2131, section
// 4.3.5).
func (s Service) inform(r Request) Reply {
	head := []Option{{optKind, []byte{byte(KindAck)}}, {optServer, s.Gateway.AsSlice()}}
	reply := s.reply(KindAck, r, append(head, s.parameters(r)...))
	reply.Client, reply.To = r.Client, s.Address
	return reply
}

// refusal is a DHCPNAK, which is always broadcast: the guest may well not have
// the address that it speaks from (RFC 2131, section 4.1).
func (s Service) refusal(r Request) Reply {
	reply := s.reply(KindNak, r, []Option{
		{optKind, []byte{byte(KindNak)}},
		{optServer, s.Gateway.AsSlice()},
		{optMessage, []byte("the address is not this guest's")},
	})
	reply.To = broadcast
	return reply
}

// reply is what all answers have in common. The client's identifier goes back
// to it (RFC 6842) and is used for nothing.
func (s Service) reply(kind Kind, r Request, options []Option) Reply {
	const flagBroadcast = 0x8000
	reply := Reply{Kind: kind, XID: r.XID, Flags: r.Flags & flagBroadcast, Hardware: s.MAC, To: s.Address}
	if reply.Flags != 0 {
		reply.To = broadcast
	}
	if id := r.Options[optClient]; len(id) > 0 {
		options = append(options[:2:2], append([]Option{{optClient, id}}, options[2:]...)...)
	}
	reply.pack(options, s.room(r))
	return reply
}

// seconds is the lease time as it is told. The log has narrower bounds; these
// keep it from being none at all or for ever (all ones, RFC 2131, section 3.3).
func (s Service) seconds() uint32 {
	const shortest, longest = time.Second, 365 * 24 * time.Hour
	return uint32(min(max(s.Lease, shortest), longest) / time.Second)
}
