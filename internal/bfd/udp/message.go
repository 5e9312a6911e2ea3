package udp

import (
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// datagram is room for one received datagram, used again and again. A control
// packet's length is an octet; what is longer is cut, and its rest of no interest.
type datagram struct {
	header  unix.Msghdr
	vector  unix.Iovec
	name    unix.RawSockaddrInet6 // big enough for both families
	control [128]byte
	buf     [256]byte
}

// receive reads one datagram. The numbers are the kernel's own, so that nothing
// is allocated; the calls don't block, so the runtime needn't know of them.
func (d *datagram) receive(fd int) (n int, errno unix.Errno) {
	d.vector.Base = &d.buf[0]
	d.vector.SetLen(len(d.buf))
	d.header = unix.Msghdr{Name: (*byte)(unsafe.Pointer(&d.name)), Namelen: unix.SizeofSockaddrInet6, Iov: &d.vector}
	d.header.SetIovlen(1)
	d.header.Control = &d.control[0]
	d.header.SetControllen(len(d.control))
	r, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&d.header)), unix.MSG_DONTWAIT)
	return int(r), errno
}

// from is the sender's address, without a zone.
func (d *datagram) from() netip.Addr {
	switch d.name.Family {
	case unix.AF_INET:
		return netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(&d.name)).Addr)
	case unix.AF_INET6:
		return netip.AddrFrom16(d.name.Addr)
	}
	return netip.Addr{}
}

// ttl is the TTL or hop limit that the datagram came with, or -1.
func (d *datagram) ttl() int {
	b := d.control[:min(int(d.header.Controllen), len(d.control))]
	for len(b) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
		size := int(h.Len)
		if size < unix.SizeofCmsghdr || size > len(b) {
			break
		}
		v4 := h.Level == unix.IPPROTO_IP && h.Type == unix.IP_TTL
		v6 := h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_HOPLIMIT
		if (v4 || v6) && size >= unix.CmsgLen(4) {
			return int(*(*int32)(unsafe.Pointer(&b[unix.CmsgLen(0)])))
		}
		b = b[min(len(b), unix.CmsgSpace(size-unix.CmsgLen(0))):]
	}
	return -1
}

// destination is an address as the kernel wants it.
type destination struct {
	addr unix.RawSockaddrInet6 // big enough for both families
	size uintptr
}

func (d *destination) set(a netip.Addr, port uint16, index int) {
	d.addr = unix.RawSockaddrInet6{}
	network := port<<8 | port>>8 // of a little-endian machine
	if one := uint16(1); *(*byte)(unsafe.Pointer(&one)) == 0 {
		network = port
	}
	if a.Is4() {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(&d.addr))
		v4.Family, v4.Port, v4.Addr = unix.AF_INET, network, a.As4()
		d.size = unix.SizeofSockaddrInet4
		return
	}
	d.addr.Family, d.addr.Port, d.addr.Addr = unix.AF_INET6, network, a.As16()
	if a.IsLinkLocalUnicast() {
		d.addr.Scope_id = uint32(index)
	}
	d.size = unix.SizeofSockaddrInet6
}

// send sends one datagram.
func (d *destination) send(fd int, b []byte) unix.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)),
		unix.MSG_DONTWAIT, uintptr(unsafe.Pointer(&d.addr)), d.size)
	return errno
}
