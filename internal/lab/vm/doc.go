// Package vm runs a command in a virtual machine that sees the files of this one.
//
// It exists because VRF is a kernel feature that not every kernel was built with, while everything
// else the lab needs is in all of them. The machine boots a Debian kernel that `make setup` unpacked
// into .cache/vm; its root is this machine's /, read-only over 9p, under an overlay in memory. So every
// path means the same inside as outside, nothing has to be copied into an image, and nothing that the
// command writes outlives it.
//
// # Guarantees
//
// Run returns the command's own exit status, and only when the guest reported one: a guest that
// panics, hangs, is killed or powers itself off is an error that carries the end of its console.
// The command's output reaches the writer as it is printed, with no word of the boot in between.
//
// # How it works
//
// Three serial ports: the kernel's console (kept, shown only in errors), the command's output, and one
// line with its exit status. The initrd is made anew for each run, in memory, from the unpacked kernel's
// modules, busybox and the command; there is no image to go stale. KVM is used when a probe with a time
// limit has really booted a kernel on it (a /dev/kvm that opens and then hangs exists in the field);
// the answer is kept until the machine boots again. Otherwise QEMU emulates, which makes computing ten to
// twenty times slower: measure times elsewhere, or as ratios.
//
// # Goroutines and failure
//
// Run starts QEMU as a child and one goroutine that waits for it; both are gone when it returns. The end
// of the context or of Options.Timeout kills QEMU. Two runs at the same time don't disturb each other.
//
// # Tests
//
// The initrd's archive format and the module order are tested alone; vm_test.go boots the real machine
// once for an exit status and once for a kernel panic.
package vm
