package bfd

// Drop is why a received packet changes nothing. It is an error that costs no
// allocation, and an index for counters.
type Drop uint8

// The reasons, in the order of RFC 5880 section 6.8.6, and before them that of
// RFC 5881 section 5.
const (
	DropTTL               Drop = iota // it came through a router
	DropVersion                       // not version 1
	DropLength                        // too short for itself, or longer than its datagram
	DropMultiplier                    // a detection multiplier of zero
	DropMultipoint                    // the multipoint bit
	DropMyDiscriminator               // a sender without discriminator
	DropYourDiscriminator             // a sender that is up and doesn't name the session
	DropUnknownSession                // the discriminator, or the addresses, of no session
	DropForeignSession                // a session's discriminator from another address or link
	DropAuthentication                // authentication, which no session has
	DropStranger                      // a session that is up doesn't know the sender's discriminator
	Drops                             // how many reasons there are
)

var drops = [Drops]string{
	DropTTL:               "TTL or hop limit is not 255",
	DropVersion:           "not version 1",
	DropLength:            "length doesn't fit",
	DropMultiplier:        "detection multiplier is zero",
	DropMultipoint:        "multipoint bit is set",
	DropMyDiscriminator:   "my discriminator is zero",
	DropYourDiscriminator: "your discriminator is zero in state Init or Up",
	DropUnknownSession:    "no such session",
	DropForeignSession:    "the session's discriminator from elsewhere",
	DropAuthentication:    "authentication is not in use",
	DropStranger:          "your discriminator is zero and my discriminator is new, while the session is up",
}

// Error says which check refused the packet.
func (d Drop) Error() string {
	if d < Drops {
		return drops[d]
	}
	return "unknown reason"
}
