// Command hostroute is all of hostroute in one binary: the agent of a
// hypervisor, the log service, and the commands with which people and scripts
// publish events, read the log and ask an agent.
//
// A file here is one subcommand: it reads flags, wires the packages that do
// the work, runs them and words the outcome. Nothing is decided in here.
//
// # Conventions
//
// What was asked for goes to stdout: text for people, or with --json stable
// field names for programs. Everything else, errors and progress included,
// goes to stderr; an error is told once. The exit code is 0 when all is fine,
// 1 when a command was refused or has found something wrong, and 2 when it
// could not run: wrong usage, nobody reachable, interrupted half-way.
//
// # Tests
//
// testdata/script holds txtar scripts which run the real binary against a real
// log in a process of its own. See script_test.go.
package main
