package lab

import (
	"fmt"
	"slices"
)

// The bounds of Sized.
const (
	MinPlanes     = 2
	MaxPlanes     = 4
	MaxReflectors = 2
)

// Sized is the reference topology with so many planes, and in each so many route reflectors. Its names and addresses
// are those of Reference and those that continue them: plane c has the uplinks c-public and c-private on 100.64.4.0/24
// and 100.64.5.0/24; the second reflector of plane a is rra2, with .3 where rra has .1. A plane with two of them has one
// BIRD and one FRR.
func Sized(planes, reflectors int) (Topology, error) {
	if planes < MinPlanes || planes > MaxPlanes {
		return Topology{}, fmt.Errorf("%d planes: a lab has %d to %d", planes, MinPlanes, MaxPlanes)
	}
	if reflectors < 1 || reflectors > MaxReflectors {
		return Topology{}, fmt.Errorf("%d reflectors in each plane: a lab has 1 to %d", reflectors, MaxReflectors)
	}
	t := Reference()
	t.Planes = nil
	for i := range planes {
		t.Planes = append(t.Planes, referencePlane(i, reflectors))
	}
	return t, nil
}

// WithHypervisors leaves out all hypervisors but the first n, and the guests that start on others, for a machine that
// can't carry all of them.
func (t Topology) WithHypervisors(n int) Topology {
	t.Hypervisors = slices.Clone(t.Hypervisors[:min(n, len(t.Hypervisors))])
	t.Guests = slices.DeleteFunc(slices.Clone(t.Guests), func(g Guest) bool {
		return !slices.ContainsFunc(t.Hypervisors, func(h Hypervisor) bool { return h.Name == g.Hypervisor })
	})
	return t
}

// WithFourth adds a fourth hypervisor, and a fifth guest on it.
func (t Topology) WithFourth() Topology {
	t.Hypervisors = append(slices.Clone(t.Hypervisors), referenceHypervisor(4))
	t.Guests = append(slices.Clone(t.Guests), referenceGuest(5, "hv4"))
	return t
}

// everyNode lists the nodes of the topology and those that one of any size has: whoever takes a lab down need not know
// how large it was built.
func (t Topology) everyNode() []string {
	nodes := t.Nodes()
	largest, _ := Sized(MaxPlanes, MaxReflectors) // is within the bounds
	largest = largest.WithFourth().WithMobile("vm1")
	for _, node := range largest.Nodes() {
		if !slices.Contains(nodes, node) {
			nodes = append(nodes, node)
		}
	}
	return nodes
}
