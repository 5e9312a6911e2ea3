// Package config reads the one configuration file of a host.
//
// The file says what is fixed about a host: its name, its folders, how it
// reaches the log, its VRFs, its uplinks and its route reflectors. Which guests
// live there and which addresses they have is not configured anywhere; it is in
// the log.
//
// [Parse] is strict. An unknown or repeated key, a value out of its range and a
// reference that leads nowhere are errors, all of them reported at once, each
// with line, key, value and what is allowed instead. What it returns is
// complete: every default is filled in. Whether a role has all that it needs is
// asked separately, by [Config.CheckAgent] and [Config.CheckLog], since the log
// service uses the same file and needs a part of it only.
//
// The keys, their defaults and their ranges are the tags of the raw structs in
// raw.go and nowhere else: the parser takes them from there, and a test holds
// reference.yaml, the file for people, to them.
//
// The package has no goroutines and, [Load] apart, no I/O.
package config
