package access

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hostroute/hostroute/migrations"
)

// The folder of a server, and the files in it.
const (
	folder     = "/etc/nats"
	ServerFile = "nats-server.conf"
	UsersFile  = "users.conf"
)

// ServerConf is the configuration of one server. It is written once and then
// belongs to whoever looks after the server: everything that changes with users
// is in the other file.
func (c *Cluster) ServerConf(s Server) string {
	l := DefaultLimits()
	r := strings.NewReplacer(
		"@name@", s.Name, "@cluster@", c.Name, "@dir@", folder, "@users@", UsersFile,
		"@payload@", fmt.Sprint(l.Payload), "@deadline@", l.WriteDeadline.String(),
		"@perstream@", fmt.Sprint(l.BatchesPerStream), "@batches@", fmt.Sprint(l.Batches),
		"@client@", fmt.Sprint(clientPort), "@route@", fmt.Sprint(routePort),
	)
	text := r.Replace(serverConf)
	if len(c.Servers) < 2 {
		return text
	}
	return text + r.Replace(clusterConf) + c.routes() + "  ]\n}\n"
}

func (c *Cluster) routes() string {
	var b strings.Builder
	for _, s := range c.Servers {
		fmt.Fprintf(&b, "    \"tls://%s\"\n", s.address(routePort))
	}
	return b.String()
}

const serverConf = `# A NATS server that keeps the log of hostroute. Written once by hostroute log init --cluster, then yours to edit;
# users are in @users@, which is the same on every server. Check with: nats-server -t -c @dir@/nats-server.conf

# Unlike any other's in the cluster; the store belongs to the name, so it never changes.
server_name: "@name@"

# Clients: agents, publishers, the log service, people. All addresses, since TLS and keys decide who gets in; put a
# filter in front all the same.
listen: "0.0.0.0:@client@"

# Numbers for monitoring, without a password: for this host only.
http: "127.0.0.1:8222"

# Keys prove who somebody is, TLS that this is the server, and keeps what is said between the two. Without it the log
# can be read and altered on the way.
tls {
  cert_file: "@dir@/server.pem"
  key_file: "@dir@/server-key.pem"
  # Every client of hostroute speaks 1.3, so nothing older has to be trusted.
  min_version: "1.3"
  # When a server comes back, thousands of hypervisors shake hands at once; 2 s, the default, is too short for that.
  timeout: 20
}

# Who may connect, and what they may do. There is no user without a key.
include "@users@"

# Agents, publishers and people are far fewer. A client that connects in a loop can't use up the server's files.
max_connections: 10000
# One connection needs 5; a program that leaks them is stopped before it slows everybody down.
max_subscriptions: 1000
# Bytes of a message. The largest that hostroute writes is a part of a snapshot, 256 KiB, or the register of a VRF with
# thousands of networks. Larger messages would only cost memory.
max_payload: @payload@
# A client that takes nothing for so long is disconnected: it must not hold up the others. It notices, comes back, and
# catches up.
write_deadline: "@deadline@"
# A hypervisor without power leaves a dead connection; it is noticed in a minute.
ping_interval: "20s"
ping_max: 2
# At a planned stop clients are sent elsewhere over this time, not all at once.
lame_duck_duration: "60s"

# What stores the log.
jetstream {
  # The history of everything: on a disk of its own, backed up with hostroute log backup.
  store_dir: "/var/lib/nats"
  # What was confirmed is on the disk. The default is every two minutes, and a power failure that takes all servers
  # loses that much of what publishers were told is stored. With three servers it costs little: writes are gathered.
  sync_interval: always
  # A fuse below the size of the disk: at this size the log refuses writes with an error; a full disk does worse.
  max_file_store: 100GB
  # Only readers' positions are kept in memory.
  max_memory_store: 256MB
  # Refuse requests with fields that the server doesn't know: a misspelt limit isn't one.
  strict: true
  limits {
    # The log service works on 64 commands at once, and any number of them may run. The default is 50 a stream.
    batch {
      max_inflight_per_stream: @perstream@
      max_inflight_total: @batches@
    }
    # The streams have limits of their own for readers, which this must not lower.
    default_max_consumers: -1
  }
}
`

const clusterConf = `
# The log is kept on every server (replicas: 3). One may be lost, or stopped for an upgrade, and nothing stops; with two
# gone nothing is written, and every hypervisor goes on with what it knows. Put them where they don't fail together.
cluster {
  name: "@cluster@"
  listen: "0.0.0.0:@route@"
  # Servers prove themselves to each other by certificate, both ways: whoever connects here gets everything. The
  # certificates name their host, for clients and for servers (extendedKeyUsage serverAuth and clientAuth).
  tls {
    cert_file: "@dir@/server.pem"
    key_file: "@dir@/server-key.pem"
    ca_file: "@dir@/ca.pem"
    min_version: "1.3"
    timeout: 20
  }
  # All of them, so that this file is the same everywhere but for the name; a server leaves itself out.
  routes: [
`

const usersHead = `# Who may do what with the log. Written anew by hostroute log init --cluster: don't edit it. A key is the public half;
# the other one is in the user's credentials file. After a change copy it to every server and reload each:
# nats-server --signal reload. Who isn't here any more is disconnected then; nobody else notices.

# What isn't allowed here is forbidden.
accounts {
`

const logHead = `  # The log has an account of its own; nothing else belongs in it.
  HOSTROUTE {
    # The log has four streams; whoever makes more of them is mistaken.
    jetstream: { max_streams: 8 }
    # What auditors may ask.
    exports: [
`

const auditHead = `  # Auditors are elsewhere, because a server sends an answer wherever its asker says. In here that can be no subject of
  # the log.
  AUDIT {
    imports: [
`

// UsersConf is the accounts and users of all servers.
func (c *Cluster) UsersConf() string {
	var b strings.Builder
	b.WriteString(usersHead)
	b.WriteString(logHead)
	questions := append(append(reading(), migrations.SubjectCheckpoint), effects()...)
	for _, subject := range questions {
		response := ""
		if strings.HasPrefix(subject, fetching) {
			response = "response_type: stream, "
		}
		fmt.Fprintf(&b, "      { service: %q, %saccounts: [AUDIT] }\n", subject, response)
	}
	b.WriteString("    ]\n    users: [\n")
	c.users(&b, Agent, Publisher, Service, Operator)
	b.WriteString("    ]\n  }\n")
	b.WriteString(auditHead)
	for _, subject := range questions {
		fmt.Fprintf(&b, "      { service: { account: HOSTROUTE, subject: %q }, to: %q }\n", subject, imported(subject))
	}
	b.WriteString("    ]\n    users: [\n")
	c.users(&b, Auditor)
	b.WriteString("    ]\n  }\n  # The servers' own, for looking after them. Its users see no events.\n  SYS {\n    users: [\n")
	c.users(&b, System)
	b.WriteString("    ]\n  }\n}\nsystem_account: SYS\n")
	return b.String()
}

// users writes the users who have one of the roles.
func (c *Cluster) users(b *strings.Builder, roles ...Role) {
	for _, u := range c.Users {
		for i := range u.Keys {
			if slices.Contains(roles, u.Role) {
				b.WriteString(u.conf(i))
			}
		}
	}
}

// conf is the entry of one key.
func (u User) conf(i int) string {
	var b strings.Builder
	key := u.Keys[i]
	r := RightsOf(u.Role, u.Name, key)
	fmt.Fprintf(&b, "      # %s %s", u.Role, u.Name)
	if i < len(u.Keys)-1 {
		b.WriteString(", a key to be retired")
	}
	if u.Role == System {
		fmt.Fprintf(&b, "\n      { nkey: %q }\n", key)
		return b.String()
	}
	fmt.Fprintf(&b, "\n      { nkey: %q, permissions: {\n", key)
	fmt.Fprintf(&b, "        publish: { allow: %s", listed(r.Publish))
	if len(r.DenyPublish) > 0 {
		fmt.Fprintf(&b, ", deny: %s", listed(r.DenyPublish))
	}
	fmt.Fprintf(&b, " }\n        subscribe: { allow: %s }\n      } }\n", listed(r.Subscribe))
	return b.String()
}

func listed(subjects []string) string {
	quoted := make([]string, len(subjects))
	for i, s := range subjects {
		quoted[i] = fmt.Sprintf("%q", s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
