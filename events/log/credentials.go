package log

import (
	"bytes"
	"fmt"
	"os"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/hostroute/hostroute/internal/access"
)

// credentialOptions reads a credentials file: the seed of an nkey, as
// `hostroute log init --cluster` writes it, or a user's JWT with its seed. The
// prefix for answers follows from the key, since no one may hear another's;
// inbox is one that somebody chose.
func credentialOptions(file, inbox string) ([]nats.Option, error) {
	if file == "" {
		return inboxOption(inbox), nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the credentials: %w", err)
	}
	defer clear(text)
	pair, err := nkeys.ParseDecoratedUserNKey(text)
	if err != nil {
		return nil, fmt.Errorf("reading the credentials %s: %w", file, err)
	}
	defer pair.Wipe()
	key, err := pair.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("reading the credentials %s: %w", file, err)
	}
	if inbox == "" {
		inbox = access.Inbox(key)
	}
	options := inboxOption(inbox)
	if bytes.Contains(text, []byte("BEGIN NATS USER JWT")) {
		return append(options, nats.UserCredentials(file)), nil
	}
	return append(options, nats.Nkey(key, func(nonce []byte) ([]byte, error) { return sign(file, nonce) })), nil
}

func inboxOption(inbox string) []nats.Option {
	if inbox == "" {
		return nil
	}
	return []nats.Option{nats.CustomInboxPrefix(inbox)}
}

// sign reads the seed for each connection anew, so that it isn't kept in memory.
func sign(file string, nonce []byte) ([]byte, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the credentials: %w", err)
	}
	defer clear(text)
	pair, err := nkeys.ParseDecoratedUserNKey(text)
	if err != nil {
		return nil, fmt.Errorf("reading the credentials %s: %w", file, err)
	}
	defer pair.Wipe()
	return pair.Sign(nonce)
}
