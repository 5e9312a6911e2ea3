package log

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/projector"
)

// contested is how many assignments race; HOSTROUTE_TEST_CONTESTED says another
// number.
func contested(t *testing.T) int {
	t.Helper()
	text := os.Getenv("HOSTROUTE_TEST_CONTESTED")
	if text == "" {
		return 500
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("HOSTROUTE_TEST_CONTESTED is %q; it must be a number of assignments", text)
	}
	return n
}

const (
	raceAddresses = 60
	raceGuests    = 12
)

// command is what a publisher tries with one address.
type command struct {
	address int
	kind    events.Type
	vm      string // who gets it, or has it
}

func (c command) data() events.Data {
	p := pfx(fmt.Sprintf("203.0.113.%d/32", c.address+1))
	switch c.kind {
	case events.TypeIPReleased:
		return &events.IPReleased{Prefix: p, VM: c.vm}
	case events.TypeIPMoved:
		return &events.IPMoved{Prefix: p, To: c.vm}
	}
	return &events.IPAssigned{Prefix: p, VM: c.vm, Role: events.RoleElastic}
}

// ownership says what an address is: a register that holds a guest or nobody.
// The answer of a command is its error's code, empty for success.
var ownership = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		parts := make([][]porcupine.Operation, raceAddresses)
		for _, o := range history {
			a := o.Input.(command).address
			parts[a] = append(parts[a], o)
		}
		return parts
	},
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		answer, next := decided(state.(string), input.(command))
		return answer == output.(events.Code), next
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v → %q", input, output) },
}

// decided is the answer to a command about an address that a guest has, and who
// has it then.
func decided(owner string, c command) (answer events.Code, next string) {
	switch {
	case c.kind == events.TypeIPReleased && owner == c.vm:
		return "", ""
	case c.kind == events.TypeIPReleased && owner != "":
		return events.CodeRefused, owner
	case c.kind == events.TypeIPAssigned && owner == "":
		return "", c.vm
	case owner == "":
		return events.CodeUnknown, owner
	case owner == c.vm:
		return events.CodeExists, owner
	case c.kind == events.TypeIPAssigned:
		return events.CodeTaken, owner
	}
	return "", c.vm // moved
}

// TestTheModelRefusesTwoOwners shows that the check can fail.
func TestTheModelRefusesTwoOwners(t *testing.T) {
	assign := func(vm string) command { return command{kind: events.TypeIPAssigned, vm: vm} }
	history := []porcupine.Operation{
		{ClientId: 0, Input: assign("vm1"), Call: 1, Output: events.Code(""), Return: 4},
		{ClientId: 1, Input: assign("vm2"), Call: 2, Output: events.Code(""), Return: 3},
	}
	if porcupine.CheckOperations(ownership, history) {
		t.Error("two guests get one address, and the model allows it")
	}
	history[1].Output = events.CodeTaken
	if !porcupine.CheckOperations(ownership, history) {
		t.Error("the model refuses what must be")
	}
}

// race is many publishers at work.
type race struct {
	l       *lab
	nodes   []*node
	ledgers []*Ledger
	total   int
	steps   int64 // how often a server is killed or paused, at least

	assigned   atomic.Int64 // assignments that were answered
	done       atomic.Int64 // commands that were
	unanswered atomic.Int64 // attempts that ended otherwise, such as while there was no leader
	ambiguous  atomic.Int64 // those of them that may have stored something

	mu      sync.Mutex
	history []porcupine.Operation
	stored  map[uint64]string // sequences of acknowledged events, and their ids
}

// TestOwnershipIsLinearizable has publishers contest addresses while servers of
// a cluster are killed and paused, and asks a checker whether there is an order
// of all commands that explains every answer.
func TestOwnershipIsLinearizable(t *testing.T) {
	r := &race{l: &lab{t: t, ctx: t.Context()}, total: contested(t), steps: 6, stored: map[uint64]string{}}
	if r.total > 1000 {
		r.steps = 24
	}
	r.nodes = startProcesses(t, time.Minute)
	for i := range 6 {
		r.ledgers = append(r.ledgers, openLedger(t, r.l, r.nodes, i))
	}
	r.world()
	r.l.serve()
	nc, err := Connect(urls(r.nodes, 1), ConnectOptions{Name: "follower", Logger: testLogger()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	follower, _ := r.l.followFrom(nc, "hv0", FollowerOptions{Interval: time.Second})
	var publishers sync.WaitGroup
	for i, ledger := range r.ledgers {
		publishers.Go(func() { r.publish(t, i, ledger) })
	}
	r.trouble(t)
	publishers.Wait()
	r.judge(t)
	want := desired(t, r.l.replay(), "hv0")
	testenv.Eventually(t, "an agent that followed all the time agrees with replay", func() bool { return desired(t, follower.State(), "hv0") == want })
}

func (r *race) world() {
	r.l.publish(network("web", "public", "203.0.113.0/24"))
	for i := range raceGuests {
		hv := fmt.Sprintf("hv%d", i)
		r.l.publish(hypervisor(hv), guest(fmt.Sprintf("vm%d", i), hv, "web"))
	}
}

// publish sends commands until enough assignments were answered. It asks for
// each until it knows the answer.
func (r *race) publish(t *testing.T, client int, ledger *Ledger) {
	random := rand.New(rand.NewPCG(uint64(client), 1))
	kinds := []events.Type{events.TypeIPAssigned, events.TypeIPAssigned, events.TypeIPReleased, events.TypeIPMoved}
	for n := 0; r.assigned.Load() < int64(r.total); n++ {
		c := command{random.IntN(raceAddresses), kinds[random.IntN(len(kinds))], fmt.Sprintf("vm%d", random.IntN(raceGuests))}
		e := events.Event{ID: fmt.Sprintf("%d-%d", client, n), Data: c.data()}
		call := time.Now().UnixNano()
		var bad *events.Error
		stored, err := ledger.Publish(r.l.ctx, e)
		for ; err != nil && !errors.As(err, &bad); stored, err = ledger.Publish(r.l.ctx, e) {
			if pause(r.l.ctx, 20*time.Millisecond) != nil {
				return
			}
			if r.unanswered.Add(1); errors.Is(err, ErrUnknownOutcome) {
				r.ambiguous.Add(1)
			}
			if r.l.ctx.Err() != nil || t.Failed() {
				t.Errorf("publisher %d doesn't learn what became of %s: %v", client, e.ID, err)
				return
			}
		}
		o := porcupine.Operation{ClientId: client, Input: c, Call: call, Output: events.Code(""), Return: time.Now().UnixNano()}
		if bad != nil {
			o.Output = bad.Code
		}
		r.mu.Lock()
		r.history = append(r.history, o)
		if bad == nil {
			r.stored[stored.Sequence] = e.ID
		}
		r.mu.Unlock()
		if c.kind == events.TypeIPAssigned {
			r.assigned.Add(1)
		}
		r.done.Add(1)
	}
}

// progress waits until so many commands more were answered.
func (r *race) progress(t *testing.T, more int64) (finished bool) {
	t.Helper()
	want := r.done.Load() + more
	testenv.Eventually(t, fmt.Sprintf("%d commands more are answered", more), func() bool {
		finished = r.assigned.Load() >= int64(r.total)
		return finished || r.done.Load() >= want
	})
	return finished
}

// trouble kills and pauses servers in turn, the leader and others, each until
// the rest has answered some commands without it.
func (r *race) trouble(t *testing.T) {
	between := max(int64(r.total)/r.steps, 1)
	for step := 0; !r.progress(t, between); step++ {
		n := r.nodes[step%len(r.nodes)]
		if step%2 == 0 {
			if leader := r.leader(); leader != nil {
				n = leader
			}
		}
		if step%4 < 2 {
			n.kill(t)
			r.progress(t, 20)
			n.start(t)
			continue
		}
		n.signal(t, syscall.SIGSTOP)
		r.progress(t, 20)
		n.signal(t, syscall.SIGCONT)
	}
}

// leader finds the server that leads the ledger; nil: none is known.
func (r *race) leader() *node {
	for _, ledger := range r.ledgers {
		info, err := ledger.ledger.Info(r.l.ctx)
		if err != nil || info.Cluster == nil {
			continue
		}
		for _, n := range r.nodes {
			if n.Name == info.Cluster.Leader {
				return n
			}
		}
	}
	return nil
}

// judge compares all answers with each other, and with what is in the log.
func (r *race) judge(t *testing.T) {
	result, info := porcupine.CheckOperationsVerbose(ownership, r.history, 2*time.Minute)
	if result != porcupine.Ok {
		file := os.TempDir() + "/hostroute-linear.html"
		_ = porcupine.VisualizePath(ownership, info, file)
		t.Errorf("the answers of %d commands have no common order: %s; see %s", len(r.history), result, file)
	}
	var messages []raw
	testenv.Eventually(t, "all of the log is read", func() bool {
		messages = r.l.all()
		last, err := r.l.ledger.LastSequence(r.l.ctx)
		return err == nil && len(messages) > 0 && messages[len(messages)-1].Sequence == last
	})
	checkBatches(t, messages)
	bySequence, ids := map[uint64]string{}, map[string]int{}
	for _, m := range messages {
		d, err := decode(m)
		if err != nil {
			t.Fatalf("message %d: %v", m.Sequence, err)
		}
		if d.Offset == 0 {
			bySequence[m.Sequence] = d.ID
			ids[d.ID]++
		}
	}
	for sequence, id := range r.stored {
		if bySequence[sequence] != id || ids[id] != 1 {
			t.Errorf("event %s was acknowledged at sequence %d; there is %q, and it is in the log %d times", id, sequence, bySequence[sequence], ids[id])
		}
	}
	state := r.l.replay()
	if q := state.Quarantined(); len(q) != 0 {
		t.Errorf("replay refuses what was published: %+v", q)
	}
	checkOwners(t, state)
	if _, err := r.l.ledger.Verify(r.l.ctx, VerifyOptions{}, func(f Finding) {
		if f.Kind != FindingCopy { // a server that was away may be behind for a moment
			t.Errorf("the log isn't sound: %s", f)
		}
	}); err != nil {
		t.Error(err)
	}
	if t.Failed() {
		return
	}
	t.Logf("%d commands, %d of them assignments: %d stored, 0 doubles, 0 acknowledged ones lost; %d attempts without an answer, "+
		"%d of which left open whether they had stored something; all resolved",
		len(r.history), r.assigned.Load(), len(r.stored), r.unanswered.Load(), r.ambiguous.Load())
}

// checkOwners wants no address with two guests.
func checkOwners(t *testing.T, s *projector.State) {
	t.Helper()
	owners := map[string]string{}
	for i := range raceGuests {
		vm := fmt.Sprintf("vm%d", i)
		for _, a := range s.Guest(vm).Addresses {
			if other := owners[a.Prefix.String()]; other != "" {
				t.Errorf("%s is with %s and %s", a.Prefix, other, vm)
			}
			owners[a.Prefix.String()] = vm
		}
	}
}
