package bench

import "encoding/binary"

// maxMessage is what an UPDATE may have without RFC 8654.
const maxMessage = 4096

// Updates are the UPDATEs by which the reflector of a plane tells routes: those that
// are listed, or all with nil. Routes of a hypervisor share UPDATEs, as full as they may
// be, in the order of hypervisors; with alone each has an UPDATE and attributes of its own.
func (t *Table) Updates(plane int, routes []int, alone bool) []byte {
	e := encoder{table: t, plane: plane}
	if alone {
		for _, i := range t.listed(routes) {
			e.tag = uint32(i) + 1
			e.add(i)
			e.finish()
		}
		return e.out
	}
	for _, i := range t.byHome(routes) {
		if e.open && (e.home != t.homes[i] || len(e.out)-e.start+e.each() > maxMessage) {
			e.finish()
		}
		e.add(i)
	}
	e.finish()
	return e.out
}

func (t *Table) listed(routes []int) []int {
	if routes != nil {
		return routes
	}
	all := make([]int, len(t.homes))
	for i := range all {
		all[i] = i
	}
	return all
}

// byHome sorts routes by their homes, and leaves the order of those with the same one.
func (t *Table) byHome(routes []int) []int {
	routes = t.listed(routes)
	at := make([]int, t.hosts+1)
	for _, i := range routes {
		at[t.homes[i]+1]++
	}
	for h := range t.hosts {
		at[h+1] += at[h]
	}
	sorted := make([]int, len(routes))
	for _, i := range routes {
		h := t.homes[i]
		sorted[at[h]] = i
		at[h]++
	}
	return sorted
}

// encoder writes UPDATEs one after the other (RFC 4271 section 4.3, RFC 4760).
type encoder struct {
	table *Table
	plane int
	tag   uint32 // a community that makes attributes unlike others; 0 is none
	out   []byte

	open       bool
	start      int // of the message
	attributes int // where they begin
	reach      int // where MP_REACH_NLRI begins, IPv6 only
	home       uint32
}

// each is the size of a route.
func (e *encoder) each() int {
	if e.table.job.Family == 6 {
		return 17
	}
	return 5
}

func (e *encoder) add(i int) {
	if !e.open {
		e.begin(i)
	}
	a := e.table.Address(i)
	e.out = append(e.out, byte(a.BitLen()))
	e.out = append(e.out, a.AsSlice()...)
}

func (e *encoder) begin(i int) {
	e.open, e.start, e.home = true, len(e.out), e.table.homes[i]
	e.out = header(e.out)
	e.out = append(e.out, 0, 0, 0, 0) // nothing withdrawn; the length of the attributes
	e.attributes = len(e.out)
	next, n := e.table.NextHop(i, e.plane).AsSlice(), e.home
	e.out = append(e.out, 0x40, 1, 1, 0, 0x40, 2, 0) // ORIGIN IGP, AS_PATH empty: iBGP
	if len(next) == 4 {
		e.out = append(append(e.out, 0x40, 3, 4), next...)
	}
	e.out = append(e.out, 0x40, 5, 4, 0, 0, 1100>>8, 1100&0xff) // LOCAL_PREF
	e.out = append(e.out, 0xc0, 8, 4, 0xfd, 0xe8, 0, 100)       // COMMUNITIES 65000:100
	if e.tag != 0 {
		e.out[len(e.out)-5] = 8
		e.out = binary.BigEndian.AppendUint32(e.out, e.tag)
	}
	e.out = append(e.out, 0x80, 9, 4, 10, 128, byte(n>>8), byte(n)) // ORIGINATOR_ID
	e.out = append(e.out, 0x80, 10, 4, 10, 127, 0, byte(1+e.plane)) // CLUSTER_LIST
	if len(next) == 16 {
		e.reach = len(e.out)
		e.out = append(e.out, 0x90, 14, 0, 0, 0, 2, 1, 16) // MP_REACH_NLRI, IPv6 unicast
		e.out = append(append(e.out, next...), 0)
	} else {
		e.setAttributes()
	}
}

func (e *encoder) setAttributes() {
	binary.BigEndian.PutUint16(e.out[e.attributes-2:], uint16(len(e.out)-e.attributes))
}

func (e *encoder) finish() {
	if !e.open {
		return
	}
	if e.table.job.Family == 6 {
		binary.BigEndian.PutUint16(e.out[e.reach+2:], uint16(len(e.out)-e.reach-4))
		e.setAttributes()
	}
	e.open = false
	binary.BigEndian.PutUint16(e.out[e.start+16:], uint16(len(e.out)-e.start))
}

// header has the length left out, and is that of an UPDATE.
func header(b []byte) []byte {
	for range 16 {
		b = append(b, 0xff)
	}
	return append(b, 0, 0, 2)
}

// EndOfRIB is what ends the routes of both families (RFC 4724 section 2).
func EndOfRIB() []byte {
	b := append(header(nil), 0, 0, 0, 0)
	b[17] = 23
	v6 := append(header(nil), 0, 0, 0, 7, 0x90, 15, 0, 3, 0, 2, 1)
	v6[17] = byte(len(v6))
	return append(b, v6...)
}
