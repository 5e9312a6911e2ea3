package observe

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/bench"
	"github.com/hostroute/hostroute/internal/bench/site"
)

// Empty deletes all host routes of a family from the table of a site, whose contender has
// ended. A namespace must not be left to the kernel with them: where they lead to next-hop
// objects it walks the whole table once for each object, which takes minutes and holds
// up whoever changes a route in any other namespace.
func Empty(s *site.Site, f bench.Family) (err error) {
	k, err := open(s, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, k.close()) }()
	body := make([]byte, routeSize)
	body[0] = unix.AF_INET
	if f == 6 {
		body[0] = unix.AF_INET6
	}
	var all []byte
	got, table := route{}, attribute(unix.RTA_TABLE, number(site.Table))
	dump, remove := k.request(nil, unix.RTM_GETROUTE, unix.NLM_F_DUMP, body, table), append([]byte(nil), body...)
	remove[6] = unix.RT_SCOPE_NOWHERE // any
	size := 0
	err = k.dump(dump, func(m message) error {
		if m.kind != unix.RTM_NEWROUTE || !got.parse(m.body) || got.table != site.Table || !got.to.IsSingleIP() {
			return nil
		}
		remove[1] = byte(got.to.Bits())
		before := len(all)
		all = deletion(all, remove, attribute(unix.RTA_DST, got.to.Addr().AsSlice()), table)
		size = len(all) - before
		return nil
	})
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("reading the table: %w", err)
	}
	for len(all) > 0 {
		n := min(len(all), 500*size)
		if err := k.send(all[:n]); err != nil {
			return fmt.Errorf("emptying the table: %w", err)
		}
		all = all[n:]
	}
	return nil
}

// deletion appends a request for which the kernel has no answer, unless it fails.
func deletion(b, body []byte, attributes ...[]byte) []byte {
	k := socket{} // its number is of no use
	return k.request(b, unix.RTM_DELROUTE, 0, body, attributes...)
}
