package kernel

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/vrf"
)

// inNamespace calls f on a thread that is in the namespace. The thread is
// given back only if it could return to where it was; otherwise it ends with
// its goroutine, and nobody else ever runs on it.
func inNamespace(ns int, f func() error) error {
	if ns == 0 {
		return f()
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		clean, err := visit(ns, f)
		if clean {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

func visit(ns int, f func() error) (clean bool, err error) {
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return true, fmt.Errorf("opening the own network namespace: %w", err)
	}
	defer home.Close()
	if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
		return true, fmt.Errorf("entering the network namespace: %w", err)
	}
	err = f()
	back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET)
	if back != nil {
		err = errors.Join(err, fmt.Errorf("leaving the network namespace: %w", back))
	}
	return back == nil, err
}

const sysctlRoot = "/proc/sys/net/"

// readSysctls reads those that exist.
func readSysctls(ns int, list []vrf.Sysctl) (map[string]string, error) {
	values := make(map[string]string, len(list))
	err := inNamespace(ns, func() error {
		for _, s := range list {
			value, err := readFile(sysctlRoot + s.Name)
			switch {
			case err == nil:
				values[s.Name] = value
			case errors.Is(err, os.ErrNotExist), errors.Is(err, unix.ENODEV):
			default:
				return fmt.Errorf("reading net/%s: %w", s.Name, err)
			}
		}
		return nil
	})
	return values, err
}

// readFile does without os.File, since a host of many taps has thousands.
func readFile(path string) (string, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var b [256]byte
	n, err := unix.Read(fd, b[:])
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(b[:n])), nil
}

func writeSysctl(ns int, name, value string) error {
	return inNamespace(ns, func() error { return writeFile(sysctlRoot+name, value) })
}

// writeFile is for files that are there, and take what is written at once.
func writeFile(path, value string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening %s: %w", path, err)
	}
	_, err = unix.Write(fd, []byte(value))
	return errors.Join(err, unix.Close(fd))
}
