package log

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"reflect"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/projector"
)

// TestHashIsAsDocumented computes the hash by hand, as an auditor would.
func TestHashIsAsDocumented(t *testing.T) {
	var b bytes.Buffer
	number := func(n int) { _ = binary.Write(&b, binary.BigEndian, uint64(n)) }
	text := func(s string) { number(len(s)); b.WriteString(s) }
	text("hr.vm.web-1")
	number(3)
	for _, s := range []string{"ce-id", "6f1c", "ce-type", "VMDeleted", "hr-offset", "0"} {
		text(s)
	}
	text(`{"data":{}}`)
	want := sha256.Sum256(b.Bytes())
	h := headersWith(nil)
	for k, v := range map[string]string{"ce-id": "6f1c", "ce-type": "VMDeleted", "hr-offset": "0",
		"Nats-Batch-Id": "x", "Nats-Sequence": "9", "other": "y"} {
		h[k] = []string{v}
	}
	if have := hashOf("hr.vm.web-1", h, []byte(`{"data":{}}`)); have != hex.EncodeToString(want[:]) {
		t.Errorf("hash is %s; want %x", have, want)
	}
}

func TestHashCoversEverything(t *testing.T) {
	base := func() (string, nats.Header, []byte) {
		return "hr.vm.a", nats.Header{"ce-id": {"1"}, "ce-source": {"x"}, "hr-offset": {"0"}}, []byte("body")
	}
	s, h, b := base()
	seen := map[string]string{hashOf(s, h, b): "unaltered"}
	for name, alter := range map[string]func() string{
		"subject":        func() string { _, h, b := base(); return hashOf("hr.vm.b", h, b) },
		"body":           func() string { s, h, _ := base(); return hashOf(s, h, []byte("bodz")) },
		"header":         func() string { s, h, b := base(); h["ce-id"] = []string{"2"}; return hashOf(s, h, b) },
		"missing header": func() string { s, h, b := base(); delete(h, "ce-source"); return hashOf(s, h, b) },
		"second value":   func() string { s, h, b := base(); h["ce-id"] = []string{"1", "1"}; return hashOf(s, h, b) },
		"further header": func() string { s, h, b := base(); h["ce-x"] = []string{""}; return hashOf(s, h, b) },
		"offset":         func() string { s, h, b := base(); h["hr-offset"] = []string{"1"}; return hashOf(s, h, b) },
	} {
		sum := alter()
		if other, ok := seen[sum]; ok {
			t.Errorf("%s altered gives the hash of %s", name, other)
		}
		seen[sum] = name
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("hr.vm.web-1", "id", "VMDeleted", "0", []byte(`{"data":{"vm":"web-1"},"state":null,"prev":{"seq":7,"hash":"ab"}}`))
	f.Add("hr.feed.hv1.web-1", "id", "VMDeleted", "1", []byte(`{"data":{"vm":"web-1"},"state":{"vm":"web-1","hypervisor":"hv1","interfaces":[{"tap":"t","mac":"52:54:00:00:00:01","network":"n","vrf":"v"}],"addresses":[{"prefix":"203.0.113.7/32","interface":0}]}}`))
	f.Add("hr.feed.hv1", "id", "VMDeleted", "2", []byte(`{"data":{"vm":"web-1"},"state":{"hypervisor":"hv1"},"prev":{"seq":0},"feed":[{"vm":"web-1","hash":"x"}]}`))
	f.Add("hr.net", "id", "NetworkRemoved", "2", []byte(`{"data":{"network":"web"},"state":null,"prev":{"seq":0}}`))
	f.Add("hr.ip.public.203-0-113-7", "id", "IPReleased", "0", []byte(`{"data":{"prefix":"203.0.113.7/32","vrf":"public"},"state":{"owners":[]},"prev":{"seq":0}}`))
	f.Add("hr.ip.public.203-0-113-7", "id", "IPReleased", "0", []byte(`{"data":{"prefix":"203.0.113.7/32","vrf":"public"},"state":{"moves":3},"prev":{"seq":0}}`))
	f.Fuzz(func(t *testing.T, subject, id, kind, offset string, payload []byte) {
		h := good(events.Type(kind))
		h[headerID], h[headerOffset] = []string{id}, []string{offset}
		r := raw{Subject: subject, Sequence: 5000, Header: h, Body: payload}
		m, err := decode(r)
		if err != nil {
			return
		}
		if m.event() > r.Sequence || m.event() == 0 {
			t.Errorf("event at %d of a message at %d", m.event(), r.Sequence)
		}
		// What is readable stays the same through the projector and back, and
		// whoever uses it computes something.
		_, register, err := readRegister(r)
		if err == nil {
			again, err := projector.EncodeRegister(register)
			if err != nil {
				t.Fatal(err)
			}
			twice, err := projector.DecodeRegister(subject, again, m.event())
			if err != nil || !reflect.DeepEqual(register, twice) {
				t.Errorf("%s becomes %s: %v", m.State, again, err)
			}
			s := projector.New()
			if g, ok := register.(*projector.Guest); ok {
				s.Put(events.SubjectVM(g.VM), g)
				projector.Desired(s, "hv1")
			}
		}
		_, _, _, _ = readNetTick(r)
		_ = (&reader{fn: func(Entry) error { return nil }, chain: newChain(true)}).message(r)
	})
}

// movedGuest is a guest with an address that has moved in a role.
func movedGuest(role string) string {
	return `{"vm":"vm1","hypervisor":"hv1","epoch":7,"moves":1,"interfaces":[{"tap":"t","mac":"52:54:00:00:00:01","network":"n","vrf":"v"}],` +
		`"addresses":[{"prefix":"203.0.113.7/32","role":"` + role + `","interface":0,"moves":2}]}`
}

// TestOnlyWhatEndsSomethingEndsIt wants a state that its event can't have led to
// refused, above all one that would take something away.
func TestOnlyWhatEndsSomethingEndsIt(t *testing.T) {
	const web, prev = `{"network":"web","vrf":"v","subnets":[{"prefix":"203.0.113.0/24"}]}`, `,"prev":{"seq":0}}`
	for _, c := range []struct {
		subject, kind, version, data, state string
		fine                                bool
	}{
		{"hr.net.web", "NetworkDefined", "2", web, web, true},
		{"hr.net.web", "NetworkDefined", "1", web, web, true},
		{"hr.net.web", "NetworkDefined", "2", web, "null", false},
		{"hr.net.web", "NetworkDefined", "2", web, strings.Replace(web, "113", "114", 1), false},
		{"hr.net.web", "NetworkRemoved", "1", `{"network":"web"}`, "null", true},
		{"hr.net.web", "NetworkRemoved", "1", `{"network":"web"}`, web, false},
		{"hr.vm.vm1", "VMDeleted", "1", `{"vm":"vm1"}`, "null", true},
		{"hr.vm.vm1", "VMMigrated", "1", `{"vm":"vm1","to":"hv2"}`, "null", false},
		{"hr.feed.hv1.vm1", "VMMigrated", "1", `{"vm":"vm1","to":"hv2"}`, "null", true},
		{"hr.feed.hv1.vm1", "IPReleased", "1", `{"prefix":"203.0.113.7/32"}`, "null", false},
		{"hr.ip.v.203-0-113-7", "IPReleased", "1", `{"prefix":"203.0.113.7/32","vrf":"v"}`, "null", true},
		{"hr.ip.v.203-0-113-7", "IPAssigned", "1", `{"prefix":"203.0.113.7/32","vrf":"v","vm":"vm1"}`, "null", false},
		{"hr.ip.v.203-0-113-7", "IPReleased", "1", `{"prefix":"203.0.113.7/32","vrf":"v"}`, `{"moves":3}`, true},
		{"hr.ip.v.203-0-113-7", "IPReleased", "1", `{"prefix":"203.0.113.7/32","vrf":"v"}`, `{"moves":0}`, false},
		{"hr.ip.v.203-0-113-7", "IPAssigned", "1", `{"prefix":"203.0.113.7/32","vrf":"v","vm":"vm1"}`, `{"moves":3}`, false},
		{"hr.ip.v.203-0-113-7", "IPAssigned", "1", `{"prefix":"203.0.113.7/32","vrf":"v","vm":"vm1"}`, `{"owners":[{"vm":"vm1","role":"anycast","since":0}],"moves":3}`, true},
		{"hr.ip.v.203-0-113-7", "IPAssigned", "1", `{"prefix":"203.0.113.7/32","vrf":"v","vm":"vm1"}`, `{"owners":[{"vm":"vm1","role":"primary","since":0}],"moves":3}`, false},
		{"hr.feed.hv1.vm1", "VMMigrated", "1", `{"vm":"vm1","to":"hv1"}`, movedGuest("anycast"), false},
		{"hr.feed.hv1.vm1", "VMMigrated", "1", `{"vm":"vm1","to":"hv1"}`, movedGuest("elastic"), true},
		{"hr.feed.hv1", "VMDeleted", "1", `{"vm":"vm1"}`, "null", false},
		{"hr.hv.hv1", "HypervisorFenced", "1", `{"hypervisor":"hv1"}`, "null", false},
	} {
		h := good(events.Type(c.kind))
		h[headerDataVersion] = []string{c.version}
		if strings.HasPrefix(c.subject, "hr.feed.") {
			h[headerOffset] = []string{"1"}
		}
		r := raw{Subject: c.subject, Sequence: 9, Header: h, Body: []byte(`{"data":` + c.data + `,"state":` + c.state + prev)}
		if _, _, err := readRegister(r); (err == nil) != c.fine {
			t.Errorf("a %s on %s with the state %s: %v", c.kind, c.subject, c.state, err)
		}
	}
}
