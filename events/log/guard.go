package log

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/projector"
)

// guard adds expectations on what the decision read and doesn't write. A
// message has room for one, and only feed messages have none of their own.
//
// A hypervisor's register needs none where the batch writes the tick of that
// hypervisor: every change of the register is a tick too, and the tick that
// this batch will follow says what the decision was made on. Networks that are
// too many for the room are guarded by the tick of all networks. What is left,
// and a decision on a pattern, takes the coarsest guard: nothing at all was
// written to the ledger since before the first read.
func (v *view) guard(ctx context.Context, d projector.Decision, msgs []*nats.Msg) error {
	if v.whole {
		msgs[0].Header[nats.ExpectedLastSeqHdr] = []string{strconv.FormatUint(v.before, 10)}
		return nil
	}
	var room []*nats.Msg
	for i, m := range d.Messages {
		if !m.Chained {
			room = append(room, msgs[i])
		}
	}
	guards := slices.DeleteFunc(slices.Clone(d.Guards), func(g string) bool { return v.coveredByTick(g, d) })
	if len(guards) > len(room) {
		var err error
		if guards, err = v.netGuards(ctx, guards); err != nil {
			return err
		}
	}
	if len(guards) > len(room) {
		return errWhole
	}
	for i, g := range guards {
		room[i].Header[nats.ExpectedLastSubjSeqHdr] = []string{strconv.FormatUint(v.sequence(g), 10)}
		room[i].Header[headerGuardSubject] = []string{g}
	}
	return nil
}

// netGuards replaces the guards on networks by one on their common tick. The
// tick is read first and the networks behind it are as they were: what changes
// one of them from then on is a tick behind this one.
func (v *view) netGuards(ctx context.Context, guards []string) ([]string, error) {
	isNet := func(g string) bool { return strings.HasPrefix(g, events.SubjectNet("")) }
	nets := slices.DeleteFunc(slices.Clone(guards), func(g string) bool { return !isNet(g) })
	if len(nets) < 2 {
		return guards, nil
	}
	if err := v.look(ctx, []string{events.SubjectNetTick}); err != nil {
		return nil, err
	}
	found, err := v.ledger.get.last(ctx, nets...)
	if err != nil {
		return nil, err
	}
	for _, n := range nets {
		if found[n].Sequence != v.sequence(n) {
			return nil, errChanged
		}
	}
	return append(slices.DeleteFunc(slices.Clone(guards), isNet), events.SubjectNetTick), nil
}

// coveredByTick tells whether a hypervisor's register is as the last tick of
// the hypervisor says, behind which the batch will be written.
func (v *view) coveredByTick(guard string, d projector.Decision) bool {
	name, ok := strings.CutPrefix(guard, events.SubjectHV(""))
	if !ok {
		return false
	}
	subject := events.SubjectTick(name)
	if !slices.ContainsFunc(d.Messages, func(m projector.Message) bool { return m.Subject == subject }) {
		return false
	}
	_, said, err := readRegister(v.last[subject])
	if err != nil {
		return false
	}
	have := v.state.Hypervisor(name)
	if have == nil {
		return !said.Exists()
	}
	a, err1 := projector.EncodeRegister(have)
	b, err2 := projector.EncodeRegister(said)
	return err1 == nil && err2 == nil && string(a) == string(b)
}
