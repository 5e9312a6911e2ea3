// Package labcmd is the command `hostroute lab` with all below it: list, up, run, down, and the VM.
//
// Where the running kernel has no VRF, run and up continue by themselves in the VM, with the same program and
// the same arguments, so that a user needs to know nothing about it. The scenarios are the caller's. Its
// pieces are tested where they live; this package only parses flags.
package labcmd
