package projector

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/hostroute/hostroute/events"
)

// base is a small world: four hypervisors, one of them fenced and one drained,
// two networks, two guests, one of them with an address and a prepared migration.
func base(t *testing.T) *State {
	t.Helper()
	s := New()
	seq := uint64(0)
	for _, data := range []events.Data{
		&events.HypervisorRegistered{Hypervisor: "hv1"},
		&events.HypervisorRegistered{Hypervisor: "hv2"},
		&events.HypervisorRegistered{Hypervisor: "hv3"},
		&events.HypervisorFenced{Hypervisor: "hv3"},
		network("web"), network("db"),
		vm("vm1"), vm("vm2"),
		&events.IPAssigned{Prefix: prefix("203.0.113.10"), VM: "vm1"},
		&events.IPAssigned{Prefix: prefix("203.0.113.20"), VM: "vm1", Role: events.RoleAnycast},
		&events.VMMigrationStarted{VM: "vm1", To: "hv2"},
		&events.HypervisorRegistered{Hypervisor: "hv4"},
		&events.HypervisorDrained{Hypervisor: "hv4"},
	} {
		seq++
		d, err := Decide(s, events.Event{Data: data})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Apply(Record{Sequence: seq, Event: d.Event}); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func vm(name string) *events.VMCreated {
	return &events.VMCreated{VM: name, Hypervisor: "hv1", Interfaces: []events.Interface{
		{Tap: name + "a", MAC: mac(name[2]), Network: "web"}, {Tap: name + "b", MAC: mac(name[2] + 10), Network: "db"}}}
}

func TestRefusals(t *testing.T) {
	other := network("web")
	other.Network = "blog"
	narrower := network("web")
	narrower.Subnets = narrower.Subnets[:1]
	elsewhere := network("web")
	elsewhere.VRF = "private"
	guarded := network("web")
	guarded.Gateways = append(guarded.Gateways, events.AddrFrom(netip.MustParseAddr("203.0.113.10")))
	for name, c := range map[string]struct {
		data events.Data
		code events.Code
		want string
	}{
		"gateway of a guest":    {guarded, events.CodeTaken, `gateways[1] "203.0.113.10": guest "vm1" holds it since sequence 9; release it first`},
		"hypervisor again":      {&events.HypervisorRegistered{Hypervisor: "hv1"}, events.CodeExists, `hypervisor "hv1": registered already (sequence 1)`},
		"hypervisor unknown":    {&events.HypervisorDrained{Hypervisor: "hv9"}, events.CodeUnknown, `HypervisorDrained: hypervisor "hv9": no such hypervisor; register it first`},
		"fenced already":        {&events.HypervisorFenced{Hypervisor: "hv3"}, events.CodeExists, `is fenced already (sequence 4)`},
		"not drained":           {&events.HypervisorUndrained{Hypervisor: "hv1"}, events.CodeExists, `isn't drained already`},
		"guest again":           {vm("vm1"), events.CodeExists, `vm "vm1": exists already, on hypervisor "hv1" since sequence 7`},
		"guest on fenced":       {&events.VMCreated{VM: "x", Hypervisor: "hv3", Interfaces: vm("vm7").Interfaces}, events.CodeRefused, `hypervisor "hv3": is fenced since sequence 4`},
		"guest nowhere":         {&events.VMCreated{VM: "x", Hypervisor: "hv9", Interfaces: vm("vm7").Interfaces}, events.CodeUnknown, `hypervisor "hv9": no such hypervisor`},
		"guest in no net":       {&events.VMCreated{VM: "x", Hypervisor: "hv1", Interfaces: []events.Interface{{Tap: "t", MAC: mac(1), Network: "nope"}}}, events.CodeUnknown, `interfaces[0].network "nope": no such network; define it first`},
		"guest unknown":         {&events.VMDeleted{VM: "vm9"}, events.CodeUnknown, `VMDeleted: vm "vm9": no such guest; ` + "`hostroute vm list` names them"},
		"move to home":          {&events.VMMigrated{VM: "vm1", To: "hv1"}, events.CodeRefused, `migration of "vm1" to "hv2" is prepared; abort that first`},
		"move nowhere":          {&events.VMMigrated{VM: "vm2", To: "hv1"}, events.CodeRefused, `to "hv1": guest "vm2" is there already, since sequence 8`},
		"guest on drained":      {&events.VMCreated{VM: "x", Hypervisor: "hv4", Interfaces: vm("vm7").Interfaces}, events.CodeRefused, `hypervisor "hv4": is drained (sequence 13) and takes no guests; undrain it first, or choose another`},
		"prepared to drained":   {&events.VMMigrationStarted{VM: "vm2", To: "hv4"}, events.CodeRefused, `to "hv4": is drained (sequence 13) and takes no guests; undrain it first`},
		"prepared to fenced":    {&events.VMMigrationStarted{VM: "vm2", To: "hv3"}, events.CodeRefused, `to "hv3": is fenced`},
		"prepared to home":      {&events.VMMigrationStarted{VM: "vm2", To: "hv1"}, events.CodeRefused, `to "hv1": guest "vm2" is there already, since sequence 8`},
		"move elsewhere":        {&events.VMMigrated{VM: "vm1", To: "hv4"}, events.CodeRefused, `migration of "vm1" to "hv2" is prepared; abort that first`},
		"move to fenced":        {&events.VMMigrated{VM: "vm2", To: "hv3"}, events.CodeRefused, `to "hv3": is fenced`},
		"too few taps":          {&events.VMMigrated{VM: "vm2", To: "hv2", Taps: []string{"x"}}, events.CodeInvalid, `taps "1": taps named, and guest "vm2" has 2 interfaces`},
		"prepared twice":        {&events.VMMigrationStarted{VM: "vm1", To: "hv2"}, events.CodeRefused, `its migration to "hv2" is prepared already`},
		"nothing to abort":      {&events.VMMigrationAborted{VM: "vm2"}, events.CodeRefused, `no migration of it is prepared`},
		"address for nobody":    {&events.IPAssigned{Prefix: prefix("203.0.113.11"), VM: "vm9"}, events.CodeUnknown, `IPAssigned: vm "vm9": no such guest`},
		"address taken":         {&events.IPAssigned{Prefix: prefix("203.0.113.10"), VM: "vm2"}, events.CodeTaken, `prefix "203.0.113.10/32": guest "vm1" holds it as primary since sequence 9`},
		"address twice":         {&events.IPAssigned{Prefix: prefix("203.0.113.10"), VM: "vm1"}, events.CodeExists, `guest "vm1" holds it already, since sequence 9`},
		"anycast and primary":   {&events.IPAssigned{Prefix: prefix("203.0.113.20"), VM: "vm2"}, events.CodeTaken, `guest "vm1" holds it as anycast`},
		"outside":               {&events.IPAssigned{Prefix: prefix("198.51.100.1"), VM: "vm1"}, events.CodeInvalid, `network "web" has 203.0.113.0/25, 2001:db8::/57, 2001:db8:1::/64 only`},
		"wrong family":          {&events.IPAssigned{Prefix: prefix("2001:db8::/64"), VM: "vm1", Interface: "vm1b"}, events.CodeInvalid, `network "db" has 203.0.113.128/25 only`},
		"wrong length":          {&events.IPAssigned{Prefix: prefix("2001:db8::5"), VM: "vm1"}, events.CodeInvalid, `a claim in 2001:db8::/57 of network "web" is a /64`},
		"gateway":               {&events.IPAssigned{Prefix: prefix("203.0.113.1"), VM: "vm1"}, events.CodeTaken, `holds 203.0.113.1, a gateway of network "web"`},
		"broadcast":             {&events.IPAssigned{Prefix: prefix("203.0.113.127"), VM: "vm1"}, events.CodeInvalid, `the first or last address of 203.0.113.0/25`},
		"no such tap":           {&events.IPAssigned{Prefix: prefix("203.0.113.12"), VM: "vm1", Interface: "eth0"}, events.CodeUnknown, `interface "eth0": guest "vm1" has vm1a, vm1b`},
		"release unclaimed":     {&events.IPReleased{Prefix: prefix("203.0.113.12")}, events.CodeUnknown, `prefix "203.0.113.12/32": no guest holds it in VRF "public"`},
		"release of a stranger": {&events.IPReleased{Prefix: prefix("192.0.2.1")}, events.CodeUnknown, `prefix "192.0.2.1/32": no network has it`},
		"release by another":    {&events.IPReleased{Prefix: prefix("203.0.113.10"), VM: "vm2"}, events.CodeRefused, `vm "vm2": doesn't hold 203.0.113.10/32; guest "vm1" does`},
		"move of unclaimed":     {&events.IPMoved{Prefix: prefix("203.0.113.12"), To: "vm2"}, events.CodeUnknown, `no guest holds it`},
		"move to owner":         {&events.IPMoved{Prefix: prefix("203.0.113.10"), To: "vm1"}, events.CodeExists, `to "vm1": holds 203.0.113.10/32 already`},
		"overlapping network":   {other, events.CodeTaken, `subnets[0].prefix "203.0.113.0/25": overlaps 203.0.113.0/25 of network "web" in VRF "public"`},
		"dropped subnet":        {narrower, events.CodeRefused, `subnets "2001:db8::/57": network "web" has it with allocation length 64`},
		"other VRF":             {elsewhere, events.CodeRefused, `vrf "private": network "web" is in VRF "public" for good`},
		"network in use":        {&events.NetworkRemoved{Network: "web"}, events.CodeRefused, `guest "vm1" has an interface in it`},
		"network unknown":       {&events.NetworkRemoved{Network: "nope"}, events.CodeUnknown, `no such network`},
	} {
		t.Run(name, func(t *testing.T) {
			s := base(t)
			before := dump(s)
			_, err := Decide(s, events.Event{Data: c.data})
			var refused *events.Error
			if !errors.As(err, &refused) || refused.Code != c.code || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got  %v\nwant %s (%s)", err, c.want, c.code)
			}
			if dump(s) != before {
				t.Error("a refused event changed the state")
			}
		})
	}
}

func TestImpossibleEventIsQuarantined(t *testing.T) {
	s := base(t)
	before := dump(s)
	bad := Record{Sequence: 99, Event: events.Event{ID: "bad", Data: &events.VMDeleted{VM: "vm9"}}}
	s.Fold(bad)
	s.Fold(bad)
	q := s.Quarantined()
	if len(q) != 1 || q[0].Sequence != 99 || q[0].Subject != "hr.vm.vm9" || !strings.Contains(q[0].Reason, "no such guest") {
		t.Errorf("quarantined: %+v", q)
	}
	if after := dump(s); !strings.HasPrefix(after, before) {
		t.Error("an impossible event changed the state")
	}
}

func TestDecodeRegisterRefusesDamage(t *testing.T) {
	for _, bad := range []string{`{`, `{"vm":"a","addresses":[{"prefix":"192.0.2.1/32","role":"primary","interface":3}]}`, `{"vm":"a","next":{"hypervisor":"b","taps":["x"]}}`} {
		if r, err := DecodeRegister("hr.vm.a", []byte(bad), 1); err == nil {
			t.Errorf("%s was read as %+v", bad, r)
		}
	}
	if r, err := DecodeRegister("hr.ip.public.203-0-113-7", []byte(`{}`), 1); err == nil {
		t.Errorf("a claim without owners was read as %+v", r)
	}
	if _, err := DecodeRegister("hr.net", []byte("null"), 1); err == nil {
		t.Error("a tick of the networks was read as a register")
	}
}

// TestEveryGatewayIsOnTheTap leaves out only the one that is there anyway.
func TestEveryGatewayIsOnTheTap(t *testing.T) {
	s := New()
	n := network("web")
	n.Gateways = append(n.Gateways, events.AddrFrom(netip.MustParseAddr("fe80::1")),
		events.AddrFrom(netip.MustParseAddr("fe80::2")), events.AddrFrom(netip.MustParseAddr("169.254.0.1")))
	for i, data := range []events.Data{&events.HypervisorRegistered{Hypervisor: "hv1"}, n,
		&events.VMCreated{VM: "a", Hypervisor: "hv1", Interfaces: []events.Interface{{Tap: "t", MAC: mac(1), Network: "web"}}}} {
		s.Fold(Record{Sequence: uint64(i + 1), Event: events.Event{Data: data}})
	}
	taps := Desired(s, "hv1").Taps
	if len(taps) != 1 || fmt.Sprint(taps[0].Gateways) != "[203.0.113.1 fe80::2 169.254.0.1]" {
		t.Errorf("taps: %+v", taps)
	}
}
