package dhcp

import (
	"net/netip"
	"time"
)

// Kind is a DHCP message type, with the values of option 53 (RFC 2132, section
// 9.6). Zero is none.
type Kind uint8

// The kinds of messages.
const (
	KindDiscover Kind = iota + 1
	KindOffer
	KindRequest
	KindDecline
	KindAck
	KindNak
	KindRelease
	KindInform
)

var kindNames = [...]string{
	KindDiscover: "discover", KindOffer: "offer", KindRequest: "request", KindDecline: "decline",
	KindAck: "ack", KindNak: "nak", KindRelease: "release", KindInform: "inform",
}

// String is the kind in one lower-case word, or nothing for none.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

// State is the state of the client that sent a request, as far as the request
// shows it (RFC 2131, section 4.3.2, table 4).
type State string

// The states of a client. Renewing and rebinding differ in nothing but the
// destination of the request.
const (
	Selecting  State = "selecting"
	InitReboot State = "init-reboot"
	Renewing   State = "renewing"
	Rebinding  State = "rebinding"
)

// Request is what a guest sent, parsed but not judged.
type Request struct {
	Op       byte // 1 from clients
	XID      [4]byte
	Flags    uint16
	Client   netip.Addr // ciaddr
	Relay    netip.Addr // giaddr
	Hardware []byte     // chaddr, as long as hlen says
	// Unicast: it was sent to an address of the tap and not to everybody.
	Unicast bool
	// Options hold each option's value once, in parts concatenated (RFC 3396).
	Options map[byte][]byte
}

// Reply is what the guest is answered. Without a kind there is no answer.
type Reply struct {
	Kind     Kind
	To       netip.Addr // port 68 there; all ones: broadcast
	XID      [4]byte
	Flags    uint16
	Client   netip.Addr // ciaddr
	Your     netip.Addr // yiaddr
	Hardware [6]byte
	Lease    time.Duration // how long the address is the guest's; 0: it is told no lease
	// Options go into the field of that name in this order; a value of more
	// than 255 bytes is to be cut into several options (RFC 3396). File and
	// Sname hold what went there for want of room (option 52, which is among
	// Options then).
	Options, File, Sname []Option
	// Dropped are the codes of options for which no room was left.
	Dropped []byte
}

// Reason says why a message was ignored.
type Reason string

// The reasons for ignoring a message.
const (
	NotFromClient Reason = "not from a client" // op, or a kind that only servers send
	NotDHCP       Reason = "no DHCP message"   // BOOTP: without option 53
	Relayed       Reason = "relayed"           // giaddr is set, but there is no relay behind a tap
	OtherMAC      Reason = "not the guest's MAC"
	OtherServer   Reason = "for another server" // option 54 is not ours
	NotItsAddress Reason = "not the guest's address"
	Malformed     Reason = "malformed"
	NotServed     Reason = "nothing to serve" // the service has no address or gateway
)

// Verdict is what a message was taken for.
type Verdict struct {
	Received Kind
	State    State  // of a request
	Ignored  Reason // none: it was not ignored
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// The options that decide about a message or make a lease (RFC 2132).
const (
	optMask        = 1
	optRouter      = 3
	optDNS         = 6
	optHostname    = 12
	optDomain      = 15
	optMTU         = 26
	optNTP         = 42
	optRequested   = 50
	optLease       = 51
	optOverload    = 52
	optKind        = 53
	optServer      = 54
	optParameters  = 55
	optMessage     = 56
	optMaxSize     = 57
	optT1          = 58
	optT2          = 59
	optClient      = 61
	optRapidCommit = 80  // RFC 4039
	optSearch      = 119 // RFC 3397
	optRoutes      = 121 // RFC 3442
	optRoutesOld   = 249 // the same, as Windows before Vista asks for it
)

// address is the value of an option that holds one address. ok is false if it
// is there and is no address.
func (r Request) address(code byte) (a netip.Addr, ok bool) {
	v, there := r.Options[code]
	if !there {
		return a, true
	}
	if len(v) != 4 {
		return a, false
	}
	return netip.AddrFrom4([4]byte(v)), true
}

// kind is that of option 53, or none.
func (r Request) kind() Kind {
	if v := r.Options[optKind]; len(v) == 1 {
		return Kind(v[0])
	}
	return 0
}
