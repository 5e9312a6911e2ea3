// Package benchcmd is `hostroute lab bench`: it compares hostroute with BIRD and FRR on this machine, and reports.
//
// What it will do, and what each run came to, goes to standard error; the report alone to standard output, so that it
// can be piped. It has no goroutine of its own. An interrupt ends the run that is under way, takes down what it stood
// on, and reports what was measured until then. Contenders that can't do a job are in the report; only where hostroute
// itself couldn't is that ErrFailed.
//
// The tests check what flags come to, what is said of it, and, with root and BIRD, a small comparison from the command
// line to the files.
package benchcmd
