package fleet

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Port is a device: its name, and the index that tells it from a later device
// of the same name.
type Port struct {
	Name  string
	Index int
}

// Check fails unless the device of that name has that index now, where the calling
// thread is. It asks for that device alone: package net reads all there are for one,
// which on a host of many taps costs a tap more than all else.
func (p Port) Check() error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening a socket to ask for the device %s: %w", p.Name, err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq(p.Name)
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, request)
	}
	if errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("the device %s with the index %d is gone: %w", p.Name, p.Index, err)
	}
	if err != nil {
		return fmt.Errorf("asking for the device %s: %w", p.Name, err)
	}
	if now := int(request.Uint32()); now != p.Index {
		return fmt.Errorf("the device %s has the index %d and not %d: it is another one of that name", p.Name, now, p.Index)
	}
	return nil
}
