package log

import (
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sys/unix"
)

// ConnectOptions of [Connect].
type ConnectOptions struct {
	Name string // by which the server's operators know the connection
	// Wait makes Connect return at once and the connection come up when the
	// server does, as an agent needs that starts before its network.
	Wait        bool
	Credentials string // file with the user's nkey seed, or JWT and seed; none by default
	CA          string // file with the certificates that a server's is checked by; the system's by default
	// Inbox is the prefix of subjects for answers. By default it is "_INBOX" and,
	// with credentials, the public key: a user who may hear only answers of their
	// own needs one of their own.
	Inbox string
	// Device is the VRF that the connection is bound to; none by default.
	Device string
	// Dialer makes the connection to a server, a TCP one by default.
	Dialer nats.CustomDialer
	// Outage is told when the log is out of reach; none by default.
	Outage *Outage
	Logger *slog.Logger
}

// Connect makes a connection that tries to come back for ever.
func Connect(urls string, o ConnectOptions) (*nats.Conn, error) {
	outage := o.Outage
	if outage == nil {
		outage = &Outage{}
	}
	options := connectOptions(o, outage)
	credentials, err := credentialOptions(o.Credentials, o.Inbox)
	if err != nil {
		return nil, err
	}
	options = append(options, credentials...)
	switch {
	case o.Dialer != nil:
		options = append(options, nats.SetCustomDialer(o.Dialer))
	case o.Device != "":
		options = append(options, nats.SetCustomDialer(deviceDialer(o.Device)))
	}
	if o.CA != "" {
		options = append(options, nats.RootCAs(o.CA))
	}
	nc, err := nats.Connect(urls, options...)
	if err != nil {
		return nil, fmt.Errorf("connecting to the log at %s: %w", Redacted(urls), err)
	}
	outage.mu.Lock()
	outage.nc = nc
	outage.mu.Unlock()
	return nc, nil
}

// Redacted hides the passwords in a comma-separated list of server URLs.
func Redacted(urls string) string {
	list := strings.Split(urls, ",")
	for i, s := range list {
		if u, err := url.Parse(strings.TrimSpace(s)); err == nil {
			list[i] = u.Redacted()
		}
	}
	return strings.Join(list, ",")
}

// deviceDialer dials through one device (SO_BINDTODEVICE), such as a VRF.
func deviceDialer(device string) *net.Dialer {
	return &net.Dialer{
		Timeout: nats.DefaultTimeout,
		Control: func(_, _ string, c syscall.RawConn) error {
			var bound error
			if err := c.Control(func(fd uintptr) { bound = unix.BindToDevice(int(fd), device) }); err != nil {
				return err
			}
			if bound != nil {
				return fmt.Errorf("binding to %s: %w", device, bound)
			}
			return nil
		},
	}
}

// Connect connects inside the process, without a socket.
func (s *Server) Connect(o ConnectOptions) (*nats.Conn, error) {
	s.mu.Lock()
	running := s.server
	s.mu.Unlock()
	if running == nil {
		return nil, fmt.Errorf("connecting to the embedded log: it isn't running")
	}
	options := append(connectOptions(o, &Outage{}), inboxOption(o.Inbox)...)
	nc, err := nats.Connect(running.ClientURL(), append(options, nats.InProcessServer(s))...)
	if err != nil {
		return nil, fmt.Errorf("connecting to the embedded log: %w", err)
	}
	return nc, nil
}

func connectOptions(o ConnectOptions, outage *Outage) []nats.Option {
	outage.log = orDiscard(o.Logger)
	options := append(outage.options(),
		nats.Name(o.Name),
		nats.MaxReconnects(-1),
		nats.RetryOnFailedConnect(o.Wait),
		nats.PingInterval(10*time.Second),
		nats.MaxPingsOutstanding(2),
		nats.ReconnectBufSize(-1), // what can't be sent now is an error, not sent later
	)
	if o.Wait { // also for a user who is let in again
		options = append(options, nats.IgnoreAuthErrorAbort())
	}
	return options
}
