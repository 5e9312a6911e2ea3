package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// CutPlane takes the ports of some of a plane's nodes down, of all that are on it if none is named, so that they lose the
// carrier at once.
func (l *Lab) CutPlane(ctx context.Context, plane string, nodes ...string) error {
	return l.setPorts(ctx, plane, nodes, "down")
}

// RestorePlane undoes CutPlane.
func (l *Lab) RestorePlane(ctx context.Context, plane string, nodes ...string) error {
	return l.setPorts(ctx, plane, nodes, "up")
}

func (l *Lab) setPorts(ctx context.Context, plane string, nodes []string, state string) error {
	p, err := l.Topology.Plane(plane)
	if err != nil {
		return err
	}
	var b batch
	for _, s := range p.Segments {
		for _, port := range l.segmentPorts(p, s) {
			if len(nodes) == 0 || slices.Contains(nodes, port.node) {
				b.add("link set %s %s", portName(port.node, s.VRF), state)
			}
		}
	}
	if err := b.run(ctx, l.Topology.Namespace(p.Node)); err != nil {
		return fmt.Errorf("setting plane %s %s: %w", plane, state, err)
	}
	return nil
}

// CutManagement takes the log, and all else that is on the management network, away from a host.
func (l *Lab) CutManagement(ctx context.Context, node string) error {
	return l.setManagement(ctx, node, "down")
}

// RestoreManagement undoes CutManagement.
func (l *Lab) RestoreManagement(ctx context.Context, node string) error {
	return l.setManagement(ctx, node, "up")
}

func (l *Lab) setManagement(ctx context.Context, node, state string) error {
	var b batch
	b.add("link set %s %s", portName(node, NodeMgmt), state)
	if err := b.run(ctx, l.Topology.Namespace(NodeMgmt)); err != nil {
		return fmt.Errorf("setting the management network of %s %s: %w", node, state, err)
	}
	return nil
}

// SilencePlane stops a plane from forwarding while every carrier stays up, as a broken switch does: only
// BFD and the hold timer notice. RestoreSilence undoes it.
func (l *Lab) SilencePlane(ctx context.Context, plane string) error {
	return l.setBridges(ctx, plane, "down")
}

// RestoreSilence undoes SilencePlane.
func (l *Lab) RestoreSilence(ctx context.Context, plane string) error {
	return l.setBridges(ctx, plane, "up")
}

func (l *Lab) setBridges(ctx context.Context, plane, state string) error {
	p, err := l.Topology.Plane(plane)
	if err != nil {
		return err
	}
	var b batch
	for _, s := range p.Segments {
		b.add("link set %s %s", s.VRF, state)
	}
	if err := b.run(ctx, l.Topology.Namespace(p.Node)); err != nil {
		return fmt.Errorf("setting the bridges of plane %s %s: %w", plane, state, err)
	}
	return nil
}

// Lose has a plane lose so many percent of the packets to some of its nodes, of all that are on it if none is named,
// while every carrier stays up. What these nodes send arrives as before. It needs netem(8). RestoreLoss undoes it.
func (l *Lab) Lose(ctx context.Context, plane string, percent int, nodes ...string) error {
	return l.eachPort(ctx, plane, nodes, fmt.Sprintf("qdisc replace dev %%s root netem loss %d%%%%", percent))
}

// RestoreLoss undoes Lose.
func (l *Lab) RestoreLoss(ctx context.Context, plane string, nodes ...string) error {
	return l.eachPort(ctx, plane, nodes, "qdisc del dev %s root")
}

// eachPort runs a command of tc(8) for the bridge's ends of the cables to nodes.
func (l *Lab) eachPort(ctx context.Context, plane string, nodes []string, command string) error {
	p, err := l.Topology.Plane(plane)
	if err != nil {
		return err
	}
	var lines strings.Builder
	for _, s := range p.Segments {
		for _, port := range l.segmentPorts(p, s) {
			if len(nodes) == 0 || slices.Contains(nodes, port.node) {
				fmt.Fprintf(&lines, command+"\n", portName(port.node, s.VRF))
			}
		}
	}
	if _, err := run(ctx, lines.String(), "tc", "-n", l.Topology.Namespace(p.Node), "-batch", "-"); err != nil {
		return fmt.Errorf("setting the losses of plane %s: %w", plane, err)
	}
	return nil
}

// ErrNowhere is in the chain of the error when no hypervisor has a guest's tap.
var ErrNowhere = errors.New("no hypervisor has the tap")

// MoveGuest takes a guest's taps to another hypervisor, under the same names and down, as a migration shows
// them to the destination's kernel. The guest itself notices a loss of carrier at most.
func (l *Lab) MoveGuest(ctx context.Context, guest, to string) error {
	g, err := l.Topology.Guest(guest)
	if err != nil {
		return err
	}
	from, err := l.HomeOf(ctx, guest)
	if err != nil {
		return err
	}
	if from == to {
		return nil
	}
	var away, arrived batch
	for _, i := range g.Interfaces {
		away.add("link set %s netns %s", i.Tap, l.Topology.Namespace(to))
		arrived.add("link show dev %s", i.Tap)
	}
	if err := away.run(ctx, l.Topology.Namespace(from)); err != nil {
		return fmt.Errorf("moving %s from %s to %s: %w", guest, from, to, err)
	}
	if err := arrived.run(ctx, l.Topology.Namespace(to)); err != nil {
		return fmt.Errorf("moving %s from %s to %s: %w", guest, from, to, err)
	}
	return nil
}

// HomeOf is the hypervisor where a guest's first tap is now.
func (l *Lab) HomeOf(ctx context.Context, guest string) (string, error) {
	g, err := l.Topology.Guest(guest)
	if err != nil {
		return "", err
	}
	for _, h := range l.Topology.Hypervisors {
		if _, err := run(ctx, "", "ip", "-n", l.Topology.Namespace(h.Name), "link", "show", "dev", g.Interfaces[0].Tap); err == nil {
			return h.Name, nil
		}
	}
	return "", fmt.Errorf("looking for the home of %s: %w %s", guest, ErrNowhere, g.Interfaces[0].Tap)
}
