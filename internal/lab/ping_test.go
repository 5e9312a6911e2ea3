package lab

import (
	"errors"
	"testing"
)

func TestCountReplies(t *testing.T) {
	for _, c := range []struct {
		out            string
		sent, received int
		err            error
	}{
		{"64 bytes from 192.0.2.1: icmp_seq=1 ttl=63 time=0.05 ms\n64 bytes from 192.0.2.1: icmp_seq=2 ttl=63 time=0.05 ms\n", 2, 2, nil},
		{"64 bytes from ::1: icmp_seq=1 ttl=63 time=0.05 ms\nFrom 192.0.2.9 icmp_seq=2 Destination Host Unreachable\n64 bytes from ::1: icmp_seq=4 ttl=63 time=1 ms\n", 4, 2, nil},
		{"64 bytes from ::1: icmp_seq=1 ttl=63 time=0.05 ms\n64 bytes from ::1: icmp_seq=1 ttl=63 time=0.05 ms (DUP!)\n", 1, 1, nil},
		{"PING 192.0.2.1 (192.0.2.1) 56(84) bytes of data.\n", 0, 0, ErrNoAnswer},
	} {
		sent, received, err := countReplies(c.out)
		if sent != c.sent || received != c.received || !errors.Is(err, c.err) {
			t.Errorf("%q: %d sent, %d received, %v", c.out, sent, received, err)
		}
	}
}
