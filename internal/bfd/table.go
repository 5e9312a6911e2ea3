package bfd

// Table finds the session that a packet belongs to (RFC 5880 section 6.3, RFC
// 5881 section 3). T is whatever the caller keeps per session.
type Table[T any] struct {
	byDiscriminator map[uint32]row[T]
	byKey           map[Key]row[T]
}

type row[T any] struct {
	value T
	key   Key
}

// NewTable makes an empty table.
func NewTable[T any]() *Table[T] {
	return &Table[T]{byDiscriminator: map[uint32]row[T]{}, byKey: map[Key]row[T]{}}
}

// Add enters a session under a discriminator that no other has.
func (t *Table[T]) Add(discriminator uint32, key Key, value T) {
	r := row[T]{value, key}
	t.byDiscriminator[discriminator] = r
	t.byKey[key] = r
}

// Remove takes a session out.
func (t *Table[T]) Remove(discriminator uint32, key Key) {
	delete(t.byDiscriminator, discriminator)
	delete(t.byKey, key)
}

// Has tells whether a discriminator is a session's.
func (t *Table[T]) Has(discriminator uint32) bool {
	_, taken := t.byDiscriminator[discriminator]
	return taken
}

// Discriminator makes a discriminator that is not zero and no other session's.
// Random numbers are the caller's to give; they should be hard to guess.
func (t *Table[T]) Discriminator(random func() uint32) uint32 {
	for {
		d := random()
		if d != 0 && !t.Has(d) {
			return d
		}
	}
}

// Lookup finds the session by the discriminator that the sender gives for it,
// and while it gives none by where the packet came from. Also a packet with a
// discriminator must come from the session's peer over the session's interface:
// RFC 5880 section 6.3 would let both change under a session, but nothing here
// moves, and a discriminator seen elsewhere shall be of no use. The error is a
// [Drop].
func (t *Table[T]) Lookup(p *Packet, from Key) (T, error) {
	if p.YourDiscriminator == 0 {
		r, ok := t.byKey[from]
		if !ok {
			return r.value, DropUnknownSession
		}
		return r.value, nil
	}
	r, ok := t.byDiscriminator[p.YourDiscriminator]
	if !ok {
		return r.value, DropUnknownSession
	}
	if r.key != from {
		var none T
		return none, DropForeignSession
	}
	return r.value, nil
}
