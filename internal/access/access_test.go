package access

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hostroute/hostroute/internal/testenv"
)

var update = flag.Bool("update", false, "write the reference configuration anew")

// reference is the cluster of the reference configuration. Its keys have no
// other half: nobody can use them.
func reference(t testing.TB) *Cluster {
	t.Helper()
	c := &Cluster{Name: "hostroute"}
	if err := c.AddServers(Server{"n1", "198.51.100.10"}, Server{"n2", "198.51.100.11"}, Server{"n3", "198.51.100.12"}); err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"agent:hv1", "agent:hv2", "publisher:api", "auditor:alice", "service:log", "operator:ops", "system:ops"} {
		u, err := ParseUser(name)
		if err != nil {
			t.Fatal(err)
		}
		c.AddKey(u.Role, u.Name, exampleKeys()[i])
	}
	return c
}

// exampleKeys are public nkeys, the format of which a server checks.
func exampleKeys() []string {
	return []string{
		"UB4XU63SHBHOJEOPYEJRDYW7F4PQSKZ7E2ZO6KBO2XJYW6WXRAR4R6BU",
		"UDL3S4WZGOGDDSQGUBFI7WUW5SFJ73ZXSI2HODCRKLGFJTR2AOLRPLC7",
		"UARP2RK3WGIGXDMRLEPATZ27AETCHG3UIAUQSDFYECRS7IJRTTE3JZO3",
		"UCJJYUBFVJ2IE6WTPH27DGPE4FGQEXWCEXHQ76YYW4RLHJOW7HB7KZ22",
		"UACBYBCEIFS6EODQ3U762CXCSHS3B5YIFHIKJXV5IARPXMAN2IDQQE3K",
		"UCI3OYFVTNNTQNPRNA4ABYXTVBITSXTFPSKYIL6JOCFNB7TYABEC7R23",
		"UARGTSKAXDNXRKN36DUMZ6LQQHY4LUW72433L43JRZG7B257OITQJ5EP",
	}
}

// TestReference compares the reference configuration in deploy with what is
// written for a cluster; -update writes it.
func TestReference(t *testing.T) {
	c := reference(t)
	for name, text := range map[string]string{ServerFile: c.ServerConf(c.Servers[0]), UsersFile: c.UsersConf()} {
		path := filepath.Join(testenv.ModuleRoot(t), "deploy", "nats", name)
		if *update {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		have, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(have) != text {
			t.Errorf("%s isn't what log init --cluster writes; go test ./internal/access -update writes it", path)
		}
	}
}

// TestEveryLineHasAReason wants a comment before each setting of the reference,
// or before the block that it is in.
func TestEveryLineHasAReason(t *testing.T) {
	c := reference(t)
	reasoned := false
	for line := range strings.Lines(c.ServerConf(c.Servers[0])) {
		line = strings.TrimSpace(line)
		switch {
		case line == "":
			reasoned = false
		case strings.HasPrefix(line, "#"):
			reasoned = true
		case !reasoned && line != "}" && line != "]":
			t.Errorf("%q has no reason", line)
		}
	}
}

func TestServersAreOneThreeOrFive(t *testing.T) {
	server := func(n int) Server { return Server{Name: string(rune('a' + n)), Host: "198.51.100.1"} }
	for n := range 7 {
		c := &Cluster{}
		var list []Server
		for i := range n {
			list = append(list, server(i))
		}
		if err := c.AddServers(list...); (err == nil) != slices.Contains([]int{1, 3, 5}, n) {
			t.Errorf("%d servers: %v", n, err)
		}
	}
	c := &Cluster{}
	if err := c.AddServers(server(0)); err != nil {
		t.Fatal(err)
	}
	if err := c.AddServers(server(0)); err != nil || len(c.Servers) != 1 {
		t.Errorf("a server again: %v", err)
	}
	if err := c.AddServers(Server{Name: "a", Host: "198.51.100.2"}); err == nil {
		t.Error("a server is in two places")
	}
}

func TestParse(t *testing.T) {
	for _, s := range []string{"", "n1", "n1=", "=198.51.100.1", "N1=198.51.100.1", "n1=a b", "n1=a\"b", "n1=fe80::1%eth0", "n1=a}b"} {
		if _, err := ParseServer(s); err == nil {
			t.Errorf("server %q is taken", s)
		}
	}
	for _, s := range []string{"", "agent", "agent:", "agents:hv1", "agent:HV1", "agent:hv1.*", "agent:>", ":hv1", "agent:a:b"} {
		if _, err := ParseUser(s); err == nil {
			t.Errorf("user %q is taken", s)
		}
	}
	s, err := ParseServer("n1=2001:db8::1")
	if err != nil {
		t.Fatal(err)
	}
	c := Cluster{Servers: []Server{s, {Name: "n2", Host: "n2.example.net"}}}
	if url := c.URL(); url != "tls://[2001:db8::1]:4222,tls://n2.example.net:4222" {
		t.Errorf("URL is %s", url)
	}
}

// TestKeys goes through the life of a user.
func TestKeys(t *testing.T) {
	c := reference(t)
	u, _ := c.User(Agent, "hv1")
	old := u.Keys[0]
	c.AddKey(Agent, "hv1", "UNEW")
	if conf := c.UsersConf(); !strings.Contains(conf, old) || !strings.Contains(conf, `"UNEW"`) || !strings.Contains(conf, "_INBOX.UNEW.>") {
		t.Errorf("both keys work while one is replaced:\n%s", conf)
	}
	if err := c.Retire(Agent, "hv1"); err != nil {
		t.Fatal(err)
	}
	if conf := c.UsersConf(); strings.Contains(conf, old) || !strings.Contains(conf, "UNEW") {
		t.Errorf("the old key is still there:\n%s", conf)
	}
	if err := c.Revoke(Agent, "hv1"); err != nil {
		t.Fatal(err)
	}
	if conf := c.UsersConf(); strings.Contains(conf, "UNEW") || strings.Contains(conf, "hv1") {
		t.Errorf("the user is still there:\n%s", conf)
	}
	for name, err := range map[string]error{"retire": c.Retire(Agent, "hv1"), "revoke": c.Revoke(Agent, "hv1")} {
		if err == nil {
			t.Errorf("%s of nobody", name)
		}
	}
}
