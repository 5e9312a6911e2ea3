package scenarios

import "testing"

// TestShown: a damage must be seen in what shows it, and what nobody chose must not.
func TestShown(t *testing.T) {
	const set = "\tset %s {\n\t\ttype ifname . ipv4_addr\n\t\telements = { \"tap1\" . 203.0.113.11,\n\t\t\t     \"tap2\" . 203.0.113.12 }\n\t}\n"
	heard := "\tset heard {\n\t\tflags dynamic,timeout\n\t\ttimeout 5m\n"
	for _, c := range []struct {
		what, before, after string
		same                bool
	}{
		{"other ids", "id 2010150001 group 2010100001/2010100002 proto 201\n", "id 2010150007 group 2010100003/2010100009 proto 201\n", true},
		{"a group with a member less", "id 2010150001 group 2010100001/2010100002 proto 201\n", "id 2010150001 group 2010100001 proto 201\n", false},
		{"other ids that have weights", "id 2010150001 group 2010100001,255/2010149999 proto 201\n", "id 2010150002 group 2010100004,255/2010149999 proto 201\n", true},
		{"another weight", "id 2010150001 group 2010100001,255/2010149999 proto 201\n", "id 2010150001 group 2010100001,7/2010149999 proto 201\n", false},
		{"another gateway", "id 7 via 100.64.0.12 dev a-public scope link proto 201\n", "id 7 via 100.64.0.99 dev a-public scope link proto 201\n", false},
		{"another link group", "3: tap1: qdisc noqueue group 100 qlen 1000\n", "3: tap1: qdisc noqueue group default qlen 1000\n", false},
		{"addresses in another order", "tap1@if2  UP  203.0.113.1/32 198.18.8.1/32 fe80::1/64 \n", "tap1@if2  UP  198.18.8.1/32 203.0.113.1/32 fe80::1/64 \n", true},
		{"an address less", "tap1@if2  UP  203.0.113.1/32 fe80::1/64 \n", "tap1@if2  UP  203.0.113.1/32 \n", false},
		{"an address with an end", "valid_lft forever preferred_lft forever\n", "valid_lft 600sec preferred_lft 600sec\n", false},
		{"a set in another order", set, "\tset %s {\n\t\ttype ifname . ipv4_addr\n\t\telements = { \"tap2\" . 203.0.113.12, \"tap1\" . 203.0.113.11 }\n\t}\n", true},
		{"a set without an element", set, "\tset %s {\n\t\ttype ifname . ipv4_addr\n\t\telements = { \"tap1\" . 203.0.113.11 }\n\t}\n", false},
		{"what packets fill", heard + "\t\telements = { \"tap1\" . fe80::2 }\n\t}\n", heard + "\t}\n", true},
	} {
		if err := same(withoutNumbers(c.before), withoutNumbers(c.after)); (err == nil) != c.same {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}
