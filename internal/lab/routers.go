package lab

import (
	"context"
	"embed"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"text/template"
)

//go:embed templates
var templates embed.FS

// render writes a configuration file of the lab from a template.
func (l *Lab) render(name, file string, data any) error {
	t, err := template.ParseFS(templates, "templates/"+name)
	if err != nil {
		return fmt.Errorf("parsing the template %s: %w", name, err)
	}
	var b strings.Builder
	if err := t.Execute(&b, data); err != nil {
		return fmt.Errorf("filling in the template %s: %w", name, err)
	}
	if err := os.WriteFile(l.path(file), []byte(b.String()), 0o644); err != nil {
		return fmt.Errorf("writing the configuration %s: %w", file, err)
	}
	return nil
}

// reflectorConfig is what the templates of both reflectors know of one segment.
type reflectorConfig struct {
	AS       uint32
	ID       netip.Addr
	BFD      BFD
	Segments []reflectorSegment
}

type reflectorSegment struct {
	VRF     string
	Address netip.Addr
	Range   netip.Prefix
}

// edgeSession is one of the edge's uplinks and a reflector behind it.
type edgeSession struct {
	Name, Plane, Interface string
	Reflector              netip.Addr
	Self4, Self6           netip.Addr
}

type edgeConfig struct {
	AS       uint32
	ID       netip.Addr
	BFD      BFD
	Sessions []edgeSession
}

// startRouters writes the configuration of the reflectors and of the edge, and starts them.
func (l *Lab) startRouters(ctx context.Context) error {
	for _, p := range l.Topology.Planes {
		for _, r := range p.Reflectors {
			if err := l.StartReflector(ctx, p, r); err != nil {
				return err
			}
		}
	}
	return l.startBIRD(ctx, NodeEdge, edgeTemplate, l.Topology.edgeConfig())
}

const (
	edgeTemplate = "edge-bird.conf.tmpl"
	birdTemplate = "reflector-bird.conf.tmpl"
)

// edgeConfig has a session with every reflector of every plane.
func (t Topology) edgeConfig() edgeConfig {
	edge := edgeConfig{AS: t.AS, ID: t.Internet4, BFD: PathBFD()}
	for _, p := range t.Planes {
		for _, s := range p.Segments {
			if s.VRF != edgeVRF {
				continue
			}
			for _, r := range p.Reflectors {
				edge.Sessions = append(edge.Sessions, edgeSession{
					Name: strings.Replace(r.Node, "rr", "plane_", 1), Plane: p.Name, Interface: p.Name + "-" + s.VRF,
					Reflector: s.address4(r.Host).Addr(), Self4: s.address4(edgeHost).Addr(), Self6: s.address6(edgeHost).Addr(),
				})
			}
		}
	}
	return edge
}

func (t Topology) reflectorConfig(p Plane, r Reflector) reflectorConfig {
	c := reflectorConfig{AS: t.AS, ID: p.Segments[0].address4(r.Host).Addr(), BFD: PathBFD()}
	for _, s := range p.Segments {
		c.Segments = append(c.Segments, reflectorSegment{VRF: s.VRF, Address: s.address4(r.Host).Addr(), Range: s.V4})
	}
	return c
}

// StartReflector starts a route reflector of a plane, also again, with the configuration that it had.
func (l *Lab) StartReflector(ctx context.Context, p Plane, r Reflector) error {
	c := l.Topology.reflectorConfig(p, r)
	if r.Software == FRR {
		return l.startFRR(ctx, r.Node, c)
	}
	return l.startBIRD(ctx, r.Node, birdTemplate, c)
}

func (l *Lab) startBIRD(ctx context.Context, node, tmpl string, data any) error {
	config := node + "-bird.conf"
	if err := l.render(tmpl, config, data); err != nil {
		return err
	}
	d, err := l.Start(ctx, node, "bird", "bird", "-f", "-c", l.path(config), "-s", l.birdSocket(node))
	if err != nil {
		return err
	}
	return d.await(ctx, "BIRD in "+node+" to answer", func() error {
		_, err := l.BIRD(ctx, node, "show", "status")
		return err
	})
}

func (l *Lab) birdSocket(node string) string { return l.path(node + "-bird.ctl") }

// BIRD asks a node's BIRD, as birdc does.
func (l *Lab) BIRD(ctx context.Context, node string, command ...string) (string, error) {
	return l.Exec(ctx, node, append([]string{"birdc", "-r", "-s", l.birdSocket(node)}, command...)...)
}

// frrDaemon is one of FRR's programs.
type frrDaemon struct {
	program  string
	template string // of its configuration
	name     string // what Daemon knows it by
	args     []string
}

// frrPath is where Debian and most others put the programs, outside PATH.
const frrPath = "/usr/lib/frr/"

// frrDaemons come in the order of their start. The reflector forwards nothing, and zebra has nothing to configure: bfdd
// and bgpd meet through it.
func (l *Lab) frrDaemons(node string) []frrDaemon {
	return []frrDaemon{
		{"zebra", "reflector-zebra.conf.tmpl", "zebra", nil},
		{"bfdd", "reflector-bfdd.conf.tmpl", "bfdd", []string{"--bfdctl", filepath.Join(l.vtyDir(node), "bfdctl")}},
		{"bgpd", "reflector-frr.conf.tmpl", "frr", []string{"--skip_runas", "--no_kernel", "--bgp_port", "179"}},
	}
}

func (l *Lab) startFRR(ctx context.Context, node string, c reflectorConfig) error {
	if err := os.MkdirAll(l.vtyDir(node), 0o755); err != nil {
		return fmt.Errorf("making the directory of FRR's sockets: %w", err)
	}
	if err := os.Chmod(l.vtyDir(node), 0o777); err != nil { // whatever the umask
		return fmt.Errorf("making the directory of FRR's sockets: %w", err)
	}
	for _, p := range l.frrDaemons(node) {
		if err := l.startFRRDaemon(ctx, node, p, c); err != nil {
			return err
		}
	}
	return nil
}

// startFRRDaemon waits until the daemon answers: those that come later look for its socket. All but bgpd
// drop root's rights, so that their files are in a directory that everybody may write to.
func (l *Lab) startFRRDaemon(ctx context.Context, node string, p frrDaemon, c reflectorConfig) error {
	config := node + "-" + p.name + ".conf"
	if err := l.render(p.template, config, c); err != nil {
		return err
	}
	args := append([]string{frrPath + p.program, "--vty_port", "0", "--config_file", l.path(config),
		"--pid_file", filepath.Join(l.vtyDir(node), p.name+".pid"), "--socket", l.zebraSocket(node), "--vty_socket", l.vtyDir(node),
		"--log", "stdout", "--log-level", "informational"}, p.args...)
	d, err := l.Start(ctx, node, p.name, args...)
	if err != nil {
		return err
	}
	return d.await(ctx, p.program+" in "+node+" to answer", func() error {
		_, err := l.vtysh(ctx, node, p.program, "show version")
		return err
	})
}

// ReflectorDaemons are the names of a reflector's programs, for Daemon: the last one speaks BGP.
func (l *Lab) ReflectorDaemons(r Reflector) []string {
	if r.Software != FRR {
		return []string{"bird"}
	}
	var names []string
	for _, d := range l.frrDaemons(r.Node) {
		names = append(names, d.name)
	}
	return names
}

func (l *Lab) vtyDir(node string) string { return l.path(node + "-vty") }

func (l *Lab) zebraSocket(node string) string { return filepath.Join(l.vtyDir(node), "zserv") }

// FRR asks a node's bgpd, as vtysh does.
func (l *Lab) FRR(ctx context.Context, node, command string) (string, error) {
	return l.vtysh(ctx, node, "bgpd", command)
}

func (l *Lab) vtysh(ctx context.Context, node, daemon, command string) (string, error) {
	return l.Exec(ctx, node, "vtysh", "--vty_socket", l.vtyDir(node), "-d", daemon, "-c", command)
}
