package agent

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// PanicEnv is set where an agent is to panic on SIGUSR2, so that what a panic
// in one of its tasks leaves behind can be tried with the program itself.
const PanicEnv = "HOSTROUTE_PANIC_ON_USR2"

// panicWhenTold is a task like the others.
func panicWhenTold(ctx context.Context) error {
	if os.Getenv(PanicEnv) == "" {
		return nil
	}
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGUSR2)
	defer signal.Stop(told)
	select {
	case <-ctx.Done():
		return nil
	case <-told:
		panic("asked for by SIGUSR2 and " + PanicEnv)
	}
}
