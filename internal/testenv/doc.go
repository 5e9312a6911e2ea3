// Package testenv says what a test needs of the machine it runs on, so that nothing is skipped in silence.
//
// A test that lacks root, a program or VRF is skipped on a developer's machine and fails where the
// environment says that it must run: CI=true for root and programs, HOSTROUTE_REQUIRE_VRF=1 for VRF. A test
// skipped for want of VRF is written to the list that `make test` then runs in the VM, where all of the
// list has to pass.
//
// It is for tests only, has no goroutines, and is tested by its own tests.
package testenv
