// Package scenarios has the stories that `hostroute lab run` can tell.
//
// A scenario uses hostroute as a user would: it runs the binary, publishes
// through its command line, reads what its commands print, and looks at
// kernels with ip(8). Nothing in here calls into the packages under test, so
// what a scenario finds is what a user would find. Those that begin with a world
// that serves (serving.go) let something die under traffic, and print what is
// lost: what must lose nothing is checked, how long things take only told.
package scenarios
