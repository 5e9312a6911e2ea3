package observe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/bench"
	"github.com/hostroute/hostroute/internal/bench/site"
)

// Want is what a table must be.
type Want struct {
	Table  *bench.Table
	Planes []int // those that are up
}

// Difference is what the kernel's table lacks, and has too much.
type Difference struct {
	Missing, Wrong, Foreign int
	// Differing are the numbers of up to 1,000 routes that are missing or wrong.
	Differing []int
}

// None says that all is right.
func (d Difference) None() bool { return d.Missing == 0 && d.Wrong == 0 && d.Foreign == 0 }

func (d Difference) String() string {
	return fmt.Sprintf("%d routes are missing, %d are wrong, %d are not of the table", d.Missing, d.Wrong, d.Foreign)
}

// Reader reads the table of a site's contender. It is for one goroutine.
type Reader struct {
	socket   *socket
	family   byte
	planes   map[uint32]int // by the uplink's number
	known    objects
	resolved map[uint32][]hop
}

// NewReader makes a Reader for the routes of a family.
func NewReader(s *site.Site, f bench.Family) (*Reader, error) {
	r := &Reader{family: unix.AF_INET, planes: map[uint32]int{}}
	if f == 6 {
		r.family = unix.AF_INET6
	}
	err := site.Do(s.DUT, func() error {
		for i, reflector := range s.Reflectors() {
			link, err := net.InterfaceByName(reflector.Uplink)
			if err != nil {
				return fmt.Errorf("looking for the uplink %s: %w", reflector.Uplink, err)
			}
			r.planes[uint32(link.Index)] = i
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	r.socket, err = open(s, 0)
	return r, err
}

// Close closes its socket.
func (r *Reader) Close() error { return r.socket.close() }

// atOnce is how many addresses are asked for before the answers are looked at.
const atOnce = 25

// Right asks for routes by their numbers, in the order given, and stops where one is
// not right. It says how many were right before that. It may take an IPv6 route for
// right that still lacks a plane which others have through the same next-hop object;
// Compare doesn't.
func (r *Reader) Right(w Want, routes []int) (int, error) {
	r.known, r.resolved = objects{}, map[uint32][]hop{}
	for at := 0; at < len(routes); at += atOnce {
		some := routes[at:min(at+atOnce, len(routes))]
		var b []byte
		for _, i := range some {
			b = r.lookup(b, w.Table.Address(i))
		}
		answers := make([]route, len(some))
		err := r.socket.each(b, len(some), func(n int, m message) error {
			if m.kind == unix.RTM_NEWROUTE {
				answers[n].parse(m.body)
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
		for n, i := range some {
			if ok, err := r.right(w, i, &answers[n]); err != nil || !ok {
				return at + n, err
			}
		}
	}
	return len(routes), nil
}

func (r *Reader) lookup(b []byte, a netip.Addr) []byte {
	body := make([]byte, routeSize)
	body[0], body[1] = r.family, byte(a.BitLen())
	flags := uint32(unix.RTM_F_FIB_MATCH)
	if r.family == unix.AF_INET {
		flags |= unix.RTM_F_LOOKUP_TABLE // IPv6 tells the table anyway, and refuses the flag
	}
	binary.NativeEndian.PutUint32(body[8:], flags)
	return r.socket.request(b, unix.RTM_GETROUTE, 0, body, attribute(unix.RTA_DST, a.AsSlice()))
}

// right looks at an answer, and asks for the objects that it needs.
func (r *Reader) right(w Want, i int, got *route) (bool, error) {
	// In IPv6 the kernel keeps what it made of a next-hop object with the object, for
	// all routes through it, and tells of the route that it was made for.
	other := r.family == unix.AF_INET6 && got.object != 0 && got.to.IsSingleIP()
	if got.table != site.Table || !other && got.to != netip.PrefixFrom(w.Table.Address(i), w.Table.Address(i).BitLen()) {
		return false, nil
	}
	if len(got.hops) == 0 && got.object != 0 {
		hops, err := r.resolve(got.object)
		if err != nil {
			return false, err
		}
		got.hops = hops
	}
	return r.leads(w, i, got), nil
}

// leads says whether a route leads where it must.
func (r *Reader) leads(w Want, i int, got *route) bool {
	if !got.unicast || len(got.hops) != len(w.Planes) {
		return false
	}
	for _, p := range w.Planes {
		if !r.through(got.hops, p, w.Table.NextHop(i, p)) {
			return false
		}
	}
	return true
}

func (r *Reader) through(hops []hop, plane int, gateway netip.Addr) bool {
	for _, h := range hops {
		if p, ok := r.planes[h.link]; ok && p == plane && h.gateway == gateway {
			return true
		}
	}
	return false
}

// resolve gives the hops of an object; nothing of one that is gone.
func (r *Reader) resolve(id uint32) ([]hop, error) {
	if hops, ok := r.resolved[id]; ok {
		return hops, nil
	}
	hops, missing := r.known.hops(id)
	for range 2 { // a group, and its members
		for _, id := range missing {
			if err := r.object(id); err != nil {
				return nil, err
			}
		}
		hops, missing = r.known.hops(id)
	}
	r.resolved[id] = hops
	return hops, nil
}

func (r *Reader) object(id uint32) error {
	request := r.socket.request(nil, unix.RTM_GETNEXTHOP, 0, make([]byte, 8), attribute(unix.NHA_ID, number(id)))
	return r.socket.each(request, 1, func(_ int, m message) error {
		if m.kind == unix.RTM_NEWNEXTHOP {
			r.known[id] = parseObject(m.body)
		}
		return nil
	})
}

// Compare reads the whole table. Routes that are no host's, such as a last resort, don't
// count.
func (r *Reader) Compare(w Want) (Difference, error) {
	var d Difference
	if err := r.readObjects(); err != nil {
		return d, err
	}
	seen, got := make([]bool, w.Table.Len()), route{}
	body := make([]byte, routeSize)
	body[0] = r.family
	request := r.socket.request(nil, unix.RTM_GETROUTE, unix.NLM_F_DUMP, body, attribute(unix.RTA_TABLE, number(site.Table)))
	err := r.socket.dump(request, func(m message) error {
		if m.kind == unix.RTM_NEWROUTE && got.parse(m.body) && got.table == site.Table && got.to.IsSingleIP() {
			r.compare(w, &got, seen, &d)
		}
		return nil
	})
	// The kernel says ENOENT of a table that nobody has written to yet.
	if err != nil && !errors.Is(err, errInterrupted) && !errors.Is(err, unix.ENOENT) {
		return d, fmt.Errorf("reading the table: %w", err)
	}
	for i, there := range seen {
		if !there {
			d.Missing++
			d.differ(i)
		}
	}
	return d, nil
}

func (r *Reader) compare(w Want, got *route, seen []bool, d *Difference) {
	i, ok := w.Table.Index(got.to.Addr())
	switch {
	case !ok && len(got.hops) == 0 && got.object == 0: // a guest's of its own, which has no gateway
		return
	case !ok || seen[i]:
		d.Foreign++
		return
	}
	seen[i] = true
	if len(got.hops) == 0 && got.object != 0 {
		hops, ok := r.resolved[got.object]
		if !ok {
			hops, _ = r.known.hops(got.object)
			r.resolved[got.object] = hops
		}
		got.hops = append(got.hops, hops...)
	}
	if !r.leads(w, i, got) {
		d.Wrong++
		d.differ(i)
	}
}

func (d *Difference) differ(i int) {
	const enough = 1000
	if len(d.Differing) < enough {
		d.Differing = append(d.Differing, i)
	}
}

func (r *Reader) readObjects() error {
	r.known, r.resolved = objects{}, map[uint32][]hop{}
	request := r.socket.request(nil, unix.RTM_GETNEXTHOP, unix.NLM_F_DUMP, make([]byte, 8))
	err := r.socket.dump(request, func(m message) error {
		if m.kind == unix.RTM_NEWNEXTHOP {
			o := parseObject(m.body)
			r.known[o.id] = o
		}
		return nil
	})
	if err != nil && !errors.Is(err, errInterrupted) {
		return fmt.Errorf("reading the next-hop objects: %w", err)
	}
	return nil
}
