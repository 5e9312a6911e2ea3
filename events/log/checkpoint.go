package log

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Checkpoint says what a log was when it had so many messages: the head of the
// Merkle tree over all of them (RFC 6962, section 2.1). Kept where who writes
// the log has no access, and signed, it proves later that history is still what
// it was.
type Checkpoint struct {
	Ledger string    `json:"ledger"` // see Ledger.Identity
	Size   uint64    `json:"size"`
	Root   tlog.Hash `json:"root"`
}

// origin begins the text of a checkpoint; the identity of the log follows.
const origin = "hostroute "

// Text is the checkpoint as it is signed: three lines, the log, how many
// messages it has, and the hash in Base64.
func (c Checkpoint) Text() string {
	return fmt.Sprintf("%s%s\n%d\n%s\n", origin, c.Ledger, c.Size, c.Root)
}

// ParseCheckpoint reads what Text writes.
func ParseCheckpoint(text string) (Checkpoint, error) {
	var c Checkpoint
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[3] != "" || !strings.HasPrefix(lines[0], origin) {
		return c, fmt.Errorf("a checkpoint of hostroute has three lines, the first beginning with %q", origin)
	}
	c.Ledger = strings.TrimPrefix(lines[0], origin)
	var err error
	if c.Size, err = strconv.ParseUint(lines[1], 10, 64); err != nil {
		return c, fmt.Errorf("the checkpoint's size %q is no number", lines[1])
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return c, fmt.Errorf("the checkpoint's hash %q isn't %d bytes in Base64", lines[2], tlog.HashSize)
	}
	c.Root = tlog.Hash(root)
	return c, nil
}

// NewCheckpointKey makes a pair of keys for signing checkpoints, and for who
// verifies them. The name is that of whoever signs.
func NewCheckpointKey(name string) (signer, verifier string, err error) {
	return note.GenerateKey(rand.Reader, name)
}

// Sign makes a signed note (c2sp.org/signed-note) of a checkpoint.
func (c Checkpoint) Sign(signerKey string) (string, error) {
	signer, err := note.NewSigner(strings.TrimSpace(signerKey))
	if err != nil {
		return "", fmt.Errorf("reading the key to sign with: %w", err)
	}
	signed, err := note.Sign(&note.Note{Text: c.Text()}, signer)
	return string(signed), err
}

// OpenCheckpoint reads a signed note, which must be signed by the key's owner.
func OpenCheckpoint(signed, verifierKey string) (Checkpoint, error) {
	verifier, err := note.NewVerifier(strings.TrimSpace(verifierKey))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("reading the key to verify with: %w", err)
	}
	n, err := note.Open([]byte(signed), note.VerifierList(verifier))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("the checkpoint isn't signed by %s: %w", verifier.Name(), err)
	}
	return ParseCheckpoint(n.Text)
}
