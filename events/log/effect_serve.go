package log

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
)

// EffectWitness answers, for one hypervisor, whether it has the effect of an
// event: at once if it has, else as soon as it has, at the latest when the asker
// wants to hear what is missing. Who asks again after a lost answer, or after a
// restart of this one, is answered again.
type EffectWitness struct {
	nc         *nats.Conn
	hypervisor string
	look       func() func(Effect) EffectAnswer
	log        *slog.Logger
	wake       chan struct{}
}

const (
	maxEffects   = 128 // questions that wait; a further one is answered at once
	effectBuffer = 512
	// effectLook is how often a witness looks without being told to.
	effectLook = 250 * time.Millisecond
	// effectPause is the least time between two looks, and effectShare how many
	// times longer than a look the pause behind it is at least: who waits must
	// not slow down what is waited for.
	effectPause = 2 * time.Millisecond
	effectShare = 20
)

// NewEffectWitness makes a witness. Look is called in the goroutine of Run, looks
// at what there is, and gives what decides by that on any number of effects; the
// name in an answer is filled in.
func NewEffectWitness(nc *nats.Conn, hypervisor string, look func() func(Effect) EffectAnswer, logger *slog.Logger) *EffectWitness {
	return &EffectWitness{nc: nc, hypervisor: hypervisor, look: look, log: orDiscard(logger), wake: make(chan struct{}, 1)}
}

// Wake says that something has changed that is looked at. It never waits.
func (w *EffectWitness) Wake() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// waitingEffect is a question without an answer.
type waitingEffect struct {
	effectQuestion
	until time.Time
}

// Run answers until the context ends. Those who wait then are not answered: they
// ask again.
func (w *EffectWitness) Run(ctx context.Context) error {
	questions := make(chan *nats.Msg, effectBuffer)
	sub, err := w.nc.ChanSubscribe(SubjectEffect+"."+w.hypervisor, questions)
	if err != nil {
		return fmt.Errorf("answering whether events have had their effect: %w", err)
	}
	defer sub.Unsubscribe()               //nolint:errcheck // the connection may be gone
	waiting := map[string]waitingEffect{} // by where the answer goes
	look := time.NewTimer(effectLook)
	defer look.Stop()
	earliest := time.Time{} // next look
	for {
		select {
		case <-ctx.Done():
			return nil
		case m := <-questions:
			w.question(m, waiting)
			continue
		case <-w.wake:
			if pause := time.Until(earliest); pause > 0 {
				look.Reset(pause)
				continue
			}
		case <-look.C:
		}
		began := time.Now()
		w.review(waiting, began)
		earliest = time.Now().Add(max(effectPause, effectShare*time.Since(began)))
		look.Reset(max(effectLook, time.Until(earliest)))
	}
}

// question takes one in: what has its effect, or can't wait, is answered at once.
func (w *EffectWitness) question(m *nats.Msg, waiting map[string]waitingEffect) {
	if !own(m.Reply, w.hypervisor) {
		w.log.Warn("question ignored that wants its answer elsewhere than in the asker's inbox under this hypervisor's name", "subject", m.Subject, "reply", m.Reply)
		return
	}
	q, err := readQuestion(m.Data)
	if err != nil {
		w.answer(m.Reply, EffectAnswer{Lacks: []string{err.Error()}})
		return
	}
	delete(waiting, m.Reply) // asked again
	a := w.look()(q.Effect)
	if a.Has || q.Wait == 0 || len(waiting) >= maxEffects {
		w.answer(m.Reply, a)
		return
	}
	waiting[m.Reply] = waitingEffect{q, time.Now().Add(seconds(q.Wait))}
}

// review answers those whose effect is there, or whose time has come.
func (w *EffectWitness) review(waiting map[string]waitingEffect, now time.Time) {
	if len(waiting) == 0 {
		return
	}
	decide := w.look()
	for reply, q := range waiting {
		if a := decide(q.Effect); a.Has || !now.Before(q.until) {
			delete(waiting, reply)
			w.answer(reply, a)
		}
	}
}

// answer is not repeated: who doesn't hear it asks again.
func (w *EffectWitness) answer(reply string, a EffectAnswer) {
	a.Hypervisor = w.hypervisor
	payload, err := json.Marshal(a)
	if err == nil {
		err = w.nc.Publish(reply, payload)
	}
	if err != nil {
		w.log.Debug("answering whether an event has had its effect", "error", err)
	}
}
