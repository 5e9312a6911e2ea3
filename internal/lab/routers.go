package lab

import (
	"context"
	"embed"
	"fmt"
	"net/netip"
	"os"
	"strconv"
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
	Segments []reflectorSegment
}

type reflectorSegment struct {
	VRF     string
	Address netip.Addr
	Range   netip.Prefix
}

// edgeSession is one of the edge's uplinks and the reflector behind it.
type edgeSession struct {
	Plane, Interface string
	Reflector        netip.Addr
	Self4, Self6     netip.Addr
}

type edgeConfig struct {
	AS       uint32
	ID       netip.Addr
	Sessions []edgeSession
}

// startRouters writes the configuration of the reflectors and of the edge, and starts them.
func (l *Lab) startRouters(ctx context.Context) error {
	edge := edgeConfig{AS: l.Topology.AS, ID: l.Topology.Internet4}
	for _, p := range l.Topology.Planes {
		if err := l.startReflector(ctx, p); err != nil {
			return err
		}
		for _, s := range p.Segments {
			if s.VRF == edgeVRF {
				edge.Sessions = append(edge.Sessions, edgeSession{
					Plane: p.Name, Interface: p.Name + "-" + s.VRF, Reflector: s.address4(reflectorHost).Addr(),
					Self4: s.address4(edgeHost).Addr(), Self6: s.address6(edgeHost).Addr(),
				})
			}
		}
	}
	return l.startBIRD(ctx, NodeEdge, "edge-bird.conf.tmpl", edge)
}

func (l *Lab) startReflector(ctx context.Context, p Plane) error {
	c := reflectorConfig{AS: l.Topology.AS, ID: p.Segments[0].address4(reflectorHost).Addr()}
	for _, s := range p.Segments {
		c.Segments = append(c.Segments, reflectorSegment{VRF: s.VRF, Address: s.address4(reflectorHost).Addr(), Range: s.V4})
	}
	if p.Software == FRR {
		return l.startFRR(ctx, p.RR, c)
	}
	return l.startBIRD(ctx, p.RR, "reflector-bird.conf.tmpl", c)
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

// startFRR starts bgpd alone, as the reflector forwards nothing: without zebra, and as root since its files
// are the lab's.
func (l *Lab) startFRR(ctx context.Context, node string, c reflectorConfig) error {
	config := node + "-frr.conf"
	if err := l.render("reflector-frr.conf.tmpl", config, c); err != nil {
		return err
	}
	if err := os.MkdirAll(l.vtyDir(node), 0o755); err != nil {
		return fmt.Errorf("making the directory of FRR's socket: %w", err)
	}
	d, err := l.Start(ctx, node, "frr", bgpd, "--skip_runas", "--no_kernel", "--no_zebra", "--vty_port", "0",
		"--bgp_port", strconv.Itoa(179), "--config_file", l.path(config), "--pid_file", l.path(node+"-frr-own.pid"),
		"--vty_socket", l.vtyDir(node), "--log", "stdout", "--log-level", "informational")
	if err != nil {
		return err
	}
	return d.await(ctx, "FRR in "+node+" to answer", func() error {
		_, err := l.FRR(ctx, node, "show version")
		return err
	})
}

// bgpd is where Debian and most others put it, outside PATH.
const bgpd = "/usr/lib/frr/bgpd"

func (l *Lab) vtyDir(node string) string { return l.path(node + "-vty") }

// FRR asks a node's bgpd, as vtysh does.
func (l *Lab) FRR(ctx context.Context, node, command string) (string, error) {
	return l.Exec(ctx, node, "vtysh", "--vty_socket", l.vtyDir(node), "-d", "bgpd", "-c", command)
}
