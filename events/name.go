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
