package lab

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hostroute/hostroute/internal/testenv"
)

// everySize calls a test for every topology that Sized makes.
func everySize(t *testing.T, test func(t *testing.T, topology Topology, planes, reflectors int)) {
	for planes := MinPlanes; planes <= MaxPlanes; planes++ {
		for reflectors := 1; reflectors <= MaxReflectors; reflectors++ {
			t.Run(fmt.Sprintf("%dx%d", planes, reflectors), func(t *testing.T) {
				topology, err := Sized(planes, reflectors)
				if err != nil {
					t.Fatal(err)
				}
				test(t, topology, planes, reflectors)
			})
		}
	}
}

func TestSizedBounds(t *testing.T) {
	for _, size := range [][2]int{{1, 1}, {5, 1}, {2, 0}, {4, 3}} {
		if _, err := Sized(size[0], size[1]); err == nil {
			t.Errorf("%d planes with %d reflectors are no error", size[0], size[1])
		}
	}
	smallest, err := Sized(2, 1)
	if diff := cmp.Diff(Reference(), smallest, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
		cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" || err != nil {
		t.Errorf("the smallest is not the reference (%v):\n%s", err, diff)
	}
}

// TestSizedIsOneNetwork wants names that the kernel takes, and no address twice.
func TestSizedIsOneNetwork(t *testing.T) {
	everySize(t, func(t *testing.T, topology Topology, planes, reflectors int) {
		l := Open(topology, "/nowhere")
		seen := map[string]string{}
		once := func(what, owner string) {
			if other, there := seen[what]; there {
				t.Errorf("%s is of %s and of %s", what, other, owner)
			}
			seen[what] = owner
		}
		for _, node := range topology.Nodes() {
			once("node "+node, node)
		}
		for _, p := range topology.Planes {
			for _, s := range p.Segments {
				for _, port := range l.segmentPorts(p, s) {
					name := portName(port.node, s.VRF)
					once("port "+p.Node+"/"+name, port.node)
					if len(name) > 15 || len(port.iface) > 15 {
						t.Errorf("%s or %s is too long for an interface", name, port.iface)
					}
				}
				hosts := map[string]int{NodeEdge: edgeHost}
				for _, r := range p.Reflectors {
					hosts[r.Node] = r.Host
				}
				for _, h := range topology.Hypervisors {
					hosts[h.Name] = hypervisorHost + h.Number
				}
				for node, host := range hosts {
					once(s.address4(host).String(), node+" on plane "+p.Name)
					once(s.address6(host).String(), node+" on plane "+p.Name)
				}
			}
		}
		if n := len(topology.Planes); n != planes {
			t.Errorf("%d planes, want %d", n, planes)
		}
		for _, p := range topology.Planes {
			if len(p.Reflectors) != reflectors || reflectors == 2 && p.Reflectors[0].Software == p.Reflectors[1].Software {
				t.Errorf("plane %s has the reflectors %v", p.Name, p.Reflectors)
			}
		}
	})
}

// TestSizedAgentConfigs has the agent's own parser read what every hypervisor is given.
func TestSizedAgentConfigs(t *testing.T) {
	everySize(t, func(t *testing.T, topology Topology, planes, reflectors int) {
		l := Open(topology, t.TempDir())
		if err := l.writeAgentConfigs(); err != nil {
			t.Fatal(err)
		}
		for _, h := range topology.Hypervisors {
			c := parseConfig(t, l.AgentConfig(h.Name))
			if len(c.Uplinks) != 2*planes || len(c.BGP.Reflectors) != 2*planes*reflectors {
				t.Errorf("%s has %d uplinks and %d reflectors", h.Name, len(c.Uplinks), len(c.BGP.Reflectors))
			}
		}
	})
}

// TestSizedRouterConfigs has BIRD and FRR read what they are given, and start nothing.
func TestSizedRouterConfigs(t *testing.T) {
	testenv.RequireTool(t, "bird")
	testenv.RequireTool(t, frrPath+"bgpd")
	everySize(t, func(t *testing.T, topology Topology, planes, reflectors int) {
		l := Open(topology, t.TempDir())
		edge := topology.edgeConfig()
		if got := len(edge.Sessions); got != planes*reflectors {
			t.Errorf("the edge has %d sessions", got)
		}
		readable(t, l, edgeTemplate, "edge.conf", edge, "bird", "-p", "-c")
		for _, p := range topology.Planes {
			for _, r := range p.Reflectors {
				c := topology.reflectorConfig(p, r)
				if r.Software == BIRD {
					readable(t, l, birdTemplate, r.Node+".conf", c, "bird", "-p", "-c")
					continue
				}
				for _, d := range l.frrDaemons(r.Node) {
					readable(t, l, d.template, r.Node+"-"+d.name+".conf", c, frrPath+d.program, "--dryrun", "--config_file")
				}
			}
		}
	})
}

// readable wants a program to take a configuration. FRR names the lines that it does not, and ends well.
func readable(t *testing.T, l *Lab, template, file string, data any, program ...string) {
	t.Helper()
	if err := l.render(template, file, data); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), program[0], append(program[1:], l.path(file))...).CombinedOutput()
	if err != nil || strings.Contains(string(out), "on config line") {
		t.Errorf("%s of %s: %v\n%s", program[0], file, err, out)
	}
}

func TestWithHypervisors(t *testing.T) {
	small := Reference().WithHypervisors(2)
	if len(small.Hypervisors) != 2 || len(small.Guests) != 3 || small.Guests[2].Hypervisor != "hv2" {
		t.Errorf("it has %v and %v", small.Hypervisors, small.Guests)
	}
	if len(Reference().WithHypervisors(9).Hypervisors) != 3 || len(Reference().Guests) != 4 {
		t.Error("more than there are, or less, change the reference")
	}
}

// TestDownKnowsEverySize removes a large lab by the description of the smallest.
func TestDownKnowsEverySize(t *testing.T) {
	testenv.RequireRoot(t)
	testenv.RequireTool(t, "ip")
	topology := Reference()
	topology.Prefix = fmt.Sprintf("hrz%d-", os.Getpid())
	l := Open(topology, t.TempDir()+"/lab")
	var b batch
	for _, node := range []string{"rra2", "planed", "rrd2", "hv1"} {
		b.add("netns add %s", topology.Prefix+node)
	}
	if err := b.run(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Down(context.Background()) }) // what a failure left
	if standing, err := l.Standing(t.Context()); err != nil || !standing {
		t.Errorf("it doesn't count as a lab: %v", err)
	}
	if err := l.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left, err := namespaces(t.Context(), topology.Prefix); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
