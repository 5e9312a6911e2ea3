package projector

import (
	"testing"

	"github.com/hostroute/hostroute/events"
)

// FuzzDecodeRegister wants every register that can be read to be safe to use
// and to be read again as what it was written.
func FuzzDecodeRegister(f *testing.F) {
	subjects := []string{"hr.vm.a", "hr.ip.public.203-0-113-7", "hr.net.web", "hr.vrf.public", "hr.hv.hv1", "hr.feed.hv1.a", "hr.feed.hv1", "hr.net", "rubbish"}
	for i, value := range []string{
		`{"vm":"a","hypervisor":"hv1","epoch":0,"interfaces":[{"tap":"t","mac":"02:00:00:00:00:01","network":"web","vrf":"public"}],
			"addresses":[{"prefix":"203.0.113.7/32","role":"primary","interface":0}],"next":{"hypervisor":"hv2","taps":["u"]}}`,
		`{"owners":[{"vm":"a","role":"anycast","since":0},{"vm":"b","role":"anycast","since":7}]}`,
		`{"owners":[{"vm":"a","role":"anycast","since":7}],"moves":4294967295}`, `{"moves":3}`, `{"owners":[],"moves":3}`,
		`{"vm":"a","hypervisor":"hv2","epoch":9,"moves":4294967295,"interfaces":[{"tap":"t","mac":"02:00:00:00:00:01","network":"web","vrf":"public"}],
			"addresses":[{"prefix":"203.0.113.7/32","role":"primary","interface":0,"moves":1}],"previous":{"hypervisor":"hv1","taps":["u"]}}`,
		`{"network":"web","vrf":"public","subnets":[{"prefix":"203.0.113.0/24"}],"gateways":["203.0.113.1"]}`,
		`{"network":"web","vrf":"public","subnets":[{"prefix":"203.0.113.0/24"},{"prefix":"2001:db8::/64"}],"dhcp":{"style":"host","lease":-1,"options":[{"code":300,"hex":"0"}]},"ipv6":{"style":"shared","interval":-1,"on_link":true},"routes":["::/0","10.0.0.0/8"]}`,
		`{"networks":{"web":["203.0.113.0/24"]}}`, `{"hypervisor":"hv1","drained":true}`, `null`, `{}`, `[]`,
	} {
		f.Add(byte(i), []byte(value))
	}
	f.Fuzz(func(t *testing.T, which byte, value []byte) {
		subject := subjects[int(which)%len(subjects)]
		r, err := DecodeRegister(subject, value, 9)
		if err != nil {
			return
		}
		if r.Sequence() != 9 {
			t.Fatalf("its sequence is %d", r.Sequence())
		}
		text, err := EncodeRegister(r)
		if err != nil {
			t.Fatalf("%s: %s was read and can't be written: %v", subject, value, err)
		}
		again, err := DecodeRegister(subject, text, 9)
		if err != nil {
			t.Fatalf("%s: %s was read, and can't be read again as %s: %v", subject, value, text, err)
		}
		if second, err := EncodeRegister(again); err != nil || string(second) != string(text) {
			t.Fatalf("%s: %s became %s, %v", subject, text, second, err)
		}
		s := New()
		s.Put(subject, r)
		s.Put("hr.net.web", &Network{NetworkDefined: *network("web")})
		if n, ok := r.(*Network); ok && r.Exists() { // a guest in a network of any kind
			g := &Guest{VM: "_", Hypervisor: "hv1", Interfaces: []Interface{{Interface: events.Interface{Tap: "t", Network: "web"}, VRF: n.VRF}}}
			for _, p := range []string{"203.0.113.7", "2001:db8::7", "2001:db8:1::/64", "2001:db8:2::/80"} {
				g.Addresses = append(g.Addresses, Address{Prefix: prefix(p).Prefix, Role: events.RolePrimary})
			}
			s.Put("hr.vm._", g)
		}
		Desired(s, "hv1")
		Desired(s, "hv2")
		for _, data := range []events.Data{
			&events.VMMigrated{VM: "a", To: "hv2"}, &events.VMDeleted{VM: "a"}, network("web"),
			&events.IPAssigned{VM: "a", Prefix: prefix("203.0.113.7"), Role: events.RoleAnycast}, &events.IPMoved{To: "a", Prefix: prefix("203.0.113.7")},
			&events.IPReleased{Prefix: prefix("203.0.113.7"), VRF: "public"}, &events.NetworkRemoved{Network: "web"},
		} {
			_, _ = Decide(s, events.Event{Data: data}) // must not panic
		}
	})
}
