package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/events/log"
)

// verified is what a verification found, as --json shows it.
type verified struct {
	log.Verified
	Findings []log.Finding `json:"findings"`
}

func (a *app) auditVerify() *cobra.Command {
	var checkpoints, key string
	var published bool
	c := a.command("verify", "Read all of the log, and name whatever is missing, altered or contradicts itself",
		"hostroute audit verify --checkpoints checkpoints.txt --key auditor.pub",
		func(ctx context.Context, _ []string) error {
			if key != "" && checkpoints == "" && !published {
				return errors.New("--key needs --checkpoints FILE or --published, which it is to hold against")
			}
			wanted, err := readCheckpoints(checkpoints, key)
			if err == nil && published {
				wanted, err = a.addPublished(ctx, wanted, key)
			}
			if err != nil {
				return err
			}
			v, err := a.verify(ctx, wanted)
			if err != nil {
				return err
			}
			return a.showVerified(v, len(wanted))
		})
	c.Flags().StringVar(&checkpoints, "checkpoints", "", "also hold the log against the signed checkpoints in this `FILE`")
	c.Flags().StringVar(&key, "key", "", "`FILE` with the public key that they must be signed with")
	c.Flags().BoolVar(&published, "published", false, "also hold it against those in the log that are signed with that key")
	c.Long = "Read all of the log, and name whatever is missing, altered or contradicts itself, by\n" +
		"sequence. Every message is held against its neighbours, against the chain of its\n" +
		"subject and against what follows from the events before it.\n\n" +
		"By itself a log can't tell that its end was cut off between two events, or that\n" +
		"somebody with all rights has written it anew: checkpoints that were kept elsewhere\n" +
		"can, see `hostroute audit checkpoint`.\n\n" +
		"Exit status: 0 for a sound log, 1 with findings, 2 where it could not be read."
	return c
}

// verify reads all of the log.
func (a *app) verify(ctx context.Context, wanted []log.Checkpoint) (v verified, err error) {
	l, err := a.ledger(ctx)
	if err != nil {
		return v, err
	}
	defer l.Close()
	show := a.progress()
	defer show("")
	v.Findings = []log.Finding{}
	v.Verified, err = l.Verify(ctx, log.VerifyOptions{
		Checkpoints: wanted,
		Progress:    func(done, last uint64) { show(fmt.Sprintf("verifying #%d of #%d …", done, last)) },
	}, func(f log.Finding) { v.Findings = append(v.Findings, f) })
	return v, err
}

func (a *app) showVerified(v verified, wanted int) error {
	unsound := found{fmt.Errorf("the log isn't sound: %s", count(len(v.Findings), "finding"))}
	if a.json {
		if err := writeJSON(a.stdout, v); err != nil || len(v.Findings) == 0 {
			return err
		}
		return unsound
	}
	for _, f := range v.Findings {
		fmt.Fprintln(a.stdout, f)
	}
	fmt.Fprintf(a.stdout, "read %s of %s, up to #%d\n", count(int(v.Messages), "message"), count(int(v.Events), "event"), v.Last)
	if len(v.Findings) > 0 {
		return unsound
	}
	if v.Messages == 0 { // sound is what it is, and not what who asks wants to hear
		_, err := fmt.Fprintln(a.stdout, "the log is empty: nothing was ever stored in it, or all of it is gone")
		return err
	}
	words := ""
	if wanted > 0 {
		words = ", and is what " + count(wanted, "checkpoint") + " said"
	}
	_, err := fmt.Fprintf(a.stdout, "the log is sound%s; the hash of it all is %s\n", words, v.Checkpoint.Root)
	return err
}

func (a *app) auditCheckpoint() *cobra.Command {
	var key, file string
	var publish bool
	c := a.command("checkpoint", "Verify the log, and sign what it is now", "hostroute audit checkpoint --key auditor.key --append checkpoints.txt",
		func(ctx context.Context, _ []string) error {
			secret, err := os.ReadFile(key)
			if err != nil {
				return fmt.Errorf("reading --key: %w; `hostroute audit key NAME` makes one", err)
			}
			if _, err := (log.Checkpoint{}).Sign(string(secret)); err != nil { // before all that reading
				return fmt.Errorf("%s: %w", key, err)
			}
			return a.sign(ctx, string(secret), file, publish)
		})
	c.Flags().StringVar(&key, "key", "", "`FILE` with the secret key")
	c.Flags().StringVar(&file, "append", "", "append it to this `FILE` instead of printing it")
	c.Flags().BoolVar(&publish, "publish", false, "also put it into the log, where all who read the log see it")
	c.Long = "Verify the log, and sign what it is now: how many messages it has, and the head of the\n" +
		"Merkle tree over all of them (RFC 6962), as a signed note (c2sp.org/signed-note).\n\n" +
		"Keep checkpoints where who can write the log can't write, and the secret key there too.\n" +
		"`hostroute audit verify --checkpoints FILE --key KEY.pub` proves later that history is\n" +
		"still what it was. A log that isn't sound is not signed: exit status 1."
	return required(c, "key")
}

// sign signs a sound log.
func (a *app) sign(ctx context.Context, secret, file string, publish bool) error {
	v, err := a.verify(ctx, nil)
	if err != nil {
		return err
	}
	if len(v.Findings) > 0 {
		return a.showVerified(v, 0)
	}
	signed, err := v.Checkpoint.Sign(secret)
	if err != nil {
		return err
	}
	if publish {
		if err := a.publishCheckpoint(ctx, signed); err != nil {
			return err
		}
	}
	switch {
	case file != "":
		if err := appendCheckpoint(file, signed); err != nil {
			return fmt.Errorf("keeping the checkpoint: %w", err)
		}
		if !a.json {
			_, err = fmt.Fprintf(a.stdout, "signed %s, up to #%d; appended to %s\n", count(int(v.Messages), "message"), v.Last, file)
			return err
		}
		fallthrough
	case a.json:
		return writeJSON(a.stdout, struct {
			log.Checkpoint
			Signed string `json:"signed"`
		}{v.Checkpoint, signed})
	}
	_, err = fmt.Fprint(a.stdout, signed)
	return err
}

// publishCheckpoint puts a note into the log.
func (a *app) publishCheckpoint(ctx context.Context, signed string) error {
	l, err := a.ledger(ctx)
	if err != nil {
		return err
	}
	defer l.Close()
	return l.PublishCheckpoint(ctx, signed)
}

// appendCheckpoint adds a note to a file of notes, with an empty line between.
func appendCheckpoint(file, signed string) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if at, err := f.Seek(0, 2); err == nil && at > 0 {
		signed = "\n" + signed
	}
	if _, err := f.WriteString(signed); err != nil {
		return err
	}
	return f.Sync()
}

// readCheckpoints reads a file of signed notes; without a name there are none.
func readCheckpoints(file, key string) (list []log.Checkpoint, err error) {
	if file == "" {
		return nil, nil
	}
	if key == "" {
		return nil, errors.New("--checkpoints needs --key FILE, the public key that they must be signed with")
	}
	public, err := os.ReadFile(key)
	if err != nil {
		return nil, fmt.Errorf("reading --key: %w", err)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading --checkpoints: %w", err)
	}
	for i, signed := range splitNotes(string(content)) {
		c, err := log.OpenCheckpoint(signed, string(public))
		if err != nil {
			return nil, fmt.Errorf("%s: checkpoint %d: %w", file, i+1, err)
		}
		list = append(list, c)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s has no checkpoint; `hostroute audit checkpoint --append %s` writes one", file, file)
	}
	return list, nil
}

// addPublished adds what is published in the log itself.
func (a *app) addPublished(ctx context.Context, list []log.Checkpoint, key string) ([]log.Checkpoint, error) {
	if key == "" {
		return nil, errors.New("--published needs --key FILE, the public key that they must be signed with")
	}
	public, err := os.ReadFile(key)
	if err != nil {
		return nil, fmt.Errorf("reading --key: %w", err)
	}
	l, err := a.ledger(ctx)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	published, err := l.PublishedCheckpoints(ctx, string(public))
	if err == nil && len(published) == 0 {
		err = fmt.Errorf("the log has no checkpoint that is signed with %s; `hostroute audit checkpoint --publish` adds one", key)
	}
	return append(list, published...), err
}

// splitNotes cuts a file of notes after the signatures of each.
func splitNotes(content string) (notes []string) {
	var note strings.Builder
	signed := false
	for line := range strings.Lines(content) {
		signature := strings.HasPrefix(line, "— ")
		if signed && !signature {
			notes = append(notes, note.String())
			note.Reset()
			signed = false
		}
		if note.Len() > 0 || strings.TrimSpace(line) != "" {
			note.WriteString(line)
		}
		signed = signed || signature
	}
	if note.Len() > 0 {
		notes = append(notes, note.String())
	}
	return notes
}

func (a *app) auditKey() *cobra.Command {
	var out string
	c := a.command("key NAME", "Make a pair of keys to sign checkpoints with", "hostroute audit key auditor --out auditor.key",
		func(_ context.Context, args []string) error {
			if err := events.CheckName("NAME", args[0]); err != nil {
				return err
			}
			if out == "" {
				out = args[0] + ".key"
			}
			secret, public, err := log.NewCheckpointKey(args[0])
			if err != nil {
				return err
			}
			if err := writeNew(out, secret+"\n", 0o600); err != nil {
				return err
			}
			pub := strings.TrimSuffix(out, ".key") + ".pub"
			if err := writeNew(pub, public+"\n", 0o644); err != nil {
				return err
			}
			if a.json {
				return writeJSON(a.stdout, map[string]string{"secret": out, "public": pub})
			}
			_, err = fmt.Fprintf(a.stdout, "%s is the secret key, to sign with; %s is the public one, to verify with\n", out, pub)
			return err
		})
	c.Flags().StringVar(&out, "out", "", "`FILE` for the secret key (default: NAME.key); the public one ends in .pub")
	return c
}

// writeNew writes a file that isn't there yet.
func writeNew(file, content string, mode fs.FileMode) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already, and a key is never overwritten: move it away, or choose another --out", file)
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	return errors.Join(err, f.Close())
}
