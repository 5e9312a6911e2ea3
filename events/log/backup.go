package log

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hostroute/hostroute/migrations"
)

// A backup is one line of JSON, a backupHead, and then the ledger as the server
// packs it. Only the ledger is in it: all else is made from it.
type backupHead struct {
	Format string          `json:"format"`
	Config json.RawMessage `json:"config"`
	State  json.RawMessage `json:"state"`
}

const backupFormat = "hostroute log backup 1"

// backupSilence is how long a server may take for the next part. Before the
// first one it checks every message.
const backupSilence = time.Minute

// BackupState is what a backup, or a ledger restored from one, goes up to.
type BackupState struct {
	Messages uint64 `json:"messages"`
	Last     uint64 `json:"last_seq"`
}

// apiReply is what answers of JetStream's API have in common, and those for
// backups have further.
type apiReply struct {
	Error *struct {
		Description string `json:"description"`
	} `json:"error"`
	Config  json.RawMessage `json:"config"`
	State   json.RawMessage `json:"state"`
	Deliver string          `json:"deliver_subject"`
}

// Backup writes the ledger as it is now to w, while it is used. The server
// checks every message before it sends any. A user needs an operator's rights.
func Backup(ctx context.Context, nc *nats.Conn, w io.Writer) (BackupState, error) {
	state, err := backup(ctx, nc, w)
	if err != nil {
		err = fmt.Errorf("backing up the log: %w", explain(nc, err))
	}
	return state, err
}

func backup(ctx context.Context, nc *nats.Conn, w io.Writer) (BackupState, error) {
	inbox := nc.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return BackupState{}, err
	}
	defer sub.Unsubscribe() //nolint:errcheck // the connection goes with it
	request, err := json.Marshal(map[string]any{"deliver_subject": inbox, "no_consumers": true, "jsck": true})
	if err != nil {
		return BackupState{}, err
	}
	reply, err := askAPI(ctx, nc, "$JS.API.STREAM.SNAPSHOT."+migrations.Ledger, request)
	if err != nil {
		return BackupState{}, err
	}
	head, err := json.Marshal(backupHead{Format: backupFormat, Config: reply.Config, State: reply.State})
	if err != nil {
		return BackupState{}, err
	}
	if _, err := w.Write(append(head, '\n')); err != nil {
		return BackupState{}, err
	}
	var state BackupState
	if err := json.Unmarshal(reply.State, &state); err != nil {
		return state, err
	}
	return state, takeParts(ctx, sub, w)
}

// takeParts writes what the server sends until it says that this is all.
func takeParts(ctx context.Context, sub *nats.Subscription, w io.Writer) error {
	for {
		wait, cancel := context.WithTimeout(ctx, backupSilence)
		m, err := sub.NextMsgWithContext(wait)
		cancel()
		switch {
		case err != nil:
			return err
		case len(m.Data) == 0:
			if status := m.Header.Get("Status"); status != "" && status != "204" {
				return fmt.Errorf("the server gave up: %s %s", status, m.Header.Get("Description"))
			}
			return nil
		}
		if _, err := w.Write(m.Data); err != nil {
			return err
		}
		if m.Reply != "" {
			if err := m.Respond(nil); err != nil {
				return err
			}
		}
	}
}

// Restore makes the ledger from a backup, on as many servers as replicas says,
// where there is none. The sequences and all that is in it are those of the
// backup; its [Ledger.Identity] may be another.
func Restore(ctx context.Context, nc *nats.Conn, r io.Reader, replicas int) (BackupState, error) {
	state, err := restore(ctx, nc, r, replicas)
	if err != nil {
		err = fmt.Errorf("restoring the log: %w", explain(nc, err))
	}
	return state, err
}

func restore(ctx context.Context, nc *nats.Conn, r io.Reader, replicas int) (BackupState, error) {
	var head backupHead
	in := bufio.NewReader(r)
	line, err := in.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &head)
	}
	if err != nil || head.Format != backupFormat {
		return BackupState{}, errors.New("this is no backup of a log")
	}
	var config map[string]any
	if err := json.Unmarshal(head.Config, &config); err != nil {
		return BackupState{}, err
	}
	config["num_replicas"] = max(replicas, 1)
	delete(config, "placement") // which is the other cluster's
	request, err := json.Marshal(map[string]any{"config": config, "state": head.State})
	if err != nil {
		return BackupState{}, err
	}
	reply, err := askAPI(ctx, nc, "$JS.API.STREAM.RESTORE."+migrations.Ledger, request)
	if err != nil {
		return BackupState{}, err
	}
	end, err := giveParts(ctx, nc, reply.Deliver, in)
	if err != nil {
		return BackupState{}, err
	}
	var want, have BackupState
	if err := errors.Join(json.Unmarshal(head.State, &want), json.Unmarshal(end.State, &have)); err != nil {
		return have, err
	}
	if have != want {
		return have, fmt.Errorf("the backup says %d messages up to %d, and %d up to %d are there", want.Messages, want.Last, have.Messages, have.Last)
	}
	return have, nil
}

// giveParts sends what is in a backup, each part when the one before arrived.
func giveParts(ctx context.Context, nc *nats.Conn, subject string, r io.Reader) (apiReply, error) {
	part := make([]byte, 128<<10)
	for {
		n, err := io.ReadFull(r, part)
		if n > 0 {
			if reply, err := askAPI(ctx, nc, subject, part[:n]); err != nil {
				return reply, err
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return askAPI(ctx, nc, subject, nil) // that was all
		case err != nil:
			return apiReply{}, err
		}
	}
}

func askAPI(ctx context.Context, nc *nats.Conn, subject string, payload []byte) (apiReply, error) {
	ctx, cancel := context.WithTimeout(ctx, backupSilence)
	defer cancel()
	var reply apiReply
	m, err := nc.RequestWithContext(ctx, subject, payload)
	if err != nil {
		return reply, err
	}
	if len(m.Data) == 0 {
		return reply, nil
	}
	if err := json.Unmarshal(m.Data, &reply); err != nil {
		return reply, fmt.Errorf("reading the server's answer %q: %w", m.Data, err)
	}
	if reply.Error != nil {
		return reply, errors.New(reply.Error.Description)
	}
	return reply, nil
}
