package kernel

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// neighbourKey is a neighbour of a link.
type neighbourKey struct {
	port    int
	address netip.Addr
}

// noteDeletion notes the first half of a neighbour's deletion by the writer: the kernel
// says that the entry failed, and by whose doing, and then that it is gone, and not by
// whose. Whatever else happens to the entry in between ends that.
func (w *watcher) noteDeletion(data []byte, own bool) {
	if !own && len(w.deleting) == 0 || aboutFloor(data) {
		return
	}
	port, n, _ := parseNeighbour(data)
	if !n.Address.IsValid() {
		return
	}
	key := neighbourKey{port, n.Address}
	if own && binary.NativeEndian.Uint16(data[8:]) == unix.NUD_FAILED {
		w.deleting[key] = true
	} else {
		delete(w.deleting, key)
	}
}

// neighbourGone takes a deletion, be it the second half of one of the writer's.
func (w *watcher) neighbourGone(data []byte) {
	if len(data) < unix.SizeofNdMsg {
		return
	}
	port, n, _ := parseNeighbour(data)
	key := neighbourKey{port, n.Address}
	if w.deleting[key] {
		delete(w.deleting, key)
		return
	}
	w.neighbourChanged(port)
}

func (w *watcher) neighbourChanged(port int) {
	if name := w.names[port]; name != "" {
		w.note(func() { w.neighbours[name] = true })
	}
}
