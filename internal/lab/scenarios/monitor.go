package scenarios

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

// startMonitors has every kernel tell what is changed in it, with ip-monitor(8).
func (w *world) startMonitors(ctx context.Context) error {
	for _, h := range w.Topology.Hypervisors {
		if _, err := w.Start(ctx, h.Name, "monitor", "ip", "-ts", "monitor", "route", "nexthop", "rule"); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) endMonitors(ctx context.Context) error {
	for _, h := range w.Topology.Hypervisors {
		d, err := w.Daemon(h.Name, "monitor")
		if err != nil {
			return err
		}
		if err := d.Stop(ctx, syscall.SIGTERM, 5*time.Second); err != nil {
			return err
		}
	}
	return nil
}

// change is something of ours that a kernel told of.
type change struct {
	at   time.Time
	what string
}

// deleted lists what a kernel told to be deleted of ours.
func (w *world) deleted(hv string) ([]change, error) {
	d, err := w.Daemon(hv, "monitor")
	if err != nil {
		return nil, err
	}
	if !d.Alive() {
		return nil, errors.New("the monitor of " + hv + " ended")
	}
	raw, err := os.ReadFile(d.Log)
	if err != nil {
		return nil, err
	}
	return deletedIn(string(raw))
}

// deletedIn reads lines like "[2026-11-22T10:20:30.123456] Deleted 203.0.113.13 nhid 5 proto 201 metric 200".
func deletedIn(log string) ([]change, error) {
	var list []change
	for line := range strings.Lines(log) {
		stamp, what, ok := strings.Cut(strings.TrimSpace(line), "] Deleted ")
		if !ok || !strings.Contains(what, "proto 201") {
			continue
		}
		at, err := time.ParseInLocation("[2006-01-02T15:04:05.000000", stamp, time.Local)
		if err != nil {
			return nil, fmt.Errorf("reading the monitor's line %q: %w", line, err)
		}
		list = append(list, change{at, what})
	}
	return list, nil
}

// lastDeleted is when the last of a guest's routes was deleted in a kernel.
func (w *world) lastDeleted(hv, guest string) (last time.Time, err error) {
	g, err := w.Topology.Guest(guest)
	if err != nil {
		return last, err
	}
	changes, err := w.deleted(hv)
	if err != nil {
		return last, err
	}
	for _, n := range w.Topology.Networks {
		for _, family := range families {
			p, _ := portOn(g, n.Name, family)
			shown := strings.TrimSuffix(strings.TrimSuffix(p.String(), "/128"), "/32")
			var at time.Time
			for _, c := range changes {
				if strings.HasPrefix(c.what, shown+" ") {
					at = c.at
				}
			}
			if at.IsZero() {
				return last, fmt.Errorf("%s told of no deletion of %s", hv, p)
			}
			if at.After(last) {
				last = at
			}
		}
	}
	return last, nil
}
