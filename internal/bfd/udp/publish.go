package udp

// publish copies what changed to where others may read it, unless somebody is
// just reading: then the loop comes back soon.
func (l *loop) publish() {
	if !l.dirty || !l.engine.mu.TryLock() {
		return
	}
	e := l.engine
	e.public = e.public[:0] // which grows with a new set only
	for _, p := range l.order {
		e.public = append(e.public, p.status())
	}
	e.set, e.drops = l.set, l.drops
	e.mu.Unlock()
	l.dirty = false
	if l.news {
		l.news = false
		poke(e.changed)
		poke(e.save)
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
