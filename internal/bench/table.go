package bench

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// PerHypervisor is how many prefixes a hypervisor announces. They share their
// attributes, as guests of one hypervisor do.
const PerHypervisor = 200

// Table is what the reflectors tell: host routes 0 to Routes-1, each with a
// hypervisor as its home, by number. Addresses are either in a row or all over
// the prefix, and no two are equal.
type Table struct {
	Family     Family
	Sequential bool
	Routes     int
	// Moved: a tenth of the routes is at the next hypervisor.
	Moved bool
}

// TableOf is the table of a job.
func TableOf(j Job) Table { return Table{Family: j.Family, Sequential: j.Sequential, Routes: j.Routes} }

// MostRoutes is how many a table can have: as many as fit into 10.0.0.0/8.
const MostRoutes = 1 << 24

// moves tells whether a route is one of the tenth that moves.
func moves(i int) bool { return i%10 == 3 }

// Hypervisors counts the homes.
func (t Table) Hypervisors() int { return (t.Routes + PerHypervisor - 1) / PerHypervisor }

// Home is the number of a route's hypervisor.
func (t Table) Home(i int) int {
	home := i / PerHypervisor
	if t.Moved && moves(i) {
		home = (home + 1) % t.Hypervisors()
	}
	return home
}

var base6 = netip.MustParsePrefix("2001:db8::/64")

// Prefix is that of a route: in 10.0.0.0/8, or in 2001:db8::/64.
func (t Table) Prefix(i int) netip.Prefix {
	if t.Family == 4 {
		n := uint32(i)
		if !t.Sequential {
			n = scatter24(n)
		}
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), 32)
	}
	n := uint64(i)
	if !t.Sequential {
		n = scatter64(n)
	}
	a := base6.Addr().As16()
	binary.BigEndian.PutUint64(a[8:], n)
	return netip.PrefixFrom(netip.AddrFrom16(a), 128)
}

// Index is the number of the route of an address; false: there is none.
func (t Table) Index(a netip.Addr) (int, bool) {
	var n uint64
	switch {
	case t.Family == 4 && a.Is4() && a.As4()[0] == 10:
		b := a.As4()
		n = uint64(binary.BigEndian.Uint32(b[:]) & (MostRoutes - 1))
		if !t.Sequential {
			n = uint64(gather24(uint32(n)))
		}
	case t.Family == 6 && base6.Contains(a):
		b := a.As16()
		n = binary.BigEndian.Uint64(b[8:])
		if !t.Sequential {
			n = gather64(n)
		}
	default:
		return 0, false
	}
	return int(n), n < uint64(t.Routes)
}

// Odd factors are invertible modulo a power of two, and so is the exclusive or
// with the upper half: the numbers are permuted, and none is lost.
const (
	odd24, inverse24 = 0x9e3779, 0xb382c9
	odd64, inverse64 = 0x9e3779b97f4a7c15, 0xf1de83e19937733d
)

func scatter24(n uint32) uint32 {
	const mask = MostRoutes - 1
	n = n * odd24 & mask
	n ^= n >> 12
	return n * odd24 & mask
}

func gather24(n uint32) uint32 {
	const mask = MostRoutes - 1
	n = n * inverse24 & mask
	n ^= n >> 12
	return n * inverse24 & mask
}

func scatter64(n uint64) uint64 {
	n *= odd64
	n ^= n >> 32
	return (n + 1) * odd64
}

func gather64(n uint64) uint64 {
	n = n*inverse64 - 1
	n ^= n >> 32
	return n * inverse64
}

// The planes are numbered, 0 for a and 1 for b. On each are the contender, its
// reflector, and all hypervisors, whose addresses are on link.
const (
	hostReflector    = 1
	hostContender    = 2
	firstHypervisor  = 256
	mostHypervisors  = 65000 - firstHypervisor
	lengthIPv4       = 16
	lengthIPv6       = 64
	planeBase4Second = 64 // 100.64.0.0/16 and 100.65.0.0/16
)

// PlaneName is a letter.
func PlaneName(plane int) string { return string(rune('a' + plane)) }

func planeAddress(plane, host int, f Family) netip.Addr {
	if f == 4 {
		return netip.AddrFrom4([4]byte{100, byte(planeBase4Second + plane), byte(host >> 8), byte(host)})
	}
	return netip.AddrFrom16([16]byte{0xfd, 0x64, 3: byte(plane), 14: byte(host >> 8), 15: byte(host)})
}

// ReflectorAddress is that of the reflector of a plane.
func ReflectorAddress(plane int, f Family) netip.Addr { return planeAddress(plane, hostReflector, f) }

// ContenderAddress is that of the contender on a plane, with its subnet.
func ContenderAddress(plane int, f Family) netip.Prefix {
	length := lengthIPv4
	if f == 6 {
		length = lengthIPv6
	}
	return netip.PrefixFrom(planeAddress(plane, hostContender, f), length)
}

// NextHop is the address of a hypervisor on a plane.
func NextHop(plane, hypervisor int, f Family) netip.Addr {
	return planeAddress(plane, firstHypervisor+hypervisor, f)
}

// HypervisorOf is the plane and the number of the hypervisor that has an address.
func HypervisorOf(a netip.Addr) (plane, hypervisor int, ok bool) {
	var host int
	switch {
	case a.Is4():
		b := a.As4()
		plane, host = int(b[1])-planeBase4Second, int(b[2])<<8|int(b[3])
	default:
		b := a.As16()
		plane, host = int(b[3]), int(b[14])<<8|int(b[15])
	}
	hypervisor = host - firstHypervisor
	return plane, hypervisor, (plane == 0 || plane == 1) && hypervisor >= 0 && NextHop(plane, hypervisor, family(a)) == a
}

func family(a netip.Addr) Family {
	if a.Is4() {
		return 4
	}
	return 6
}

// Check tells whether a job can be done.
func (j Job) Check() error {
	switch {
	case j.Routes < 1 || j.Routes > MostRoutes || (j.Routes+PerHypervisor-1)/PerHypervisor > mostHypervisors:
		return fmt.Errorf("%d routes: must be 1 to %d", j.Routes, mostHypervisors*PerHypervisor)
	case j.Family != 4 && j.Family != 6:
		return fmt.Errorf("family %d: must be 4 or 6", j.Family)
	case j.Reflectors != 1 && j.Reflectors != 2:
		return fmt.Errorf("%d reflectors: must be 1 or 2", j.Reflectors)
	}
	return nil
}
