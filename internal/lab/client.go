package lab

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

//go:embed clients
var clientFiles embed.FS

// Client is a program that configures a guest, as one would in a real machine: it has nothing but the wire.
type Client struct {
	*Daemon
	// Guest is its node; Interface is empty for a program that looks after all of them.
	Guest, Interface string
	told             string // the file of what it was told
	logged           int64  // the length of its log at its start
	renew, release   []string
	end              syscall.Signal
	lab              *Lab
}

// Told is one thing that a client was told, in the order of the telling.
type Told struct {
	// Client is the program, Event its own word for the occasion, such as bound or RENEW6.
	Client, Event string
	// Facts are what came with it, under one set of names for all clients: address, delegated, server,
	// routers, routes, dns, domain, search, hostname, mtu, ntp, lease.
	Facts map[string]string
}

// Fact is a fact's words with single spaces between them; a list is as long as it was told.
func (t Told) Fact(name string) string { return strings.Join(strings.Fields(t.Facts[name]), " ") }

// guestsDir has a directory for each guest, below the lab's own.
const guestsDir = "guests"

func (l *Lab) guestPath(guest string, elem ...string) string {
	return l.path(append([]string{guestsDir, guest}, elem...)...)
}

// clientScript is the program that udhcpc, dhclient and dhcpcd call.
func (l *Lab) clientScript() string { return l.path(guestsDir, "client.sh") }

// writeClientFiles puts the clients' scripts where they are run from.
func (l *Lab) writeClientFiles() error {
	for _, g := range l.Topology.Guests {
		if err := os.MkdirAll(l.guestPath(g.Name), 0o755); err != nil {
			return fmt.Errorf("making the directory of guest %s: %w", g.Name, err)
		}
	}
	for _, name := range []string{"client.sh", "boxed.sh"} {
		text, err := clientFiles.ReadFile("clients/" + name)
		if err != nil {
			return fmt.Errorf("reading the clients' script: %w", err)
		}
		if err := os.WriteFile(l.path(guestsDir, name), text, 0o755); err != nil {
			return fmt.Errorf("writing the clients' script: %w", err)
		}
	}
	return nil
}

// startClient starts a client whose transcript is the file told in its guest's directory.
func (l *Lab) startClient(ctx context.Context, c Client, name, program string, args ...string) (*Client, error) {
	if _, err := l.Topology.Guest(c.Guest); err != nil {
		return nil, err
	}
	if err := os.Remove(c.told); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("removing what an earlier %s was told: %w", program, err)
	}
	if st, err := os.Stat(l.path(logsDir, c.Guest+"-"+name+".log")); err == nil {
		c.logged = st.Size()
	}
	env := []string{"env", "HR_CLIENT=" + program, "HR_TOLD=" + c.told}
	d, err := l.Start(ctx, c.Guest, name, append(env, args...)...)
	if err != nil {
		return nil, err
	}
	c.Daemon, c.lab = d, l
	return &c, nil
}

// Said is what the client has printed since its start.
func (c *Client) Said() (string, error) {
	raw, err := os.ReadFile(c.Log)
	if err != nil {
		return "", fmt.Errorf("reading the log of %s in %s: %w", c.Name, c.Guest, err)
	}
	return string(raw[min(int(c.logged), len(raw)):]), nil
}

// Told reads all that the client has been told since its start.
func (c *Client) Told() ([]Told, error) {
	raw, err := os.ReadFile(c.told)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("reading what %s in %s was told: %w", c.Name, c.Guest, err)
	}
	return parseTold(raw), nil
}

func parseTold(raw []byte) []Told {
	var all []Told
	for line := range bytes.Lines(raw) {
		fields := strings.Split(strings.TrimRight(string(line), "\n"), "\t")
		if len(fields) < 2 {
			continue
		}
		t := Told{Client: fields[0], Event: fields[1], Facts: map[string]string{}}
		for _, f := range fields[2:] {
			key, value, _ := strings.Cut(f, "=")
			t.Facts[key] = value
		}
		all = append(all, t)
	}
	return all
}

// Last is the last telling of one of the events, and how many of them there were.
func (c *Client) Last(events ...string) (last Told, count int, err error) {
	all, err := c.Told()
	for _, t := range all {
		for _, e := range events {
			if t.Event == e {
				last, count = t, count+1
			}
		}
	}
	return last, count, err
}

// ErrNotTold is in the chain of the error of Await when the time was over first.
var ErrNotTold = errors.New("it was told nothing of the kind")

// Await waits until the client was told one of the events for the given time, 1 for the first.
func (c *Client) Await(ctx context.Context, nth int, events ...string) (Told, error) {
	var last Told
	err := Eventually(ctx, fmt.Sprintf("%s in %s to be told %s", c.Name, c.Guest, strings.Join(events, " or ")), clientLimit, func() error {
		t, count, err := c.Last(events...)
		if err != nil {
			return err
		}
		if count < nth {
			return fmt.Errorf("%w; the end of its log:\n%s", ErrNotTold, c.Tail(5))
		}
		last = t
		return nil
	})
	return last, err
}

// clientLimit is how long a client may take to get an address: some wait for seconds before their first word.
const clientLimit = 15 * time.Second

// Renew has the client ask for its lease again, now.
func (c *Client) Renew(ctx context.Context) error { return c.command(ctx, "renew", c.renew) }

// Release has the client give its lease back.
//
// dhcpcd waits ten seconds for the end of its process, which it has told to release,
// and calls it a failure if that takes longer. Whether the lease is given up is
// for the caller to see.
func (c *Client) Release(ctx context.Context) error {
	err := c.command(ctx, "release", c.release)
	if err != nil && strings.Contains(err.Error(), "failed to exit") {
		return nil
	}
	return err
}

// ErrNoCommand is in the chain of the error when a client can't be told to do something.
var ErrNoCommand = errors.New("the client takes no such command")

func (c *Client) command(ctx context.Context, what string, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("having %s in %s %s its lease: %w", c.Name, c.Guest, what, ErrNoCommand)
	}
	_, err := c.lab.Exec(ctx, c.Guest, args...)
	return err
}

// End stops the client without a word to its server, as when a machine loses its power. What it configured may stay.
func (c *Client) End(ctx context.Context) error { return c.Stop(ctx, c.end, 5*time.Second) }

// EUI64 is the address that a guest makes itself in a /64 (RFC 4862, section 5.5.3) out of its hardware address
// (RFC 4291, appendix A).
func EUI64(p netip.Prefix, mac [6]byte) netip.Addr {
	a := p.Addr().As16()
	copy(a[8:], []byte{mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]})
	return netip.AddrFrom16(a)
}

// toldFile is where a client of an interface writes what it was told.
func (l *Lab) toldFile(guest, name string) string {
	return filepath.Clean(l.guestPath(guest, name+".told"))
}
