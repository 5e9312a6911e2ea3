// Package control is the unix socket between `hostroute bfd` and whoever wants
// sessions, which is the agent: JSON, an object a line, in both directions.
//
// # The protocol, version 1
//
// The client sends its whole desired set, as often as it likes:
//
//	{"v":1,"type":"set","sessions":[{"name":"public-a-100.64.0.1","interface":"a-public",
//	  "local":"100.64.0.11","remote":"100.64.0.1","min_tx":"300ms","min_rx":"300ms","multiplier":3}]}
//
// The server sends every session when a client connects, after each set, and
// every few seconds, so that a client knows that it lives and has fresh counters:
//
//	{"v":1,"type":"sessions","sessions":[{"name":"public-a-100.64.0.1","state":"up",…}]}
//
// and between that, at once, each session that changed in more than counters:
//
//	{"v":1,"type":"change","sessions":[…]}
//
// A line that it refuses it answers, and closes the connection:
//
//	{"v":1,"type":"error","error":"session …: min_tx: 1ms: must be 50ms to 1m0s"}
//
// Unknown keys are ignored, so that a version may gain some; another "v" is
// refused. A client that only wants to look sends nothing.
//
// # What it guarantees
//
//   - The end of a connection changes no session: the agent may end and start as it
//     likes. A new connection that sends the same set changes nothing on the wire.
//     With [Server].Keep, sessions that nobody has asked for anew within that time
//     are shut; by default they stay for ever.
//   - A set replaces the one before, from whichever connection. A set that is
//     refused leaves the one before in place.
//   - A client that reads slowly misses intermediate states and never the last
//     one, and holds up nobody: falls that it missed show in the session's count.
//   - [Client] reconnects by itself, sends its set again, and tells every change that
//     it sees across a gap. While there is no connection the last known state is
//     kept: that the watcher is away says nothing about the path.
//
// # Goroutines
//
// Server.Run has one that accepts, one that waits for changes, and two for each
// connection. Client.Run has one that reads, and one that writes while connected;
// Changed is called by the first.
//
// # How it is tested
//
// Server and client against each other and against raw lines, with an engine in
// memory; both with the real engine in the tests of cmd/hostroute.
package control
