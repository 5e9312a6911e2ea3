// Package vmtest runs in the VM the tests that had to be skipped outside for want of VRF.
//
// `go test` outside writes their names to a list (internal/testenv). Run builds the test binaries of their
// packages outside, where compiling is fast, boots the VM once, and runs exactly the listed tests in it.
//
// Guarantee: the result is success only when every listed test was seen to pass. One that is skipped in the
// VM, or does not turn up in the output, is a failure, and so is an empty list: some test always needs VRF.
// The output looks like go test's own.
//
// It has no goroutines. The reading of the test output is tested on recorded text, the whole by `make test`.
package vmtest
