package testenv

import (
	"testing"
	"time"
)

// Patience is how long Eventually waits: far longer than anything takes, also on
// a machine that is busy.
const Patience = 30 * time.Second

// Eventually waits until a condition holds, which it must within Patience.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(Patience)
	for pause := time.Millisecond; !holds(); pause = min(2*pause, 50*time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v in vain: %s", Patience, what)
		}
		<-time.After(pause)
	}
}
