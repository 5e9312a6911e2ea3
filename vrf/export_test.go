package vrf

import "net/netip"

// PoisonRoutes leaves what is known of a VRF's learned routes such that
// whoever asks what one has, or goes through them, panics: there is no such set.
func (f *FIB) PoisonRoutes(vrf string) {
	routes := &f.vrfs[vrf].routes
	routes.all(func(_ netip.Prefix, value *uint32) bool {
		*value |= valueMask
		return true
	})
}
