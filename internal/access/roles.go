package access

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/migrations"
)

// Role is what somebody is to the log.
type Role string

// The roles, from the least trusted to the most.
const (
	// Agent is the hypervisor whose name the user has. It hears what concerns it,
	// asks for its own snapshot, and answers whether it has the effect of an event;
	// it may not use JetStream.
	//
	// It answers where an inbox has its name, and not wherever an asker wants
	// (allow_responses), which would be any subject: with a publisher's help an
	// agent could write to the ledger.
	Agent Role = "agent"
	// Publisher asks the log service to store events, which decides whether they
	// may be, and the agents whether they have had their effect; nothing else.
	Publisher Role = "publisher"
	// Auditor reads all history and publishes signed checkpoints, from an account
	// of its own, so that no answer can be led into the log. Since it may make
	// consumers, it can have messages of the ledger delivered where it likes; none
	// that it wrote, and neither agents nor the log service take them for anything.
	// It may ask whether an event has had its effect, as a publisher does.
	Auditor Role = "auditor"
	// Service is the log service, and a program that writes to the ledger itself
	// through package events/log. It is trusted to write only what that decides.
	Service Role = "service"
	// Operator makes and migrates the streams, and may do all that the service
	// may. It can't delete or purge the ledger; but who may change a stream can
	// give it limits, so an operator's key is for people, not for programs.
	Operator Role = "operator"
	// System looks after the servers themselves, in an account of its own: takes
	// one out of the cluster that is gone for good. It sees no events.
	System Role = "system"
)

// Roles lists all of them.
func Roles() []Role { return []Role{Agent, Publisher, Auditor, Service, Operator, System} }

// The subjects of requests to the log service.
const (
	publishRequest  = "hostroute.publish"
	snapshotRequest = "hostroute.snapshot." // followed by the name of a hypervisor
	effectRequest   = "hostroute.effect"    // of the log service, and with a name behind it of that agent
)

// otherAccount is where servers lead answers into another account, the auditors'.
// Only what was asked has such a subject, and nobody can guess it.
const otherAccount = "_R_.>"

// bucket is where migrations write down who applied them.
const bucket = "hostroute-meta"

// Inbox is the prefix under which the user with a public key hears answers.
func Inbox(key string) string { return "_INBOX." + key }

// Rights are the subjects that a user may publish to and subscribe to; what is
// denied is so although it is listed.
type Rights struct {
	Publish     []string
	DenyPublish []string
	Subscribe   []string
}

// RightsOf lists the rights of a role. The name counts for an agent, whose it
// is the hypervisor's. System has no list: it may do all in its account.
func RightsOf(role Role, name, key string) Rights {
	answers := Inbox(key) + ".>"
	switch role {
	case Agent:
		return Rights{
			Publish:   []string{snapshotRequest + name, "_INBOX.*." + name + ".*", otherAccount},
			Subscribe: []string{live(events.SubjectTick(name)), live(events.SubjectFeed(name, "*")), live(events.SubjectNetTick), effectRequest + "." + name, answers},
		}
	case Publisher:
		return Rights{Publish: append(effects(), publishRequest), Subscribe: []string{answers}}
	case Auditor:
		r := Rights{Publish: append(effects(), migrations.SubjectCheckpoint, detecting), Subscribe: []string{answers}}
		for _, subject := range reading() {
			r.Publish = append(r.Publish, imported(subject))
		}
		return r
	case Service:
		return Rights{Publish: append(reading(), events.SubjectAll, "_INBOX.>", otherAccount), Subscribe: serving(answers)}
	case Operator:
		return Rights{
			Publish: []string{
				"$JS.API.>", "$JS.SNAPSHOT.>", "$KV." + bucket + ".>", "$SRV.>", events.SubjectAll, migrations.SubjectCheckpoint,
				publishRequest, snapshotRequest + "*", effectRequest, effectRequest + ".*", "_INBOX.>", otherAccount,
			},
			DenyPublish: forgetting(),
			Subscribe:   append(serving(answers), "$JS.EVENT.>"),
		}
	}
	return Rights{}
}

// live is where a stored message is heard.
func live(subject string) string { return migrations.Live + strings.TrimPrefix(subject, "hr") }

// serving is what the log service hears: requests, and questions about itself
// as every NATS service answers them.
func serving(answers string) []string {
	return []string{publishRequest, snapshotRequest + "*", effectRequest, "$SRV.>", answers}
}

// effects is asking what an event is to bring about, and who has it.
func effects() []string { return []string{effectRequest, effectRequest + ".*"} }

// reading is what reading the log takes of JetStream's API. Names of consumers
// can't be listed: who knows one may take its messages away.
//
// Of checkpoints there are no consumers: auditors write them, and whoever can
// write to a stream and have it delivered can write anywhere.
func reading() []string {
	list := []string{"$JS.API.STREAM.INFO." + migrations.Checkpoints, "$JS.API.STREAM.MSG.GET." + migrations.Checkpoints}
	for _, s := range []string{migrations.Ledger, migrations.Feeds} {
		list = append(list,
			"$JS.API.STREAM.INFO."+s,
			"$JS.API.STREAM.MSG.GET."+s,
			"$JS.API.CONSUMER.CREATE."+s+".*",
			fetching+s+".*",
			"$JS.API.CONSUMER.DELETE."+s+".*",
		)
	}
	return list
}

// Domain stands in the subjects under which auditors reach the log's JetStream,
// as NATS clients know it: $JS.HOSTROUTE.API instead of $JS.API.
const Domain = "HOSTROUTE"

// detecting is how a client learns that its account has no JetStream.
const detecting = "$JS.API.STREAM.INFO." + migrations.Ledger

func imported(subject string) string {
	return strings.Replace(subject, "$JS.API.", "$JS."+Domain+".API.", 1)
}

// fetching asks for several messages; all other questions have one answer.
const fetching = "$JS.API.CONSUMER.MSG.NEXT."

// forgetting is what would take history away. The streams deny it too, save
// for a deletion of the whole.
func forgetting() []string {
	var list []string
	for _, s := range []string{migrations.Ledger, migrations.Checkpoints} {
		list = append(list, "$JS.API.STREAM.DELETE."+s, "$JS.API.STREAM.PURGE."+s, "$JS.API.STREAM.MSG.DELETE."+s)
	}
	return list
}

// User is somebody with keys. All keys have the same rights; there are several
// only while one is replaced.
type User struct {
	Role Role     `json:"role"`
	Name string   `json:"name"`
	Keys []string `json:"keys"` // public nkeys, the newest last
}

// String is how people and commands name a user.
func (u User) String() string { return string(u.Role) + ":" + u.Name }

// ParseUser reads ROLE:NAME.
func ParseUser(s string) (User, error) {
	role, name, _ := strings.Cut(s, ":")
	u := User{Role: Role(role), Name: name}
	if !slices.Contains(Roles(), u.Role) {
		return u, fmt.Errorf("%q: must be ROLE:NAME, the role one of %v", s, Roles())
	}
	if err := events.CheckName("name", name); err != nil {
		return u, fmt.Errorf("%q: %w", s, err)
	}
	return u, nil
}
