package vrf

// PoisonRoutes leaves what is known of a VRF's learned routes such that
// whoever reads one, or goes through them, panics.
func (f *FIB) PoisonRoutes(vrf string) {
	routes := &f.vrfs[vrf].routes
	for i := range shards {
		routes.v4[i].values, routes.v6[i].values = nil, nil
	}
}
