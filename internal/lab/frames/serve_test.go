package frames

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// openPorts listens in the hypervisor on every address, in the VRF and on the uplink.
func (w *world) openPorts() {
	w.t.Helper()
	bound := []string{"", "up0"}
	if w.devices {
		bound = append(bound, "public")
	}
	err := w.hv.Do(func() error {
		for _, device := range bound {
			for _, port := range listening {
				if err := w.openPort(unix.SOCK_STREAM, device, port); err != nil {
					return fmt.Errorf("listening on TCP port %d of %q: %w", port, device, err)
				}
			}
			for _, port := range listeningUDP {
				if err := w.openPort(unix.SOCK_DGRAM, device, port); err != nil {
					return fmt.Errorf("listening on UDP port %d of %q: %w", port, device, err)
				}
			}
		}
		return nil
	})
	w.check(err)
}

// openPort takes both families. What arrives at a UDP port goes back.
func (w *world) openPort(kind int, device string, port uint16) error {
	fd, err := unix.Socket(unix.AF_INET6, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	file := os.NewFile(uintptr(fd), fmt.Sprint("port ", port))
	w.life.Cleanup(func() { file.Close() })
	if device != "" {
		if err := unix.BindToDevice(fd, device); err != nil {
			return err
		}
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		return err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet6{Port: int(port)}); err != nil {
		return err
	}
	if kind == unix.SOCK_STREAM {
		return unix.Listen(fd, 4096)
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	go func() { // ends when the file is closed
		buf := make([]byte, 2048)
		_ = raw.Read(func(fd uintptr) bool {
			for {
				n, from, err := unix.Recvfrom(int(fd), buf, 0)
				if err != nil {
					return false
				}
				_ = unix.Sendto(int(fd), buf[:n], 0, from)
			}
		})
	}()
	return nil
}
