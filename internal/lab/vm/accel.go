package vm

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// kvmProbeTime is how long KVM may take to boot to a shell and report. Where it works it takes a second or two.
const kvmProbeTime = 10 * time.Second

// chooseAccel returns KVM when it has been seen to boot our kernel since this machine booted, else emulation.
// HOSTROUTE_VM_ACCEL=kvm or =tcg overrides the probe.
func chooseAccel(ctx context.Context, opts Options) (string, error) {
	switch v := os.Getenv("HOSTROUTE_VM_ACCEL"); v {
	case "kvm":
		return accelKVM, nil
	case "tcg":
		return accelTCG, nil
	case "":
	default:
		return "", fmt.Errorf("HOSTROUTE_VM_ACCEL is %q: must be kvm or tcg", v)
	}
	if f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0); err != nil {
		return accelTCG, nil
	} else {
		f.Close()
	}
	return cachedProbe(ctx, opts, filepath.Join(opts.Dir, "accel"))
}

// cachedProbe keeps the answer in a file together with the boot it belongs to: a probe that fails costs its
// whole time limit.
func cachedProbe(ctx context.Context, opts Options, cache string) (string, error) {
	bootID, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("reading the boot id: %w", err)
	}
	if raw, err := os.ReadFile(cache); err == nil {
		if accel, of, ok := strings.Cut(string(raw), " "); ok && of == string(bootID) {
			return accel, nil
		}
	}
	accel := accelTCG
	if probeKVM(ctx, opts) {
		accel = accelKVM
	}
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if err := os.WriteFile(cache, []byte(accel+" "+string(bootID)), 0o644); err != nil {
		return "", fmt.Errorf("keeping which accelerator works: %w", err)
	}
	return accel, nil
}

func probeKVM(ctx context.Context, opts Options) bool {
	ctx, cancel := context.WithTimeout(ctx, kvmProbeTime)
	defer cancel()
	opts.Command, opts.Stdout, opts.Terminal = []string{"/bin/true"}, nil, false
	code, err := boot(ctx, opts, accelKVM)
	return err == nil && code == 0
}
