package bgp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/hostroute/hostroute/vrf"
)

var comparePlain = cmp.Options{cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty()}

var testSources = []Source{
	{Peer: "rr-a1", Plane: "a", Uplink: "up-a"},
	{Peer: "rr-a2", Plane: "a", Uplink: "up-a"},
	{Peer: "rr-b1", Plane: "b", Uplink: "up-b"},
}

// reference is the RIB in its plainest form.
type reference [3]map[refKey]refPath

type refKey struct {
	prefix netip.Prefix
	id     uint32
}

type refPath struct {
	hop       netip.Addr
	pref, med uint32
	length    int
	origin    byte
	community uint32
	reflected bool
	stale     bool
	long      bool // stale for long
}

// age is 0 for a fresh path, 2 for one that is stale for long, here or there.
func (p refPath) age() int {
	switch {
	case p.long || p.community == CommunityLongLivedStale:
		return 2
	case p.stale:
		return 1
	}
	return 0
}

func (p refPath) better(q refPath) bool {
	switch {
	case (p.age() == 2) != (q.age() == 2):
		return q.age() == 2
	case p.pref != q.pref:
		return p.pref > q.pref
	case p.age() != q.age():
		return p.age() < q.age()
	case p.length != q.length:
		return p.length < q.length
	case p.origin != q.origin:
		return p.origin < q.origin
	}
	return p.med < q.med
}

func (r *reference) routes(local netip.Addr) map[netip.Prefix][]vrf.NextHop {
	best := map[netip.Prefix]refPath{}
	each := func(do func(source int, k refKey, p refPath)) {
		for i, paths := range r {
			for k, p := range paths {
				if p.hop != local {
					do(i, k, p)
				}
			}
		}
	}
	each(func(_ int, k refKey, p refPath) {
		if b, ok := best[k.prefix]; !ok || p.better(b) {
			best[k.prefix] = p
		}
	})
	out := map[netip.Prefix][]vrf.NextHop{}
	each(func(i int, k refKey, p refPath) {
		if b := best[k.prefix]; !b.better(p) {
			hop := vrf.NextHop{Gateway: p.hop, Uplink: testSources[i].Uplink}
			if !slices.Contains(out[k.prefix], hop) {
				out[k.prefix] = append(out[k.prefix], hop)
			}
		}
	})
	for _, hops := range out {
		slices.SortFunc(hops, func(a, b vrf.NextHop) int {
			if c := a.Gateway.Compare(b.Gateway); c != 0 {
				return c
			}
			return slices.Compare([]byte(a.Uplink), []byte(b.Uplink))
		})
	}
	return out
}

// machine drives a RIB and the reference with the same random events.
type machine struct {
	rib   *RIB
	ref   reference
	local netip.Addr
	fib   map[netip.Prefix][]vrf.NextHop
	lost  map[netip.Prefix]bool // changes that the writer did not take
}

func newMachine(seed uint64) *machine {
	local := netip.MustParseAddr("100.64.0.1")
	m := &machine{
		rib:   NewRIB(Config{Sources: testSources, Local: []netip.Addr{local}, Seed: [2]uint64{seed, ^seed}}),
		local: local, fib: map[netip.Prefix][]vrf.NextHop{}, lost: map[netip.Prefix]bool{},
	}
	for i := range m.ref {
		m.ref[i] = map[refKey]refPath{}
	}
	return m
}

func (m *machine) update(t *rapid.T) {
	source := rapid.IntRange(0, 2).Draw(t, "source")
	id := uint32(rapid.IntRange(0, 2).Draw(t, "id"))
	prefix := drawPrefix(t)
	k := refKey{prefix, id}
	msg := new(message)
	v6 := prefix.Addr().Is6()
	list := wire(int64(id), prefix.String())
	if rapid.IntRange(0, 3).Draw(t, "withdraw") == 0 {
		delete(m.ref[source], k)
		if v6 {
			msg.attr(0x80, attrMPUnreach, append([]byte{0, 2, 1}, list...)...)
		} else {
			msg.withdrawn = list
		}
	} else {
		p := refPath{
			hop:  netip.MustParseAddr(fmt.Sprintf("100.64.0.%d", rapid.IntRange(1, 4).Draw(t, "hop"))),
			pref: uint32(rapid.SampledFrom([]int{50, 100, 100, 100}).Draw(t, "pref")),
			med:  uint32(rapid.SampledFrom([]int{0, 0, 5}).Draw(t, "med")), length: rapid.SampledFrom([]int{0, 0, 1}).Draw(t, "length"),
			community: rapid.SampledFrom([]uint32{0, 0, CommunityLongLivedStale, CommunityNoLongLived}).Draw(t, "community"),
			reflected: rapid.Bool().Draw(t, "reflected"),
		}
		if v6 {
			p.hop = netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", rapid.IntRange(1, 4).Draw(t, "hop6")))
			msg.attr(0x80, attrMPReach, mpReach(2, p.hop.String(), list)...)
		} else {
			msg.hop(p.hop.String())
			msg.nlri = list
		}
		m.ref[source][k] = p
		path := slices.Repeat([]byte{segmentSequence, 1, 0, 0, 0, 7}, p.length)
		msg.attr(0x40, attrOrigin, p.origin).attr(0x40, attrASPath, path...)
		msg.attr(0x40, attrLocalPref, binary.BigEndian.AppendUint32(nil, p.pref)...)
		if p.med != 0 {
			msg.attr(0x80, attrMED, binary.BigEndian.AppendUint32(nil, p.med)...)
		}
		if p.community != 0 {
			msg.attr(0xc0, attrCommunities, binary.BigEndian.AppendUint32([]byte{0, 7, 0, 7}, p.community)...)
		}
		if p.reflected {
			msg.attr(0x80, attrOriginator, 10, 0, 0, 77)
		}
	}
	u, err := decoder(true).Decode(msg.bytes())
	if err != nil || u.Tolerated != nil {
		t.Fatalf("decoding: %v, %v", err, u)
	}
	m.rib.Update(source, u)
}

func drawPrefix(t *rapid.T) netip.Prefix {
	n := rapid.IntRange(0, 5).Draw(t, "prefix")
	if rapid.Bool().Draw(t, "v6") {
		return netip.MustParsePrefix(fmt.Sprintf("2001:db8:0:%x::/%d", n, 64+n%2*64))
	}
	return netip.MustParsePrefix(fmt.Sprintf("203.0.113.%d/32", n))
}

func (m *machine) session(t *rapid.T) {
	source := rapid.IntRange(0, 2).Draw(t, "source")
	f := rapid.SampledFrom(Families[:]).Draw(t, "family")
	paths := m.ref[source]
	change := func(do func(refPath) (_ refPath, gone bool)) {
		for k, p := range paths {
			if FamilyOf(k.prefix) != f {
				continue
			}
			var gone bool
			if paths[k], gone = do(p); gone {
				delete(paths, k)
			}
		}
	}
	switch rapid.IntRange(0, 4).Draw(t, "loss") {
	case 0:
		m.rib.Drop(source).Run()
		clear(paths)
	case 1:
		m.rib.MarkStale(source, f).Run()
		change(func(p refPath) (refPath, bool) { p.stale = true; return p, false })
	case 2:
		m.rib.Sweep(source, f).Run()
		change(func(p refPath) (refPath, bool) { return p, p.stale })
	case 3:
		m.rib.MarkLongLived(source, f).Run()
		change(func(p refPath) (refPath, bool) {
			p.stale, p.long = true, true
			return p, p.community == CommunityNoLongLived
		})
	case 4:
		peer := netip.MustParseAddr([]string{"100.64.0.2", "2001:db8::2"}[f])
		m.rib.SweepThrough(source, f, peer).Run()
		change(func(p refPath) (refPath, bool) { return p, p.stale && (!p.reflected || p.hop == peer) })
	}
}

// write takes some changes, and loses some of them.
func (m *machine) write(t *rapid.T) {
	m.rib.lane.few = rapid.IntRange(0, 3).Draw(t, "few") // of the messages that follow
	changes := m.rib.AppendChanges(nil, rapid.IntRange(1, 4).Draw(t, "batch"))
	if rapid.IntRange(0, 3).Draw(t, "fail") == 0 {
		m.rib.Redo(changes)
		return
	}
	m.apply(changes)
}

func (m *machine) apply(changes []vrf.Change) {
	for _, c := range changes {
		if len(c.NextHops) == 0 {
			delete(m.fib, c.Prefix)
		} else {
			m.fib[c.Prefix] = slices.Clone(c.NextHops)
		}
	}
}

// gather has a session begin to tell, or have told.
func (m *machine) gather(t *rapid.T) {
	source, f := rapid.IntRange(0, 2).Draw(t, "source"), rapid.SampledFrom(Families[:]).Draw(t, "family")
	if rapid.Bool().Draw(t, "telling") {
		m.rib.Telling(source, f)
	} else {
		m.rib.Told(source, f).Run()
	}
}

// check drains all changes and compares the FIB, the counts and the tables.
func (m *machine) check(t *rapid.T) {
	for source := range testSources {
		for _, f := range Families {
			m.rib.Told(source, f).Run()
		}
	}
	m.rib.Retry().Run()
	m.apply(m.rib.AppendChanges(nil, 1<<20))
	if m.rib.Pending() != 0 || m.rib.Failed() != 0 {
		t.Fatalf("%d pending and %d failed after all was taken", m.rib.Pending(), m.rib.Failed())
	}
	want := m.ref.routes(m.local)
	if diff := cmp.Diff(want, m.fib, comparePlain); diff != "" {
		t.Fatalf("FIB (-reference +rib):\n%s", diff)
	}
	for i, paths := range m.ref {
		if got := m.rib.Paths(i, IPv4) + m.rib.Paths(i, IPv6); got != len(paths) {
			t.Fatalf("source %d has %d paths, want %d", i, got, len(paths))
		}
		old := 0
		for _, p := range paths {
			if p.stale {
				old++
			}
		}
		if got := m.rib.Stale(i, IPv4) + m.rib.Stale(i, IPv6); got != old {
			t.Fatalf("source %d has %d stale paths, want %d", i, got, old)
		}
	}
	m.checkReferences(t)
}

// checkReferences recounts what is interned.
func (m *machine) checkReferences(t *rapid.T) {
	refs, sets, rows := map[uint32]uint32{}, map[uint32]uint32{}, 0
	for _, f := range Families {
		table := m.rib.tables[f]
		for i := range table.shards {
			s := &table.shards[i]
			for j := range table.capacity(s) {
				row := table.row(s, j)
				if row[table.words] == 0 {
					continue
				}
				rows++
				sets[table.installed(row)]++
				m.rib.eachPath(table, row, func(_ int, p path) { refs[p.attr&cellID]++ })
			}
		}
	}
	for id, a := range m.rib.attrs.list {
		if a.refs != refs[uint32(id)] {
			t.Fatalf("attributes %d have %d references, counted %d", id, a.refs, refs[uint32(id)])
		}
	}
	for id, s := range m.rib.sets.list {
		if id > 0 && s.refs != sets[uint32(id)] {
			t.Fatalf("set %d has %d references, counted %d", id, s.refs, sets[uint32(id)])
		}
	}
	if used := m.rib.Prefixes(IPv4) + m.rib.Prefixes(IPv6); used != rows {
		t.Fatalf("%d prefixes, counted %d", used, rows)
	}
}

func TestAnyOrderOfEventsEqualsTheReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine(rapid.Uint64().Draw(t, "seed"))
		t.Repeat(map[string]func(*rapid.T){
			"update":  m.update,
			"update2": m.update,
			"session": m.session, "gather": m.gather,
			"write": m.write,
			"retry": func(*rapid.T) { m.rib.Retry().Run() },
			"":      func(*rapid.T) {},
			"check": m.check,
		})
		m.check(t)
	})
}

func TestTableGrowsShrinksAndLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tab := newTable(IPv6, 2, [2]uint64{rapid.Uint64().Draw(t, "seed"), 1})
		want := map[key]uint32{}
		n := rapid.IntRange(1, 60000).Draw(t, "n")
		for i := range n {
			k := key{w: [4]uint32{0x20010db8, uint32(i % 7), 0, uint32(i)}, n: 128}
			s, row := tab.put(&k)
			tab.cell(row, 1)[0] = uint32(i + 1)
			want[k] = uint32(i + 1)
			tab.touch(s, row)
		}
		if rapid.Bool().Draw(t, "wide") {
			tab.widen()
		}
		keep := rapid.IntRange(1, 50).Draw(t, "keep")
		for i := range tab.shards { // remove while scanning, as shardChanges does
			s := &tab.shards[i]
			for j := 0; j < tab.capacity(s); {
				row := tab.row(s, j)
				if row[tab.words] == 0 || tab.cell(row, 1)[0]%uint32(keep) == 0 {
					j++
					continue
				}
				delete(want, tab.rowKey(row))
				tab.remove(s, j)
			}
			tab.shrink(s)
		}
		if tab.used != len(want) {
			t.Fatalf("%d rows, want %d", tab.used, len(want))
		}
		for k, v := range want {
			if _, row := tab.get(&k); row == nil || tab.cell(row, 1)[0] != v {
				t.Fatalf("%v is lost", k)
			}
		}
	})
}
