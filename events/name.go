package events

import "strings"

// MaxNameLength is the length of the longest name or id, in bytes.
const MaxNameLength = 63

// CheckName reports why s is no name: names are 1 to 63 of a-z, 0-9, '-', '_'.
func CheckName(field, s string) error {
	if err := checkName(field, s); err != nil {
		return err
	}
	return nil
}

func checkName(field, s string) *Error {
	switch {
	case s == "":
		return invalid(field, "", "missing")
	case len(s) > MaxNameLength:
		return invalid(field, s[:MaxNameLength]+"…", "%d characters long; a name has at most %d", len(s), MaxNameLength)
	}
	if i := strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
	}); i >= 0 {
		return invalid(field, s, "a name is made of a-z, 0-9, '-' and '_' only")
	}
	return nil
}

// checkTap accepts what the kernel accepts as an interface name
// (dev_valid_name): 1 to 15 bytes, no '/', ':' or white space.
func checkTap(field, s string) *Error {
	switch {
	case s == "":
		return invalid(field, "", "missing")
	case len(s) > 15:
		return invalid(field, s, "%d characters long; an interface name has at most 15", len(s))
	case s == "." || s == ".." || s == "all" || s == "default":
		return invalid(field, s, "not usable as an interface name")
	}
	for _, r := range s {
		if r <= ' ' || r > '~' || r == '/' || r == ':' || r == '"' || r == '\\' {
			return invalid(field, s, "an interface name is made of printable ASCII without '/', ':', quotes and spaces")
		}
	}
	return nil
}

// checkDomain accepts what can be written as a DNS name (RFC 1035, section
// 3.1) and read again as the same text: labels of 1 to 63 characters, 253 in
// all. A script of a guest may run into what is told, so only letters, digits,
// '-' and '_' go.
func checkDomain(field, s string) *Error {
	if s == "" {
		return nil
	}
	if strings.HasSuffix(s, ".") {
		return invalid(field, s, "ends with a dot; a name here is always complete, so leave it out")
	}
	if len(s) > 253 {
		return invalid(field, shorten(s), "%d characters long; a domain name has at most 253", len(s))
	}
	for label := range strings.SplitSeq(s, ".") {
		switch {
		case label == "":
			return invalid(field, s, "an empty label; write it like example.net")
		case len(label) > 63:
			return invalid(field, s, "a label of %d characters; at most 63 between two dots", len(label))
		case strings.IndexFunc(label, notLabel) >= 0:
			return invalid(field, s, "a domain name is made of letters, digits, '-', '_' and dots; other letters as xn--…")
		}
	}
	return nil
}

func notLabel(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
}

// checkHostname accepts a name of a host (RFC 1123, section 2.1): a domain
// name without '_' whose labels begin and end with a letter or digit.
func checkHostname(field, s string) *Error {
	if err := checkDomain(field, s); err != nil {
		return err
	}
	if strings.Contains(s, "_") {
		return invalid(field, s, "a host name is made of letters, digits, '-' and dots")
	}
	for label := range strings.SplitSeq(s, ".") {
		if strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") {
			return invalid(field, s, "a label of a host name begins and ends with a letter or digit")
		}
	}
	return nil
}
