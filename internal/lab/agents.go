package lab

import (
	"fmt"
	"net/netip"
	"os"
)

// Names of the files that the daemons of hostroute are started with, in the lab's directory.
const controlConfig = "control.yaml"

// agentConfig is what the template of an agent's configuration knows.
type agentConfig struct {
	Name, Dir, LogURL string
	VRFs              []VRF
	Uplinks           []Uplink
	AS                uint32
	RouterID          netip.Addr
}

// writeAgentConfigs writes one file a hypervisor and one for the log service.
func (l *Lab) writeAgentConfigs() error {
	for _, h := range l.Topology.Hypervisors {
		if err := os.MkdirAll(l.path(h.Name), 0o755); err != nil {
			return fmt.Errorf("making the agent's directory: %w", err)
		}
		c := agentConfig{
			Name: h.Name, Dir: l.path(h.Name), LogURL: l.LogURL(),
			VRFs: l.Topology.VRFs, Uplinks: l.Topology.Uplinks(h), AS: l.Topology.AS, RouterID: h.Management,
		}
		if err := l.render("agent.yaml.tmpl", h.Name+".yaml", c); err != nil {
			return err
		}
	}
	return l.render("control.yaml.tmpl", controlConfig, struct{ Listen, Store string }{l.Topology.LogAddress.String(), l.path("log")})
}

// AgentConfig is the file for `hostroute agent --config` on a hypervisor.
func (l *Lab) AgentConfig(hypervisor string) string { return l.path(hypervisor + ".yaml") }

// AgentSocket is where that agent answers `hostroute status` and its like.
func (l *Lab) AgentSocket(hypervisor string) string { return l.path(hypervisor, "agent.sock") }

// ControlConfig is the file for `hostroute log serve --config` in the node control.
func (l *Lab) ControlConfig() string { return l.path(controlConfig) }

// LogURL is where the log is reached from the management network.
func (l *Lab) LogURL() string { return "nats://" + l.Topology.LogAddress.String() }
