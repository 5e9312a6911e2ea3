// Package fleet keeps one task running for each tap that should have one.
//
// Set takes the whole desired state and may be called at any time, also before
// Run; what is the same changes nothing. A tap whose service changed has its
// task updated; one that is a new device of an old name has its task started
// anew, because a socket is bound to the device and not to its name; it waits for the old
// one's end, and nothing else waits for it. A task that
// ends with an error, or panics, is started again after a pause that doubles up to
// longestPause, as long as it is desired.
//
// Port.Check is for the tasks to make sure that a socket is on the very device, at
// a cost that doesn't grow with the number of devices.
//
// Run is one goroutine, and one more for each task; it returns when its context
// has ended and every task has. Whether a tap is dropped for good or the process
// only ends is told to the task: see Task.
package fleet
