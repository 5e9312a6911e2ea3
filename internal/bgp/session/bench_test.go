package session

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"

	"github.com/hostroute/hostroute/vrf"
)

// countingFIB only counts, so that what is measured is ours.
type countingFIB struct{ changes atomic.Int64 }

func (f *countingFIB) Apply(_ context.Context, _ string, changes []vrf.Change) error {
	f.changes.Add(int64(len(changes)))
	return nil
}

// table is a stream of UPDATEs with host routes, 200 in each.
func table(b *testing.B, prefixes int, hop string) []byte {
	var stream []byte
	for at := 0; at < prefixes; at += 200 {
		list := make([]*packet.IPAddrPrefix, 0, 200)
		for i := at; i < min(at+200, prefixes); i++ {
			var a [4]byte
			binary.BigEndian.PutUint32(a[:], 10<<24+uint32(i))
			list = append(list, packet.NewIPAddrPrefix(32, netip.AddrFrom4(a).String()))
		}
		m, err := packet.NewBGPUpdateMessage(nil, []packet.PathAttributeInterface{
			packet.NewPathAttributeOrigin(0), packet.NewPathAttributeAsPath(nil), packet.NewPathAttributeNextHop(hop),
			packet.NewPathAttributeLocalPref(100), packet.NewPathAttributeCommunities([]uint32{uint32(at)}),
		}, list).Serialize()
		if err != nil {
			b.Fatal(err)
		}
		stream = append(stream, m...)
	}
	return stream
}

// serve plays a reflector that sends a stream and then stays silent.
func serve(b *testing.B, l net.Listener, id string, stream []byte) {
	conn, err := l.Accept()
	if err != nil {
		b.Error(err)
		return
	}
	b.Cleanup(func() { conn.Close() })
	caps := []packet.ParameterCapabilityInterface{packet.NewCapMultiProtocol(packet.RF_IPv4_UC), packet.NewCapFourOctetASNumber(65000)}
	open, _ := packet.NewBGPOpenMessage(65000, 0, id, []packet.OptionParameterInterface{packet.NewOptionParameterCapability(caps)}).Serialize()
	alive, _ := packet.NewBGPKeepAliveMessage().Serialize()
	end, _ := packet.NewEndOfRib(packet.RF_IPv4_UC).Serialize()
	for _, part := range [][]byte{open, alive, stream, end} {
		if _, err := conn.Write(part); err != nil {
			b.Error(err)
		}
	}
}

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkTwoReflectors receives 500,000 host routes from two reflectors over
// TCP, into a FIB that counts, and prints time and memory.
func BenchmarkTwoReflectors(b *testing.B) {
	const prefixes = 500_000
	streams := [][]byte{table(b, prefixes, "100.64.1.2"), table(b, prefixes, "100.64.2.2")}
	for range b.N {
		cfg := Config{AS: 65000, RouterID: netip.MustParseAddr("10.0.0.1"), SyncDeadline: time.Hour}
		for i, stream := range streams {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			at := l.Addr().(*net.TCPAddr).AddrPort()
			cfg.Peers = append(cfg.Peers, Peer{VRF: "public", Address: at.Addr(), Port: at.Port(), NoTTLSecurity: true})
			go serve(b, l, netip.AddrFrom4([4]byte{10, 0, 1, byte(i)}).String(), stream)
		}
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		begin, used := time.Now(), cpu()
		fib := &countingFIB{}
		s := New(cfg, fib, discard)
		done := make(chan error, 1)
		go func() { done <- s.Run(context.Background()) }()
		<-s.Synced()
		b.ReportMetric(time.Since(begin).Seconds()*1e3, "synced-ms")
		b.ReportMetric((cpu()-used).Seconds()*1e3, "cpu-ms")
		b.ReportMetric(float64(fib.changes.Load()), "changes")
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "heap-MB")
		if err := s.Stop(context.Background()); err != nil {
			b.Fatal(err)
		}
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
}
