package dhcp

import "strings"

// searchList is the value of option 119 (RFC 3397): names as in DNS messages,
// compressed (RFC 1035, section 4.1.4) with offsets from the beginning of the
// value, over all of the options that it is cut into. A name that DNS can't have
// is left out.
func searchList(names []string) []byte {
	var value []byte
	at := map[string]int{} // where a name, or the end of one, begins
	for _, name := range names {
		name = strings.TrimSuffix(name, ".")
		if !validName(name) {
			continue
		}
		value = appendName(value, name, at)
	}
	return value
}

func appendName(to []byte, name string, at map[string]int) []byte {
	const farthest = 1<<14 - 1 // that a pointer reaches
	for name != "" {
		if offset, ok := at[name]; ok {
			return append(to, 0xc0|byte(offset>>8), byte(offset))
		}
		if len(to) <= farthest {
			at[name] = len(to)
		}
		label, rest, _ := strings.Cut(name, ".")
		to = append(append(to, byte(len(label))), label...)
		name = rest
	}
	return append(to, 0)
}

func validName(name string) bool {
	if len(name) == 0 || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if len(label) == 0 || len(label) > 63 {
			return false
		}
	}
	return true
}
