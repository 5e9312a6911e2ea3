package bgp

import "net/netip"

// Local preferences of announcements (LOCAL_PREF, RFC 4271 section 5.1.5).
const (
	PreferenceNormal  = 100
	PreferenceDrained = 50
)

// preferenceStep is between the preferences of one home and the next: above
// every preference of the home before, drained or not.
const preferenceStep = 1000

// mostMoves keeps Preference within 32 bits.
const mostMoves = 4_000_000

// Preference is the local preference with which the home announces a prefix that
// was moved so often. The decision process of every router then prefers the new
// home of a prefix to an old one that still announces it, whatever order it hears
// of them in (compare the sequence number of RFC 7432 section 7.7); and few
// prefixes of a hypervisor differ in it, so that they go on sharing attributes.
func Preference(moves uint32, drained bool) uint32 {
	p := min(moves, mostMoves) * preferenceStep
	if drained {
		return p + PreferenceDrained
	}
	return p + PreferenceNormal
}

// Generation is how often a prefix was moved, as a preference made by Preference
// says, be it that of a home that is drained, or lowered a little on its way.
func Generation(preference uint32) uint32 { return preference / preferenceStep }

// Drained tells whether a preference made by Preference is that of a home that is
// drained, be it lowered a little on its way.
func Drained(preference uint32) bool { return preference%preferenceStep <= PreferenceDrained }

// Announcement is a prefix that this hypervisor announces in a VRF, to every
// route reflector of that VRF, with itself as the next hop.
type Announcement struct {
	VRF         string
	Prefix      netip.Prefix
	Preference  uint32
	Communities []uint32
}
