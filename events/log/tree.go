package log

import (
	"encoding/binary"

	"golang.org/x/mod/sumdb/tlog"
)

// tree is a Merkle tree (RFC 6962, section 2.1) of a log that only grows: of all
// its hashes it keeps those of the complete subtrees at its right edge. The leaf
// of a message is its sequence, 8 bytes big-endian, and its hash, 32 bytes.
type tree struct {
	size  uint64
	edge  []tlog.Hash // one for each bit of size that is set, the highest first
	holed bool        // messages are missing, so that it is no tree of the log
}

// add appends the message that follows.
func (t *tree) add(p place) {
	leaf := binary.BigEndian.AppendUint64(nil, p.sequence)
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
