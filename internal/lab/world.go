package lab

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"

	"github.com/hostroute/hostroute/events"
)

// worldFile holds the events of the topology, in the lab's directory.
const worldFile = "world.jsonl"

// WorldFile is a file for `hostroute publish` with what has to be in the log for the guests of the topology to
// be served.
func (l *Lab) WorldFile() string { return l.path(worldFile) }

// World lists the events that make the topology's hypervisors, networks, guests and addresses known. Each has
// an id, so publishing them again changes nothing.
func (t Topology) World() []events.Event {
	var all []events.Event
	add := func(id string, data events.Data) { all = append(all, events.Event{ID: "lab-" + id, Data: data}) }
	for _, h := range t.Hypervisors {
		add(h.Name, &events.HypervisorRegistered{Hypervisor: h.Name})
	}
	for _, n := range t.Networks {
		add(n.Name, n.defined())
	}
	for _, g := range t.Guests {
		created := &events.VMCreated{VM: g.Name, Hypervisor: g.Hypervisor}
		for _, i := range g.Interfaces {
			f := events.Interface{Tap: i.Tap, Network: i.Network}
			_ = f.MAC.UnmarshalText([]byte(i.MAC)) // takes any text; publishing checks it
			created.Interfaces = append(created.Interfaces, f)
		}
		add(g.Name, created)
	}
	for _, g := range t.Guests {
		for _, i := range g.Interfaces {
			for _, p := range []netip.Prefix{netip.PrefixFrom(i.V4, i.V4.BitLen()), i.Prefix6} {
				add(g.Name+"-"+p.String(), &events.IPAssigned{Prefix: events.PrefixFrom(p), VM: g.Name})
			}
		}
	}
	return all
}

// writeWorld writes the events as JSON lines.
func (l *Lab) writeWorld() error {
	var b bytes.Buffer
	lines := json.NewEncoder(&b)
	for _, e := range l.Topology.World() {
		if err := lines.Encode(e); err != nil {
			return fmt.Errorf("writing the events of the lab: %w", err)
		}
	}
	if err := os.WriteFile(l.WorldFile(), b.Bytes(), 0o644); err != nil {
		return fmt.Errorf("writing the events of the lab: %w", err)
	}
	return nil
}
