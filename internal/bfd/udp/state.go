package udp

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hostroute/hostroute/internal/bfd"
)

// stateVersion is that of the file. Another one's sessions start anew.
const stateVersion = 1

// savedState is the file.
type savedState struct {
	Version  int            `json:"version"`
	Sessions []savedSession `json:"sessions"`
}

// savedSession is what it takes to go on with a session.
type savedSession struct {
	Spec                bfd.Spec
	State               bfd.State
	LocalDiscriminator  uint32
	RemoteDiscriminator uint32
	RemoteMinTx         time.Duration
	RemoteMinRx         time.Duration
	RemoteMultiplier    uint8
	RemoteIndependent   bool
	Falls               uint32
	Source              uint16
	Since               time.Time
	Fell                bfd.Fall
	FellAt              time.Time
}

func (s savedSession) status() bfd.Status {
	return bfd.Status{Spec: s.Spec, Since: s.Since, FellAt: s.FellAt, Source: s.Source, Report: bfd.Report{
		State: s.State, LocalDiscriminator: s.LocalDiscriminator, RemoteDiscriminator: s.RemoteDiscriminator,
		RemoteMinTx: s.RemoteMinTx, RemoteMinRx: s.RemoteMinRx, RemoteMultiplier: s.RemoteMultiplier,
		RemoteIndependent: s.RemoteIndependent, Falls: s.Falls, Fell: s.Fell,
	}}
}

// resume asks for the sessions of a former process, unless somebody has asked
// for others already, and gives what there is to know of them. A file that can't
// be used costs no more than that the sessions start anew.
func (e *Engine) resume() map[bfd.Key]bfd.Status {
	state, err := readState(e.state)
	if err != nil {
		e.log.Warn("sessions of the former process start anew", "err", err)
		return nil
	}
	former := make(map[bfd.Key]bfd.Status, len(state.Sessions))
	specs := make([]bfd.Spec, 0, len(state.Sessions))
	for _, s := range state.Sessions {
		former[s.Spec.Key] = s.status()
		specs = append(specs, s.Spec)
	}
	if len(specs) == 0 || e.wanted.Load() != nil {
		return former
	}
	if err := e.Set(specs); err != nil {
		e.log.Warn("sessions of the former process start anew", "err", err)
		return nil
	}
	e.log.Info("going on with the sessions of the former process", "sessions", len(specs))
	return former
}

func readState(path string) (s savedState, err error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("reading the state: %w", err)
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return savedState{}, fmt.Errorf("reading the state in %s: %w", path, err)
	}
	if s.Version != stateVersion {
		return savedState{}, fmt.Errorf("the state in %s has version %d and not %d", path, s.Version, stateVersion)
	}
	return s, nil
}

// keepState writes the file with every change until stop, and once more then.
func (e *Engine) keepState() (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-end:
				return
			case <-e.save:
				e.writeState()
			}
		}
	}()
	return func() {
		close(end)
		<-ended
		e.writeState()
	}
}

// writeState replaces the file as a whole. It needn't survive a crash of the
// host, whose end is that of the sessions.
func (e *Engine) writeState() {
	sessions, set := e.Snapshot()
	if set == 0 {
		return // nothing has been wanted yet
	}
	state := savedState{Version: stateVersion, Sessions: make([]savedSession, 0, len(sessions))}
	for _, s := range sessions {
		state.Sessions = append(state.Sessions, savedSession{
			Spec: s.Spec, State: s.State, LocalDiscriminator: s.LocalDiscriminator, RemoteDiscriminator: s.RemoteDiscriminator,
			RemoteMinTx: s.RemoteMinTx, RemoteMinRx: s.RemoteMinRx, RemoteMultiplier: s.RemoteMultiplier,
			RemoteIndependent: s.RemoteIndependent, Falls: s.Falls, Source: s.Source, Since: s.Since, Fell: s.Fell, FellAt: s.FellAt,
		})
	}
	if err := replaceFile(e.state, state); err != nil {
		e.log.Warn("a restart of this process will look like a failure", "err", err)
	}
}

func replaceFile(path string, state savedState) error {
	b, err := json.Marshal(state)
	if err != nil {
		return fmt.Errorf("writing the state: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("making the folder of the state: %w", err)
	}
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return fmt.Errorf("writing the state: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("writing the state: %w", err)
	}
	return nil
}
