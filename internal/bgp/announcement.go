package bgp

import "net/netip"

// Local preferences of announcements (LOCAL_PREF, RFC 4271 section 5.1.5).
const (
	PreferenceNormal  = 100
	PreferenceDrained = 50
)

// Announcement is a prefix that this hypervisor announces in a VRF, to every
// route reflector of that VRF, with itself as the next hop.
type Announcement struct {
	VRF         string
	Prefix      netip.Prefix
	Preference  uint32
	Communities []uint32
}
