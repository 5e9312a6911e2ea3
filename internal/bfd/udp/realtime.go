package udp

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// priority is that of the loop's thread among real-time threads: the middle,
// below the kernel's own.
const priority = 50

// heap is how much memory the process may have before it collects garbage. What
// makes garbage is the socket for the agent, and that very little.
const heap = 64 << 20

// Tune prepares the process for the loop: it hardly ever collects garbage, and
// there are more places to run Go code than goroutines that want one, so that
// the loop's thread gets one at once even when others that hold one wait for a
// processor. It is for the process that does nothing else.
func Tune() {
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(heap)
	runtime.GOMAXPROCS(max(8, 2*runtime.NumCPU()))
}

// urgent makes the calling thread a real-time one and keeps its memory from
// being paged out. Threads that it makes don't inherit that. The error says what
// isn't permitted, and the rest is done.
func urgent() error {
	attr := unix.SchedAttr{
		Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Flags: unix.SCHED_FLAG_RESET_ON_FORK, Priority: priority,
	}
	var failed []error
	if err := unix.SchedSetAttr(0, &attr, 0); err != nil {
		failed = append(failed, fmt.Errorf("scheduling by SCHED_FIFO: %w; give LimitRTPRIO=%d or CAP_SYS_NICE", err, priority))
	}
	// Pages are locked as they are used: all of them would be the whole program
	// and the address space that the Go runtime keeps in reserve.
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil {
		failed = append(failed, fmt.Errorf("locking memory: %w; give LimitMEMLOCK=infinity or CAP_IPC_LOCK", err))
	}
	return errors.Join(failed...)
}
