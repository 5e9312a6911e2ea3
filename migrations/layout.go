package migrations

import (
	"fmt"
	"slices"
)

// The names of the log's streams.
const (
	// Ledger holds all history; it is the only truth.
	Ledger = "hostroute"
	// Feeds mirrors the newest feed messages; it is a cache that snapshots
	// are made from.
	Feeds = "hostroute-feeds"
	// Checkpoints has what auditors have signed, for all to see. Nothing
	// depends on it.
	Checkpoints = "hostroute-checkpoints"
)

// SubjectCheckpoint is where signed checkpoints are published.
const SubjectCheckpoint = "hr-checkpoint"

// Live is the subject prefix under which the ledger republishes: what is
// stored under hr.feed.hv1 is heard under hrlive.feed.hv1.
const Live = "hrlive"

// maxConsumers bounds the consumers of a stream. Only the log service and
// readers of history have any, for moments; without the setting a server
// allows 1,000, and an abandoned one lingers for a while.
const maxConsumers = 10_000

// Migration is one numbered change of the log.
type Migration struct {
	Number  int
	Name    string
	Streams []Stream // whole definitions of the streams that it makes or changes
}

// Stream is the layout of one stream. All are in files, keep everything that
// they are not told to drop, and have no limit of size or age.
type Stream struct {
	Name        string
	Description string
	Subjects    []string   // what is published into it; none for a mirror
	Mirror      *Mirror    // what it is a mirror of
	Republish   *Republish // where stored messages are heard
	Compression string     // "s2" or ""
	// MaxMsgsPerSubject drops all but the newest. It is never 1: at 1 a read
	// of the last message per subject becomes a scan of the whole stream.
	MaxMsgsPerSubject int64
	MaxConsumers      int
	AllowDirect       bool // reads that any replica may answer
	AllowAtomic       bool // atomic batches
	DenyDelete        bool // irreversible once set
	DenyPurge         bool // irreversible once set
}

// Mirror names the stream and the subjects that a mirror takes from it; their
// sequence numbers stay.
type Mirror struct {
	Stream string
	Filter string
}

// Republish says which subjects of a stream are heard under which others.
type Republish struct {
	From string
	To   string
}

// All lists every migration, in order.
func All() []Migration {
	return []Migration{first(), second()}
}

// Latest is the layout after all migrations, one definition a stream, in the
// order in which streams must be made.
func Latest() []Stream {
	return At(len(All()))
}

// Served says whether this release works with a log at migration number n, which
// may be older than the newest: then only what the later ones are for is missing.
func Served(n int) bool { return n >= 1 }

// At is the layout after migration number n. It panics for a number that
// there isn't.
func At(n int) []Stream {
	all := All()
	if n < 1 || n > len(all) {
		panic(fmt.Sprintf("migrations: there is no migration %d", n))
	}
	var layout []Stream
	for _, m := range all[:n] {
		for _, s := range m.Streams {
			if i := slices.IndexFunc(layout, func(o Stream) bool { return o.Name == s.Name }); i >= 0 {
				layout[i] = s
			} else {
				layout = append(layout, s)
			}
		}
	}
	return layout
}
