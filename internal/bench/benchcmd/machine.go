package benchcmd

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/bench/report"
)

// machine says where a comparison is made.
func machine() (report.Header, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return report.Header{}, fmt.Errorf("asking for the version of the kernel: %w", err)
	}
	h := report.Header{Date: time.Now().UTC(), Kernel: "Linux " + unix.ByteSliceToString(u.Release[:]), CPU: "an unnamed CPU", Cores: runtime.NumCPU()}
	if model := field("/proc/cpuinfo", "model name"); model != "" { // arm64 has none
		h.CPU = model
	}
	if kB, err := strconv.ParseUint(strings.TrimSuffix(field("/proc/meminfo", "MemTotal"), " kB"), 10, 64); err == nil {
		h.Memory = kB << 10
	}
	return h, nil
}

// field is the value of the first line "name: value" of a file of the kernel's, or nothing.
func field(file, name string) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if key, value, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
