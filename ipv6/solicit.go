package ipv6

import "net/netip"

// Ignored is why a solicitation gets no answer; the empty text is that it gets
// one. There are no others than the constants, so it can be a label.
type Ignored string

// Why a guest's solicitation is not answered.
const (
	IgnoredInvalid       Ignored = "invalid"        // fails the checks of RFC 4861, sections 6.1.1 and 7.1.1
	IgnoredDAD           Ignored = "dad"            // asks whether an address is free (RFC 4862, section 5.4)
	IgnoredForeignSource Ignored = "foreign_source" // comes from what isn't the guest's
	IgnoredOwn           Ignored = "own"            // asks for what is the guest's
	IgnoredGateway       Ignored = "gateway"        // asks for what the kernel answers for
	IgnoredForeignTarget Ignored = "foreign_target" // asks for what is in no shared prefix
)

// ICMPv6 types and option types of RFC 4861, sections 4.1 to 4.6.
const (
	typeRouterSolicitation     = 133
	typeNeighbourSolicitation  = 135
	typeNeighbourAdvertisement = 136
	optionSource               = 1
	optionTarget               = 2
)

// undecremented is the hop limit of every ND message: none that was forwarded
// has it (RFC 4861, section 3.1).
const undecremented = 255

// CheckRouterSolicitation applies RFC 4861, section 6.1.1, to an ICMPv6 message
// whose checksum is right.
func CheckRouterSolicitation(message []byte, source netip.Addr, hopLimit int) Ignored {
	if hopLimit != undecremented || len(message) < 8 || message[0] != typeRouterSolicitation || message[1] != 0 {
		return IgnoredInvalid
	}
	fromHost, ok := sourceOption(message[8:])
	if !ok || fromHost && source.IsUnspecified() || !source.Is6() || source.IsMulticast() {
		return IgnoredInvalid
	}
	return ""
}

// sourceOption walks the options of an ND message and tells whether one is the
// link-layer address of the sender, and whether all are whole.
func sourceOption(options []byte) (found, whole bool) {
	for len(options) > 0 {
		if len(options) < 2 || options[1] == 0 || len(options) < 8*int(options[1]) {
			return found, false
		}
		found = found || options[0] == optionSource
		options = options[8*int(options[1]):]
	}
	return found, true
}
