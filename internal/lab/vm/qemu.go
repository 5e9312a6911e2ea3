package vm

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

const (
	// accelKVM and accelTCG are QEMU's names: the processor's own virtualisation, and emulation.
	accelKVM = "kvm"
	accelTCG = "tcg,thread=multi,tb-size=512"
)

// qemuArgs is the whole machine. multidevs=remap keeps inode numbers apart where the host's / has several
// file systems below it; panic=-1 with -no-reboot turns a guest's panic into the end of QEMU.
func qemuArgs(opts Options, accel, tmp string) []string {
	cpu := "max"
	if accel == accelKVM {
		cpu = "host"
	}
	return []string{
		"-accel", accel, "-cpu", cpu,
		"-smp", strconv.Itoa(opts.CPUs), "-m", strconv.Itoa(opts.MemoryMB),
		"-nodefaults", "-no-user-config", "-display", "none", "-vga", "none", "-nic", "none", "-no-reboot",
		"-kernel", filepath.Join(opts.Dir, "vmlinuz"), "-initrd", filepath.Join(tmp, "initrd"),
		"-append", "console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on no_timer_check",
		"-chardev", "file,id=console,path=" + filepath.Join(tmp, "console"), "-serial", "chardev:console",
		"-chardev", "stdio,id=out,signal=off", "-serial", "chardev:out",
		"-chardev", "file,id=status,path=" + filepath.Join(tmp, "status"), "-serial", "chardev:status",
		"-fsdev", "local,id=host,path=/,security_model=none,multidevs=remap,readonly=on",
		"-device", "virtio-9p-pci,fsdev=host,mount_tag=host",
	}
}

func defaultCPUs() int { return min(max(runtime.NumCPU(), 1), 4) }

// defaultMemoryMB leaves half of what is free to the host.
func defaultMemoryMB() int {
	const most, least = 4096, 1024
	free, err := availableMB("/proc/meminfo")
	if err != nil {
		return most
	}
	return min(most, max(least, free/2))
}

func availableMB(path string) (int, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("reading the free memory: %w", err)
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if rest, ok := strings.CutPrefix(sc.Text(), "MemAvailable:"); ok {
			kb, err := strconv.Atoi(strings.Fields(rest)[0])
			return kb / 1024, err
		}
	}
	return 0, fmt.Errorf("reading the free memory: no MemAvailable in %s", path)
}
