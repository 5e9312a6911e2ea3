package config

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Parse reads and checks a configuration. What is wrong comes as [*Error]s,
// joined.
func Parse(r io.Reader) (*Config, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	raw, bad := decode(b)
	if raw == nil {
		return nil, joined(bad)
	}
	c := &checker{errs: bad}
	cfg := c.config(raw)
	if len(c.errs) > 0 {
		return nil, joined(c.errs)
	}
	return cfg, nil
}

// joined puts the errors into the order of the file.
func joined(list []*Error) error {
	slices.SortStableFunc(list, func(a, b *Error) int { return a.Line - b.Line })
	errs := make([]error, len(list))
	for i, e := range list {
		errs[i] = e
	}
	return errors.Join(errs...)
}

// Load parses a file; its name is in every error.
func Load(path string) (*Config, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("reading the configuration: %w; name it with --config, or write one: `hostroute agent --reference` explains every key", err)
	} else if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	defer f.Close()
	cfg, err := Parse(f)
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, one := range joined.Unwrap() {
			var e *Error
			if errors.As(one, &e) {
				e.File = path
			}
		}
	}
	return cfg, err
}

func (c *checker) config(raw *rawConfig) *Config {
	cfg := &Config{State: c.path(raw.State), Socket: c.socket(raw.Socket)}
	if raw.Hypervisor.set {
		cfg.Hypervisor = c.name(raw.Hypervisor)
	}
	cfg.Log = c.log(&raw.Log, cfg.State)
	cfg.VRFs = c.vrfs(raw)
	cfg.Uplinks = c.uplinks(raw, cfg)
	c.torn = slices.ContainsFunc(c.errs, func(e *Error) bool {
		return strings.HasPrefix(e.Key, "vrfs") || strings.HasPrefix(e.Key, "uplinks")
	})
	cfg.Guests = c.guests(&raw.Guests, cfg)
	cfg.BGP = c.bgp(raw, cfg)
	cfg.BFD = BFD{
		Socket: c.socket(raw.BFD.Socket), Interval: c.duration(raw.BFD.Interval), Multiplier: uint8(c.number(raw.BFD.Multiplier)),
		MaxLoss: c.loss(raw.BFD.MaxLoss),
	}
	cfg.Metrics = c.metrics(&raw.Metrics)
	cfg.FlightRecorder = c.flightRecorder(&raw.Flight)
	return cfg
}

func (c *checker) metrics(raw *rawMetrics) Metrics {
	m := Metrics{Listen: c.listen(raw.Listen)}
	if raw.VRF.text != "" {
		m.VRF = c.device(raw.VRF)
	}
	return m
}

func (c *checker) flightRecorder(raw *rawFlight) FlightRecorder {
	f := FlightRecorder{Keep: int(c.number(raw.Keep))}
	if raw.Late.text != "0s" {
		f.Late = c.duration(raw.Late)
	}
	return f
}

func (c *checker) log(raw *rawLog, state string) Log {
	l := Log{}
	switch {
	case raw.URL.set && raw.Embedded != nil:
		c.bad(raw.URL, "log.embedded is given too, in line %d; exactly one of them may be", raw.Embedded.line)
	case raw.URL.set:
		l.URL = c.servers(raw.URL)
	case raw.Embedded != nil:
		l.Embedded = c.embedded(raw.Embedded, state)
	default:
		c.note(&Error{Line: raw.line, Key: "log",
			Reason: "says nowhere; give log.url (a NATS server) or log.embedded (a server in this process)"})
	}
	if raw.VRF.text != "" {
		l.VRF = c.device(raw.VRF)
	}
	if raw.Credentials.text != "" {
		l.Credentials = c.path(raw.Credentials)
	}
	if raw.CA.text != "" {
		l.CA = c.path(raw.CA)
	}
	replicas := map[string]int{"1": 1, "3": 3, "5": 5}
	if l.Replicas = replicas[raw.Replicas.text]; l.Replicas == 0 {
		c.refuse(raw.Replicas)
	}
	if raw.Embedded == nil {
		return l
	}
	for _, v := range []value{raw.VRF, raw.Credentials, raw.CA, raw.Replicas} {
		if v.set && v.text != "" && v.text != "1" {
			c.bad(v, "is for log.url only; an embedded server is one, in this process")
		}
	}
	return l
}

func (c *checker) embedded(raw *rawEmbedded, state string) *Embedded {
	e := &Embedded{Listen: c.listen(raw.Listen), Store: filepath.Join(state, "log")}
	if raw.Store.set {
		e.Store = c.path(raw.Store)
	}
	if raw.Sync.text != "always" {
		e.Sync = c.duration(raw.Sync)
	}
	return e
}

func (c *checker) vrfs(raw *rawConfig) []VRF {
	if raw.VRFs != nil && len(raw.VRFs) == 0 {
		c.note(&Error{Key: "vrfs", Reason: "is empty; name one at least, or leave the key out for public (table 90) and private (table 20)"})
	}
	if len(raw.VRFs) == 0 {
		return []VRF{{Name: "public", Table: 90}, {Name: "private", Table: 20}}
	}
	var list []VRF
	for _, r := range raw.VRFs {
		v := VRF{Name: c.name(r.Name), Table: c.number(r.Table, 253, 254, 255), NoDevice: !c.boolean(r.Device)}
		if len(v.Name) > 15 { // IFNAMSIZ, since it is a device too
			c.refuse(r.Name)
		}
		for i, other := range list {
			if other.Name == v.Name && v.Name != "" {
				c.bad(r.Name, "is vrfs[%d] already; a name is used once", i)
			}
			if other.Table == v.Table && v.Table != 0 {
				c.bad(r.Table, "is the table of VRF %q already; each VRF has its own", other.Name)
			}
		}
		list = append(list, v)
	}
	return list
}

func (c *checker) uplinks(raw *rawConfig, cfg *Config) []Uplink {
	list := []Uplink{}
	for _, r := range raw.Uplinks {
		u := Uplink{Interface: c.device(r.Interface), Plane: c.name(r.Plane), VRF: c.vrf(r.VRF, cfg)}
		if slices.ContainsFunc(cfg.VRFs, func(v VRF) bool { return v.Name == u.Interface }) {
			c.bad(r.Interface, "is a VRF; an uplink is a port of its own")
		}
		if len(r.Addresses) == 0 {
			c.note(&Error{Line: r.line, Key: r.key + ".addresses",
				Reason: "missing; an uplink has at least one ADDRESS/LENGTH, like 100.64.0.11/24"})
		}
		for _, v := range r.Addresses {
			if p := c.uplinkAddress(v); p.IsValid() {
				c.alone(v, p, u, list)
				u.Addresses = append(u.Addresses, p)
			}
		}
		for i, other := range list {
			if other.Interface == u.Interface && u.Interface != "" {
				c.bad(r.Interface, "is the interface of uplinks[%d] already; each uplink has its own", i)
			}
			if other.VRF == u.VRF && other.Plane == u.Plane && u.VRF != "" && u.Plane != "" {
				c.bad(r.Plane, "is the plane of uplinks[%d] already, also in VRF %q; a VRF has one uplink into a plane", i, u.VRF)
			}
		}
		list = append(list, u)
	}
	return list
}

// alone notes a subnet that the VRF has behind another uplink too: which one
// leads to a neighbour would be chance.
func (c *checker) alone(v value, p netip.Prefix, u Uplink, before []Uplink) {
	for _, other := range before {
		for _, q := range other.Addresses {
			if other.VRF == u.VRF && q.Overlaps(p) {
				c.bad(v, "overlaps %s of uplink %q in the same VRF; planes share no subnet", q, other.Interface)
			}
		}
	}
	if slices.Contains(u.Addresses, p) {
		c.bad(v, "given twice")
	}
}

func (c *checker) vrf(v value, cfg *Config) string {
	if !c.given(v) {
		return ""
	}
	var names []string
	for _, known := range cfg.VRFs {
		names = append(names, known.Name)
	}
	if !slices.Contains(names, v.text) {
		c.bad(v, "must be %s, which are %s", v.allowed, list(names))
		return ""
	}
	return v.text
}

func (c *checker) bgp(raw *rawConfig, cfg *Config) BGP {
	r := &raw.BGP
	b := BGP{
		HoldTime: c.duration(r.HoldTime), ConnectRetry: c.duration(r.ConnectRetry), RestartTime: c.duration(r.RestartTime), LongLived: c.duration(r.LongLived),
		Reflectors: []Reflector{},
	}
	needed := len(r.Reflectors) > 0
	if r.AS.set || needed {
		b.AS = c.asn(r.AS)
	}
	if r.RouterID.text != "" || needed {
		if b.RouterID = c.address(r.RouterID); b.RouterID.Is6() {
			c.refuse(r.RouterID)
		}
	}
	for i := range r.Reflectors {
		n := c.reflector(&r.Reflectors[i], b.AS, cfg)
		if j := slices.IndexFunc(b.Reflectors, func(o Reflector) bool {
			return o.Address.IsValid() && o.VRF == n.VRF && o.Plane == n.Plane && o.Address == n.Address && o.Port == n.Port
		}); j >= 0 {
			c.bad(r.Reflectors[i].Address, "is bgp.reflectors[%d] already", j)
		}
		b.Reflectors = append(b.Reflectors, n)
	}
	return b
}

func (c *checker) reflector(raw *rawReflector, as uint32, cfg *Config) Reflector {
	r := Reflector{
		VRF: c.vrf(raw.VRF, cfg), Plane: c.name(raw.Plane), Address: c.address(raw.Address),
		Port: uint16(c.number(raw.Port)), AS: as, Password: raw.Password.text, TTLSecurity: c.boolean(raw.TTLSecurity), BFD: c.boolean(raw.BFD),
	}
	if raw.AS.set {
		r.AS = c.asn(raw.AS)
	}
	if len(r.Password) > 80 { // TCP_MD5SIG_MAXKEYLEN of tcp(7)
		c.note(&Error{Line: raw.Password.line, Key: raw.Password.key, Reason: "must be " + raw.Password.allowed})
	}
	if r.VRF == "" || r.Plane == "" || c.torn {
		return r
	}
	u, ok := cfg.Uplink(r.VRF, r.Plane)
	if !ok {
		c.bad(raw.Plane, "must be %s %q, which are %s", raw.Plane.allowed, r.VRF, list(planes(cfg, r.VRF)))
		return r
	}
	if r.Address.IsValid() && !reachable(u, r.Address) {
		c.bad(raw.Address, "must be %s %q, which has %s, and not its own", raw.Address.allowed, u.Interface, list(u.Addresses))
	}
	return r
}

// planes lists the planes into which a VRF has an uplink.
func planes(cfg *Config, vrf string) []string {
	var names []string
	for _, u := range cfg.Uplinks {
		if u.VRF == vrf {
			names = append(names, u.Plane)
		}
	}
	return names
}

func reachable(u Uplink, a netip.Addr) bool {
	return slices.ContainsFunc(u.Addresses, func(p netip.Prefix) bool { return p.Contains(a) && p.Addr() != a })
}
