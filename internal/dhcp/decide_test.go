package dhcp

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var (
	own     = netip.MustParseAddr("203.0.113.7")
	foreign = netip.MustParseAddr("203.0.113.8")
	gateway = netip.MustParseAddr("203.0.113.254")
	all     = netip.MustParsePrefix("0.0.0.0/0")
)

func classic() Service {
	return Service{
		Tap: "tap7", VM: "vm7", MAC: [6]byte{0x52, 0x54, 0, 0, 0, 7}, Address: own, Gateway: gateway,
		Subnet: netip.MustParsePrefix("203.0.113.0/24"), Routes: []netip.Prefix{all}, Lease: time.Hour,
		DNS: []netip.Addr{netip.MustParseAddr("192.0.2.53")}, Hostname: "vm7", Domain: "example.net", MTU: 1400,
		Search: []string{"example.net"}, NTP: []netip.Addr{netip.MustParseAddr("192.0.2.123")},
	}
}

func host() Service {
	s := classic()
	s.Subnet, s.Gateway = netip.PrefixFrom(own, 32), netip.MustParseAddr("169.254.0.1")
	return s
}

// message is one of the guest, with options given as code and value.
func message(kind Kind, options ...Option) Request {
	r := Request{
		Op: 1, XID: [4]byte{1, 2, 3, 4}, Client: netip.IPv4Unspecified(), Relay: netip.IPv4Unspecified(),
		Hardware: []byte{0x52, 0x54, 0, 0, 0, 7}, Options: map[byte][]byte{optKind: {byte(kind)}},
	}
	for _, o := range options {
		r.Options[o.Code] = o.Value
	}
	return r
}

func (r Request) from(ciaddr netip.Addr) Request { r.Client = ciaddr; return r }
func (r Request) unicast() Request               { r.Unicast = true; return r }
func (r Request) flagged() Request               { r.Flags = 0xffff; return r }

func asked(a netip.Addr) Option { return Option{optRequested, a.AsSlice()} }
func to(a netip.Addr) Option    { return Option{optServer, a.AsSlice()} }

func TestEveryMessageInEveryState(t *testing.T) {
	discover, request := KindDiscover, KindRequest
	rapid := Option{optRapidCommit, nil}
	for name, c := range map[string]struct {
		in     Request
		answer Kind
		to     netip.Addr
		state  State
		reason Reason
	}{
		"discover":                       {in: message(discover), answer: KindOffer, to: own},
		"discover, broadcast":            {in: message(discover).flagged(), answer: KindOffer, to: broadcast},
		"discover, another address":      {in: message(discover, asked(foreign)), answer: KindOffer, to: own},
		"discover, from another address": {in: message(discover).from(foreign), answer: KindOffer, to: own},
		"discover, rapid commit":         {in: message(discover, rapid), answer: KindAck, to: own},
		"selecting":                      {in: message(request, to(gateway), asked(own)), answer: KindAck, to: own, state: Selecting},
		"selecting, broadcast":           {in: message(request, to(gateway), asked(own)).flagged(), answer: KindAck, to: broadcast, state: Selecting},
		"selecting another address":      {in: message(request, to(gateway), asked(foreign)), answer: KindNak, to: broadcast, state: Selecting},
		"selecting no address":           {in: message(request, to(gateway)), state: Selecting, reason: Malformed},
		"selecting another server":       {in: message(request, to(foreign), asked(own)), reason: OtherServer},
		"another address of its":         {in: message(request, to(foreign), asked(foreign)), reason: OtherServer},
		"init-reboot":                    {in: message(request, asked(own)), answer: KindAck, to: own, state: InitReboot},
		"init-reboot elsewhere":          {in: message(request, asked(foreign)), answer: KindNak, to: broadcast, state: InitReboot},
		"renewing":                       {in: message(request).from(own).unicast(), answer: KindAck, to: own, state: Renewing},
		"renewing, broadcast flag":       {in: message(request).from(own).unicast().flagged(), answer: KindAck, to: own, state: Renewing},
		"renewing another address":       {in: message(request).from(foreign).unicast(), answer: KindNak, to: broadcast, state: Renewing},
		"rebinding":                      {in: message(request).from(own), answer: KindAck, to: own, state: Rebinding},
		"rebinding another address":      {in: message(request).from(foreign), answer: KindNak, to: broadcast, state: Rebinding},
		"two minds":                      {in: message(request, asked(own)).from(foreign), answer: KindNak, to: broadcast, state: Rebinding},
		"request for nothing":            {in: message(request), state: Rebinding, reason: Malformed},
		"inform":                         {in: message(KindInform).from(own), answer: KindAck, to: own},
		"inform, another address":        {in: message(KindInform).from(foreign), reason: NotItsAddress},
		"inform, no address":             {in: message(KindInform), reason: NotItsAddress},
		"release":                        {in: message(KindRelease, to(gateway)).from(own)},
		"release, another address":       {in: message(KindRelease, to(gateway)).from(foreign), reason: NotItsAddress},
		"release, another server":        {in: message(KindRelease, to(foreign)).from(own), reason: OtherServer},
		"decline":                        {in: message(KindDecline, to(gateway), asked(own))},
		"decline, another address":       {in: message(KindDecline, to(gateway), asked(foreign)), reason: NotItsAddress},
		"offer":                          {in: message(KindOffer), reason: NotFromClient},
		"ack":                            {in: message(KindAck), reason: NotFromClient},
		"nak":                            {in: message(KindNak), reason: NotFromClient},
		"unknown kind":                   {in: message(99), reason: NotFromClient},
		"kind of two bytes":              {in: message(0, Option{optKind, []byte{1, 1}}), reason: Malformed},
		"kind of none":                   {in: message(0, Option{optKind, nil}), reason: Malformed},
		"address of three bytes":         {in: message(request, Option{optRequested, []byte{1, 2, 3}}), reason: Malformed},
		"server of no byte":              {in: message(request, Option{optServer, nil}, asked(own)), reason: Malformed},
		"endless client id":              {in: message(discover, Option{optClient, make([]byte, 256)}), reason: Malformed},
		"bootp":                          {in: with(message(0), func(r *Request) { delete(r.Options, optKind) }), reason: NotDHCP},
		"a server's op":                  {in: with(message(discover), func(r *Request) { r.Op = 2 }), reason: NotFromClient},
		"a relay":                        {in: with(message(discover), func(r *Request) { r.Relay = gateway }), reason: Relayed},
		"another MAC":                    {in: with(message(discover), func(r *Request) { r.Hardware[5]++ }), reason: OtherMAC},
		"a long MAC":                     {in: with(message(discover), func(r *Request) { r.Hardware = append(r.Hardware, 0) }), reason: OtherMAC},
		"no MAC":                         {in: with(message(discover), func(r *Request) { r.Hardware = nil }), reason: OtherMAC},
	} {
		t.Run(name, func(t *testing.T) {
			reply, v := Decide(classic(), c.in)
			if reply.Kind != c.answer || reply.To != c.to || v.State != c.state || v.Ignored != c.reason {
				t.Fatalf("answer %q to %v, state %q, ignored because %q; want %q to %v, %q, %q",
					reply.Kind, reply.To, v.State, v.Ignored, c.answer, c.to, c.state, c.reason)
			}
			if v.Received != c.in.kind() {
				t.Errorf("taken for %v", v.Received)
			}
			if reply.Kind != 0 {
				checkReply(t, classic(), c.in, reply)
			}
		})
	}
}

func with(r Request, change func(*Request)) Request { change(&r); return r }

// checkReply checks what holds for every answer (RFC 2131, table 3).
func checkReply(t *testing.T, s Service, r Request, reply Reply) {
	t.Helper()
	if reply.XID != r.XID || reply.Hardware != s.MAC || reply.Flags != r.Flags&0x8000 {
		t.Errorf("the answer doesn't belong to the message: %+v", reply)
	}
	if got := first(reply, optKind); len(got) != 1 || got[0] != byte(reply.Kind) || reply.Options[0].Code != optKind {
		t.Errorf("option 53 is %v, and the first is %d", got, reply.Options[0].Code)
	}
	if got := first(reply, optServer); !bytes.Equal(got, s.Gateway.AsSlice()) {
		t.Errorf("the server is %v", got)
	}
	if got := first(reply, optClient); !bytes.Equal(got, r.Options[optClient]) {
		t.Errorf("the client's identifier came back as %v (RFC 6842)", got)
	}
	lease := reply.Kind == KindOffer || reply.Kind == KindAck && r.kind() != KindInform
	if got := reply.Your.IsValid(); got != lease || lease && reply.Your != s.Address {
		t.Errorf("yiaddr is %v", reply.Your)
	}
	for _, code := range []byte{optLease, optT1, optT2} {
		if got := first(reply, code) != nil; got != lease {
			t.Errorf("option %d is there: %v", code, got)
		}
	}
	if rapid := first(reply, optRapidCommit) != nil || slices.ContainsFunc(reply.Options, func(o Option) bool { return o.Code == optRapidCommit }); rapid != (reply.Kind == KindAck && r.kind() == KindDiscover) {
		t.Errorf("rapid commit is there: %v", rapid)
	}
	if r.kind() != KindDiscover && reply.Kind == KindAck && r.Client == s.Address && reply.Client != s.Address {
		t.Errorf("ciaddr is %v", reply.Client)
	}
}

// first is the value of an option wherever it is.
func first(r Reply, code byte) []byte {
	for _, o := range slices.Concat(r.Options, r.File, r.Sname) {
		if o.Code == code {
			return o.Value
		}
	}
	return nil
}

func TestNothingIsServedWithoutAnAddress(t *testing.T) {
	for name, change := range map[string]func(*Service){
		"no address": func(s *Service) { s.Address = netip.Addr{} },
		"no gateway": func(s *Service) { s.Gateway = netip.Addr{} },
		"IPv6":       func(s *Service) { s.Address = netip.MustParseAddr("2001:db8::1") },
	} {
		s := classic()
		change(&s)
		if reply, v := Decide(s, message(KindDiscover)); reply.Kind != 0 || v.Ignored != NotServed {
			t.Errorf("%s: answered with %q, ignored because %q", name, reply.Kind, v.Ignored)
		}
	}
}

func TestLeaseIsOursWhateverTheGuestWants(t *testing.T) {
	for lease, want := range map[time.Duration][3]uint32{
		time.Hour: {3600, 1800, 3150}, time.Minute: {60, 30, 52}, 0: {1, 0, 0},
		1 << 62: {365 * 86400, 365 * 43200, 365 * 75600},
	} {
		s := classic()
		s.Lease = lease
		reply, _ := Decide(s, message(KindDiscover, Option{optLease, []byte{255, 255, 255, 255}}))
		got := [3][]byte{first(reply, optLease), first(reply, optT1), first(reply, optT2)}
		if diff := cmp.Diff([3][]byte{be32(want[0]), be32(want[1]), be32(want[2])}, got); diff != "" {
			t.Errorf("lease of %v: %s", lease, diff)
		}
		if reply.Lease != time.Duration(want[0])*time.Second {
			t.Errorf("lease of %v is reported as %v", lease, reply.Lease)
		}
	}
}
