// Package packet watches prepared taps for their guests, as package arrival
// decides, and tells of each once.
//
// Each tap has a packet socket of its own, bound to the device, with a filter on
// the guest's hardware address as the source, so that nothing else wakes this
// process. It is opened as soon as a tap is to be watched and closed at the
// guest's first frame, or when the tap isn't to be watched any more. A guest that
// was seen is not told of again while its tap stays in the set; a tap that is left
// out of the set and put in again, and one that gets another guest, is watched
// anew.
//
// A frame is heard before any filter in nftables sees it, also one at the ingress
// of the device, and whether or not the tap is in a VRF. The tap has to be up. One
// that goes down and comes up is still heard. One that was made anew under its
// name is another device, and gets a socket of its own when the set says so.
//
// # Goroutines
//
// Run is the fleet's goroutine and one for each tap, which waits for a frame and
// then for the end of its tap, with a second one beside it while it has a socket. Set and Status may be called at any time. Options.Seen
// is called by the tap's goroutine; while it runs, only its tap waits. A panic in
// it is counted and logged, and the guest counts as seen. A socket that can't be
// opened, because the device has gone or another one has its name, is tried again
// by the fleet, and Status says why.
//
// # Tests
//
// In network namespaces with veths as taps: each announcement, everything that
// must not be taken for one, filters in nftables that drop all, a tap that is down,
// and one that is replaced. And a real QEMU is migrated from one tap to another:
// nothing is heard of it before it runs, and its RARP then.
package packet
