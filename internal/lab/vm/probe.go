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
	if out, err := exec.Command("ip", "netns", "add", ns).CombinedOutput(); err != nil {
		return fmt.Errorf("making a network namespace: %w: %s", err, strings.TrimSpace(string(out)))
	}
	defer func() { _ = exec.Command("ip", "netns", "del", ns).Run() }() // a scratch namespace
	if out, err := exec.Command("ip", "-n", ns, "link", "add", "probe", "type", "vrf", "table", "90").CombinedOutput(); err != nil {
		return fmt.Errorf("making a VRF device: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
})
