package scenarios

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/hostroute/hostroute/internal/lab"
)

// poisonedLog has to be the last chapter: an agent that has put a message aside
// says so for good.
func (w *world) poisonedLog(ctx context.Context) error {
	const hv, guest, subject = "hv1", "poison", "hr.feed.hv1.poison"
	if err := w.publishRaw(ctx, subject, "nonsense"); err != nil {
		return err
	}
	w.story.Say("Eight bytes of nonsense were stored as %s, past the log service.", subject)
	w.story.Eventually(ctx, "hv1 puts it aside, says so and why, and has no other complaint", settle, func() error {
		var s status
		if err := w.ask(ctx, hv, "status", &s); err != nil {
			return err
		}
		return onlyQuarantined(s, guest)
	})
	out, _ := w.hostroute(ctx, hv, "status", "--socket", w.AgentSocket(hv)) // ends with 1: it isn't healthy
	w.story.Show("hostroute status    (on hv1)", out)
	for _, h := range w.Topology.Hypervisors {
		if h.Name != hv {
			w.story.Eventually(ctx, h.Name+" is healthy", settle, func() error { return w.healthy(ctx, h.Name) })
		}
	}
	w.story.Check("everybody reaches everybody and the internet", w.all(ctx, w.everyone()))
	return w.stillFollows(ctx)
}

// stillFollows has a poisoned hypervisor serve what is published afterwards.
func (w *world) stillFollows(ctx context.Context) error {
	const guest = "vm1"
	extra := netip.MustParseAddr("203.0.113.41")
	if _, err := w.Exec(ctx, guest, "ip", "address", "add", extra.String()+"/32", "dev", "eth0"); err != nil {
		return err
	}
	if err := w.publish(ctx, "ip", "assign", extra.String(), "--vm", guest, "--role", "elastic"); err != nil {
		return err
	}
	w.story.Eventually(ctx, "what is published afterwards is served: an address that is assigned on hv1 answers", settle, func() error {
		return w.all(ctx, []probe{{from: "vm4", to: extra}})
	})
	return nil
}

// onlyQuarantined wants one message about a guest to have been put aside for a
// reason, and nothing else to be wrong.
func onlyQuarantined(s status, guest string) error {
	if len(s.Log.Quarantined) != 1 {
		return fmt.Errorf("%d messages are put aside", len(s.Log.Quarantined))
	}
	q := s.Log.Quarantined[0]
	switch {
	case q.Sequence == 0 || q.Reason == "" || !strings.HasSuffix(q.Subject, "."+guest):
		return fmt.Errorf("what is put aside is told as %+v", q)
	case s.Healthy || len(s.Problems) != 1 || !strings.Contains(s.Problems[0], q.Reason):
		return fmt.Errorf("healthy: %t, problems: %s", s.Healthy, strings.Join(s.Problems, "; "))
	}
	return nil
}

// publishRaw speaks the text protocol of NATS to the log's server. The answer
// to PING says that it has taken what came before.
func (w *world) publishRaw(ctx context.Context, subject, payload string) error {
	const script = `exec 3<>"/dev/tcp/$1/$2" && printf 'CONNECT {"verbose":false}\r\nPUB %s %d\r\n%s\r\nPING\r\n' "$3" "${#4}" "$4" >&3
while read -r -t 10 line <&3; do
  case $line in
    PONG*) exit 0 ;;
    -ERR*) echo "$line" >&2; exit 1 ;;
  esac
done
echo "no answer" >&2; exit 1`
	at := w.Topology.LogAddress
	_, err := w.Exec(ctx, lab.NodeControl, "bash", "-c", script, "bash", at.Addr().String(), fmt.Sprint(at.Port()), subject, payload)
	if err != nil {
		return fmt.Errorf("publishing %s: %w", subject, err)
	}
	return nil
}
