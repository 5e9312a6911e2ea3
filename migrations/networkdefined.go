package migrations

import "encoding/json"

// networkDefined1 makes version 2 of NetworkDefined. Version 1 had the style of
// IPv6 as a text, "ipv6": "slaac", and what router advertisements say beyond it
// in a block of its own, "ra": {…}; DHCPv4 had one block, "dhcp": {"style": …}.
// Version 2 has one block for IPv6 as well, "ipv6": {"style": …, …}, in the
// place where the style was.
func networkDefined1(data json.RawMessage) (json.RawMessage, error) {
	wrong := func(field, reason string) error {
		return &UpcastError{Type: "NetworkDefined", Version: 1, Field: field, Reason: reason}
	}
	from, err := parseObject(data)
	if err != nil {
		return nil, wrong("", err.Error())
	}
	var to, block object
	place := -1
	for _, m := range from {
		if m.name != "ipv6" && m.name != "ra" {
			to = append(to, m)
			continue
		}
		if place < 0 {
			place = len(to)
			to = append(to, member{name: "ipv6"})
		}
		if string(m.value) == "null" { // as good as left out, as JSON is read here
			continue
		}
		if m.name == "ipv6" {
			if m.value[0] != '"' {
				return nil, wrong("ipv6", `is a text in version 1; what has it as an object is version 2, and says so: "version": 2`)
			}
			block = append(object{{"style", m.value}}, block...)
			continue
		}
		ra, err := parseObject(m.value)
		if err != nil {
			return nil, wrong("ra", err.Error())
		}
		for _, f := range ra {
			if f.name == "style" {
				return nil, wrong("ra.style", "unknown field")
			}
		}
		block = append(block, ra...)
	}
	switch {
	case place < 0:
	case len(block) == 0:
		to = append(to[:place], to[place+1:]...)
	default:
		to[place].value = block.bytes()
	}
	return to.bytes(), nil
}
