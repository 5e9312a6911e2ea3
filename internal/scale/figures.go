package scale

import (
	"fmt"
	"strings"
	"time"
)

// Figure is one result with the arithmetic that it comes from.
type Figure struct {
	Subject string `json:"subject"`
	Name    string `json:"name"`
	Formula string `json:"formula"`
	Numbers string `json:"numbers"`
	Result  string `json:"result"`
}

const year = 365 * 24 * 3600

// Figures is all arithmetic about a plan.
func Figures(p Plan, m Measured) []Figure {
	list := agentFigures(p, m)
	list = append(list, reflectorFigures(p, m)...)
	return append(list, logFigures(p, m)...)
}

func agentFigures(p Plan, m Measured) []Figure {
	routes, sources := float64(p.routes()), p.Planes*p.Reflectors
	rib := m.RIBFirst + float64(sources-1)*m.RIBNext
	sessions := p.VRFs * sources
	return []Figure{
		{"hypervisor", "routes of a family", "hypervisors × guests", fmt.Sprintf("%s × %s", count(float64(p.Hypervisors)), count(float64(p.Guests))), count(routes)},
		{"hypervisor", "BGP and BFD sessions", "VRFs × planes × reflectors", fmt.Sprintf("%d × %d × %d", p.VRFs, p.Planes, p.Reflectors), count(float64(sessions))},
		{"hypervisor", "RIB, IPv4", "routes × (first + (planes × reflectors − 1) × further)",
			fmt.Sprintf("%s × (%g + %d × %g) B", count(routes), m.RIBFirst, sources-1, m.RIBNext), sized(routes * rib)},
		{"hypervisor", "kernel, IPv4", "routes × bytes a route", fmt.Sprintf("%s × %g B", count(routes), m.Kernel4), sized(routes * m.Kernel4)},
		{"hypervisor", "kernel, IPv6", "routes × bytes a route", fmt.Sprintf("%s × %g B", count(routes), m.Kernel6), sized(routes * m.Kernel6)},
		{"hypervisor", "BFD packets a second, each way", "sessions ÷ interval", fmt.Sprintf("%d ÷ %s", sessions, m.BFD), count(float64(sessions) / m.BFD.Seconds())},
		{"hypervisor", "snapshot", "guests × bytes a guest", fmt.Sprintf("%d × %g B", p.Guests, m.Answer), sized(float64(p.Guests) * m.Answer)},
		{"hypervisor", "told by all reflectors at a start, a family", "routes × planes × reflectors × bytes",
			fmt.Sprintf("%s × %d × %g B", count(routes), sources, m.PairBytes), sized(routes * float64(sources) * m.PairBytes)},
	}
}

func reflectorFigures(p Plan, m Measured) []Figure {
	routes, clients := float64(p.routes()), float64(p.clients())
	moves := 2 * p.Events / m.LifeEvents // the addresses of both families of a guest, once in a life of eight events
	pairs := routes * clients
	return []Figure{
		{"reflector", "sessions", "clients × VRFs", fmt.Sprintf("%s × %d", count(clients), p.VRFs), count(clients * float64(p.VRFs))},
		{"reflector", "BFD packets a second, each way", "sessions ÷ interval", fmt.Sprintf("%s ÷ %s", count(clients*float64(p.VRFs)), m.BFD), count(clients * float64(p.VRFs) / m.BFD.Seconds())},
		{"reflector", "memory, a family", "routes × (bytes + clients × bytes)", fmt.Sprintf("%s × (%g + %s × %g) B", count(routes), m.BIRDRoute, count(clients), m.BIRDPair),
			sized(routes*m.BIRDRoute + pairs*m.BIRDPair)},
		{"reflector", "to tell everything to all, a family", "routes × clients × CPU time ÷ threads",
			fmt.Sprintf("%s × %s × %s ÷ %d", count(routes), count(clients), m.PerPair, p.Threads), spell(time.Duration(pairs * float64(m.PerPair) / float64(p.Threads)))},
		{"reflector", "and on the wire", "routes × clients × bytes", fmt.Sprintf("%s × %s × %g B", count(routes), count(clients), m.PairBytes), sized(pairs * m.PairBytes)},
		{"reflector", "which takes its link", "bytes ÷ rate", fmt.Sprintf("%s ÷ %g Gbit/s", sized(pairs*m.PairBytes), p.Gigabits),
			spell(time.Duration(pairs * m.PairBytes / p.link() * float64(time.Second)))},
		{"reflector", "changes of routes a second, sent", "events × 2 ÷ events of a life × clients",
			fmt.Sprintf("%g × 2 ÷ %g × %s", p.Events, m.LifeEvents, count(clients)), count(moves * clients)},
		{"reflector", "busy with them", "changes × CPU time ÷ threads", fmt.Sprintf("%s × %s ÷ %d", count(moves*clients), m.Move, p.Threads),
			percent(moves * clients * m.Move.Seconds() / float64(p.Threads))},
		{"reflector", "changes a second at which it is full", "threads ÷ (clients × CPU time)", fmt.Sprintf("%d ÷ (%s × %s)", p.Threads, count(clients), m.Move),
			count(float64(p.Threads) / (clients * m.Move.Seconds()))},
	}
}

func logFigures(p Plan, m Measured) []Figure {
	hypervisors, guests := float64(p.Hypervisors), float64(p.routes())
	stored, heard := m.LifeStored/m.LifeEvents, m.LifeHeard/m.LifeEvents
	yearly := p.Events * year
	polls := hypervisors / 15
	net := p.Networks / 3600 * hypervisors
	return []Figure{
		{"log", "stored of an event", "of a life ÷ its events", fmt.Sprintf("%s ÷ %g", sized(m.LifeStored), m.LifeEvents), sized(stored)},
		{"log", "written a second, before replication", "events × stored", fmt.Sprintf("%g × %s", p.Events, sized(stored)), sized(p.Events*stored) + "/s"},
		{"log", "heard by agents a second", "events × heard", fmt.Sprintf("%g × %s", p.Events, sized(heard)), sized(p.Events*heard) + "/s"},
		{"log", "disk a year, a replica", "events × seconds × on disk", fmt.Sprintf("%s × %s", count(yearly), sized(m.DiskEvent)), sized(yearly * m.DiskEvent)},
		{"log", "disk a guest's life, a replica", "events of a life × on disk", fmt.Sprintf("%g × %s", m.LifeEvents, sized(m.DiskEvent)), sized(m.LifeEvents * m.DiskEvent)},
		{"log", "mirror", "guests × 2 × a mirrored event, at most", fmt.Sprintf("%s × 2 × %s", count(guests), sized(m.DiskMirror)), sized(guests * 2 * m.DiskMirror)},
		{"log", "commands a second at which it is full, three servers", "", "", count(m.Commands)},
		{"log", "commands a second at which it is full, one server", "", "", "about " + count(m.CommandsOne)},
		{"log", "fan-out, of one core", fmt.Sprintf("events × %d × own", heardOfEvent), fmt.Sprintf("%g × %d × %s", p.Events, heardOfEvent, m.Own), percent(p.Events * heardOfEvent * m.Own.Seconds())},
		{"log", "a change of a network until the last agent is sent it", "hypervisors × all", fmt.Sprintf("%s × %s", count(hypervisors), m.All), spell(time.Duration(hypervisors) * m.All)},
		{"log", "changes of networks, of one core", "networks × hypervisors × all", fmt.Sprintf("%s/s × %s", count(net), m.All), percent(net * m.All.Seconds())},
		{"log", "polls, of the servers' cores", "hypervisors ÷ 15 s × CPU time", fmt.Sprintf("%s/s × %s", count(polls), m.PollServer), percent(polls * m.PollServer.Seconds())},
		{"log", "polls, of the services' cores", "hypervisors ÷ 15 s × CPU time", fmt.Sprintf("%s/s × %s", count(polls), m.PollService), percent(polls * m.PollService.Seconds())},
		{"log", "servers' memory for connections, together", "hypervisors × bytes", fmt.Sprintf("%s × %s", count(hypervisors), sized(m.Connection)), sized(hypervisors * m.Connection)},
	}
}

// sized writes bytes.
func sized(n float64) string {
	for _, u := range []struct {
		from float64
		unit string
	}{{1e15, "PB"}, {1e12, "TB"}, {1e9, "GB"}, {1e6, "MB"}, {1e3, "kB"}} {
		if n >= u.from {
			return fmt.Sprintf("%.3g %s", n/u.from, u.unit)
		}
	}
	return fmt.Sprintf("%.3g B", n)
}

// count writes a number with commas, and small ones with a decimal.
func count(n float64) string {
	if n < 10 && n != float64(int(n)) {
		return fmt.Sprintf("%.2g", n)
	}
	s := fmt.Sprintf("%.0f", n)
	var b strings.Builder
	for i, r := range s {
		if i > 0 && (len(s)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// percent of one core.
func percent(share float64) string { return fmt.Sprintf("%.3g %%", 100*share) }

// spell writes a duration as people would.
func spell(d time.Duration) string {
	switch {
	case d >= 2*time.Hour:
		return fmt.Sprintf("%.1f h", d.Hours())
	case d >= 2*time.Minute:
		return fmt.Sprintf("%.1f min", d.Minutes())
	case d >= time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d >= time.Millisecond:
		return fmt.Sprintf("%.3g ms", d.Seconds()*1e3)
	}
	return fmt.Sprintf("%.3g µs", d.Seconds()*1e6)
}
