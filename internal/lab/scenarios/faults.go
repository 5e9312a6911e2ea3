package scenarios

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"time"
)

func (w *world) moveGuest(ctx context.Context) error {
	const guest, to = "vm2", "hv3"
	stream, err := w.StartStream("vm3", w.address(guest, "public", 4), "0.1")
	if err != nil {
		return err
	}
	moved := time.Now()
	err = w.MoveGuest(ctx, guest, to)
	if err == nil {
		w.homes[guest] = to
		err = w.publish(ctx, "vm", "migrate", guest, "--to", to)
	}
	w.story.Eventually(ctx, "the moved guest answers everybody, in both families and on both networks", settle, func() error {
		return w.all(ctx, w.everyone())
	})
	w.story.MeasureTime("guest moved → everybody reaches everybody again", time.Since(moved))
	sent, received, streamErr := stream.Stop()
	if err != nil || streamErr != nil {
		return fmt.Errorf("moving %s: %w", guest, firstError(err, streamErr))
	}
	w.story.Measure("packets lost to the moving guest, 10 a second, its carrier loss included", fmt.Sprintf("%d of %d", sent-received, sent))
	w.story.Eventually(ctx, "its routes lead to the new home, and the old home has nothing of it left", settle, func() error {
		return w.everywhere(func(hv string) error { return w.routedEverywhere(ctx, hv, "ab") })
	})
	w.story.Check("its DHCP client renews its lease with the new home, and is told the same", w.renews(ctx, guest, "eth0"))
	out, err := w.hostroute(ctx, to, "guests", "--socket", w.AgentSocket(to))
	w.story.Show("hostroute guests    (on "+to+")", out)
	return err
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *world) cutPlanes(ctx context.Context) error {
	if err := w.cut(ctx, "b", "a"); err != nil {
		return err
	}
	return w.cut(ctx, "a", "b")
}

// cut takes a plane away under traffic, wants everything on the other, and
// brings it back.
func (w *world) cut(ctx context.Context, plane, other string) error {
	stream, err := w.StartStream("vm1", w.address("vm3", "public", 4), "0.1")
	if err != nil {
		return err
	}
	if err := w.CutPlane(ctx, plane); err != nil {
		return err
	}
	w.story.Eventually(ctx, fmt.Sprintf("plane %s cut: every learned route uses plane %s alone", plane, other), settle, func() error {
		return w.everywhere(func(hv string) error { return w.routedEverywhere(ctx, hv, other) })
	})
	w.story.Eventually(ctx, fmt.Sprintf("plane %s cut: everybody reaches everybody and the internet", plane), settle, func() error {
		return w.all(ctx, w.everyone())
	})
	sent, received, err := stream.Stop()
	if err != nil {
		return err
	}
	w.story.Measure(fmt.Sprintf("packets lost between guests when plane %s was cut, 10 a second", plane), fmt.Sprintf("%d of %d", sent-received, sent))
	if err := w.RestorePlane(ctx, plane); err != nil {
		return err
	}
	restored := time.Now()
	w.story.Eventually(ctx, fmt.Sprintf("plane %s back: every agent healthy, every learned route over both planes", plane), 3*settle, func() error {
		return w.everywhere(func(hv string) error {
			return firstError(w.healthy(ctx, hv), w.routedEverywhere(ctx, hv, "ab"))
		})
	})
	w.story.MeasureTime(fmt.Sprintf("plane %s restored → used by everybody again", plane), time.Since(restored))
	return nil
}

// restartAgent keeps the stream running and compares the kernels only when the
// agent has long been healthy: what it would sweep, it sweeps when the
// reflectors have told it all that they know.
func (w *world) restartAgent(ctx context.Context) error {
	const hv = "hv2"
	before, err := w.kernels(ctx)
	if err != nil {
		return err
	}
	stream, err := w.StartStream("vm1", w.address("vm3", "public", 4), "0.1")
	if err != nil {
		return err
	}
	err = w.killAndStart(ctx, hv)
	if err == nil {
		w.story.Eventually(ctx, "the agent is healthy again", 3*settle, func() error { return w.healthy(ctx, hv) })
		w.story.Eventually(ctx, "everybody reaches everybody and the internet", settle, func() error { return w.all(ctx, w.everyone()) })
	}
	sent, received, streamErr := stream.Stop()
	after, kernelErr := w.kernels(ctx)
	if err := firstError(err, kernelErr, streamErr); err != nil {
		return err
	}
	var lost error
	if sent != received {
		lost = fmt.Errorf("%d of %d lost", sent-received, sent)
	}
	w.story.Check("no packet to its guest was lost meanwhile", lost)
	w.story.Measure("packets sent to a guest of the restarted agent, 10 a second", fmt.Sprintf("%d, %d lost", sent, sent-received))
	for _, h := range w.Topology.Hypervisors {
		w.story.Check("the kernel of "+h.Name+" is what it was: routes, next hops, neighbours, rules, addresses", same(before[h.Name], after[h.Name]))
	}
	return nil
}

func (w *world) killAndStart(ctx context.Context, hv string) error {
	agent, err := w.Daemon(hv, "agent")
	if err != nil {
		return err
	}
	if err := agent.Stop(ctx, syscall.SIGKILL, 5*time.Second); err != nil {
		return err
	}
	_, err = w.StartAgent(ctx, w.story.Binary, hv)
	return err
}

// kernels reads the kernels of all hypervisors.
func (w *world) kernels(ctx context.Context) (map[string]string, error) {
	all := map[string]string{}
	return all, w.everywhere(func(hv string) (err error) {
		all[hv], err = w.kernel(ctx, hv)
		return err
	})
}

// kernel reads what a restart must not change, as ip(8) shows it.
func (w *world) kernel(ctx context.Context, hv string) (string, error) {
	var all strings.Builder
	for _, args := range []string{
		"-4 route show table all proto 201", "-6 route show table all proto 201", "nexthop show proto 201",
		"-4 rule show", "-6 rule show", "-brief address show", "neighbour show nud permanent",
	} {
		out, err := w.Exec(ctx, hv, append([]string{"ip"}, strings.Fields(args)...)...)
		if err != nil {
			return "", err
		}
		all.WriteString(out)
	}
	return all.String(), nil
}

// same wants the same lines, whatever their order.
func same(before, after string) error {
	count := map[string]int{}
	for line := range strings.Lines(before) {
		count[strings.TrimSpace(line)]++
	}
	for line := range strings.Lines(after) {
		count[strings.TrimSpace(line)]--
	}
	var diff []string
	for line, n := range count {
		switch {
		case n > 0:
			diff = append(diff, "- "+line)
		case n < 0:
			diff = append(diff, "+ "+line)
		}
	}
	if len(diff) > 0 {
		return fmt.Errorf("%d lines differ: %s", len(diff), strings.Join(diff[:min(len(diff), 6)], " | "))
	}
	return nil
}
