package vm

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
)

// RequireVRFEnv, set to 1, says that tests which need VRF must run and not be skipped.
const RequireVRFEnv = "HOSTROUTE_REQUIRE_VRF"

// ProbeVRF returns nil when the running kernel can make VRF devices, and else why not. It asks the kernel by
// making one in a namespace of its own, since versions say nothing: distributions build, leave out and
// backport VRF freely. The answer is kept for the life of the process.
func ProbeVRF() error { return probeVRF() }

var probeVRF = sync.OnceValue(func() error {
	ns := fmt.Sprintf("hr-probe-%d", os.Getpid())
	if err := ip("netns", "add", ns); err != nil {
		return fmt.Errorf("making a network namespace: %w", err)
	}
	defer func() { _ = ip("netns", "del", ns) }() // a scratch namespace
	if err := ip("-n", ns, "link", "add", "probe", "type", "vrf", "table", "90"); err != nil {
		return fmt.Errorf("making a VRF device: %w", err)
	}
	return nil
})

// ip runs ip(8) and returns its last words in the error.
func ip(args ...string) error {
	out, err := exec.Command("ip", args...).CombinedOutput()
	if words := strings.TrimSpace(string(out)); err != nil && words != "" {
		return fmt.Errorf("%w: %s", err, words)
	}
	return err
}
