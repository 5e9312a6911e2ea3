package bench

import (
	"encoding/binary"
	"net/netip"
)

// PerHypervisor is how many routes have the same next hop, and the same attributes.
const PerHypervisor = 200

// Table is the routes of a job: host routes, each at home on a hypervisor that has
// an address in each plane. It is the same for the same job and seed.
type Table struct {
	job   Job
	order permutation
	homes []uint32
	hosts int
}

const (
	random4 = 29 // bits, in 32.0.0.0/3, which has no special purpose addresses
	random6 = 64 // bits, of the interface identifier
)

// NewTable makes the table of a job.
func NewTable(j Job, seed uint64) *Table {
	bits := uint(random4)
	if j.Family == 6 {
		bits = random6
	}
	t := &Table{job: j, order: newPermutation(bits, seed), homes: make([]uint32, j.Routes)}
	t.hosts = max(2, (j.Routes+PerHypervisor-1)/PerHypervisor)
	for i := range t.homes {
		t.homes[i] = uint32(i / PerHypervisor)
	}
	return t
}

// Len is the number of routes.
func (t *Table) Len() int { return len(t.homes) }

// Hypervisors is how many there are.
func (t *Table) Hypervisors() int { return t.hosts }

// Address is that of a route. Random ones are of 32.0.0.0/3 and 2001:db8::/32, in IPv6
// random in 32 bits of the network and all of the interface identifier.
func (t *Table) Address(i int) netip.Addr {
	n := uint64(i)
	if !t.job.Sequential {
		n = t.order.of(n)
	}
	if t.job.Family != 6 {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], 32<<24+uint32(n))
		return netip.AddrFrom4(a)
	}
	a := [16]byte{0x20, 0x01, 0x0d, 0xb8}
	if !t.job.Sequential {
		binary.BigEndian.PutUint32(a[4:], uint32(spread(n)))
	}
	binary.BigEndian.PutUint64(a[8:], n)
	return netip.AddrFrom16(a)
}

// Index is the number of the route that has an address.
func (t *Table) Index(a netip.Addr) (int, bool) {
	var n uint64
	switch {
	case a.Is4() && t.job.Family != 6:
		b := a.As4()
		n = uint64(binary.BigEndian.Uint32(b[:]) - 32<<24)
	case a.Is6() && t.job.Family == 6:
		b := a.As16()
		n = binary.BigEndian.Uint64(b[8:])
	default:
		return 0, false
	}
	if !t.job.Sequential {
		n = t.order.back(n & t.order.mask())
	}
	if n >= uint64(len(t.homes)) || t.Address(int(n)) != a {
		return 0, false
	}
	return int(n), true
}

// Move brings a route to another hypervisor.
func (t *Table) Move(i int) {
	t.homes[i] = uint32((int(t.homes[i]) + max(1, t.hosts/2)) % t.hosts)
}

// Churn moves a tenth of the routes, some of each hypervisor, and says which.
func (t *Table) Churn() []int {
	moved := make([]int, 0, len(t.homes)/10)
	for i := 3; i < len(t.homes); i += 10 {
		t.Move(i)
		moved = append(moved, i)
	}
	return moved
}

// NextHop is where a route leads to in a plane: 100.64.0.0/16 and fd64:a::/64 are
// plane 0, 100.65.0.0/16 and fd64:b::/64 plane 1. The first 256 addresses are no
// hypervisor's.
func (t *Table) NextHop(i, plane int) netip.Addr {
	return nextHop(t.job.Family, int(t.homes[i]), plane)
}

func nextHop(f Family, host, plane int) netip.Addr {
	n := uint16(256 + host)
	if f != 6 {
		return netip.AddrFrom4([4]byte{100, byte(64 + plane), byte(n >> 8), byte(n)})
	}
	return netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x64, 3: byte(10 + plane), 14: byte(n >> 8), 15: byte(n)})
}
