package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"time"
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
	BFDSocket         string
	BFD               BFD
}

// BFD is how the lab watches its paths: as hostroute does by itself, but that machines which are slower than such
// intervals are meant for miss more packets before they call a path lost.
type BFD struct {
	Interval   time.Duration
	Multiplier int
}

// PathBFD is that of all paths of a lab on this machine.
func PathBFD() BFD {
	return BFD{Interval: 300 * time.Millisecond, Multiplier: max(3, int(math.Ceil(2*TimeFactor())))}
}

// Detection is after how long a silent path is lost.
func (b BFD) Detection() time.Duration { return time.Duration(b.Multiplier) * b.Interval }

// writeAgentConfigs writes one file a hypervisor and one for the log service.
func (l *Lab) writeAgentConfigs() error {
	for _, h := range l.Topology.Hypervisors {
		if err := os.MkdirAll(l.path(h.Name), 0o755); err != nil {
			return fmt.Errorf("making the agent's directory: %w", err)
		}
		c := agentConfig{
			Name: h.Name, Dir: l.path(h.Name), LogURL: l.LogURL(),
			VRFs: l.Topology.VRFs, Uplinks: l.Topology.Uplinks(h), AS: l.Topology.AS, RouterID: h.Management,
			BFDSocket: l.BFDSocket(h.Name), BFD: PathBFD(),
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

// BFDSocket is where the agent asks for BFD sessions.
func (l *Lab) BFDSocket(hypervisor string) string { return l.path(hypervisor, "bfd.sock") }

func (l *Lab) bfdState(hypervisor string) string { return l.path(hypervisor, "bfd.state") }

// ControlConfig is the file for `hostroute log serve --config` in the node control.
func (l *Lab) ControlConfig() string { return l.path(controlConfig) }

// LogURL is where the log is reached from the management network.
func (l *Lab) LogURL() string { return "nats://" + l.Topology.LogAddress.String() }

// StartLog starts `hostroute log serve` in the node control and waits until it listens and its service answers. The
// binary is the hostroute program.
func (l *Lab) StartLog(ctx context.Context, binary string) (*Daemon, error) {
	said := int64(0) // by one that ran before
	if st, err := os.Stat(l.path(logsDir, NodeControl+"-log.log")); err == nil {
		said = st.Size()
	}
	d, err := l.Start(ctx, NodeControl, "log", binary, "log", "serve", "--config", l.ControlConfig())
	if err != nil {
		return nil, err
	}
	listens := fmt.Sprintf("exec 3<>/dev/tcp/%s/%d", l.Topology.LogAddress.Addr(), l.Topology.LogAddress.Port())
	return d, d.await(ctx, "the log service to listen", func() error {
		if _, err := l.Exec(ctx, NodeControl, "bash", "-c", listens); err != nil {
			return err
		}
		log, err := os.ReadFile(d.Log)
		if err == nil && !bytes.Contains(log[min(said, int64(len(log))):], []byte("log service answers")) {
			err = errors.New("it listens, and its service doesn't answer yet")
		}
		return err
	})
}

// StartBFD starts `hostroute bfd` on a hypervisor and waits until its socket answers.
func (l *Lab) StartBFD(ctx context.Context, binary, hypervisor string) (*Daemon, error) {
	d, err := l.Start(ctx, hypervisor, "bfd", binary, "bfd", "--config", l.AgentConfig(hypervisor),
		"--socket", l.BFDSocket(hypervisor), "--state", l.bfdState(hypervisor))
	if err != nil {
		return nil, err
	}
	return d, d.await(ctx, "BFD of "+hypervisor+" to answer", func() error { return connects(l.BFDSocket(hypervisor)) })
}

// StartAgent starts `hostroute agent` on a hypervisor, so that SIGUSR2 makes it panic, and waits until its socket answers. Where `hostroute bfd` doesn't
// run, as on a host that has just booted, it is started first.
func (l *Lab) StartAgent(ctx context.Context, binary, hypervisor string) (*Daemon, error) {
	if d, err := l.Daemon(hypervisor, "bfd"); err != nil || !d.Alive() {
		if _, err := l.StartBFD(ctx, binary, hypervisor); err != nil {
			return nil, err
		}
	}
	d, err := l.Start(ctx, hypervisor, "agent", "env", "HOSTROUTE_PANIC_ON_USR2=1", binary, "agent", "--config", l.AgentConfig(hypervisor))
	if err != nil {
		return nil, err
	}
	return d, d.await(ctx, "the agent of "+hypervisor+" to answer", func() error { return connects(l.AgentSocket(hypervisor)) })
}

// connects wants somebody to listen on a unix socket, which is in no namespace.
func connects(socket string) error {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	return conn.Close()
}

// startLimit is how long a daemon may take until it can be talked to.
const startLimit = 15 * time.Second

// await waits for a daemon that has just been started; one that ends instead is an error with its last words.
func (d *Daemon) await(ctx context.Context, what string, ask func() error) error {
	var ended error
	err := Eventually(ctx, what, startLimit, func() error {
		if !d.Alive() {
			ended = fmt.Errorf("starting %s in %s: it ended:\n%s", d.Name, d.Node, d.Tail(10))
			return nil
		}
		return ask()
	})
	return errors.Join(ended, err)
}
