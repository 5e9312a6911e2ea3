package main

import (
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// isTerminal tells whether somebody watches what is written.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// logger writes text to a terminal and JSON to everything else.
func logger(w io.Writer, debug bool) *slog.Logger {
	options := &slog.HandlerOptions{Level: slog.LevelInfo}
	if debug {
		options.Level = slog.LevelDebug
	}
	if isTerminal(w) {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

// outliveReader keeps a service running when whoever read its log ends, such as
// tee(1) or a journal that restarts. Without it the next line ends the process.
// It is for the rest of the process.
func outliveReader() {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // nobody needs to be told
}
