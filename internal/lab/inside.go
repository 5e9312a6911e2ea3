package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// What is done here could be done by sysctl(8) and `ip netns pids`, a process or two for each namespace. In an
// emulated VM starting a process takes a tenth of a second, and a lab has fourteen namespaces.

// netnsDir is where ip(8) keeps the namespaces' names.
const netnsDir = "/run/netns"

// within does something on a thread that is in a namespace, so what it opens belongs there.
func within(namespace string, do func() error) error {
	done := make(chan error)
	go func() {
		// Never unlocked: the thread is in another namespace, and ends with the goroutine.
		runtime.LockOSThread()
		if err := enter(namespace); err != nil {
			done <- err
			return
		}
		done <- do()
	}()
	return <-done
}

func enter(namespace string) error {
	ns, err := os.Open(filepath.Join(netnsDir, namespace))
	if err != nil {
		return fmt.Errorf("entering the namespace %s: %w", namespace, err)
	}
	defer ns.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering the namespace %s: %w", namespace, err)
	}
	return nil
}

// sysctl sets keys, "net.ipv4.ip_forward=1", in a namespace. Keys that the kernel doesn't have are no error:
// they belong to modules that are not loaded.
func sysctl(namespace string, settings ...string) error {
	err := within(namespace, func() error {
		for _, s := range settings {
			key, value, _ := strings.Cut(s, "=")
			path := filepath.Join("/proc/sys", strings.ReplaceAll(key, ".", "/"))
			err := os.WriteFile(path, []byte(value), 0)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("%s: %w", s, err)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("setting sysctls of %s: %w", namespace, err)
	}
	return nil
}

// inside lists the processes in the namespaces, but for ourselves.
func inside(names []string) ([]int, error) {
	wanted := map[uint64]bool{}
	for _, name := range names {
		inode, err := inodeOf(filepath.Join(netnsDir, name))
		if err != nil {
			return nil, fmt.Errorf("looking at the namespace %s: %w", name, err)
		}
		wanted[inode] = true
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		// A process that has ended meanwhile, or is a zombie, has no namespace.
		if inode, err := inodeOf(filepath.Join("/proc", e.Name(), "ns/net")); err == nil && wanted[inode] {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// inodeOf tells namespaces apart: the kernel keeps them all in one file system.
func inodeOf(path string) (uint64, error) {
	st, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return st.Sys().(*syscall.Stat_t).Ino, nil
}
