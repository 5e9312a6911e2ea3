package bgp

import (
	"encoding/binary"
	"strconv"
	"strings"
)

// Kinds of AS_PATH segments (RFC 4271 section 4.3, RFC 5065 section 3).
const (
	segmentSet            = 1
	segmentSequence       = 2
	segmentConfedSequence = 3
	segmentConfedSet      = 4
)

// asPathAttribute checks the segments (RFC 7606 section 7.2) and brings them
// to four-octet numbers. AS4_PATH is not merged in: it changes neither the
// path's length nor, on iBGP, what is looked for in it.
func (d *Decoder) asPathAttribute(v []byte) {
	size := 2
	if d.AS4 {
		size = 4
	}
	for b := v; len(b) > 0; {
		if len(b) < 2 || b[0] < segmentSet || b[0] > segmentConfedSet || b[1] == 0 || len(b) < 2+int(b[1])*size {
			d.tolerate(true, "AS_PATH can't be read: % x", v)
			return
		}
		b = b[2+int(b[1])*size:]
	}
	if d.AS4 {
		d.u.Attributes.asPath = v
		return
	}
	d.aspath = d.aspath[:0]
	for len(v) > 0 {
		n := int(v[1])
		d.aspath = append(d.aspath, v[0], v[1])
		for i := range n {
			d.aspath = append(d.aspath, 0, 0, v[2+2*i], v[3+2*i])
		}
		v = v[2+2*n:]
	}
	d.u.Attributes.asPath = d.aspath
}

// segments yields kind and numbers of each segment of a checked path.
func segments(path []byte, yield func(kind uint8, numbers []byte) bool) {
	for len(path) >= 2 {
		n := 2 + 4*int(path[1])
		if !yield(path[0], path[2:n]) {
			return
		}
		path = path[n:]
	}
}

// pathLength counts as RFC 4271 section 9.1.2.2 (a set is one) and RFC 5065
// section 5.3 (confederations are none) say.
func pathLength(path []byte) (length int) {
	segments(path, func(kind uint8, numbers []byte) bool {
		switch kind {
		case segmentSequence:
			length += len(numbers) / 4
		case segmentSet:
			length++
		}
		return true
	})
	return length
}

// passed tells whether the path went through an AS.
func (a *Attributes) passed(as uint32) (found bool) {
	segments(a.asPath, func(_ uint8, numbers []byte) bool {
		for i := 0; i < len(numbers); i += 4 {
			found = found || binary.BigEndian.Uint32(numbers[i:]) == as
		}
		return !found
	})
	return found
}

// formatASPath writes a path as operators do: sets in braces, confederations
// in parentheses.
func formatASPath(path []byte) string {
	var parts []string
	segments(path, func(kind uint8, numbers []byte) bool {
		var list []string
		for i := 0; i < len(numbers); i += 4 {
			list = append(list, strconv.FormatUint(uint64(binary.BigEndian.Uint32(numbers[i:])), 10))
		}
		text := strings.Join(list, " ")
		switch kind {
		case segmentSet, segmentConfedSet:
			text = "{" + text + "}"
		case segmentConfedSequence:
			text = "(" + text + ")"
		}
		parts = append(parts, text)
		return true
	})
	return strings.Join(parts, " ")
}
