package config

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var compareAddrs = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}, netip.AddrPort{})

const full = `hypervisor: hv1
state: /var/lib/hostroute
socket: /run/hostroute/agent.sock
log:
  url: nats://198.51.100.10:4222,nats://198.51.100.11:4222
  vrf: mgmt
  credentials: /etc/hostroute/agent.creds
  replicas: 3
vrfs:
  - {name: public, table: 90}
  - {name: private, table: 20}
uplinks:
  - {interface: a-public, plane: a, vrf: public, addresses: [100.64.0.11/24, "2001:db8:a::11/64"]}
  - {interface: b-public, plane: b, vrf: public, addresses: [100.64.1.11/24]}
bgp:
  as: 65000
  router_id: 198.51.100.11
  hold_time: 30s
  connect_retry: 1s
  restart_time: 60s
  reflectors:
    - {vrf: public, plane: a, address: 100.64.0.1, port: 1179, as: 65001, password: secret, ttl_security: false, bfd: false}
    - {vrf: public, plane: b, address: 100.64.1.1}
guests:
  taps: [vm-*, uplink0]
  interconnects: [100.64.0.0/16, "2001:db8:a::/48"]
bfd: {interval: 100ms, multiplier: 5, max_loss: 7%}
metrics: {listen: "198.51.100.20:9999", vrf: mgmt}
flight_recorder: {late: 20ms, keep: 3}
`

func TestParseFull(t *testing.T) {
	want := &Config{
		Hypervisor: "hv1", State: "/var/lib/hostroute", Socket: "/run/hostroute/agent.sock",
		Log: Log{
			URL: "nats://198.51.100.10:4222,nats://198.51.100.11:4222", VRF: "mgmt",
			Credentials: "/etc/hostroute/agent.creds", Replicas: 3,
		},
		VRFs: []VRF{{"public", 90, false}, {"private", 20, false}},
		Uplinks: []Uplink{
			{Interface: "a-public", Plane: "a", VRF: "public", Addresses: []netip.Prefix{
				netip.MustParsePrefix("100.64.0.11/24"), netip.MustParsePrefix("2001:db8:a::11/64")}},
			{Interface: "b-public", Plane: "b", VRF: "public", Addresses: []netip.Prefix{netip.MustParsePrefix("100.64.1.11/24")}},
		},
		Guests: Guests{
			Taps:          []string{"vm-*", "uplink0"},
			Interconnects: []netip.Prefix{netip.MustParsePrefix("100.64.0.0/16"), netip.MustParsePrefix("2001:db8:a::/48")},
		},
		BGP: BGP{
			AS: 65000, RouterID: netip.MustParseAddr("198.51.100.11"),
			HoldTime: 30 * time.Second, ConnectRetry: time.Second, RestartTime: time.Minute, LongLived: 24 * time.Hour,
			Reflectors: []Reflector{
				{VRF: "public", Plane: "a", Address: netip.MustParseAddr("100.64.0.1"), Port: 1179, AS: 65001, Password: "secret"},
				{VRF: "public", Plane: "b", Address: netip.MustParseAddr("100.64.1.1"), Port: 179, AS: 65000, TTLSecurity: true, BFD: true},
			},
		},
		BFD:            BFD{Socket: "/run/hostroute/bfd.sock", Interval: 100 * time.Millisecond, Multiplier: 5, MaxLoss: 7},
		Metrics:        Metrics{Listen: netip.MustParseAddrPort("198.51.100.20:9999"), VRF: "mgmt"},
		FlightRecorder: FlightRecorder{Late: 20 * time.Millisecond, Keep: 3},
	}
	got, err := Parse(strings.NewReader(full))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, compareAddrs); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestParseDefaults(t *testing.T) {
	want := &Config{
		State: "/srv/hr", Socket: "/run/hostroute/agent.sock",
		Log:            Log{Embedded: &Embedded{Listen: netip.MustParseAddrPort("127.0.0.1:4222"), Store: "/srv/hr/log"}, Replicas: 1},
		VRFs:           []VRF{{"public", 90, false}, {"private", 20, false}},
		Uplinks:        []Uplink{},
		Guests:         Guests{Taps: []string{"tap*", "vnet*"}, Interconnects: []netip.Prefix{netip.MustParsePrefix("100.64.0.0/10")}},
		BGP:            BGP{HoldTime: 9 * time.Second, ConnectRetry: 2 * time.Second, RestartTime: 2 * time.Minute, LongLived: 24 * time.Hour, Reflectors: []Reflector{}},
		BFD:            BFD{Socket: "/run/hostroute/bfd.sock", Interval: 300 * time.Millisecond, Multiplier: 3, MaxLoss: 20},
		Metrics:        Metrics{Listen: netip.MustParseAddrPort("127.0.0.1:11179")},
		FlightRecorder: FlightRecorder{Late: 500 * time.Millisecond, Keep: 8},
	}
	got, err := Parse(strings.NewReader("state: /srv/hr/\nlog:\n  embedded:\n"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, compareAddrs); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestParseRefuses changes one thing of a good file and wants all that is said
// about it: the line, the key, the value and what is allowed.
func TestParseRefuses(t *testing.T) {
	const asAllowed = "must be 1 to 4294967294, without 23456 and 65535"
	const nameAllowed = "must be 1 to 63 of a-z, 0-9, '-' and '_'"
	for _, test := range []struct{ old, new, want string }{
		{"hypervisor: hv1", "hypervisor: HV1", `line 1: hypervisor: "HV1": ` + nameAllowed},
		{"hypervisor: hv1", "hypervisor:", `line 1: hypervisor: has no value; it ` + nameAllowed + `, or leave the key out`},
		{"hypervisor: hv1", "hypervisr: hv1", `line 1: hypervisr: unknown key; a configuration has hypervisor, state, socket, log, vrfs, uplinks, guests, bgp, bfd, metrics, flight_recorder`},
		{"hypervisor: hv1", "hypervisor: [hv1]", `line 1: hypervisor: must be one value: 1 to 63 of a-z, 0-9, '-' and '_'`},
		{"state: /var/lib/hostroute", "state: var", `line 2: state: "var": must be an absolute path`},
		{"/run/hostroute/agent.sock", "/" + strings.Repeat("x", 107), `line 3: socket: "/` + strings.Repeat("x", 107) + `": must be an absolute path of at most 107 bytes`},
		{"nats://198.51.100.11", "http://198.51.100.11", `line 5: log.url: "nats://198.51.100.10:4222,http://198.51.100.11:4222": must be nats://HOST:PORT or tls://HOST:PORT, several with commas between`},
		{"  url: nats://198.51.100.10:4222,nats://198.51.100.11:4222\n", "", "line 5: log: says nowhere; give log.url (a NATS server) or log.embedded (a server in this process)"},
		{"  vrf: mgmt\n  credentials: /etc/hostroute/agent.creds\n  replicas: 3\n", "  embedded: {}\n", `line 5: log.url: "nats://198.51.100.10:4222,nats://198.51.100.11:4222": log.embedded is given too, in line 6; exactly one of them may be`},
		{"vrf: mgmt", "vrf: a/b", `line 6: log.vrf: "a/b": must be an interface name: 1 to 15 printable ASCII characters without '/', ':', quotes and spaces`},
		{"replicas: 3", "replicas: 2", `line 8: log.replicas: "2": must be 1, 3 or 5`},
		{"table: 20", "table: 254", `line 11: vrfs[1].table: "254": must be 1 to 4294967295, without 253 to 255`},
		{"table: 20", "table: 0", `line 11: vrfs[1].table: "0": must be 1 to 4294967295, without 253 to 255`},
		{"table: 20", "table: 90", `line 11: vrfs[1].table: "90": is the table of VRF "public" already; each VRF has its own`},
		{"name: private", "name: public", `line 11: vrfs[1].name: "public": is vrfs[0] already; a name is used once`},
		{"name: private", "name: a-name-of-16-chr", `line 11: vrfs[1].name: "a-name-of-16-chr": must be 1 to 15 of a-z, 0-9, '-' and '_'`},
		{"interface: b-public", "interface: a-public", `line 14: uplinks[1].interface: "a-public": is the interface of uplinks[0] already; each uplink has its own`},
		{"interface: b-public", "interface: an-interface-of-b", `line 14: uplinks[1].interface: "an-interface-of-b": must be an interface name: 1 to 15 printable ASCII characters without '/', ':', quotes and spaces`},
		{"interface: b-public", "interface: public", `line 14: uplinks[1].interface: "public": is a VRF; an uplink is a port of its own`},
		{"vrf: public, addresses: [100.64.1.11/24]", "vrf: pub, addresses: [100.64.1.11/24]", `line 14: uplinks[1].vrf: "pub": must be a name of vrfs, which are public, private`},
		{"plane: b, vrf: public, addresses", "plane: a, vrf: public, addresses", `line 14: uplinks[1].plane: "a": is the plane of uplinks[0] already, also in VRF "public"; a VRF has one uplink into a plane`},
		{"addresses: [100.64.1.11/24]", "addresses: []", `line 14: uplinks[1].addresses: missing; an uplink has at least one ADDRESS/LENGTH, like 100.64.0.11/24`},
		{"addresses: [100.64.1.11/24]", "addresses: 100.64.1.11/24", `line 14: uplinks[1].addresses: "100.64.1.11/24": must be a list; write its items one a line after "- "`},
		{"100.64.1.11/24", "100.64.1.0/24", `line 14: uplinks[1].addresses[0]: "100.64.1.0/24": the address of the subnet itself; must be ADDRESS/LENGTH, the length that of the subnet`},
		{"100.64.1.11/24", "100.64.1.11", `line 14: uplinks[1].addresses[0]: "100.64.1.11": must be ADDRESS/LENGTH, the length that of the subnet, like 100.64.0.11/24 or 2001:db8:a::11/64`},
		{"100.64.1.11/24", "100.64.0.12/16", `line 14: uplinks[1].addresses[0]: "100.64.0.12/16": overlaps 100.64.0.11/24 of uplink "a-public" in the same VRF; planes share no subnet`},
		{"as: 65000", "as: 0", `line 16: bgp.as: "0": ` + asAllowed},
		{"as: 65000", "as: 23456", `line 16: bgp.as: "23456": ` + asAllowed},
		{"  as: 65000\n", "", `line 16: bgp.as: missing; ` + asAllowed},
		{"router_id: 198.51.100.11", "router_id: 2001:db8::1", `line 17: bgp.router_id: "2001:db8::1": must be an IPv4 address`},
		{"hold_time: 30s", "hold_time: 2s", `line 18: bgp.hold_time: "2s": must be 3s to 3600s in whole seconds`},
		{"hold_time: 30s", "hold_time: 3.5s", `line 18: bgp.hold_time: "3.5s": must be 3s to 3600s in whole seconds`},
		{"hold_time: 30s", "hold_time: 9", `line 18: bgp.hold_time: "9": must be 3s to 3600s in whole seconds, written with its unit like 3s`},
		{"hold_time: 30s", "hold_time: 30s\n  hold_time: 40s", `line 19: bgp.hold_time: given twice; the first is in line 18`},
		{"hold_time: 30s", "holdtime: 30s", `line 18: bgp.holdtime: unknown key; bgp has as, router_id, hold_time, connect_retry, restart_time, long_lived_stale_time, reflectors`},
		{"restart_time: 60s", "restart_time: 4096s", `line 20: bgp.restart_time: "4096s": must be 0s to 4095s in whole seconds`},
		{"address: 100.64.1.1}", "address: 100.64.0.1}", `line 23: bgp.reflectors[1].address: "100.64.0.1": must be an address in a subnet of the uplink "b-public", which has 100.64.1.11/24, and not its own`},
		{"address: 100.64.1.1}", "address: 100.64.1.11}", `line 23: bgp.reflectors[1].address: "100.64.1.11": must be an address in a subnet of the uplink "b-public", which has 100.64.1.11/24, and not its own`},
		{", address: 100.64.1.1}", "}", `line 23: bgp.reflectors[1].address: missing; must be an address in a subnet of the uplink`},
		{"plane: b, address", "plane: c, address", `line 23: bgp.reflectors[1].plane: "c": must be a plane with an uplink in the VRF "public", which are a, b`},
		{"{vrf: public, plane: b, address: 100.64.1.1}", "{vrf: public, plane: a, address: 100.64.0.1, port: 1179}", `line 23: bgp.reflectors[1].address: "100.64.0.1": is bgp.reflectors[0] already`},
		{"port: 1179", "port: 65536", `line 22: bgp.reflectors[0].port: "65536": must be 1 to 65535`},
		{"password: secret", "password: " + strings.Repeat("x", 81), `line 22: bgp.reflectors[0].password: must be at most 80 bytes`},
		{"ttl_security: false", "ttl_security: no", `line 22: bgp.reflectors[0].ttl_security: "no": must be true or false`},
		{"vm-*", "vm-*x", `line 25: guests.taps[0]: "vm-*x": must be interface names, of which the last character may be *`},
		{"vm-*", "'*'", `line 25: guests.taps[0]: "*": must be interface names, of which the last character may be *`},
		{"vm-*", "a-*", `line 25: guests.taps[0]: "a-*": takes uplink "a-public" for a guest's interface`},
		{"vm-*", "pub*", `line 25: guests.taps[0]: "pub*": takes VRF "public" for a guest's interface`},
		{"vm-*", "l*", `line 25: guests.taps[0]: "l*": takes lo for a guest's interface`},
		{"interface: b-public", "interface: uplink0", `line 25: guests.taps[1]: "uplink0": takes uplink "uplink0" for a guest's interface`},
		{"100.64.0.0/16", "100.64.0.1/16", `line 26: guests.interconnects[0]: "100.64.0.1/16": host bits are set; the prefix is 100.64.0.0/16`},
		{"100.64.0.0/16", "0.0.0.0/0", `line 26: guests.interconnects[0]: "0.0.0.0/0": must be prefixes of IPv4 and IPv6`},
		{"multiplier: 5", "multiplier: 256", `line 27: bfd.multiplier: "256": must be 1 to 255`},
		{"max_loss: 7%", "max_loss: 3%", `line 27: bfd.max_loss: "3%": must be 5% to 90% in whole percents, or 0% for never`},
		{"max_loss: 7%", "max_loss: 20", `line 27: bfd.max_loss: "20": must be 5% to 90% in whole percents, or 0% for never`},
		{"198.51.100.20:9999", "198.51.100.20", `line 28: metrics.listen: "198.51.100.20": must be ADDRESS:PORT, or "" for nowhere`},
		{"198.51.100.20:9999\", vrf: mgmt", "[::]:1\", vrf: a/b", `line 28: metrics.vrf: "a/b": must be an interface name: 1 to 15 printable ASCII characters without '/', ':', quotes and spaces`},
		{"interval: 100ms", "interval: 20ms", `line 27: bfd.interval: "20ms": must be 50ms to 60s`},
		{"replicas: 3", "replicas: 3\n---", `line 9: more than one YAML document; a configuration is one`},
		{"replicas: 3", "replicas: [3", `line 8: not YAML: did not find expected ',' or ']'`},
		{"vrf: mgmt\n  credentials: /etc/hostroute/agent.creds", "vrf: &x mgmt\n  credentials: *x", `line 7: log.credentials: "*x": aliases are not read; write the value out`},
	} {
		if strings.Count(full, test.old) == 0 {
			t.Errorf("%q is not in the file", test.old)
			continue
		}
		_, err := Parse(strings.NewReader(strings.Replace(full, test.old, test.new, 1)))
		if err == nil {
			t.Errorf("%q: no error, want %s", test.new, test.want)
			continue
		}
		if err.Error() != test.want {
			t.Errorf("%q:\n got %s\nwant %s", test.new, err, test.want)
		}
	}
}

// TestAVRFWithoutDevice is for kernels that have none.
func TestAVRFWithoutDevice(t *testing.T) {
	cfg, err := Parse(strings.NewReader("log: {embedded: {}}\nvrfs: [{name: public, table: 90, device: false}, {name: private, table: 20}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	if v := cfg.Host().VRFs; !v[0].NoDevice || v[1].NoDevice {
		t.Errorf("got %+v, want a device of the second alone", v)
	}
	_, err = Parse(strings.NewReader("log: {embedded: {}}\nvrfs: [{name: public, table: 90, device: none}]\n"))
	if err == nil || err.Error() != `line 2: vrfs[0].device: "none": must be true or false` {
		t.Errorf("got %v", err)
	}
}

// TestParseRefusesNoVRF tells a list without items from a key that is left out.
func TestParseRefusesNoVRF(t *testing.T) {
	_, err := Parse(strings.NewReader("log: {embedded: {}}\nvrfs: []\n"))
	if err == nil || !strings.Contains(err.Error(), "vrfs: is empty; name one at least, or leave the key out") {
		t.Errorf("got %v", err)
	}
}

func TestParseReportsEverything(t *testing.T) {
	in := "log: {url: x}\nstate: y\nbgp: {hold_time: 1s, as: -1}\nvrfs: 3\n"
	_, err := Parse(strings.NewReader(in))
	if err == nil {
		t.Fatal("no error")
	}
	for _, key := range []string{"line 1: log.url", "line 2: state", "line 3: bgp.hold_time", "line 3: bgp.as", "line 4: vrfs"} {
		if !strings.Contains(err.Error(), key) {
			t.Errorf("nothing about %s in:\n%v", key, err)
		}
	}
}

func TestEmbeddedRefusesWhatIsForURL(t *testing.T) {
	_, err := Parse(strings.NewReader("log:\n  embedded: {sync: 1s, listen: 127.0.0.1}\n  vrf: mgmt\n  replicas: 3\n"))
	want := `line 2: log.embedded.listen: "127.0.0.1": must be ADDRESS:PORT, or "" for this process only
line 3: log.vrf: "mgmt": is for log.url only; an embedded server is one, in this process
line 4: log.replicas: "3": is for log.url only; an embedded server is one, in this process`
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

func TestRoles(t *testing.T) {
	cfg, err := Parse(strings.NewReader("log: {embedded: {listen: \"\"}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if err := cfg.CheckAgent(); err == nil || !strings.HasPrefix(err.Error(), "hypervisor: missing") {
		t.Errorf("agent: %v", err)
	}
	if err := cfg.CheckLog(); err == nil || !strings.HasPrefix(err.Error(), "log.embedded.listen: ") {
		t.Errorf("log: %v", err)
	}
	cfg, err = Parse(strings.NewReader(full))
	if err != nil {
		t.Fatal(err)
	}
	if err := cfg.CheckAgent(); err != nil {
		t.Error(err)
	}
	if err := cfg.CheckLog(); err != nil {
		t.Error(err)
	}
}

func TestParseAuthority(t *testing.T) {
	const text = "hypervisor: hv1\nlog:\n  url: tls://198.51.100.10:4222\n  ca: /etc/hostroute/ca.pem\n"
	cfg, err := Parse(strings.NewReader(text))
	if err != nil || cfg.Log.CA != "/etc/hostroute/ca.pem" {
		t.Errorf("log.ca is %q (%v)", cfg.Log.CA, err)
	}
	for _, c := range []struct{ old, new, want string }{
		{"/etc/hostroute/ca.pem", "ca.pem", `line 4: log.ca: "ca.pem": must be an absolute path`},
		{"  url: tls://198.51.100.10:4222", "  embedded:",
			`line 4: log.ca: "/etc/hostroute/ca.pem": is for log.url only; an embedded server is one, in this process`},
	} {
		if _, err := Parse(strings.NewReader(strings.Replace(text, c.old, c.new, 1))); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v; want %s", err, c.want)
		}
	}
}
