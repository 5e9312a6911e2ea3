// Package scenario runs a story about the lab and keeps the score.
//
// A scenario is a function that takes steps, checks what it sees and notes what it measures. While it runs
// the story is printed; at the end a table says what was checked and measured, and Run returns an error if
// any check failed, a step could not be done, or nothing was checked at all.
//
// Limits are waited for on conditions, never slept through, and stretched by lab.TimeFactor on slow
// machines. Colours appear only on a terminal (or with HOSTROUTE_COLOR=1, for output that is passed on to
// one) and never with NO_COLOR. A Story is for one goroutine. The tests read stories off a buffer.
package scenario
