package bgp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/hostroute/hostroute/vrf"
)

// fullTable makes UPDATE bodies of 200 host routes each, with an attribute set
// of its own for every twentieth of them, as a reflector of one plane sends.
func fullTable(f Family, prefixes, plane int, addPath bool) [][]byte {
	const each = 200
	var bodies [][]byte
	for at := 0; at < prefixes; at += each {
		m := new(message).attr(0x40, attrOrigin, 0).attr(0x40, attrASPath).attr(0x40, attrLocalPref, 0, 0, 0, 100)
		m.attr(0xc0, attrCommunities, 0xfd, 0xe8, byte(at/each%20), 1)
		host := at / each % 1000 // a thousand hypervisors
		var list []byte
		for i := at; i < at+each; i++ {
			if addPath {
				list = binary.BigEndian.AppendUint32(list, uint32(i+1))
			}
			if f == IPv4 {
				list = binary.BigEndian.AppendUint32(append(list, 32), 0x0a000000+uint32(i))
			} else {
				list = append(list, 128, 0x20, 1, 0x0d, 0xb8)
				list = binary.BigEndian.AppendUint64(append(list, 0, 0, 0, 0), uint64(i))
			}
		}
		if f == IPv4 {
			m.attr(0x40, attrNextHop, 100, 64+byte(plane), byte(host/250), byte(host%250)+2)
			m.nlri = list
		} else {
			m.attr(0x80, attrMPReach, mpReach(2, fmt.Sprintf("2001:db8:%x::%x", plane, host+2), list)...)
		}
		bodies = append(bodies, m.bytes())
	}
	return bodies
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkFullTable takes a full table from two sessions through the decoder
// into a RIB and out as changes, as a FIB writer would get them, and then drops
// one of the sessions. It prints what that took; heap-MB is the RIB alone.
func BenchmarkFullTable(b *testing.B) {
	for _, c := range []struct {
		family   Family
		prefixes int
		addPath  bool
		watched  int
	}{{IPv4, 500_000, false, 0}, {IPv4, 500_000, false, 5000}, {IPv4, 500_000, true, 0}, {IPv6, 500_000, false, 0}, {IPv4, 2_000_000, false, 0}} {
		b.Run(fmt.Sprintf("%v/%d/addpath=%v/watched=%d", c.family, c.prefixes, c.addPath, c.watched), func(b *testing.B) {
			tables := [2][][]byte{fullTable(c.family, c.prefixes, 0, c.addPath), fullTable(c.family, c.prefixes, 1, c.addPath)}
			b.ResetTimer()
			for range b.N {
				fullTableOnce(b, tables, decoder(c.addPath), c.prefixes, c.watched)
			}
		})
	}
}

func fullTableOnce(b *testing.B, tables [2][][]byte, d *Decoder, prefixes, watched int) {
	before := heap()
	rib := NewRIB(Config{Sources: []Source{{Uplink: "up-a"}, {Uplink: "up-b"}}, Seed: [2]uint64{1, 2}})
	var own []netip.Prefix // of this hypervisor, which nobody tells
	for i := range watched {
		own = append(own, netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)}), 32))
	}
	rib.Watch(own)
	buffer := make([]vrf.Change, 0, 512)
	drain := func() (n int) {
		for buffer = rib.AppendChanges(buffer[:0], 512); len(buffer) > 0; buffer = rib.AppendChanges(buffer[:0], 512) {
			n += len(buffer)
		}
		return n
	}
	begin := time.Now()
	for i := range tables[0] {
		for source := range tables {
			u, err := d.Decode(tables[source][i])
			if err != nil {
				b.Fatal(err)
			}
			rib.Update(source, u)
		}
	}
	received := time.Now()
	if n := drain(); n != prefixes {
		b.Fatalf("%d changes, want %d", n, prefixes)
	}
	drained := time.Now()
	b.ReportMetric(float64(heap()-before)/1e6, "heap-MB")
	lost := time.Now()
	rib.Drop(1).Run()
	if n := drain(); n != prefixes {
		b.Fatalf("%d changes after the loss, want %d", n, prefixes)
	}
	b.ReportMetric(received.Sub(begin).Seconds()*1e3, "receive-ms")
	b.ReportMetric(drained.Sub(received).Seconds()*1e3, "decide-ms")
	b.ReportMetric(time.Since(lost).Seconds()*1e3, "lose-ms")
	runtime.KeepAlive(rib)
}
