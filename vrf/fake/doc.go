// Package fake is a kernel in memory for tests, with the manners of the real
// one that hurt: a link that is enslaved loses its addresses, routes, next
// hops and neighbours; with its last IPv4 address it loses its IPv4 routes and neighbours, and
// with the first of a subnet the others of it; a link without carrier loses its
// next hops, and a group without members takes its routes along. Nothing comes
// back by itself. Replacing takes anybody's route, whatever its protocol.
//
// It is safe for concurrent use, starts nothing, and fails where a test says
// so. Package conformance holds it against the real kernel.
package fake
