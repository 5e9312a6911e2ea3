package log

import (
	"fmt"
	"log/slog"

	"github.com/nats-io/nats-server/v2/server"
)

// serverLogger hands the server's log lines to slog. A fatal one, which would
// end a server of its own, comes back to the one who started it.
type serverLogger struct {
	log   *slog.Logger
	fatal chan string
}

var _ server.Logger = (*serverLogger)(nil)

func newServerLogger(l *slog.Logger) *serverLogger {
	return &serverLogger{log: l, fatal: make(chan string, 1)}
}

func (l *serverLogger) line(level func(string, ...any), format string, v []any) {
	level("nats server", "message", fmt.Sprintf(format, v...))
}

// Noticef is for debugging here: the server greets in twenty lines.
func (l *serverLogger) Noticef(format string, v ...any) { l.line(l.log.Debug, format, v) }

// Warnf warns.
func (l *serverLogger) Warnf(format string, v ...any) { l.line(l.log.Warn, format, v) }

// Errorf reports an error.
func (l *serverLogger) Errorf(format string, v ...any) { l.line(l.log.Error, format, v) }

// Debugf is for debugging.
func (l *serverLogger) Debugf(format string, v ...any) { l.line(l.log.Debug, format, v) }

// Tracef is for debugging.
func (l *serverLogger) Tracef(format string, v ...any) { l.line(l.log.Debug, format, v) }

// Fatalf keeps the first reason and must not end the process.
func (l *serverLogger) Fatalf(format string, v ...any) {
	select {
	case l.fatal <- fmt.Sprintf(format, v...):
	default:
	}
	l.line(l.log.Error, format, v)
}
