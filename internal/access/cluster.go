package access

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/hostroute/hostroute/events"
)

// Cluster is the servers of a log and its users. It has no secrets.
type Cluster struct {
	Name    string   `json:"name"`
	Servers []Server `json:"servers"`
	Users   []User   `json:"users"`
}

// Server is one of the servers, and where others and clients reach it.
type Server struct {
	Name string `json:"name"`
	Host string `json:"host"` // address or DNS name, as its certificate has it
}

// The ports of a server; the second is for the other servers.
const (
	clientPort = 4222
	routePort  = 6222
)

var dnsName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$`)

// ParseServer reads NAME=HOST.
func ParseServer(s string) (Server, error) {
	name, host, _ := strings.Cut(s, "=")
	if err := events.CheckName("name", name); err != nil {
		return Server{}, fmt.Errorf("%q: must be NAME=HOST: %w", s, err)
	}
	if a, err := netip.ParseAddr(host); err == nil && a.Zone() == "" || dnsName.MatchString(host) {
		return Server{Name: name, Host: host}, nil
	}
	return Server{}, fmt.Errorf("%q: must be NAME=HOST with an address or a DNS name", s)
}

// Address is where something listens on a server.
func (s Server) address(port int) string {
	if strings.Contains(s.Host, ":") {
		return fmt.Sprintf("[%s]:%d", s.Host, port)
	}
	return fmt.Sprintf("%s:%d", s.Host, port)
}

// URL is where clients reach the cluster, every server of it.
func (c *Cluster) URL() string {
	list := make([]string, len(c.Servers))
	for i, s := range c.Servers {
		list[i] = "tls://" + s.address(clientPort)
	}
	return strings.Join(list, ",")
}

// AddServers takes servers that aren't there yet. Afterwards there must be 1, 3
// or 5: more than half must live, so an even number survives no more than the
// odd one below it.
func (c *Cluster) AddServers(list ...Server) error {
	for _, s := range list {
		i := slices.IndexFunc(c.Servers, func(o Server) bool { return o.Name == s.Name })
		switch {
		case i < 0:
			c.Servers = append(c.Servers, s)
		case c.Servers[i] != s:
			return fmt.Errorf("server %s is at %s already; it can't be at %s too", s.Name, c.Servers[i].Host, s.Host)
		}
	}
	if n := len(c.Servers); n != 1 && n != 3 && n != 5 {
		return fmt.Errorf("a cluster has 1, 3 or 5 servers; this one would have %d", n)
	}
	return nil
}

// Replicas is on how many servers the log is kept.
func (c *Cluster) Replicas() int { return len(c.Servers) }

// User finds a user by role and name.
func (c *Cluster) User(role Role, name string) (*User, bool) {
	i := slices.IndexFunc(c.Users, func(u User) bool { return u.Role == role && u.Name == name })
	if i < 0 {
		return nil, false
	}
	return &c.Users[i], true
}

// AddKey gives a user a further key, a new one if there is none of that name.
func (c *Cluster) AddKey(role Role, name, key string) {
	if u, ok := c.User(role, name); ok {
		u.Keys = append(u.Keys, key)
		return
	}
	c.Users = append(c.Users, User{Role: role, Name: name, Keys: []string{key}})
	slices.SortFunc(c.Users, func(a, b User) int {
		return strings.Compare(a.String(), b.String())
	})
}

var errNoUser = errors.New("there is no such user")

// Retire takes all keys from a user but the newest.
func (c *Cluster) Retire(role Role, name string) error {
	u, ok := c.User(role, name)
	if !ok {
		return fmt.Errorf("%s:%s: %w", role, name, errNoUser)
	}
	u.Keys = u.Keys[len(u.Keys)-1:]
	return nil
}

// Revoke removes a user with all keys.
func (c *Cluster) Revoke(role Role, name string) error {
	if _, ok := c.User(role, name); !ok {
		return fmt.Errorf("%s:%s: %w", role, name, errNoUser)
	}
	c.Users = slices.DeleteFunc(c.Users, func(u User) bool { return u.Role == role && u.Name == name })
	return nil
}
