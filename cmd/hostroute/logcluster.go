package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nats-io/nkeys"
	"github.com/spf13/cobra"

	"github.com/hostroute/hostroute/internal/access"
)

// clusterFlags are those of log init that concern a cluster.
type clusterFlags struct {
	dir                                    string
	servers, users, rotate, retire, revoke []string
}

func (f *clusterFlags) define(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.dir, "cluster", "", "the `FOLDER` of the cluster's files; without it, work on the log itself")
	flags.StringSliceVar(&f.servers, "server", nil, "`NAME=HOST` of a server, 1, 3 or 5 in all")
	flags.StringSliceVar(&f.users, "user", nil, "`ROLE:NAME` of a user who gets credentials: agent:HYPERVISOR, publisher:, auditor:, service:, operator:, system:")
	flags.StringSliceVar(&f.rotate, "rotate", nil, "give `ROLE:NAME` a second key; the first one goes on working")
	flags.StringSliceVar(&f.retire, "retire", nil, "take from `ROLE:NAME` all keys but the newest")
	flags.StringSliceVar(&f.revoke, "revoke", nil, "take from `ROLE:NAME` all keys")
}

// unused complains of flags that mean nothing without --cluster.
func (f *clusterFlags) unused() error {
	if len(f.servers)+len(f.users)+len(f.rotate)+len(f.retire)+len(f.revoke) > 0 {
		return errors.New("--server, --user, --rotate, --retire and --revoke need --cluster FOLDER")
	}
	return nil
}

// initialUsers are those without whom a cluster has no log.
func initialUsers() []string { return []string{"service:log", "operator:ops", "system:ops"} }

// clusterDir is the folder of a cluster on disk.
type clusterDir struct {
	path    string
	cluster access.Cluster
	made    []string // files, relative to path
	kept    []string // files that are there and not what they would be now
}

// stateFile has who is in the cluster, and no secret.
const stateFile = "cluster.json"

// prepareCluster writes the files of a cluster, or adds to them.
func (a *app) prepareCluster(f *clusterFlags) error {
	path, err := filepath.Abs(f.dir)
	if err != nil {
		return err
	}
	d := &clusterDir{path: path, cluster: access.Cluster{Name: "hostroute"}}
	if err := d.load(); err != nil {
		return err
	}
	if err := d.change(f); err != nil {
		return err
	}
	if err := d.write(a.ca); err != nil {
		return err
	}
	if a.json {
		return writeJSON(a.stdout, map[string]any{
			"folder": d.path, "url": d.cluster.URL(), "servers": d.cluster.Servers, "users": d.cluster.Users,
			"made": orEmpty(d.made), "kept": orEmpty(d.kept),
		})
	}
	return a.tellCluster(d)
}

func orEmpty(list []string) []string { return append([]string{}, list...) }

func (d *clusterDir) load() error {
	b, err := os.ReadFile(filepath.Join(d.path, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(b, &d.cluster)
	}
	if err != nil {
		return fmt.Errorf("reading the cluster in %s: %w", d.path, err)
	}
	return nil
}

// change does what the flags say; seeds are on the disk before their public
// keys are anywhere.
func (d *clusterDir) change(f *clusterFlags) error {
	var servers []access.Server
	for _, s := range f.servers {
		server, err := access.ParseServer(s)
		if err != nil {
			return fmt.Errorf("--server %w", err)
		}
		servers = append(servers, server)
	}
	users := f.users
	if len(d.cluster.Servers) == 0 {
		if len(servers) == 0 {
			return fmt.Errorf("%s has no cluster yet: name its servers with --server NAME=HOST", d.path)
		}
		users = append(initialUsers(), users...)
	}
	if err := d.cluster.AddServers(servers...); err != nil {
		return err
	}
	for _, step := range []struct {
		flag string
		list []string
		do   func(access.User) error
	}{{"user", users, d.add}, {"rotate", f.rotate, d.rotate}, {"retire", f.retire, d.retire}, {"revoke", f.revoke, d.revoke}} {
		for _, s := range step.list {
			u, err := access.ParseUser(s)
			if err == nil {
				err = step.do(u)
			}
			if err != nil {
				return fmt.Errorf("--%s %w", step.flag, err)
			}
		}
	}
	return nil
}

func (d *clusterDir) add(u access.User) error {
	if _, ok := d.cluster.User(u.Role, u.Name); ok {
		return nil
	}
	return d.key(u, d.seedFile(u, 1))
}

func (d *clusterDir) rotate(u access.User) error {
	if _, ok := d.cluster.User(u.Role, u.Name); !ok {
		return fmt.Errorf("%s: there is no such user", u)
	}
	for n := 2; ; n++ {
		file := d.seedFile(u, n)
		if _, err := os.Lstat(filepath.Join(d.path, file)); errors.Is(err, fs.ErrNotExist) {
			return d.key(u, file)
		}
	}
}

func (d *clusterDir) retire(u access.User) error { return d.cluster.Retire(u.Role, u.Name) }
func (d *clusterDir) revoke(u access.User) error { return d.cluster.Revoke(u.Role, u.Name) }

// seedFile names the credentials of a user's nth key.
func (d *clusterDir) seedFile(u access.User, n int) string {
	name := fmt.Sprintf("%s-%s.nk", u.Role, u.Name)
	if n > 1 {
		name = fmt.Sprintf("%s-%s.%d.nk", u.Role, u.Name, n)
	}
	return filepath.Join("credentials", name)
}

// key makes a key with its file, or takes the one that is in it.
func (d *clusterDir) key(u access.User, file string) error {
	path := filepath.Join(d.path, file)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("%s: %w", u, err)
	}
	public, err := readSeed(path)
	if errors.Is(err, fs.ErrNotExist) {
		public, err = writeSeed(path, u)
		d.made = append(d.made, file)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", u, err)
	}
	d.cluster.AddKey(u.Role, u.Name, public)
	return nil
}

func readSeed(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	pair, err := nkeys.ParseDecoratedUserNKey(b)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return pair.PublicKey()
}

// writeSeed makes a new key. The file is complete or not there.
func writeSeed(path string, u access.User) (string, error) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return "", err
	}
	seed, err := pair.Seed()
	if err != nil {
		return "", err
	}
	public, err := pair.PublicKey()
	if err != nil {
		return "", err
	}
	text := fmt.Sprintf("# The log knows who has this file as the %s %s. Keep it secret.\n"+
		"# Public key %s; answers are heard under %s.\n%s\n", u.Role, u.Name, public, access.Inbox(public), seed)
	return public, writeWhole(path, text, 0o600, os.Link) // which replaces nothing
}

// writeWhole writes a file so that it is complete or as it was; place puts it
// where it belongs.
func writeWhole(path, text string, mode fs.FileMode, place func(from, to string) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // it is gone if all went well
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return place(f.Name(), path)
}

// write writes all that isn't secret.
func (d *clusterDir) write(ca string) error {
	state, err := json.MarshalIndent(d.cluster, "", "  ")
	if err != nil {
		return err
	}
	if err := d.put(stateFile, string(state)+"\n", true); err != nil {
		return err
	}
	if err := d.put("operator.yaml", d.operatorConfig(ca), false); err != nil {
		return err
	}
	users := d.cluster.UsersConf()
	for _, s := range d.cluster.Servers {
		if err := d.put(filepath.Join(s.Name, access.ServerFile), d.cluster.ServerConf(s), false); err != nil {
			return err
		}
		if err := d.put(filepath.Join(s.Name, access.UsersFile), users, true); err != nil {
			return err
		}
	}
	return nil
}

// put writes a file if it isn't there or, where it is ours, isn't so.
func (d *clusterDir) put(file, text string, ours bool) error {
	path := filepath.Join(d.path, file)
	have, err := os.ReadFile(path)
	switch {
	case err == nil && string(have) == text:
		return nil
	case err == nil && !ours:
		d.kept = append(d.kept, file)
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	d.made = append(d.made, file)
	return writeWhole(path, text, 0o644, os.Rename)
}

// operatorConfig is the configuration with which the streams are made.
func (d *clusterDir) operatorConfig(ca string) string {
	text := "# For people: hostroute log init --config FILE makes the streams.\nlog:\n  url: " + d.cluster.URL() + "\n" +
		"  credentials: " + filepath.Join(d.path, d.seedFile(access.User{Role: access.Operator, Name: "ops"}, 1)) + "\n"
	if ca != "" {
		if absolute, err := filepath.Abs(ca); err == nil {
			ca = absolute
		}
		text += "  ca: " + ca + "\n"
	}
	return text + fmt.Sprintf("  replicas: %d\n", d.cluster.Replicas())
}

// tellCluster says what is there and what comes next.
func (a *app) tellCluster(d *clusterDir) error {
	var b strings.Builder
	fmt.Fprintf(&b, "cluster %s of %s, in %s\n", d.cluster.Name, count(len(d.cluster.Servers), "server"), d.path)
	for _, f := range d.made {
		fmt.Fprintf(&b, "  wrote %s\n", f)
	}
	for _, f := range d.kept {
		fmt.Fprintf(&b, "  kept  %s, which is not as it would be written now: it was edited, or servers were added since\n", f)
	}
	for _, u := range d.cluster.Users {
		if len(u.Keys) > 1 {
			fmt.Fprintf(&b, "  %s has %d keys; when the newest is in use: --retire %s\n", u, len(u.Keys), u)
		}
	}
	names := make([]string, len(d.cluster.Servers))
	for i, s := range d.cluster.Servers {
		names[i] = s.Name
	}
	switch {
	case slices.ContainsFunc(d.made, func(f string) bool { return strings.HasSuffix(f, access.ServerFile) }):
		fmt.Fprintf(&b, `next:
  1. copy %s to /etc/nats on the server of that name, with its certificate (docs/cluster.md), and start
     nats-server -c /etc/nats/nats-server.conf
  2. hostroute log init --config %s
  3. copy each file of credentials/ to whom it names, and delete it here
`, strings.Join(names, ", "), filepath.Join(d.path, "operator.yaml"))
	case slices.ContainsFunc(d.made, func(f string) bool { return strings.HasSuffix(f, access.UsersFile) }):
		fmt.Fprintf(&b, "next: copy %s to /etc/nats of %s, and on each: nats-server --signal reload\n", access.UsersFile, strings.Join(names, ", "))
	default:
		b.WriteString("nothing has changed\n")
	}
	_, err := fmt.Fprint(a.stdout, b.String())
	return err
}
