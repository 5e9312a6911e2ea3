package agent

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hostroute/hostroute/events/log"
	"github.com/hostroute/hostroute/migrations"
	"github.com/hostroute/hostroute/projector"
)

// The snapshot is a file of lines of JSON: a header, and a register each. It
// is a cache of the log: without it an agent starts with nothing known until
// the log is reached.
const (
	snapshotName    = "projection.snapshot"
	heldName        = "projection.held" // what is served while something is held back
	snapshotFormat  = "hostroute projection"
	snapshotVersion = 1
)

// snapshotHeader is the first line. Hash covers it, without Hash itself, and
// all the others.
type snapshotHeader struct {
	Format      string                  `json:"format"`
	Version     int                     `json:"version"`
	Hypervisor  string                  `json:"hypervisor"`
	Cursor      log.Cursor              `json:"cursor"`
	Registers   int                     `json:"registers"`
	Hash        string                  `json:"sha256"`
	Quarantined []projector.Quarantined `json:"quarantined,omitempty"`
}

// snapshotRegister is each further line. Schema is the version of the value, see
// migrations.RegisterVersion; none is 1, as before it was written down.
type snapshotRegister struct {
	Subject  string          `json:"subject"`
	Sequence uint64          `json:"sequence"`
	Schema   int             `json:"schema,omitempty"`
	Value    json.RawMessage `json:"value"`
}

// encodeSnapshot writes a State down.
func encodeSnapshot(hypervisor string, s *projector.State, c log.Cursor) ([]byte, error) {
	var body bytes.Buffer
	header := snapshotHeader{
		Format: snapshotFormat, Version: snapshotVersion, Hypervisor: hypervisor, Cursor: c, Quarantined: s.Quarantined(),
	}
	lines := json.NewEncoder(&body)
	for subject, r := range s.Registers() {
		value, err := projector.EncodeRegister(r)
		if err != nil {
			return nil, fmt.Errorf("encoding %s: %w", subject, err)
		}
		line := snapshotRegister{Subject: subject, Sequence: r.Sequence(), Value: value}
		if v := migrations.RegisterVersion(subject); v > 1 {
			line.Schema = v
		}
		if err := lines.Encode(line); err != nil {
			return nil, fmt.Errorf("encoding %s: %w", subject, err)
		}
		header.Registers++
	}
	var err error
	if header.Hash, err = header.hash(body.Bytes()); err != nil {
		return nil, err
	}
	first, err := json.Marshal(header)
	if err != nil {
		return nil, fmt.Errorf("encoding the header: %w", err)
	}
	return append(append(first, '\n'), body.Bytes()...), nil
}

// hash is what Hash must be with this body.
func (h snapshotHeader) hash(body []byte) (string, error) {
	h.Hash = ""
	first, err := json.Marshal(h)
	if err != nil {
		return "", fmt.Errorf("encoding the header: %w", err)
	}
	sum := sha256.Sum256(append(append(first, '\n'), body...))
	return hex.EncodeToString(sum[:]), nil
}

// decodeSnapshot reads what encodeSnapshot wrote, whole or not at all.
func decodeSnapshot(hypervisor string, b []byte) (*projector.State, log.Cursor, error) {
	first, body, ok := bytes.Cut(b, []byte("\n"))
	var header snapshotHeader
	if err := json.Unmarshal(first, &header); !ok || err != nil {
		return nil, log.Cursor{}, errors.Join(errors.New("its header can't be read"), err)
	}
	sum, err := header.hash(body)
	if err != nil {
		return nil, log.Cursor{}, err
	}
	switch {
	case header.Format != snapshotFormat || header.Version != snapshotVersion:
		return nil, log.Cursor{}, fmt.Errorf("it is %q version %d, not %q version %d", header.Format, header.Version, snapshotFormat, snapshotVersion)
	case header.Hypervisor != hypervisor:
		return nil, log.Cursor{}, fmt.Errorf("it is of hypervisor %q, not of %q", header.Hypervisor, hypervisor)
	case header.Hash != sum:
		return nil, log.Cursor{}, errors.New("its checksum is wrong")
	}
	s := projector.New()
	n := 0
	for text := range bytes.Lines(body) {
		n++
		var line snapshotRegister
		if err := json.Unmarshal(text, &line); err != nil {
			return nil, log.Cursor{}, fmt.Errorf("register %d: %w", n, err)
		}
		value, err := migrations.UpcastRegister(line.Subject, max(line.Schema, 1), line.Value)
		if err != nil {
			return nil, log.Cursor{}, fmt.Errorf("register %d: %w", n, err)
		}
		r, err := projector.DecodeRegister(line.Subject, value, line.Sequence)
		if err != nil {
			return nil, log.Cursor{}, err
		}
		s.Put(line.Subject, r)
	}
	if n != header.Registers {
		return nil, log.Cursor{}, fmt.Errorf("it has %d registers instead of %d", n, header.Registers)
	}
	for _, q := range header.Quarantined {
		s.Quarantine(q)
	}
	return s, header.Cursor, nil
}

// restore reads the snapshot of a former run. There may be none; one that
// can't be used is set aside under another name and is an error.
func restore(dir, hypervisor string) (*projector.State, log.Cursor, error) {
	return restoreAs(snapshotName, dir, hypervisor)
}

func restoreAs(name, dir, hypervisor string) (*projector.State, log.Cursor, error) {
	path := filepath.Join(dir, name)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, log.Cursor{}, nil
	}
	if err != nil {
		return nil, log.Cursor{}, fmt.Errorf("reading the snapshot: %w", err)
	}
	s, c, err := decodeSnapshot(hypervisor, b)
	if err == nil {
		return s, c, nil
	}
	aside := path + ".damaged"
	return nil, log.Cursor{}, errors.Join(fmt.Errorf("snapshot %s can't be used and is set aside as %s: %w", path, aside, err), os.Rename(path, aside))
}

// save replaces the snapshot in one step: a crash leaves the old or the new.
func save(dir, hypervisor string, s *projector.State, c log.Cursor) error {
	return saveAs(snapshotName, dir, hypervisor, s, c)
}

func saveAs(name, dir, hypervisor string, s *projector.State, c log.Cursor) error {
	b, err := encodeSnapshot(hypervisor, s, c)
	if err != nil {
		return fmt.Errorf("writing the snapshot: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the folder of the snapshot: %w", err)
	}
	path := filepath.Join(dir, name)
	if err := writeSynced(path+".new", b); err != nil {
		return fmt.Errorf("writing the snapshot: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("replacing the snapshot: %w", err)
	}
	return syncFolder(dir)
}

func writeSynced(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}

// syncFolder makes a rename survive a power failure.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("opening the folder of the snapshot: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("writing the folder of the snapshot: %w", err)
	}
	return nil
}
