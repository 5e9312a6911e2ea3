package log

import (
	"encoding/binary"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// tree is a Merkle tree (RFC 6962, section 2.1) of a log that only grows: of all
// its hashes it keeps those of the complete subtrees at its right edge. The leaf
// of a message is its sequence and the time at which it was stored, in
// nanoseconds since 1970, 8 bytes big-endian each, and its hash, 32 bytes: who
// asks what was so at a time is answered by that one, which no hash of a message
// covers.
type tree struct {
	size  uint64
	edge  []tlog.Hash // one for each bit of size that is set, the highest first
	holed bool        // messages are missing, so that it is no tree of the log
}

// add appends the message that follows.
func (t *tree) add(p place, stored time.Time) {
	leaf := binary.BigEndian.AppendUint64(nil, p.sequence)
	leaf = binary.BigEndian.AppendUint64(leaf, uint64(stored.UnixNano()))
	hash := tlog.RecordHash(append(leaf, p.hash[:]...))
	for bits := t.size; bits&1 == 1; bits >>= 1 {
		hash = tlog.NodeHash(t.edge[len(t.edge)-1], hash)
		t.edge = t.edge[:len(t.edge)-1]
	}
	t.edge = append(t.edge, hash)
	t.size++
}

// root is the hash of the whole tree. That of nothing is zero.
func (t *tree) root() (hash tlog.Hash) {
	for i := len(t.edge) - 1; i >= 0; i-- {
		if i == len(t.edge)-1 {
			hash = t.edge[i]
			continue
		}
		hash = tlog.NodeHash(t.edge[i], hash)
	}
	return hash
}
