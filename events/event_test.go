package events

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// samples is one valid event of every type, as a publisher writes it.
var samples = []string{
	`{"id":"1","type":"NetworkDefined","version":2,"source":"t","data":{"network":"web","vrf":"public","subnets":[{"prefix":"203.0.113.0/25"},{"prefix":"2001:db8::/57","allocation":64}],"gateways":["203.0.113.1","fe80::1"],"dns":["192.0.2.53"],"ntp":["192.0.2.123"],"domain":"example.net","search":["example.org"],"mtu":1500,"dhcp":{"style":"host","lease":3600,"options":[{"code":66,"hex":"c0ffee"}]},"ipv6":{"style":"slaac","preference":"high","lifetime":600,"interval":200,"on_link":false,"autonomous":true,"managed":true,"other":false},"routes":["0.0.0.0/0","198.51.100.0/24","::/0"]}}`,
	`{"type":"NetworkRemoved","data":{"network":"web"}}`,
	`{"type":"HypervisorRegistered","data":{"hypervisor":"hv1"}}`,
	`{"type":"HypervisorDrained","data":{"hypervisor":"hv1","reason":"new kernel"}}`,
	`{"type":"HypervisorUndrained","data":{"hypervisor":"hv1"}}`,
	`{"type":"HypervisorFenced","data":{"hypervisor":"hv1"}}`,
	`{"type":"HypervisorUnfenced","data":{"hypervisor":"hv1"}}`,
	`{"type":"VMCreated","data":{"vm":"vm1","hypervisor":"hv1","interfaces":[{"tap":"tap1","mac":"02:00:00:00:01:01","network":"web"}],"hostname":"www-1.example.net"}}`,
	`{"type":"VMDeleted","data":{"vm":"vm1"}}`,
	`{"type":"VMMigrationStarted","data":{"vm":"vm1","to":"hv2","taps":["tap9"]}}`,
	`{"type":"VMMigrated","data":{"vm":"vm1","to":"hv2"}}`,
	`{"type":"VMMigrationAborted","data":{"vm":"vm1"}}`,
	`{"type":"IPAssigned","data":{"prefix":"203.0.113.7","vm":"vm1","role":"elastic"}}`,
	`{"type":"IPMoved","time":"2026-11-22T03:12:00Z","data":{"prefix":"203.0.113.7/32","to":"vm2"}}`,
	`{"type":"IPReleased","data":{"prefix":"2001:db8::/64","vm":"vm1","vrf":"public"}}`,
}

var comparer = cmp.Options{
	cmp.Comparer(func(a, b Prefix) bool { return a == b }),
	cmp.Comparer(func(a, b Addr) bool { return a == b }),
	cmp.Comparer(func(a, b MAC) bool { return a == b }),
}

func TestEveryTypeRoundTrips(t *testing.T) {
	seen := map[Type]bool{}
	for _, text := range samples {
		e, err := Parse([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		seen[e.Type()] = true
		b, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(b)
		if err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		if diff := cmp.Diff(e, again, comparer, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s changed on its way:\n%s", e.Type(), diff)
		}
	}
	for _, typ := range Types() {
		if !seen[typ] {
			t.Errorf("no sample of %s", typ)
		}
	}
}

func TestBadEventsNameFieldAndValue(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"no JSON":          {`hello`, `not JSON at byte 1: invalid character 'h' looking for beginning of value`},
		"cut off":          {`{"type":"VMDeleted"`, `not JSON: it ends too early`},
		"two values":       {`{"type":"VMDeleted","data":{"vm":"a"}} {}`, `more than one JSON value; send one object an event`},
		"no type":          {`{"data":{}}`, `type: missing; one of HypervisorDrained`},
		"unknown type":     {`{"type":"VMExploded","data":{}}`, `type "VMExploded": unknown event type; one of`},
		"no data":          {`{"type":"VMDeleted"}`, `VMDeleted: data: missing`},
		"unknown field":    {`{"type":"VMDeleted","data":{"vm":"a","force":true}}`, `VMDeleted: data.force: unknown field`},
		"wrong kind":       {`{"type":"VMDeleted","data":{"vm":7}}`, `VMDeleted: data.vm "number": must be a JSON string`},
		"prefix as number": {`{"type":"IPAssigned","data":{"prefix":7,"vm":"a"}}`, `IPAssigned: data.prefix "number": must be a JSON string`},
		"bad name":         {`{"type":"VMDeleted","data":{"vm":"Web.1"}}`, `VMDeleted: vm "Web.1": a name is made of a-z, 0-9, '-' and '_' only`},
		"long name":        {`{"type":"VMDeleted","data":{"vm":"` + strings.Repeat("a", 64) + `"}}`, `64 characters long; a name has at most 63`},
		"bad prefix":       {`{"type":"IPAssigned","data":{"prefix":"203.0.113.300","vm":"a"}}`, `IPAssigned: prefix "203.0.113.300": not an address prefix; write it like`},
		"host bits":        {`{"type":"IPAssigned","data":{"prefix":"203.0.113.7/24","vm":"a"}}`, `IPAssigned: prefix "203.0.113.7/24": host bits are set; the prefix is 203.0.113.0/24`},
		"default route":    {`{"type":"IPAssigned","data":{"prefix":"::/0","vm":"a"}}`, `a default route is no guest's prefix`},
		"multicast":        {`{"type":"IPAssigned","data":{"prefix":"ff02::1","vm":"a"}}`, `a multicast prefix can't be routed`},
		"mapped":           {`{"type":"IPAssigned","data":{"prefix":"::ffff:192.0.2.1/128","vm":"a"}}`, `an IPv4-mapped IPv6 prefix; write it as IPv4`},
		"no prefix":        {`{"type":"IPAssigned","data":{"vm":"a"}}`, `IPAssigned: prefix: missing`},
		"role":             {`{"type":"IPAssigned","data":{"prefix":"203.0.113.7","vm":"a","role":"boss"}}`, `role "boss": must be one of primary, secondary`},
		"tap":              {`{"type":"VMCreated","data":{"vm":"a","hypervisor":"h","interfaces":[{"tap":"a/b","mac":"02:00:00:00:01:01","network":"n"}]}}`, `interfaces[0].tap "a/b": an interface name is made of`},
		"long tap":         {`{"type":"VMCreated","data":{"vm":"a","hypervisor":"h","interfaces":[{"tap":"abcdefghijklmnop","mac":"02:00:00:00:01:01","network":"n"}]}}`, `16 characters long; an interface name has at most 15`},
		"mac":              {`{"type":"VMCreated","data":{"vm":"a","hypervisor":"h","interfaces":[{"tap":"t","mac":"02:00:00","network":"n"}]}}`, `interfaces[0].mac "02:00:00": not a hardware address`},
		"group mac":        {`{"type":"VMCreated","data":{"vm":"a","hypervisor":"h","interfaces":[{"tap":"t","mac":"01:00:00:00:01:01","network":"n"}]}}`, `a group address is no guest's hardware address`},
		"tap twice":        {`{"type":"VMCreated","data":{"vm":"a","hypervisor":"h","interfaces":[{"tap":"t","mac":"02:00:00:00:01:01","network":"n"},{"tap":"t","mac":"02:00:00:00:01:02","network":"n"}]}}`, `interfaces[1].tap "t": used by two interfaces`},
		"no interface":     {`{"type":"VMCreated","data":{"vm":"a","hypervisor":"h"}}`, `interfaces "0": a guest has 1 to 32 interfaces`},
		"overlap":          {`{"type":"NetworkDefined","data":{"network":"n","vrf":"v","subnets":[{"prefix":"203.0.113.0/24"},{"prefix":"203.0.113.0/25"}]}}`, `subnets[1].prefix "203.0.113.0/25": overlaps 203.0.113.0/24`},
		"allocation":       {`{"type":"NetworkDefined","data":{"network":"n","vrf":"v","subnets":[{"prefix":"203.0.113.0/24","allocation":16}]}}`, `subnets[0].allocation "16": must be 24 to 32`},
		"gateway":          {`{"type":"NetworkDefined","data":{"network":"n","vrf":"v","subnets":[{"prefix":"203.0.113.0/24"}],"gateways":["192.0.2.1"]}}`, `gateways[0] "192.0.2.1": in no subnet of the network`},
		"mtu":              {`{"type":"NetworkDefined","data":{"network":"n","vrf":"v","subnets":[{"prefix":"203.0.113.0/24"}],"mtu":100}}`, `mtu "100": must be 576 to 65535`},
		"colon in a tap":   {`{"type":"VMDeleted","data":{"vm":"a : b"}}`, `VMDeleted: vm "a : b": a name is made of`},
		"field twice":      {`{"type":"VMDeleted","data":{"vm":"a","vm":"b"}}`, `VMDeleted: data.vm: given twice; give it once`},
		"data twice":       {`{"type":"VMDeleted","data":{"vm":"a"},"data":{"vm":"b"}}`, `VMDeleted: data: given twice`},
		"twice in a list":  {`{"type":"NetworkDefined","data":{"network":"n","vrf":"v","subnets":[{"prefix":"203.0.113.0/24"},{"prefix":"192.0.2.0/24","prefix":"10.0.0.0/8"}]}}`, `data.subnets[1].prefix: given twice`},
		"capitals":         {`{"type":"VMDeleted","data":{"vm":"a","VM":"b"}}`, `VMDeleted: data.VM: unknown field; names of fields are in lower case`},
		"long s":           {`{"type":"NetworkDefined","data":{"network":"n","vrf":"v","subnets":[],"ſubnets":[{"prefix":"203.0.113.0/24"}]}}`, `unknown field`},
		"year 0 in UTC":    {`{"type":"VMDeleted","time":"0001-01-01T00:00:00+01:00","data":{"vm":"a"}}`, `VMDeleted: time: is in the year 0 of UTC`},
		"no RFC 3339":      {`{"type":"VMDeleted","time":"2026-01-01 00:00","data":{"vm":"a"}}`, `time "2026-01-01 00:00": must be a time of RFC 3339, such as 2026-11-22T03:12:00Z`},
		"a number of time": {`{"type":"VMDeleted","time":1795313520,"data":{"vm":"a"}}`, `time: must be a JSON string, a time of RFC 3339`},
		"year 10000":       {`{"type":"VMDeleted","time":"9999-12-31T23:59:59-01:00","data":{"vm":"a"}}`, `time: is in the year 10000 of UTC`},
		"id in spaces":     {`{"id":" x","type":"VMDeleted","data":{"vm":"a"}}`, `id " x": must not begin or end with a space`},
		"source of spaces": {`{"source":" ","type":"VMDeleted","data":{"vm":"a"}}`, `source " ": must not begin or end with a space`},
		"deep":             {`{"type":"VMDeleted","data":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`, `exceeded max depth`},
		"invalid UTF-8":    {"{\"type\":\"HypervisorDrained\",\"data\":{\"hypervisor\":\"h\",\"reason\":\"\xff\"}}", `control characters or invalid UTF-8`},
		"search":           {`{"type":"NetworkDefined","data":{"network":"n","vrf":"v","subnets":[{"prefix":"203.0.113.0/24"}],"search":[` + strings.Repeat(`"a",`, 32) + `"a"]}}`, `search "33": too many; at most 32`},
		"option twice":     {`{"type":"NetworkDefined","data":{"network":"n","vrf":"v","subnets":[{"prefix":"203.0.113.0/24"}],"dhcp":{"options":[{"code":7,"hex":"00"},{"code":7,"hex":"01"}]}}}`, `dhcp.options[1].code "7": given twice`},
		"id":               {`{"id":"ä","type":"VMDeleted","data":{"vm":"a"}}`, `must be printable ASCII`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(c.text))
			var bad *Error
			if !errors.As(err, &bad) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

// TestErrorsAreShort sends values that an answer couldn't give back.
func TestErrorsAreShort(t *testing.T) {
	long := strings.Repeat("x", 900_000)
	for _, text := range []string{
		`{"type":"` + long + `","data":{}}`,
		`{"type":"VMDeleted","` + long + `":1,"data":{}}`,
		`{"type":"VMDeleted","data":{"vm":"a","` + long + `":1}}`,
		`{"type":"VMDeleted","data":{"vm":"` + long + `"}}`,
		`{"type":"VMDeleted","data":{"vm":1` + strings.Repeat("0", 900_000) + `}}`,
		`{"type":"VMDeleted","id":"` + long + `","data":{"vm":"a"}}`,
		`{"type":"VMDeleted","time":"` + long + `","data":{"vm":"a"}}`,
		`{"type":"IPAssigned","data":{"prefix":"` + long + `","vm":"a"}}`,
		`{"type":"IPAssigned","data":{"prefix":"10.0.0.1","vm":"a","role":"` + long + `"}}`,
		`{"type":"IPAssigned","data":{"prefix":"10.0.0.1","vm":"a","interface":"` + long + `"}}`,
		`{"type":"VMCreated","data":{"vm":"a","hypervisor":"h","interfaces":[{"tap":"t","mac":"` + long + `","network":"n"}]}}`,
		`{"type":"NetworkDefined","data":{"network":"n","vrf":"v","subnets":[{"prefix":"10.0.0.0/8"}],"gateways":["` + long + `"]}}`,
		`{"type":"NetworkDefined","data":{"network":"n","vrf":"v","subnets":[{"prefix":"10.0.0.0/8"}],"domain":"` + long + `"}}`,
		`{"type":"NetworkDefined","data":{"network":"n","vrf":"v","subnets":[{"prefix":"10.0.0.0/8"}],"dhcp":{"options":[{"code":7,"hex":"` + long + `"}]}}}`,
	} {
		_, err := Parse([]byte(text))
		var bad *Error
		if !errors.As(err, &bad) || len(err.Error()) > 2000 {
			t.Errorf("%.80s…: %T of %d bytes: %.200v", text, err, len(fmt.Sprint(err)), err)
		}
	}
}

func TestTimeSurvives(t *testing.T) {
	e, err := Parse([]byte(samples[13]))
	if err != nil || !e.Time.Equal(time.Date(2026, 11, 22, 3, 12, 0, 0, time.UTC)) {
		t.Errorf("time is %v, %v", e.Time, err)
	}
}

func TestLinkLocal(t *testing.T) {
	m, err := ParseMAC("52:54:00:12:34:56")
	if err != nil || m.LinkLocal().String() != "fe80::5054:ff:fe12:3456" {
		t.Errorf("got %v, %v", m.LinkLocal(), err)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range samples {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := Parse(b)
		if err != nil {
			return
		}
		text, err := json.Marshal(e)
		if err != nil {
			t.Fatalf("a valid event can't be written: %v", err)
		}
		again, err := Parse(text)
		if err != nil {
			t.Fatalf("%s was read, and can't be read again as %s: %v", b, text, err)
		}
		if diff := cmp.Diff(e, again, comparer, cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
	})
}
