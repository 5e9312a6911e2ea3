package ipv6

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/mdlayher/ndp"
	"pgregory.net/rapid"
)

var (
	tapMAC   = [6]byte{0xee, 0xee, 0xee, 0xee, 0xee, 0x01}
	guestMAC = [6]byte{0x02, 0, 0, 0, 0x01, 0x01}
	shared   = Proxy{
		Prefixes: []netip.Prefix{prefix("2001:db8:1::/64")},
		Own:      []netip.Prefix{prefix("2001:db8:1::5/128")},
		Gateways: []netip.Addr{addr("2001:db8:1::1")},
	}
)

// ask is a neighbour solicitation as a frame, by default a good one, written by
// somebody else's code.
type ask struct {
	mac, to             [6]byte
	source, destination netip.Addr
	target              netip.Addr
	hopLimit            byte
	options             []ndp.Option
	mangle              func(frame []byte) []byte
}

func good() ask {
	a := ask{mac: guestMAC, source: addr("2001:db8:1::5"), target: addr("2001:db8:1::9"), hopLimit: 255}
	a.options = []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: guestMAC[:]}}
	return a
}

func (a ask) frame(t testing.TB) []byte {
	if !a.destination.IsValid() {
		a.destination, _ = ndp.SolicitedNodeMulticast(a.target)
	}
	if a.to == [6]byte{} {
		group := a.destination.As16()
		a.to = [6]byte{0x33, 0x33, group[12], group[13], group[14], group[15]}
	}
	message, err := ndp.MarshalMessageChecksum(&ndp.NeighborSolicitation{TargetAddress: a.target, Options: a.options}, a.source, a.destination)
	if err != nil {
		t.Fatal(err)
	}
	f := append(append(a.to[:], a.mac[:]...), 0x86, 0xdd, 0x60, 0, 0, 0)
	f = binary.BigEndian.AppendUint16(f, uint16(len(message)))
	f = append(f, 58, a.hopLimit)
	f = append(append(f, a.source.AsSlice()...), a.destination.AsSlice()...)
	f = append(f, message...)
	if a.mangle != nil {
		f = a.mangle(f)
	}
	return f
}

func answer(p Proxy, frame []byte) (Question, Ignored) {
	q, ignored := ReadQuestion(frame, tapMAC)
	if ignored == "" {
		ignored = p.Answer(guestMAC, q)
	}
	return q, ignored
}

func TestAnswer(t *testing.T) {
	at := func(i int, b byte) func([]byte) []byte {
		return func(f []byte) []byte { f[i] = b; return f }
	}
	for name, c := range map[string]struct {
		change func(*ask)
		want   Ignored
	}{
		"another of the prefix":       {func(*ask) {}, ""},
		"from link-local":             {func(a *ask) { a.source = addr("fe80::5") }, ""},
		"a probe by unicast":          {func(a *ask) { a.destination, a.to, a.options = a.target, tapMAC, nil }, ""},
		"without options":             {func(a *ask) { a.options = nil }, ""},
		"an unknown option":           {func(a *ask) { a.options = []ndp.Option{&ndp.RawOption{Type: 200, Length: 1, Value: make([]byte, 6)}} }, ""},
		"padded":                      {func(a *ask) { a.mangle = func(f []byte) []byte { return append(f, 1, 2, 3) } }, ""},
		"duplicate address detection": {func(a *ask) { a.source, a.options = netip.IPv6Unspecified(), nil }, IgnoredDAD},
		"its own address":             {func(a *ask) { a.target = addr("2001:db8:1::5") }, IgnoredOwn},
		"the gateway":                 {func(a *ask) { a.target = addr("2001:db8:1::1") }, IgnoredGateway},
		"the router":                  {func(a *ask) { a.target = RouterAddress }, IgnoredGateway},
		"another link-local address":  {func(a *ask) { a.target = addr("fe80::9") }, IgnoredForeignTarget},
		"outside the prefix":          {func(a *ask) { a.target = addr("2001:db8:2::9") }, IgnoredForeignTarget},
		"an IPv4-mapped address":      {func(a *ask) { a.target = addr("::ffff:192.0.2.9") }, IgnoredInvalid},
		"from another of the prefix":  {func(a *ask) { a.source = addr("2001:db8:1::6") }, IgnoredForeignSource},
		"from another network":        {func(a *ask) { a.source = addr("2001:db8:2::6") }, IgnoredForeignSource},
		"from another hardware":       {func(a *ask) { a.mac[5]++ }, IgnoredForeignSource},
		"forwarded":                   {func(a *ask) { a.hopLimit = 254 }, IgnoredInvalid},
		"to another host":             {func(a *ask) { a.destination, a.to = a.target, [6]byte{2, 9} }, IgnoredInvalid},
		"to another group":            {func(a *ask) { a.destination = addr("ff02::1") }, IgnoredInvalid},
		"to another address":          {func(a *ask) { a.destination, a.to = addr("2001:db8:1::8"), tapMAC }, IgnoredInvalid},
		"for a group":                 {func(a *ask) { a.target = addr("ff02::5") }, IgnoredInvalid},
		"from a group":                {func(a *ask) { a.source = addr("ff02::5") }, IgnoredInvalid},
		"DAD with a hardware address": {func(a *ask) { a.source = netip.IPv6Unspecified() }, IgnoredInvalid},
		"DAD by unicast": {func(a *ask) {
			a.source, a.options, a.destination, a.to = netip.IPv6Unspecified(), nil, a.target, tapMAC
		}, IgnoredInvalid},
		"a code":              {func(a *ask) { a.mangle = at(55, 1) }, IgnoredInvalid},
		"another type":        {func(a *ask) { a.mangle = at(54, 136) }, IgnoredInvalid},
		"a wrong checksum":    {func(a *ask) { a.mangle = func(f []byte) []byte { f[56] ^= 1; return f } }, IgnoredInvalid},
		"an extension header": {func(a *ask) { a.mangle = at(20, 0) }, IgnoredInvalid},
		"IPv4":                {func(a *ask) { a.mangle = at(14, 0x45) }, IgnoredInvalid},
		"a VLAN tag": {func(a *ask) {
			a.mangle = func(f []byte) []byte { return append(f[:12:12], append([]byte{0x81, 0, 0, 5}, f[12:]...)...) }
		}, IgnoredInvalid},
		"shorter than it says":          {func(a *ask) { a.mangle = func(f []byte) []byte { return f[:len(f)-1] } }, IgnoredInvalid},
		"an option longer than it is":   {func(a *ask) { a.mangle = resum(79, 2) }, IgnoredInvalid},
		"an option without length":      {func(a *ask) { a.mangle = resum(79, 0) }, IgnoredInvalid},
		"nothing":                       {func(a *ask) { a.mangle = func([]byte) []byte { return nil } }, IgnoredInvalid},
		"a header and nothing below it": {func(a *ask) { a.mangle = func(f []byte) []byte { return f[:54] } }, IgnoredInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			a := good()
			c.change(&a)
			if name == "an IPv4-mapped address" {
				a.target = addr("2001:db8::") // written first, since the library refuses the other
				a.mangle = func(f []byte) []byte {
					mapped := addr("::ffff:192.0.2.9").As16()
					copy(f[62:], mapped[:])
					return f
				}
			}
			if _, got := answer(shared, a.frame(t)); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// resum changes a byte of a frame and makes the checksum right again.
func resum(i int, b byte) func([]byte) []byte {
	return func(f []byte) []byte {
		f[i] = b
		f[56], f[57] = 0, 0
		source, destination := netip.AddrFrom16([16]byte(f[22:38])), netip.AddrFrom16([16]byte(f[38:54]))
		binary.BigEndian.PutUint16(f[56:], checksum(source, destination, f[54:]))
		return f
	}
}

// checkReply reads a reply with somebody else's code.
func checkReply(t interface{ Fatalf(string, ...any) }, q Question, reply []byte) {
	p := gopacket.NewPacket(reply, layers.LayerTypeEthernet, gopacket.Default)
	if f := p.ErrorLayer(); f != nil {
		t.Fatalf("the reply can't be read: %v", f.Error())
	}
	eth, _ := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	ip, _ := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
	icmp, _ := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
	na, _ := p.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement)
	if eth == nil || ip == nil || icmp == nil || na == nil {
		t.Fatalf("the reply isn't a neighbour advertisement: %v", p)
	}
	target := net.IP(q.Target.AsSlice())
	switch {
	case !bytes.Equal(eth.SrcMAC, tapMAC[:]) || !bytes.Equal(eth.DstMAC, q.MAC[:]):
		t.Fatalf("the reply goes from %v to %v", eth.SrcMAC, eth.DstMAC)
	case !ip.SrcIP.Equal(target) || !ip.DstIP.Equal(q.Source.AsSlice()) || ip.HopLimit != 255:
		t.Fatalf("the reply goes from %v to %v with the hop limit %d", ip.SrcIP, ip.DstIP, ip.HopLimit)
	case !na.Router() || !na.Solicited() || !na.Override() || !na.TargetAddress.Equal(target) || icmp.TypeCode.Code() != 0:
		t.Fatalf("the reply says %+v", na)
	case len(na.Options) != 1 || na.Options[0].Type != layers.ICMPv6OptTargetAddress || !bytes.Equal(na.Options[0].Data, tapMAC[:]):
		t.Fatalf("the reply has the options %v", na.Options)
	}
	message, err := ndp.MarshalMessageChecksum(&ndp.NeighborAdvertisement{
		Router: true, Solicited: true, Override: true, TargetAddress: q.Target,
		Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: tapMAC[:]}},
	}, q.Target, q.Source)
	if err != nil || !bytes.Equal(message, reply[54:]) {
		t.Fatalf("the message is %x, somebody else's is %x (%v)", reply[54:], message, err)
	}
}

// TestTheProxyAnswersForTheOthersAlone compares with the rules said once more.
func TestTheProxyAnswersForTheOthersAlone(t *testing.T) {
	in := func(t *rapid.T, name string) netip.Addr {
		a := addr(rapid.SampledFrom([]string{"2001:db8:1::", "2001:db8:2::", "fe80::", "2001:db8:1:1::"}).Draw(t, name)).As16()
		a[15] = byte(rapid.IntRange(0, 9).Draw(t, name))
		return netip.AddrFrom16(a)
	}
	rapid.Check(t, func(t *rapid.T) {
		p := Proxy{Prefixes: []netip.Prefix{prefix("2001:db8:1::/64")}}
		for range rapid.IntRange(0, 3).Draw(t, "own") {
			p.Own = append(p.Own, netip.PrefixFrom(in(t, "own"), rapid.SampledFrom([]int{128, 126}).Draw(t, "bits")).Masked())
		}
		for range rapid.IntRange(0, 2).Draw(t, "gateways") {
			p.Gateways = append(p.Gateways, in(t, "gateway"))
		}
		q := Question{MAC: guestMAC, Source: in(t, "source"), Target: in(t, "target")}
		owns := func(a netip.Addr) (own bool) {
			for _, o := range p.Own {
				own = own || o.Contains(a)
			}
			return own
		}
		want := prefix("2001:db8:1::/64").Contains(q.Target) && !owns(q.Target) && (owns(q.Source) || prefix("fe80::/10").Contains(q.Source))
		for _, g := range p.Gateways {
			want = want && g != q.Target
		}
		if got := p.Answer(guestMAC, q); (got == "") != want {
			t.Fatalf("%v asks for %v of %+v: %q", q.Source, q.Target, p, got)
		}
		checkReply(t, q, q.Reply(tapMAC))
	})
}

// FuzzNeighbourSolicitation goes from a frame to the frame that answers it.
func FuzzNeighbourSolicitation(f *testing.F) {
	for _, change := range []func(*ask){
		func(*ask) {},
		func(a *ask) { a.source, a.options = netip.IPv6Unspecified(), nil },
		func(a *ask) { a.destination, a.to, a.options = a.target, tapMAC, nil },
		func(a *ask) { a.options = append(a.options, ndp.NewNonce()) },
	} {
		a := good()
		change(&a)
		f.Add(a.frame(f))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		q, ignored := answer(shared, frame)
		if ignored != "" {
			return
		}
		if !shared.Prefixes[0].Contains(q.Target) || q.Target == shared.Own[0].Addr() || q.Source.IsUnspecified() || frame[21] != 255 || frame[20] != 58 {
			t.Fatalf("it answers %x", frame)
		}
		checkReply(t, q, q.Reply(tapMAC))
		if _, again := answer(shared, q.Reply(tapMAC)); again == "" {
			t.Fatal("it answers an answer")
		}
	})
}

func TestCheckRouterSolicitation(t *testing.T) {
	plain := []byte{133, 0, 0, 0, 0, 0, 0, 0}
	option := func(b ...byte) []byte { return append(bytes.Clone(plain), b...) }
	fromHost := option(1, 1, 2, 0, 0, 0, 1, 1)
	for name, c := range map[string]struct {
		message  []byte
		source   netip.Addr
		hopLimit int
		want     Ignored
	}{
		"from a host":                {fromHost, addr("fe80::5"), 255, ""},
		"from nobody":                {plain, netip.IPv6Unspecified(), 255, ""},
		"from a global address":      {plain, addr("2001:db8::5"), 255, ""},
		"an unknown option":          {option(200, 1, 0, 0, 0, 0, 0, 0), addr("fe80::5"), 255, ""},
		"from nobody with hardware":  {fromHost, netip.IPv6Unspecified(), 255, IgnoredInvalid},
		"from a group":               {plain, addr("ff02::1"), 255, IgnoredInvalid},
		"from no address":            {plain, netip.Addr{}, 255, IgnoredInvalid},
		"forwarded":                  {plain, addr("fe80::5"), 254, IgnoredInvalid},
		"of unknown origin":          {plain, addr("fe80::5"), 0, IgnoredInvalid},
		"a code":                     {[]byte{133, 1, 0, 0, 0, 0, 0, 0}, addr("fe80::5"), 255, IgnoredInvalid},
		"another type":               {[]byte{134, 0, 0, 0, 0, 0, 0, 0}, addr("fe80::5"), 255, IgnoredInvalid},
		"short":                      {plain[:7], addr("fe80::5"), 255, IgnoredInvalid},
		"nothing":                    {nil, addr("fe80::5"), 255, IgnoredInvalid},
		"an option without length":   {option(200, 0, 0, 0, 0, 0, 0, 0), addr("fe80::5"), 255, IgnoredInvalid},
		"half an option":             {option(200, 1, 0), addr("fe80::5"), 255, IgnoredInvalid},
		"an option of a single byte": {option(200), addr("fe80::5"), 255, IgnoredInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			if got := CheckRouterSolicitation(c.message, c.source, c.hopLimit); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
