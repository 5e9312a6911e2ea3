package eventpath

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"
	"testing"
	"time"

	"github.com/hostroute/hostroute/events/log"
	"github.com/hostroute/hostroute/internal/agent"
	"github.com/hostroute/hostroute/internal/config"
)

// The environment by which the test binary is told to be one of the processes.
const (
	roleKey    = "EVENTPATH_ROLE"
	fileKey    = "EVENTPATH_FILE"
	profileKey = "EVENTPATH_PROFILE"
	// profileRateKey is the rate from which on profiles are taken; 1000 by default.
	profileRateKey = "EVENTPATH_PROFILE_RATE"
)

func TestMain(m *testing.M) {
	role := map[string]func(context.Context, *slog.Logger) error{"agent": runAgent, "log": runLog}[os.Getenv(roleKey)]
	if role == nil {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	save := profile()
	err := role(ctx, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	save()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// profile begins a CPU profile at SIGUSR1 and gives what writes it down.
func profile() (save func()) {
	path := os.Getenv(profileKey)
	if path == "" {
		return func() {}
	}
	var profile bytes.Buffer
	begin := make(chan os.Signal, 1)
	signal.Notify(begin, syscall.SIGUSR1)
	go func() {
		<-begin
		_ = pprof.StartCPUProfile(&profile)
	}()
	return func() {
		pprof.StopCPUProfile()
		_ = os.WriteFile(path, profile.Bytes(), 0o600)
		if f, err := os.Create(path + ".allocs"); err == nil {
			_ = pprof.Lookup("allocs").WriteTo(f, 0)
			_ = f.Close()
		}
	}
}

func runAgent(ctx context.Context, logger *slog.Logger) error {
	cfg, err := config.Load(os.Getenv(fileKey))
	if err != nil {
		return err
	}
	a, err := agent.New(cfg, logger)
	if err != nil {
		return err
	}
	return a.Run(ctx)
}

// runLog is the log's server and service. The file is its folder.
func runLog(ctx context.Context, logger *slog.Logger) error {
	s := log.NewServer(log.ServerOptions{Store: os.Getenv(fileKey), Listen: logAddress, SyncInterval: time.Minute, Logger: logger})
	return s.While(ctx, func(ctx context.Context) error {
		nc, err := s.Connect(log.ConnectOptions{Name: "log service"})
		if err != nil {
			return err
		}
		defer nc.Close()
		ledger, err := log.Open(ctx, nc, log.Options{Replicas: 1, Migrate: true})
		if err != nil {
			return err
		}
		return log.NewService(ledger, logger).Run(ctx)
	})
}
