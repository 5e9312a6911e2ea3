package bfd

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Params are what a session asks for; both sides' wishes make what it does
// (RFC 5880 section 6.8.2).
type Params struct {
	MinTx      time.Duration // no packet is sent sooner than this after the one before
	MinRx      time.Duration // the peer is asked to send no faster than this
	Multiplier uint8         // so many packets lost in a row are a loss of the session, at the peer
}

// Default is 3 × 300 ms, which a busy host holds.
func Default() Params {
	return Params{MinTx: 300 * time.Millisecond, MinRx: 300 * time.Millisecond, Multiplier: 3}
}

// The range of intervals. Faster than the least one, the scheduling of an
// ordinary kernel looks like a dead peer.
const (
	LeastInterval    = 50 * time.Millisecond
	GreatestInterval = time.Minute
)

// Check tells what is wrong with parameters.
func (p Params) Check() error {
	for _, i := range []struct {
		name  string
		value time.Duration
	}{{"min_tx", p.MinTx}, {"min_rx", p.MinRx}} {
		if i.value < LeastInterval || i.value > GreatestInterval || i.value%time.Microsecond != 0 {
			return fmt.Errorf("%s: %v: must be %v to %v in whole microseconds", i.name, i.value, LeastInterval, GreatestInterval)
		}
	}
	if p.Multiplier == 0 {
		return errors.New("multiplier: 0: must be 1 to 255")
	}
	return nil
}

// Key is what a session is, for as long as it lives: the two ends and the
// interface between them (RFC 5881 section 3).
type Key struct {
	Interface string
	Local     netip.Addr // without a zone
	Remote    netip.Addr // without a zone
}

// Spec is a session that is wanted.
type Spec struct {
	Name string // what it is called in reports; unique
	Key
	Params
	AdminDown bool // keep it shut and say so to the peer
}

// maxInterface is the length of a Linux interface name.
const maxInterface = 15

// Check tells what is wrong with a session.
func (s Spec) Check() error {
	switch {
	case s.Name == "":
		return errors.New("a session has no name")
	case s.Interface == "" || len(s.Interface) > maxInterface:
		return fmt.Errorf("session %s: interface: %q: must be an interface name", s.Name, s.Interface)
	case !endpoint(s.Local):
		return fmt.Errorf("session %s: local: %v: must be an address of one host, without a zone", s.Name, s.Local)
	case !endpoint(s.Remote):
		return fmt.Errorf("session %s: remote: %v: must be an address of one host, without a zone", s.Name, s.Remote)
	case s.Local.Is4() != s.Remote.Is4():
		return fmt.Errorf("session %s: local %v and remote %v are of different families", s.Name, s.Local, s.Remote)
	case s.Local == s.Remote:
		return fmt.Errorf("session %s: local and remote are both %v", s.Name, s.Local)
	}
	if err := s.Params.Check(); err != nil {
		return fmt.Errorf("session %s: %w", s.Name, err)
	}
	return nil
}

func endpoint(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && !a.Is4In6() && a.Zone() == ""
}

// CheckAll checks a whole set: each session, that names are unique, and that no
// two sessions have the same ends on the same interface.
func CheckAll(specs []Spec) error {
	names := make(map[string]bool, len(specs))
	keys := make(map[Key]string, len(specs))
	for _, s := range specs {
		if err := s.Check(); err != nil {
			return err
		}
		if names[s.Name] {
			return fmt.Errorf("two sessions are called %s", s.Name)
		}
		if other, ok := keys[s.Key]; ok {
			return fmt.Errorf("sessions %s and %s are both between %v and %v on %s", other, s.Name, s.Local, s.Remote, s.Interface)
		}
		names[s.Name], keys[s.Key] = true, s.Name
	}
	return nil
}
