package main

import (
	"strings"
	"testing"

	"github.com/hostroute/hostroute/events"
)

// TestEveryTypeHasASentence keeps a new event type from being listed by its
// name alone.
func TestEveryTypeHasASentence(t *testing.T) {
	for _, typ := range events.Types() {
		data, err := events.DecodeData(typ, typ.Version(), []byte(`{}`))
		if err != nil {
			t.Fatal(err)
		}
		if s := sentence(data); s == string(typ) {
			t.Errorf("%s has no sentence", typ)
		}
	}
}

func TestSentences(t *testing.T) {
	for in, want := range map[string]string{
		`{"type":"NetworkDefined","data":{"network":"web","vrf":"public","subnets":[{"prefix":"203.0.113.0/24"},{"prefix":"2001:db8::/56","allocation":64}]}}`: "network web defined in VRF public with 203.0.113.0/24, 2001:db8::/56 (in /64)",
		`{"type":"HypervisorFenced","data":{"hypervisor":"hv1","reason":"no power"}}`:                                                                          "hypervisor hv1 fenced: no power",
		`{"type":"VMCreated","data":{"vm":"web-1","hypervisor":"hv1","interfaces":[{"tap":"t1","mac":"52:54:00:00:00:01","network":"web"}]}}`:                  "guest web-1 created on hv1 with t1 in web (52:54:00:00:00:01)",
		`{"type":"VMMigrated","data":{"vm":"web-1","to":"hv2","taps":["t7"]}}`:                                                                                 "guest web-1 moved to hv2 on t7",
		`{"type":"IPAssigned","data":{"prefix":"203.0.113.7","vm":"web-1"}}`:                                                                                   "address 203.0.113.7/32 assigned to web-1",
		`{"type":"IPAssigned","data":{"prefix":"203.0.113.16/28","vm":"web-1","role":"routed","interface":"t1","vrf":"public"}}`:                               "prefix 203.0.113.16/28 assigned to web-1 (routed, on t1, VRF public)",
		`{"type":"IPReleased","data":{"prefix":"2001:db8::7/128","vm":"web-1"}}`:                                                                               "address 2001:db8::7/128 released from web-1",
	} {
		e, err := events.Parse([]byte(in))
		if err != nil {
			t.Fatalf("%s: %v", in, err)
		}
		if got := sentence(e.Data); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if strings.Contains(want, "%!") {
			t.Error(want)
		}
	}
}
