package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// TestFan spreads flows over two hosts that have an address, by the kernel's multipath alone.
func TestFan(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	l := testLab(t)
	shared := netip.MustParseAddr("203.0.113.70")
	route := fmt.Sprintf("route add %s", shared)
	for _, h := range l.Topology.Hypervisors[:2] {
		uplink := l.Topology.Uplinks(h)[0]
		var b batch
		b.add("addr add %s dev %s", uplink.V4, uplink.Interface)
		b.add("link set %s up", uplink.Interface)
		b.add("addr add %s dev lo", shared)
		if err := b.run(ctx, l.Topology.Namespace(h.Name)); err != nil {
			t.Fatal(err)
		}
		route += fmt.Sprintf(" nexthop via %s", uplink.V4.Addr())
	}
	edge := batch{[]string{route}}
	if err := edge.run(ctx, l.Topology.Namespace(NodeEdge)); err != nil {
		t.Fatal(err)
	}
	f, err := l.OpenFan(NodeEdge, l.Topology.Planes[0].Segments[0].address4(edgeHost).Addr(), shared, 64, "hv1", "hv2")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var before []string
	eventually(t, "both to get flows", 10*time.Second, func() error {
		if before, err = f.Members(ctx); err == nil && (!slices.Contains(before, "hv1") || !slices.Contains(before, "hv2") || slices.Contains(before, "")) {
			return fmt.Errorf("they go to %v", before)
		}
		return err
	})
	if after, err := f.Members(ctx); err != nil || !slices.Equal(before, after) {
		t.Errorf("nothing happened, and flows go to %v instead of %v (%v)", after, before, err)
	}
	// A host that has the address no more gets nothing.
	var gone batch
	gone.add("link set %s down", l.Topology.Uplinks(l.Topology.Hypervisors[1])[0].Interface)
	if err := errors.Join(gone.run(ctx, l.Topology.Namespace("hv2"))); err != nil {
		t.Fatal(err)
	}
	eventually(t, "losses", 10*time.Second, func() error {
		if after, err := f.Members(ctx); err != nil || slices.Contains(after, "hv2") || !slices.Contains(after, "") {
			return fmt.Errorf("they go to %v (%w)", after, err)
		}
		return nil
	})
}

// TestSpeaksOf reads an UPDATE off the wire, and what isn't one.
func TestSpeaksOf(t *testing.T) {
	client := netip.MustParseAddr("100.64.0.11")
	frame := func(source netip.Addr, port uint16, data ...byte) []byte {
		f := make([]byte, 14+20+20)
		f[12], f[13], f[14+9] = 0x08, 0x00, 6
		copy(f[14+12:], source.AsSlice())
		binary.BigEndian.PutUint16(f[14+20+2:], port)
		return append(f, data...)
	}
	host, block := netip.MustParsePrefix("203.0.113.11/32"), netip.MustParsePrefix("2001:db8:cb00:7101::/64")
	nlri4, nlri6 := []byte{9, 9, 32, 203, 0, 113, 11, 9}, []byte{64, 0x20, 0x01, 0x0d, 0xb8, 0xcb, 0, 0x71, 1}
	for name, c := range map[string]struct {
		frame  []byte
		prefix netip.Prefix
		want   bool
	}{
		"a host route":         {frame(client, 179, nlri4...), host, true},
		"a block":              {frame(client, 179, nlri6...), block, true},
		"another prefix":       {frame(client, 179, nlri4...), netip.MustParsePrefix("203.0.113.12/32"), false},
		"of another client":    {frame(netip.MustParseAddr("100.64.0.12"), 179, nlri4...), host, false},
		"to no BGP":            {frame(client, 4222, nlri4...), host, false},
		"nothing but a header": {frame(client, 179), host, false},
	} {
		if got := SpeaksOf(client, c.prefix)(c.frame); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
