package scenarios

import (
	"testing"
	"time"
)

func TestDeletedIn(t *testing.T) {
	list, err := deletedIn(`[2026-11-22T10:20:30.123456] Deleted 203.0.113.13 nhid 5 proto 201 metric 200
[2026-11-22T10:20:31.000000] 203.0.113.13 nhid 6 proto 201 metric 200
[2026-11-22T10:20:32.000000] Deleted 198.18.5.0/24 dev eth0 proto static
	nexthop via 192.0.2.1 dev eth0 weight 1
`)
	if err != nil || len(list) != 1 || list[0].what != "203.0.113.13 nhid 5 proto 201 metric 200" ||
		!list[0].at.Equal(time.Date(2026, 11, 22, 10, 20, 30, 123456000, time.Local)) {
		t.Errorf("got %+v, %v", list, err)
	}
	if list, err := deletedIn("[yesterday] Deleted 203.0.113.13 proto 201\n"); err == nil {
		t.Errorf("a stamp that is none: %+v", list)
	}
}
