package server

import (
	"flag"
	"os"
	"testing"
)

// TestMain lets all clients run at once: they do little but wait for their
// timers.
func TestMain(m *testing.M) {
	flag.Parse()
	_ = flag.Set("test.parallel", "16")
	os.Exit(m.Run())
}
