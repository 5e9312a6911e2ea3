// Package access says who may do what with the log, and how its servers are
// set: the roles and their subjects, the users of a cluster, and the files that
// a NATS server reads. All of it is data and text; `hostroute log init
// --cluster` writes it down, and makes the keys.
//
// # Roles
//
// [Rights] is the one place that lists subjects. Everything that isn't listed
// is forbidden. What no subject can express is said at the role: whoever may
// make a consumer can have the server deliver stored messages to any subject
// (nats-server issue 8274), which is why agents and publishers may not.
//
// # Inboxes
//
// Every user hears answers under a subject of their own, _INBOX and the public
// key ([Inbox]), so that no one can listen to another's. The prefix follows from
// the key, so nobody has to configure it. Agents, whom publishers ask, answer in
// an inbox under a token that is their own name: no agent answers for another.
//
// # Tests
//
// Here, what the files say is read back; package events/log runs a server from
// them and tries each role with each kind of subject.
package access
