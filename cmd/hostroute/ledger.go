package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/nats-io/nats.go"

	"github.com/hostroute/hostroute/events/log"
	"github.com/hostroute/hostroute/internal/config"
)

// publisher publishes through the log service.
type publisher struct {
	*log.Client
	nc *nats.Conn
}

// Close ends the connection.
func (p publisher) Close() { p.nc.Close() }

func (a *app) publisher(context.Context) (publisher, error) {
	nc, err := a.connect()
	if err != nil {
		return publisher{}, err
	}
	return publisher{log.NewClient(nc, 0), nc}, nil
}

// ledger is the log itself, for reading.
type ledger struct {
	*log.Ledger
	nc *nats.Conn
}

// Close ends the connection.
func (l ledger) Close() { l.nc.Close() }

func (a *app) ledger(ctx context.Context) (ledger, error) {
	nc, err := a.connect()
	if err != nil {
		return ledger{}, err
	}
	l, err := log.Open(ctx, nc, log.Options{})
	if err != nil {
		nc.Close()
		return ledger{}, err
	}
	return ledger{l, nc}, nil
}

func (a *app) connect() (*nats.Conn, error) {
	if !config.ValidServers(a.logURL) {
		return nil, errors.New("--log or HOSTROUTE_LOG names no NATS server; write it like " + defaultLog + ", several with commas between")
	}
	nc, err := log.Connect(a.logURL, log.ConnectOptions{Name: "hostroute " + a.source, Credentials: a.creds, CA: a.ca})
	switch {
	case errors.Is(err, os.ErrNotExist) && a.creds != "":
		return nil, fmt.Errorf("%w; --credentials or HOSTROUTE_CREDENTIALS names another file", err)
	case err != nil:
		return nil, fmt.Errorf("%w; is it running? --log or HOSTROUTE_LOG names another", err)
	}
	return nc, nil
}
