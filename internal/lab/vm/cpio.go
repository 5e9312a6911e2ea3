package vm

import (
	"bytes"
	"fmt"
)

// archive writes the "newc" cpio format that the kernel unpacks into its first root
// (Documentation/driver-api/early-userspace/buffer-format.rst).
type archive struct {
	buf   bytes.Buffer
	inode int
}

const (
	modeDir  = 0o040000
	modeFile = 0o100000
)

func (a *archive) dir(name string) { a.entry(name, modeDir|0o755, nil) }

func (a *archive) file(name string, mode int, content []byte) {
	a.entry(name, modeFile|mode, content)
}

// finish adds the trailer and returns the archive.
func (a *archive) finish() []byte {
	a.entry("TRAILER!!!", 0, nil)
	return a.buf.Bytes()
}

// entry writes a header of thirteen fields of eight hex digits, the name and the content, each padded to four.
func (a *archive) entry(name string, mode int, content []byte) {
	a.inode++
	fields := [13]int{a.inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0}
	a.buf.WriteString("070701")
	for _, f := range fields {
		fmt.Fprintf(&a.buf, "%08X", f)
	}
	a.buf.WriteString(name)
	a.buf.WriteByte(0)
	a.pad()
	a.buf.Write(content)
	a.pad()
}

func (a *archive) pad() {
	for a.buf.Len()%4 != 0 {
		a.buf.WriteByte(0)
	}
}
