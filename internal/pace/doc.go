// Package pace says when hypervisors ask the log, and when they ask again: the
// pauses and the chance in them that keep thousands from asking at the same
// moment. The follower and the connection of events/log go by it, and so does the
// simulation of internal/scale, which would otherwise be of something else.
//
// It is pure: chance is an argument. It has no goroutines and can't fail. Tests
// hold the bounds of each pause.
package pace
