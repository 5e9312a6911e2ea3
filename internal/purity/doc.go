// Package purity checks that the packages which decide don't touch the world.
//
// A package root of hostroute is pure: the same input gives the same output, on any machine, at any time.
// Replay, audit and the property tests stand on that. Check reads the sources of the named packages and of
// all packages of the module that they import, and reports what a pure package may not have: an import
// outside the list of allowed ones, a goroutine, or a call that asks the clock, waits, or prints.
//
// What it can't see is purity broken by hand, such as a result that depends on the order of a map; the
// property tests of the packages look for that. It has no goroutines and reads files only.
package purity
