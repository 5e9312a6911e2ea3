package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/hostroute/hostroute/internal/agent"
	"github.com/hostroute/hostroute/projector"
)

// agentDifference is what the agent of this host holds otherwise than the log
// says, as --json shows it: elements of the desired state, as JSON.
type agentDifference struct {
	Lacks  []string `json:"lacks"`
	Has    []string `json:"has"`
	Within int      `json:"bytes"` // compared
}

func (d *agentDifference) any() bool { return len(d.Lacks)+len(d.Has) > 0 }

// An agent hears of an event some milliseconds after it was stored, so what it
// holds otherwise counts only if it stays so.
const (
	agentLag   = 3 * time.Second
	agentAgain = 200 * time.Millisecond
)

// diffAgent compares what the agent of this host holds with what a hypervisor
// must serve, byte for byte.
func diffAgent(ctx context.Context, socket string, host projector.Host) (*agentDifference, error) {
	want, err := json.Marshal(host)
	if err != nil {
		return nil, err
	}
	for until := time.Now().Add(agentLag); ; {
		got, err := ask(ctx, socket, agent.PathDesired, nil)
		if err != nil {
			return nil, err
		}
		var packed bytes.Buffer
		if err := json.Compact(&packed, got); err != nil {
			return nil, fmt.Errorf("reading the answer of the agent at %s: %w", socket, err)
		}
		if bytes.Equal(packed.Bytes(), want) || time.Now().After(until) {
			return compareDesired(want, packed.Bytes())
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(agentAgain):
		}
	}
}

// compareDesired names the elements in which two desired states differ.
func compareDesired(want, got []byte) (*agentDifference, error) {
	d := &agentDifference{Lacks: []string{}, Has: []string{}, Within: len(want)}
	if bytes.Equal(want, got) {
		return d, nil
	}
	wanted, err := elements(want)
	if err != nil {
		return nil, err
	}
	held, err := elements(got)
	if err != nil {
		return nil, err
	}
	d.Lacks = append(d.Lacks, without(wanted, held)...)
	d.Has = append(d.Has, without(held, wanted)...)
	if !d.any() {
		d.Has = append(d.Has, "the same in another order")
	}
	return d, nil
}

// elements lists the members of a JSON object, those of lists one by one.
func elements(object []byte) (list []string, err error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(object, &members); err != nil {
		return nil, fmt.Errorf("reading a desired state: %w", err)
	}
	for name, value := range members {
		var each []json.RawMessage
		if json.Unmarshal(value, &each) != nil {
			each = []json.RawMessage{value}
		}
		for _, e := range each {
			list = append(list, name+" "+string(e))
		}
	}
	slices.Sort(list)
	return list, nil
}

func without(list, other []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(other, s) })
}

// tellAgent words a comparison with the agent.
func (a *app) tellAgent(d *agentDifference) error {
	if !d.any() {
		_, err := fmt.Fprintf(a.stdout, "\nthe agent holds what the log says, byte for byte (%d bytes)\n", d.Within)
		return err
	}
	fmt.Fprintln(a.stdout)
	t := newTable(a.stdout, "AGENT", "DIFFERENCE")
	for _, e := range d.Lacks {
		t.row("lacks", e)
	}
	for _, e := range d.Has {
		t.row("has", e)
	}
	return t.flush()
}
