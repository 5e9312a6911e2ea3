package dhcp

import "encoding/binary"

// Sizes of a message (RFC 2131, section 2).
const (
	headers    = 20 + 8  // of IP and UDP, counted in by option 57
	fixed      = 236 + 4 // before the options, the magic cookie included
	minMessage = 576     // every client takes this
	maxMessage = 1500    // no client that reads raw frames puts fragments together
	// The fields are 128 and 64 bytes; of each one is the end option and one
	// stays zero, because some take the fields for texts even so.
	fileRoom  = 126
	snameRoom = 62
)

// room is how many bytes of options fit, without the end option.
func (s Service) room(r Request) int {
	limit := minMessage
	if v := r.Options[optMaxSize]; len(v) == 2 {
		limit = max(limit, int(binary.BigEndian.Uint16(v)))
	}
	most := maxMessage
	if s.MTU > 0 {
		most = min(most, max(minMessage, s.MTU))
	}
	return min(limit, most) - headers - fixed - 1
}

// pack places options. If they don't fit all, those that come later go into the
// fields file and sname (RFC 2132, section 9.3), and what fits nowhere is
// dropped. The first ones, which make the lease, always fit: they and the
// longest client identifier are less than the smallest room.
func (r *Reply) pack(options []Option, room int) {
	total := 0
	for _, o := range options {
		total += o.size()
	}
	if total <= room {
		r.Options = options
		return
	}
	const overload = 3 // bytes of option 52
	main, file, sname := room-overload, fileRoom, snameRoom
	for _, o := range options {
		switch n := o.size(); {
		case n <= main:
			main -= n
			r.Options = append(r.Options, o)
		case n <= file:
			file -= n
			r.File = append(r.File, o)
		case n <= sname:
			sname -= n
			r.Sname = append(r.Sname, o)
		default:
			r.Dropped = append(r.Dropped, o.Code)
		}
	}
	var which byte
	if r.File != nil {
		which |= 1
	}
	if r.Sname != nil {
		which |= 2
	}
	if which != 0 {
		r.Options = append(r.Options, Option{optOverload, []byte{which}})
	}
}

// size is how many bytes an option takes, in as many parts as it needs.
func (o Option) size() int {
	parts := max(1, (len(o.Value)+254)/255)
	return len(o.Value) + 2*parts
}
