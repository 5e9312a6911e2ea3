// Package receive is the loop around every socket that a guest can send to: it
// reads, limits, has one packet handled at a time, and survives what the
// handler does.
//
// A token bucket stands before any parsing. When it is empty the loop does not
// read at all until there is a token again, so the kernel drops at the socket
// what comes meanwhile: a flood costs a guest its own service and this process
// next to nothing, whatever its rate. How much was dropped nobody knows, so the
// Stats count how often the bucket was empty.
//
// A panic in a handler costs the packet that made it; it is counted, and logged
// with its stack, once a minute at most.
//
// Serve works in its caller's goroutine until its context ends. What unblocks a
// read is the deadline that the connection gets when the context ends.
package receive
