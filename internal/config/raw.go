package config

// The raw structs have the shape of the file. Every key is a field: yaml is its
// name, default what it has when it is left out, allowed its range in the words
// of the error message and of the reference file. A key without a default is
// required where its section is used, unless it is marked optional.

// Place is where a section, an item or a value stands. It is exported because
// reflection sets no embedded field that isn't.
type Place struct {
	key  string
	line int
}

// value is a scalar as it is written in the file, or its default.
type value struct {
	Place
	text    string
	set     bool // it is in the file
	allowed string
}

type rawConfig struct {
	Place
	Hypervisor value       `yaml:"hypervisor" allowed:"1 to 63 of a-z, 0-9, '-' and '_'"`
	State      value       `yaml:"state" default:"/var/lib/hostroute" allowed:"an absolute path"`
	Socket     value       `yaml:"socket" default:"/run/hostroute/agent.sock" allowed:"an absolute path of at most 107 bytes"`
	Log        rawLog      `yaml:"log"`
	VRFs       []rawVRF    `yaml:"vrfs"`
	Uplinks    []rawUplink `yaml:"uplinks"`
	Guests     rawGuests   `yaml:"guests"`
	BGP        rawBGP      `yaml:"bgp"`
	BFD        rawBFD      `yaml:"bfd"`
	Metrics    rawMetrics  `yaml:"metrics"`
	Flight     rawFlight   `yaml:"flight_recorder"`
}

type rawLog struct {
	Place
	URL         value        `yaml:"url" allowed:"nats://HOST:PORT or tls://HOST:PORT, several with commas between" optional:"true"`
	Embedded    *rawEmbedded `yaml:"embedded"`
	VRF         value        `yaml:"vrf" default:"" allowed:"an interface name"`
	Credentials value        `yaml:"credentials" default:"" allowed:"an absolute path"`
	CA          value        `yaml:"ca" default:"" allowed:"an absolute path"`
	Replicas    value        `yaml:"replicas" default:"1" allowed:"1, 3 or 5"`
}

type rawEmbedded struct {
	Place
	Listen value `yaml:"listen" default:"127.0.0.1:4222" allowed:"ADDRESS:PORT, or \"\" for this process only"`
	Store  value `yaml:"store" default:"the folder log in that of state" allowed:"an absolute path"`
	Sync   value `yaml:"sync" default:"always" allowed:"10ms to 10m, or always"`
}

type rawVRF struct {
	Place
	Name   value `yaml:"name" allowed:"1 to 15 of a-z, 0-9, '-' and '_'"`
	Table  value `yaml:"table" allowed:"1 to 4294967295, without 253 to 255"`
	Device value `yaml:"device" default:"true" allowed:"true or false"`
}

type rawUplink struct {
	Place
	Interface value   `yaml:"interface" allowed:"an interface name"`
	Plane     value   `yaml:"plane" allowed:"1 to 63 of a-z, 0-9, '-' and '_'"`
	VRF       value   `yaml:"vrf" allowed:"a name of vrfs"`
	Addresses []value `yaml:"addresses" allowed:"ADDRESS/LENGTH, the length that of the subnet"`
}

type rawGuests struct {
	Place
	Taps          []value `yaml:"taps" default:"tap*, vnet*" allowed:"interface names, of which the last character may be *"`
	Interconnects []value `yaml:"interconnects" default:"100.64.0.0/10" allowed:"prefixes of IPv4 and IPv6"`
}

type rawBGP struct {
	Place
	AS           value          `yaml:"as" allowed:"1 to 4294967294, without 23456 and 65535"`
	RouterID     value          `yaml:"router_id" allowed:"an IPv4 address"`
	HoldTime     value          `yaml:"hold_time" default:"9s" allowed:"3s to 3600s in whole seconds"`
	ConnectRetry value          `yaml:"connect_retry" default:"2s" allowed:"100ms to 300s"`
	RestartTime  value          `yaml:"restart_time" default:"120s" allowed:"0s to 4095s in whole seconds"`
	LongLived    value          `yaml:"long_lived_stale_time" default:"24h" allowed:"0s to 4660h in whole seconds"`
	Reflectors   []rawReflector `yaml:"reflectors"`
}

type rawBFD struct {
	Place
	Socket     value `yaml:"socket" default:"/run/hostroute/bfd.sock" allowed:"an absolute path of at most 107 bytes"`
	Interval   value `yaml:"interval" default:"300ms" allowed:"50ms to 60s"`
	Multiplier value `yaml:"multiplier" default:"3" allowed:"1 to 255"`
	MaxLoss    value `yaml:"max_loss" default:"20%" allowed:"5% to 90% in whole percents, or 0% for never"`
}

type rawMetrics struct {
	Place
	Listen value `yaml:"listen" default:"127.0.0.1:11179" allowed:"ADDRESS:PORT, or \"\" for nowhere"`
	VRF    value `yaml:"vrf" default:"" allowed:"an interface name"`
}

type rawFlight struct {
	Place
	Late value `yaml:"late" default:"500ms" allowed:"1ms to 60s, or 0s for never"`
	Keep value `yaml:"keep" default:"8" allowed:"1 to 100"`
}

type rawReflector struct {
	Place
	VRF         value `yaml:"vrf" allowed:"a name of vrfs"`
	Plane       value `yaml:"plane" allowed:"a plane with an uplink in the VRF"`
	Address     value `yaml:"address" allowed:"an address in a subnet of the uplink"`
	Port        value `yaml:"port" default:"179" allowed:"1 to 65535"`
	AS          value `yaml:"as" default:"bgp.as" allowed:"1 to 4294967294, without 23456 and 65535"`
	Password    value `yaml:"password" default:"" allowed:"at most 80 bytes"`
	TTLSecurity value `yaml:"ttl_security" default:"true" allowed:"true or false"`
	BFD         value `yaml:"bfd" default:"true" allowed:"true or false"`
}
