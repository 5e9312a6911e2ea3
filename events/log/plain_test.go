package log

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
)

// exchange is what docs/publishing.md says is sent and answered.
type exchange struct{ subject, payload, answer string }

// documented reads the exchanges: blocks of three lines, subject, payload, answer.
func documented(t *testing.T) (list []exchange) {
	t.Helper()
	page, err := os.ReadFile("../../docs/publishing.md")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(page), "\n")
	for i, line := range lines {
		if (line == SubjectPublish || line == SubjectEffect || strings.HasPrefix(line, SubjectEffect+".")) && i+2 < len(lines) {
			list = append(list, exchange{line, lines[i+1], lines[i+2]})
		}
	}
	return list
}

// TestWhatOtherLanguagesSend sends the messages of the documentation by a plain
// NATS client, and wants the answers that it shows. Of an error it shows the code.
func TestWhatOtherLanguagesSend(t *testing.T) {
	s, _ := startServer(t, ServerOptions{Store: t.TempDir(), Listen: "127.0.0.1:0"})
	l := &lab{t: t, ctx: testContext(t), server: s, nc: connect(t, s)}
	var err error
	if l.ledger, err = Open(l.ctx, l.nc, Options{}); err != nil {
		t.Fatal(err)
	}
	l.serve()
	plain, err := nats.Connect(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(plain.Close)
	l.agents(func(Effect) EffectAnswer { return EffectAnswer{Has: true, Tick: 12, After: 0.0021} }, "hv1")
	l.agents(func(Effect) EffectAnswer { return EffectAnswer{Lacks: []string{"no route to 203.0.113.7/32"}} }, "hv2")
	list := documented(t)
	if len(list) < 8 {
		t.Fatalf("docs/publishing.md has %d exchanges", len(list))
	}
	for _, x := range list {
		reply, err := x.ask(plain)
		if err != nil {
			t.Fatalf("%s: %v", x.payload, err)
		}
		got, want := object(t, reply.Data), object(t, []byte(x.answer))
		if e, isError := got["error"].(map[string]any); isError {
			if reason, _ := e["reason"].(string); reason == "" {
				t.Errorf("%s: the error has no reason: %s", x.payload, reply.Data)
			}
			got = map[string]any{"error": map[string]any{"code": e["code"]}}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: the answer is %s (-documented +got):\n%s", x.payload, reply.Data, diff)
		}
	}
}

// ask sends a request; what an agent is asked has an inbox with its name.
func (x exchange) ask(nc *nats.Conn) (*nats.Msg, error) {
	hypervisor, ofAgent := strings.CutPrefix(x.subject, SubjectEffect+".")
	if !ofAgent {
		return nc.Request(x.subject, []byte(x.payload), patience)
	}
	inbox := "_INBOX.UD42." + hypervisor + ".1"
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	if err := nc.PublishRequest(x.subject, inbox, []byte(x.payload)); err != nil {
		return nil, err
	}
	return sub.NextMsg(patience)
}

func object(t *testing.T, b []byte) (o map[string]any) {
	t.Helper()
	if err := json.Unmarshal(b, &o); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	return o
}
