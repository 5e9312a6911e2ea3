package events

import (
	"fmt"
	"strings"
	"testing"
)

// networkWith is a definition with these further fields.
func networkWith(fields string) string {
	return `{"type":"NetworkDefined","version":2,"data":{"network":"n","vrf":"v","subnets":[{"prefix":"203.0.113.0/24"},{"prefix":"2001:db8::/64"}],` + fields + `}}`
}

// networkOf is a definition with these subnets and further fields.
func networkOf(subnets, fields string) string {
	return `{"type":"NetworkDefined","version":2,"data":{"network":"n","vrf":"v","subnets":[` + subnets + `],` + fields + `}}`
}

const (
	hosts  = `{"prefix":"2001:db8:1::/64"}`
	whole  = `{"prefix":"2001:db8:100::/56","allocation":64}`
	blocks = `{"prefix":"2001:db8:200::/48","allocation":56}`
	ipv4   = `{"prefix":"203.0.113.0/24"}`
)

func hostname(name string) string {
	return `{"type":"VMCreated","data":{"vm":"a","hypervisor":"h","interfaces":[{"tap":"t","mac":"02:00:00:00:01:01","network":"n"}],"hostname":"` + name + `"}}`
}

func TestWhatGuestsAreToldIsChecked(t *testing.T) {
	label := strings.Repeat("a", 63)
	long := strings.Join([]string{label, label, label, strings.Repeat("a", 62)}, ".") // 254
	for name, c := range map[string]struct{ text, want string }{
		"domain":                  {networkWith(`"domain":"a b.net"`), `domain "a b.net": a domain name is made of letters`},
		"domain of dots":          {networkWith(`"domain":"a..net"`), `domain "a..net": an empty label`},
		"domain with a last dot":  {networkWith(`"domain":"example.net."`), `domain "example.net.": ends with a dot`},
		"label of a domain":       {networkWith(`"domain":"a.` + label + `a"`), `a label of 64 characters; at most 63`},
		"long domain":             {networkWith(`"domain":"` + long + `"`), `254 characters long; a domain name has at most 253`},
		"search":                  {networkWith(`"search":["example.net","ä.net"]`), `search[1] "ä.net": a domain name is made of`},
		"empty search":            {networkWith(`"search":[""]`), `search[0]: missing`},
		"search of much":          {networkWith(`"search":[` + strings.Repeat(`"`+long[:253]+`",`, 3) + `"` + long[:253] + `"]`), `search "1020": bytes altogether; at most 1000`},
		"vital option":            {networkWith(`"dhcp":{"options":[{"code":54,"hex":"00"}]}`), `dhcp.options[0].code "54": the protocol itself lives from it`},
		"relay option":            {networkWith(`"dhcp":{"options":[{"code":82,"hex":"00"}]}`), `dhcp.options[0].code "82": the protocol itself lives from it`},
		"rapid commit":            {networkWith(`"dhcp":{"options":[{"code":80,"hex":"00"}]}`), `dhcp.options[0].code "80": the protocol itself lives from it`},
		"option 0":                {networkWith(`"dhcp":{"options":[{"code":0,"hex":"00"}]}`), `dhcp.options[0].code "0": must be 1 to 254`},
		"option 255":              {networkWith(`"dhcp":{"options":[{"code":255,"hex":"00"}]}`), `dhcp.options[0].code "255": must be 1 to 254`},
		"options of much":         {networkWith(`"dhcp":{"options":[` + options(4, 255) + `]}`), `dhcp.options "1028": bytes altogether; at most 1000`},
		"preference":              {networkWith(`"ipv6":{"preference":"highest"}`), `ipv6.preference "highest": must be one of low, medium, high`},
		"lifetime":                {networkWith(`"ipv6":{"lifetime":65536}`), `ipv6.lifetime "65536": must be 1 to 65535`},
		"interval":                {networkWith(`"ipv6":{"interval":3}`), `ipv6.interval "3": must be 4 to 1800`},
		"lifetime below interval": {networkWith(`"ipv6":{"lifetime":30,"interval":60}`), `ipv6.lifetime "30": shorter than the interval between two advertisements, 60`},
		"lifetime below default":  {networkWith(`"ipv6":{"lifetime":599}`), `ipv6.lifetime "599": shorter than the interval between two advertisements, 600`},
		"flag":                    {networkWith(`"ipv6":{"managed":"yes"}`), `data.ipv6.managed "string": must be a JSON bool`},
		"route":                   {networkWith(`"routes":["10.0.0.0/8","x"]`), `routes[1] "x": not an address prefix`},
		"route with host bits":    {networkWith(`"routes":["10.0.0.1/8"]`), `routes[0] "10.0.0.1/8": host bits are set; the prefix is 10.0.0.0/8`},
		"default with host bits":  {networkWith(`"routes":["10.0.0.1/0"]`), `routes[0] "10.0.0.1/0": host bits are set`},
		"mapped default":          {networkWith(`"routes":["::ffff:0:0/96"]`), `routes[0]`},
		"multicast route":         {networkWith(`"routes":["ff00::/8"]`), `a multicast prefix can't be routed`},
		"route twice":             {networkWith(`"routes":["::/0","10.0.0.0/8","::/0"]`), `routes[2] "::/0": given twice`},
		"many routes":             {networkWith(`"routes":[` + strings.Repeat(`"10.0.0.0/8",`, 32) + `"::/0"]`), `routes "33": too many; at most 32`},
		"host name":               {hostname("web_1"), `hostname "web_1": a host name is made of letters, digits, '-' and dots`},
		"host name's end":         {hostname("web-.net"), `hostname "web-.net": a label of a host name begins and ends with`},
		"host name's begin":       {hostname("-web"), `a label of a host name begins and ends with`},
		"host name's label":       {hostname(label + "a"), `a label of 64 characters`},
		"long host name":          {hostname(long), `254 characters long`},
		"host name for a shell":   {hostname("$(reboot)"), `is made of letters`},
		"slaac without a /64":     {networkOf(ipv4+","+hosts, `"ipv6":{"style":"slaac"}`), `ipv6.style "slaac": gives every guest a /64, and all IPv6 subnets are for single addresses`},
		"shared without hosts":    {networkOf(whole+","+blocks, `"ipv6":{"style":"shared"}`), `ipv6.style "shared": gives every guest an address of a subnet that all share`},
		"autonomous in a shared":  {networkOf(hosts, `"ipv6":{"style":"shared","autonomous":true}`), `ipv6.autonomous "true": guests form addresses in a /64 of their own only`},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Parse([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

// options is a list of n options of so many bytes each.
func options(n, size int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf(`{"code":%d,"hex":"%s"}`, 200+i, strings.Repeat("00", size))
	}
	return strings.Join(list, ",")
}

// TestWhatCanWorkIsNotRefused has the edges of what is allowed.
func TestWhatCanWorkIsNotRefused(t *testing.T) {
	label := strings.Repeat("a", 63)
	for name, text := range map[string]string{
		"long domain":                 networkWith(`"domain":"` + strings.Join([]string{label, label, label, label[:61]}, ".") + `"`),
		"service domain":              networkWith(`"domain":"_tcp.example.net","search":["xn--bcher-kva.example"]`),
		"allowed options":             networkWith(`"dhcp":{"options":[{"code":1,"hex":"00"},{"code":56,"hex":"00"},{"code":60,"hex":"00"},{"code":254,"hex":"00"}]}`),
		"default routes":              networkWith(`"routes":["0.0.0.0/0","::/0"]`),
		"lifetime of one interval":    networkWith(`"ipv6":{"lifetime":600}`),
		"host name of one letter":     hostname("a"),
		"host name in capitals":       hostname("WEB-1"),
		"no host name":                hostname(""),
		"default style, single":       networkOf(hosts, `"mtu":1500`),
		"default style, blocks":       networkOf(blocks, `"mtu":1500`),
		"slaac and blocks":            networkOf(whole+","+blocks, `"ipv6":{"style":"slaac"}`),
		"slaac for routed only":       networkOf(blocks, `"ipv6":{"style":"slaac"}`),
		"slaac with single ones too":  networkOf(hosts+","+whole, `"ipv6":{"style":"slaac"}`),
		"shared and blocks":           networkOf(hosts+","+blocks, `"ipv6":{"style":"shared"}`),
		"dhcp and a /64":              networkOf(hosts+","+whole, `"ipv6":{"style":"dhcp","autonomous":true,"on_link":true}`),
		"dhcp delegates only":         networkOf(blocks, `"ipv6":{"style":"dhcp"}`),
		"style before the subnet":     networkOf(ipv4, `"ipv6":{"style":"shared"}`),
		"shared, autonomous told not": networkOf(hosts, `"ipv6":{"style":"shared","autonomous":false}`),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Parse([]byte(text)); err != nil {
				t.Error(err)
			}
		})
	}
}
