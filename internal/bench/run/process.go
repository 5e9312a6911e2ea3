package run

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// usage is what processes have used.
type usage struct {
	cpu            time.Duration
	peak, resident uint64
}

// ticks is USER_HZ, which is 100 on every architecture that Linux runs Go on.
const ticks = 100

// usageOf adds up what processes have used.
func usageOf(pids []int) (u usage, err error) {
	for _, pid := range pids {
		fields, err := stat(pid)
		if err != nil {
			return u, err
		}
		for _, f := range fields[11:13] { // utime and stime
			n, err := strconv.ParseInt(f, 10, 64)
			if err != nil {
				return u, fmt.Errorf("reading the CPU time of process %d: %w", pid, err)
			}
			u.cpu += time.Duration(n) * time.Second / ticks
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return u, fmt.Errorf("reading the memory of process %d: %w", pid, err)
		}
		for name, into := range map[string]*uint64{"VmHWM:": &u.peak, "VmRSS:": &u.resident} {
			n, err := kilobytes(status, name)
			if err != nil {
				return u, fmt.Errorf("reading the memory of process %d: %w", pid, err)
			}
			*into += n << 10
		}
	}
	return u, nil
}

// stat has what follows the name in /proc/PID/stat, the process's state first.
func stat(pid int) ([]string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, fmt.Errorf("looking for process %d: %w", pid, err)
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 13 || fields[0] == "Z" {
		return nil, fmt.Errorf("process %d has ended", pid)
	}
	return fields, nil
}

func kilobytes(status []byte, name string) (uint64, error) {
	_, rest, ok := bytes.Cut(status, []byte("\n"+name))
	fields := bytes.Fields(rest)
	if !ok || len(fields) == 0 {
		return 0, fmt.Errorf("there is no %s", strings.TrimSuffix(name, ":"))
	}
	return strconv.ParseUint(string(fields[0]), 10, 64)
}

// alive says which process has ended.
func alive(pids []int) error {
	for _, pid := range pids {
		if _, err := stat(pid); err != nil {
			return err
		}
	}
	return nil
}
