// Package feeder plays the route reflectors of a comparison: it listens, has sessions
// with whoever calls, sends UPDATEs that were encoded before as fast as they are taken,
// and notes when it was told of what.
//
// # What it guarantees
//
// A contender sees an iBGP peer with IPv4 and IPv6 unicast and AS numbers of four
// octets, and nothing else: no graceful restart, so that a session that ends is a loss, no
// add-path, no route refresh. Its TTL is 255 (RFC 5082). It never ends a session by itself,
// however slow the other side is. KEEPALIVEs go when nothing else is being sent.
//
// # Goroutines
//
// One accepts for each reflector, and each session has one that reads and one that sends
// KEEPALIVEs. [Feeder.Close] ends them all and waits for them.
//
// # How it is tested
//
// With BIRD as the one that calls, as root, in namespaces; and everywhere that it is used.
package feeder
