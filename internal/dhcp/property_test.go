package dhcp

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// anyRequest is a message that may be of the guest, or of anybody.
func anyRequest(t *rapid.T, s Service) Request {
	some := func(name string) netip.Addr {
		return rapid.SampledFrom([]netip.Addr{own, foreign, s.Gateway, netip.IPv4Unspecified(), broadcast}).Draw(t, name)
	}
	r := Request{
		Op: rapid.SampledFrom([]byte{1, 1, 1, 1, 2, 0}).Draw(t, "op"), Flags: rapid.Uint16().Draw(t, "flags"),
		Client: some("ciaddr"), Relay: rapid.SampledFrom([]netip.Addr{netip.IPv4Unspecified(), {}, foreign}).Draw(t, "giaddr"),
		Hardware: slices.Clone(s.MAC[:]), Unicast: rapid.Bool().Draw(t, "unicast"), Options: map[byte][]byte{},
	}
	if rapid.IntRange(0, 5).Draw(t, "other MAC") == 0 {
		r.Hardware = rapid.SliceOfN(rapid.Byte(), 0, 16).Draw(t, "chaddr")
	}
	r.Options = rapid.MapOfN(rapid.Byte(), rapid.SliceOfN(rapid.Byte(), 0, 300), 0, 5).Draw(t, "options")
	set := func(code byte, name string, value []byte) {
		if rapid.Bool().Draw(t, name) {
			r.Options[code] = value
		}
	}
	r.Options[optKind] = []byte{rapid.ByteRange(0, 9).Draw(t, "kind")}
	set(optRequested, "asks for", some("requested").AsSlice())
	set(optServer, "names server", some("server").AsSlice())
	set(optClient, "names itself", rapid.SliceOfN(rapid.Byte(), 0, 260).Draw(t, "client"))
	set(optParameters, "says what", rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "parameters"))
	set(optMaxSize, "limits", rapid.SliceOfN(rapid.Byte(), 2, 2).Draw(t, "size"))
	return r
}

// anyService is one in either style with any options.
func anyService(t *rapid.T) Service {
	s := classic()
	if rapid.Bool().Draw(t, "host") {
		s = host()
	}
	s.MTU = rapid.IntRange(0, 70000).Draw(t, "mtu")
	for range rapid.IntRange(0, 20).Draw(t, "options") {
		s.Options = append(s.Options, Option{rapid.Byte().Draw(t, "code"), rapid.SliceOfN(rapid.Byte(), 1, 255).Draw(t, "value")})
	}
	return s
}

func TestNobodyIsEverToldAnotherAddress(t *testing.T) {
	answered := 0
	rapid.Check(t, func(t *rapid.T) {
		s := anyService(t)
		r := anyRequest(t, s)
		reply, v := Decide(s, r)
		if reply.Kind == 0 {
			return
		}
		answered++
		server, named := r.Options[optServer]
		switch {
		case reply.Your.IsValid() && reply.Your != own, reply.Client.IsValid() && reply.Client != own:
			t.Fatalf("offered %v, ciaddr %v", reply.Your, reply.Client)
		case reply.To != own && reply.To != broadcast:
			t.Fatalf("the answer goes to %v", reply.To)
		case reply.Kind == KindNak && reply.To != broadcast:
			t.Fatal("a NAK that isn't broadcast")
		case r.Relay.IsValid() && !r.Relay.IsUnspecified():
			t.Fatalf("answered what comes from the relay %v", r.Relay)
		case string(r.Hardware) != string(s.MAC[:]):
			t.Fatalf("answered the MAC %x", r.Hardware)
		case named && string(server) != string(s.Gateway.AsSlice()) && v.Received != KindDiscover:
			t.Fatalf("answered what is for the server %v", server)
		case v.Ignored != "":
			t.Fatalf("answered what is ignored because %q", v.Ignored)
		case reply.Kind == KindNak && v.Received != KindRequest:
			t.Fatalf("refused a %v", v.Received)
		}
		checkRoom(t, "any", reply, s.room(r))
		seen := map[byte]bool{}
		for _, o := range slices.Concat(reply.Options, reply.File, reply.Sname) {
			if seen[o.Code] {
				t.Fatalf("option %d comes twice", o.Code)
			}
			seen[o.Code] = true
		}
		for _, code := range reply.Dropped {
			if reserved(code) {
				t.Fatalf("option %d was dropped", code)
			}
		}
	})
	if answered == 0 {
		t.Error("no message was answered: this test saw nothing")
	}
}
