// Package scalecmd is the command `hostroute lab scale`: what a region of a given
// size needs, on paper and simulated. It computes and prints and touches nothing
// else; it has no goroutines. What internal/scale says about its figures holds for
// them.
package scalecmd
