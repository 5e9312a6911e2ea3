package dhcp

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// codes are those of a reply in their order, without the ones of the lease.
func codes(r Reply) (list []byte) {
	for _, o := range slices.Concat(r.Options, r.File, r.Sname) {
		if !reserved(o.Code) {
			list = append(list, o.Code)
		}
	}
	return list
}

func TestGuestsGetWhatTheyAskForAndWhatTheyNeed(t *testing.T) {
	s := classic()
	s.Options = []Option{{66, []byte("tftp")}, {optLease, be32(9)}, {0, []byte{1}}, {255, []byte{1}}, {optClient, []byte("me")}}
	for name, c := range map[string]struct {
		asked []byte
		want  []byte
	}{
		"nothing said":    {nil, []byte{1, 3, 6, 26, 12, 15, 119, 42, 66}},
		"nothing wanted":  {[]byte{}, []byte{1, 3, 6}},
		"its order":       {[]byte{66, 15, 12}, []byte{1, 3, 6, 66, 15, 12}},
		"twice, unknown":  {[]byte{15, 15, 200, 3, 0, 255, 1}, []byte{1, 3, 6, 15}},
		"of the protocol": {[]byte{50, 51, 52, 53, 54, 55, 57, 58, 59, 61, 80, 82}, []byte{1, 3, 6}},
	} {
		r := message(KindDiscover)
		if c.asked != nil {
			r.Options[optParameters] = c.asked
		}
		reply, _ := Decide(s, r)
		if diff := cmp.Diff(c.want, codes(reply)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if got := first(reply, optLease); !bytes.Equal(got, be32(3600)) {
			t.Errorf("%s: a network's option changed the lease to %v", name, got)
		}
	}
}

func TestNetworksReplaceOptions(t *testing.T) {
	s := host()
	for _, code := range []byte{optMask, optRouter, optDNS, optHostname, optDomain, optMTU, optNTP, optSearch, optRoutes} {
		s.Options = append(s.Options, Option{code, []byte{code, 99}})
	}
	reply, _ := Decide(s, message(KindDiscover, Option{optParameters, []byte{12, 15, 26, 42, 119, 249}}))
	for _, o := range s.Options {
		if got := first(reply, o.Code); !bytes.Equal(got, o.Value) {
			t.Errorf("option %d is %v", o.Code, got)
		}
	}
	if got := first(reply, optRoutesOld); !bytes.Equal(got, []byte{optRoutes, 99}) {
		t.Errorf("option 249 is %v and not that of option 121", got)
	}
}

func TestRoutesInEitherStyle(t *testing.T) {
	prefixes := func(texts ...string) (list []netip.Prefix) {
		for _, p := range texts {
			list = append(list, netip.MustParsePrefix(p))
		}
		return list
	}
	a, b := []byte{203, 0, 113, 254}, []byte{169, 254, 0, 1}
	onlink := []byte{32, 169, 254, 0, 1, 0, 0, 0, 0}
	for name, c := range map[string]struct {
		service Service
		routes  []netip.Prefix
		router  []byte
		want    []byte
	}{
		"classic, all":             {classic(), prefixes("0.0.0.0/0"), a, nil},
		"classic, none":            {classic(), nil, nil, nil},
		"classic, some":            {classic(), prefixes("10.0.0.0/8"), nil, append([]byte{8, 10}, a...)},
		"classic, all and more":    {classic(), prefixes("0.0.0.0/0", "10.128.0.0/9", "2001:db8::/32"), a, slices.Concat([]byte{0}, a, []byte{9, 10, 128}, a)},
		"classic, an odd gateway":  {via(classic(), host().Gateway), prefixes("0.0.0.0/0"), b, slices.Concat(onlink, []byte{0}, b)},
		"host, all":                {host(), prefixes("0.0.0.0/0"), b, slices.Concat(onlink, []byte{0}, b)},
		"host, none":               {host(), nil, nil, onlink},
		"host, some, with a mask":  {host(), prefixes("10.1.2.3/17"), nil, slices.Concat(onlink, []byte{17, 10, 1, 0}, b)},
		"host, an address":         {host(), prefixes("192.0.2.1/32"), nil, slices.Concat(onlink, []byte{32, 192, 0, 2, 1}, b)},
		"host, IPv6 is not for it": {host(), prefixes("::/0"), nil, onlink},
	} {
		c.service.Routes = c.routes
		reply, _ := Decide(c.service, message(KindDiscover, Option{optParameters, []byte{249}}))
		got := [][]byte{first(reply, optRouter), first(reply, optRoutes), first(reply, optRoutesOld)}
		if diff := cmp.Diff([][]byte{c.router, c.want, c.want}, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		mask := []byte{255, 255, 255, 0}
		if c.service.Host() {
			mask[3] = 255
		}
		if got := first(reply, optMask); !bytes.Equal(got, mask) {
			t.Errorf("%s: the mask is %v", name, got)
		}
	}
}

func via(s Service, gateway netip.Addr) Service { s.Gateway = gateway; return s }

func TestSearchListIsCompressed(t *testing.T) {
	// The example of RFC 3397, section 2, and names that can't be.
	got := searchList([]string{"eng.apple.com.", "", "marketing.apple.com", "a..b", "apple.com", string(bytes.Repeat([]byte("x"), 64))})
	want := "\x03eng\x05apple\x03com\x00\x09marketing\xc0\x04\xc0\x04"
	if string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := searchList(nil); len(got) != 0 {
		t.Errorf("no names give %q", got)
	}
}

func TestWhatDoesNotFit(t *testing.T) {
	s := classic()
	for i := range byte(40) {
		s.Options = append(s.Options, Option{128 + i, bytes.Repeat([]byte{i}, int(i)+1)})
	}
	for limit, room := range map[int]int{0: 307, 100: 307, 576: 307, 1000: 731, 1400: 1131, 1500: 1131, 65535: 1131} {
		r := message(KindDiscover, Option{optClient, bytes.Repeat([]byte{7}, 255)})
		if limit > 0 {
			r.Options[optMaxSize] = []byte{byte(limit >> 8), byte(limit)}
		}
		reply, _ := Decide(s, r)
		if got := s.room(r); got != room {
			t.Errorf("limit %d: room for %d bytes, want %d", limit, got, room)
		}
		checkRoom(t, fmt.Sprintf("limit %d", limit), reply, room)
		for _, code := range []byte{optKind, optServer, optClient, optLease, optT1, optT2, optMask, optRouter, optDNS} {
			if first(reply, code) == nil {
				t.Errorf("limit %d: option %d is missing", limit, code)
			}
		}
		if n := len(codes(reply)) + len(reply.Dropped); n != 8+40 {
			t.Errorf("limit %d: %d options sent or dropped, want 48", limit, n)
		}
	}
	if reply, _ := Decide(classic(), message(KindDiscover)); reply.File != nil || reply.Sname != nil || reply.Dropped != nil || first(reply, optOverload) != nil {
		t.Errorf("a small answer is spread: %+v", reply)
	}
}

// checkRoom checks that every field holds what is in it, and that option 52 says
// which ones to look into (RFC 2132, section 9.3).
func checkRoom(t interface{ Errorf(string, ...any) }, name string, r Reply, room int) {
	for _, field := range []struct {
		name    string
		options []Option
		room    int
	}{{"options", r.Options, room}, {"file", r.File, fileRoom}, {"sname", r.Sname, snameRoom}} {
		size := 0
		for _, o := range field.options {
			size += o.size()
		}
		if size > field.room {
			t.Errorf("%s: %d bytes in %s, where there is room for %d", name, size, field.name, field.room)
		}
	}
	var which byte
	if r.File != nil {
		which |= 1
	}
	if r.Sname != nil {
		which |= 2
	}
	if got := first(r, optOverload); (which != 0 || got != nil) && !bytes.Equal(got, []byte{which}) {
		t.Errorf("%s: option 52 is %v, want %d", name, got, which)
	}
}
