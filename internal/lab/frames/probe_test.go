package frames

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/vrf"
)

// probe is a frame, or all the fragments of one, of which it is known who must see it.
type probe struct {
	row, column, to string
	wires           [][]byte
	want            []string // who sees it; nobody else may
	reason          string
	// parts are the parts of the whole, a bit each. With whole set, an illegal frame counts as seen only when
	// all of them arrived at one place: a later fragment alone is nothing to anybody.
	parts byte
	whole bool
	// target of an ARP request, by which its answer is known.
	target netip.Addr
	// harmless: the guest's own, and not for us to say whether it passes; but it may be seen only by who would
	// see a legal one.
	harmless bool
	seen     map[string]byte
}

// String names a probe in a failure.
func (p *probe) String() string {
	return fmt.Sprintf("%s, %s, to %s (%s)", p.row, p.column, p.to, p.reason)
}

// arrived lists where a probe counts as seen.
func (p *probe) arrived() []string {
	var where []string
	for who, parts := range p.seen {
		if parts&p.parts == p.parts || !p.whole && parts != 0 {
			where = append(where, who)
		}
	}
	slices.Sort(where)
	return where
}

// wrong tells how a probe went otherwise than it must.
func (p *probe) wrong() string {
	have, want := p.arrived(), slices.Sorted(slices.Values(p.want))
	if p.harmless && !slices.ContainsFunc(have, func(who string) bool { return !slices.Contains(want, who) }) {
		return ""
	}
	if !slices.Equal(have, want) {
		return fmt.Sprintf("%s: seen at %q, must be seen at %q", p, have, want)
	}
	for _, who := range want {
		if p.seen[who] != p.parts {
			return fmt.Sprintf("%s: at the %s only parts %b of %b arrived", p, who, p.seen[who], p.parts)
		}
	}
	return ""
}

// patience is how long a sentinel may take; it is there to end a broken run.
const patience = 20 * time.Second

// The frame numbers above are those of sentinels.
const firstSentinel = 1 << 31

var broadcast = [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// number gives every frame of the process its own.
var number atomic.Uint32

// send puts the probes on the sender's cable, a chunk at a time, and notes who sees what. by is the guest that
// sends the sentinel: one that the filter lets through, or none.
func (w *world) send(probes []*probe, by guest) {
	w.t.Helper()
	var err error
	pinned(0, func() {
		for chunk := range slices.Chunk(probes, 50) {
			if err = w.sendChunk(chunk, by); err != nil {
				return
			}
		}
	})
	w.check(err)
}

func (w *world) sendChunk(probes []*probe, by guest) error {
	numbers := map[uint32]*probe{}
	targets := map[netip.Addr]*probe{}
	for _, p := range probes {
		if p.seen == nil {
			p.seen = map[string]byte{}
		}
		if p.target.IsValid() {
			targets[p.target] = p
		}
		for _, wire := range p.wires {
			tokens(wire, func(frame uint32, _ byte) { numbers[frame] = p })
			// A port whose other end is down takes nothing, and that is as good as dropped.
			if err := w.ports[atOne].send(wire); err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.ENETDOWN) {
				return fmt.Errorf("sending %v: %w", p, err)
			}
		}
	}
	note := func(who string, raw []byte) {
		tokens(raw, func(frame uint32, part byte) {
			if p := numbers[frame]; p != nil {
				p.seen[who] |= 1 << part
			}
		})
		if a, ok := arpAnswer(raw); ok && targets[a] != nil {
			targets[a].seen[who] |= targets[a].parts
		}
	}
	if by.tap == "" {
		return w.settle(note)
	}
	return w.observe(by, note)
}

// observe sends a sentinel on every way that there is, and calls f with all that arrived before it.
func (w *world) observe(by guest, f func(who string, raw []byte)) error {
	w.batch++
	number := firstSentinel + w.batch
	sender := w.ports[atOne]
	if by.tap == two.tap {
		sender = w.ports[atTwo]
	}
	legal := packet{frame: number, from: by.mac, to: vrf.TapMAC, src: by.v4, dst: internet4, hop: 64}
	if err := sender.send(plainFrame(legal.datagram())); err != nil {
		return fmt.Errorf("sending the sentinel: %w", err)
	}
	if err := w.until(atEdge, number, f); err != nil {
		return err
	}
	if err := w.markers(number, f); err != nil {
		return err
	}
	return w.drainLocal(f)
}

// markers sends a last frame to every port from the hypervisor's side, and reads up to it.
func (w *world) markers(number uint32, f func(who string, raw []byte)) error {
	marker := plainFrame(packet{frame: number, to: [6]byte{2}, src: internet4, dst: internet4, hop: 1}.datagram())
	for _, who := range slices.Sorted(maps.Keys(w.ports)) {
		switch err := w.inside[who].send(marker); {
		case errors.Is(err, unix.ENETDOWN) || errors.Is(err, unix.ENOBUFS): // it is down: nothing gets there either
			if err := w.drain(w.ports[who].fd, who, f); err != nil {
				return err
			}
		case err != nil:
			return fmt.Errorf("sending the marker to the %s: %w", who, err)
		default:
			if err := w.until(who, number, f); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *world) drainLocal(f func(who string, raw []byte)) error {
	for _, fd := range w.local {
		if err := w.drain(fd, atHost, f); err != nil {
			return err
		}
	}
	return nil
}

// settle is observe where no guest may send anything yet. When the first markers have arrived, what was sent before
// them has been handled, and what came of it is on its way before the second ones.
func (w *world) settle(f func(who string, raw []byte)) error {
	for range 2 {
		w.batch++
		if err := w.markers(firstSentinel+w.batch, f); err != nil {
			return err
		}
	}
	return w.drainLocal(f)
}

// until reads a port up to the frame of a number.
func (w *world) until(who string, number uint32, f func(string, []byte)) error {
	deadline := time.Now().Add(patience)
	for found := false; !found; {
		raw, err := w.ports[who].next(deadline)
		if err != nil {
			return fmt.Errorf("waiting for the sentinel at the %s: %w", who, err)
		}
		tokens(raw, func(frame uint32, _ byte) { found = found || frame == number })
		if !found {
			f(who, raw)
		}
	}
	return nil
}

// drain reads what is there.
func (w *world) drain(fd int, who string, f func(string, []byte)) error {
	for {
		raw, err := receive(fd, w.buf, time.Time{})
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case errors.Is(err, unix.ENETDOWN) || errors.Is(err, unix.ECONNREFUSED):
			continue // a port that went down says so once
		case err != nil:
			return fmt.Errorf("at the %s: %w", who, err)
		}
		f(who, raw)
	}
}

// arpAnswer is the address that an ARP reply is about.
func arpAnswer(raw []byte) (netip.Addr, bool) {
	if len(raw) < 42 || raw[12] != 8 || raw[13] != 6 || raw[21] != 2 {
		return netip.Addr{}, false
	}
	return netip.AddrFrom4([4]byte(raw[28:32])), true
}

// report prints the table, rows by columns, and fails for what went wrong. bare are the same probes in a world
// without the filter: what got through there is what the filter alone stands against.
func (w *world) report(title string, probes, bare []*probe) {
	w.t.Helper()
	rows, columns := []string{}, []string{}
	type cell struct {
		sent, seen, want, bare int
		harmless               bool
	}
	cells := map[[2]string]*cell{}
	for i, p := range probes {
		if !slices.Contains(rows, p.row) {
			rows = append(rows, p.row)
		}
		if !slices.Contains(columns, p.column) {
			columns = append(columns, p.column)
		}
		c := cells[[2]string{p.row, p.column}]
		if c == nil {
			c = &cell{}
			cells[[2]string{p.row, p.column}] = c
		}
		c.sent++
		c.seen += min(1, len(p.arrived()))
		if !p.harmless {
			c.want += min(1, len(p.want))
		}
		c.harmless = c.harmless || p.harmless && len(p.want) > 0
		if bare != nil {
			c.bare += min(1, len(bare[i].arrived()))
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: sent / seen / expected (seen without the filter)\n%-34s", title, "")
	for _, c := range columns {
		fmt.Fprintf(&b, "%-17s", c)
	}
	for _, r := range rows {
		fmt.Fprintf(&b, "\n%-34s", r)
		for _, c := range columns {
			text := "-"
			if v := cells[[2]string{r, c}]; v != nil {
				text = fmt.Sprintf("%d / %d / %d (%d)", v.sent, v.seen, v.want, v.bare)
				if v.harmless {
					text = fmt.Sprintf("%d / %d / any (%d)", v.sent, v.seen, v.bare)
				}
			}
			fmt.Fprintf(&b, "%-17s", text)
		}
	}
	w.t.Log(b.String())
	w.failures(probes)
}

// failures fails for each probe that went wrong, up to what a person reads.
func (w *world) failures(probes []*probe) {
	w.t.Helper()
	n := 0
	for _, p := range probes {
		if s := p.wrong(); s != "" {
			if n++; n <= 12 {
				w.t.Error(s)
			}
		}
	}
	if n > 12 {
		w.t.Errorf("%d probes went wrong in all", n)
	}
}
