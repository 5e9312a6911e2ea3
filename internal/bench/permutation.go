package bench

// permutation maps the numbers of up to bits bits onto each other, without order
// and without keeping any: how addresses are random, have no duplicates, and
// have their number found.
type permutation struct {
	bits         uint
	key          uint64
	odd, inverse uint64
}

func newPermutation(bits uint, seed uint64) permutation {
	p := permutation{bits: bits, key: spread(seed), odd: spread(seed+1) | 1}
	p.inverse = p.odd // right in 3 bits; each step doubles that (Newton)
	for range 5 {
		p.inverse *= 2 - p.odd*p.inverse
	}
	return p
}

func (p permutation) mask() uint64 { return 1<<p.bits - 1 }

func (p permutation) of(n uint64) uint64 {
	n = p.fold((n ^ p.key) & p.mask())
	n = p.fold(n * p.odd & p.mask())
	return n * p.odd & p.mask()
}

func (p permutation) back(n uint64) uint64 {
	n = p.fold(n * p.inverse & p.mask())
	n = p.fold(n * p.inverse & p.mask())
	return (n ^ p.key) & p.mask()
}

// fold is its own inverse: the upper half, which goes into the lower one, stays.
func (p permutation) fold(n uint64) uint64 { return n ^ n>>((p.bits+1)/2) }

// spread is the step of SplitMix64.
func spread(n uint64) uint64 {
	n += 0x9e3779b97f4a7c15
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}
