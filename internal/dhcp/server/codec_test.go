package server

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/hostroute/hostroute/internal/dhcp"
)

// recorded are messages that real clients sent as the guest of classic(7).
func recorded(t testing.TB) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("testdata/clients/*.hex")
	if err != nil || len(files) == 0 {
		t.Fatalf("no recorded messages: %v", err)
	}
	messages := map[string][]byte{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		packet, err := hex.DecodeString(strings.ReplaceAll(string(text), "\n", ""))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		messages[strings.TrimSuffix(filepath.Base(file), ".hex")] = packet
	}
	return messages
}

func TestRecordedClientsAreUnderstood(t *testing.T) {
	for name, packet := range recorded(t) {
		client, state, _ := strings.Cut(name, "-")
		request, err := decode(packet)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		request.Unicast = state == string(dhcp.Renewing)
		reply, verdict := dhcp.Decide(classic(7), request)
		want := dhcp.KindAck
		if state == "discover" {
			want, state = dhcp.KindOffer, ""
		}
		if reply.Kind != want || string(verdict.State) != state {
			t.Errorf("%s: answered %v in state %q, ignored because %q", name, reply.Kind, verdict.State, verdict.Ignored)
		}
		if got := string(request.Options[12]); got != "guest" {
			t.Errorf("%s: %s says that it is %q", name, client, got)
		}
	}
}

func TestACrowdedAnswerIsSpread(t *testing.T) {
	for _, name := range []string{"dhclient-discover", "udhcpc-discover"} {
		request, err := decode(recorded(t)[name])
		if err != nil {
			t.Fatal(err)
		}
		reply, _ := dhcp.Decide(crowded(host(7)), request)
		if reply.File == nil || reply.Dropped != nil {
			t.Errorf("%s: %d options in the field file, %v dropped", name, len(reply.File), reply.Dropped)
		}
	}
}

func TestOptionsInOtherFieldsAreRead(t *testing.T) {
	m, err := dhcpv4.NewDiscovery(mac(classic(7)), dhcpv4.WithGeneric(dhcpv4.GenericOptionCode(52), []byte{3}))
	if err != nil {
		t.Fatal(err)
	}
	packet := m.ToBytes()
	copy(packet[fileAt:], []byte{12, 2, 'a', 'b', 255})
	copy(packet[snameAt:], []byte{0, 12, 1, 'c', 255})
	request, err := decode(packet)
	if err != nil || string(request.Options[12]) != "abc" {
		t.Errorf("the hostname is %q (%v), want it put together from file and sname", request.Options[12], err)
	}
	packet[snameAt+2] = 200
	if _, err := decode(packet); err == nil {
		t.Error("an option that reaches beyond its field was accepted")
	}
}

// TestEncodeSpreads encodes a reply that uses all fields, and reads it with the
// library's parser.
func TestEncodeSpreads(t *testing.T) {
	long := bytes.Repeat([]byte{1, 2, 3}, 200)
	reply := dhcp.Reply{
		Kind: dhcp.KindAck, XID: [4]byte{1, 2, 3, 4}, Flags: 0x8000, Your: netip.MustParseAddr("203.0.113.7"),
		Hardware: classic(7).MAC,
		Options:  []dhcp.Option{{Code: 53, Value: []byte{5}}, {Code: 200, Value: long}, {Code: 80}, {Code: 52, Value: []byte{3}}},
		File:     []dhcp.Option{{Code: 201, Value: bytes.Repeat([]byte{9}, 124)}},
		Sname:    []dhcp.Option{{Code: 202, Value: bytes.Repeat([]byte{8}, 60)}},
	}
	packet := encode(reply)
	if !bytes.Equal(packet[optionsAt:optionsAt+3], []byte{53, 1, 5}) {
		t.Errorf("the kind is not first: %v", packet[optionsAt:optionsAt+3])
	}
	got := parse(t, packet)
	want := map[byte][]byte{53: {5}, 200: long, 80: nil, 52: {3}, 201: reply.File[0].Value, 202: reply.Sname[0].Value}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// parse reads an answer as a client does.
func parse(t testing.TB, packet []byte) map[byte][]byte {
	t.Helper()
	m, err := dhcpv4.FromBytes(packet)
	if err != nil {
		t.Fatalf("the answer can't be parsed: %v\n%x", err, packet)
	}
	if m.OpCode != dhcpv4.OpcodeBootReply || m.HWType != 1 {
		t.Fatalf("op %d, htype %d", m.OpCode, m.HWType)
	}
	which := m.Options[52]
	for i, field := range [][]byte{packet[fileAt:cookieAt], packet[snameAt:fileAt]} {
		if len(which) == 1 && which[0]&(1<<i) != 0 {
			if err := m.Options.FromBytes(field); err != nil {
				t.Fatalf("the options in field %d: %v", i, err)
			}
		} else if slices.Max(field) != 0 {
			t.Fatalf("field %d is used and option 52 is %v", i, which)
		}
	}
	return m.Options
}

// FuzzFrame sends any bytes through codec, core and codec again. Whatever they
// are, an answer is a message that a client can parse, gives the guest its own
// address or none, goes to the guest, and fits.
func FuzzFrame(f *testing.F) {
	for _, packet := range recorded(f) {
		f.Add(packet, true)
		f.Add(packet, false)
	}
	f.Fuzz(func(t *testing.T, packet []byte, isHost bool) {
		service := classic(7)
		if isHost {
			service = host(7)
		}
		request, err := decode(packet)
		if err != nil {
			return
		}
		reply, verdict := dhcp.Decide(service, request)
		if reply.Kind == 0 {
			return
		}
		answer := encode(reply)
		options := parse(t, answer)
		your := netip.AddrFrom4([4]byte(answer[16:20]))
		switch {
		case your != service.Address && !your.IsUnspecified():
			t.Fatalf("the answer gives %v", your)
		case reply.To != service.Address && reply.To != everybody:
			t.Fatalf("the answer goes to %v", reply.To)
		case len(answer) < shortest || len(answer) > 1400-28:
			t.Fatalf("the answer has %d bytes", len(answer))
		case verdict.Ignored != "" || !bytes.Equal(options[53], []byte{byte(reply.Kind)}):
			t.Fatalf("answered with %v what is ignored because %q", options[53], verdict.Ignored)
		case !bytes.Equal(options[61], request.Options[61]):
			t.Fatalf("the client's identifier came back as %x", options[61])
		}
	})
}
