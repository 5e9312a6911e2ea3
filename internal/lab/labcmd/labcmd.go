package labcmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/hostroute/hostroute/internal/lab"
	"github.com/hostroute/hostroute/internal/lab/scenario"
	"github.com/hostroute/hostroute/internal/lab/vm"
)

// New returns the command `lab` with all below it. The scenarios are those that list and run know.
func New(scenarios ...scenario.Scenario) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "Hypervisors, route reflectors, an edge and guests in network namespaces",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	dir := cmd.PersistentFlags().String("dir", lab.DefaultDir, "the lab's directory, a new `PATH`: configuration, state, logs")
	cmd.AddCommand(listCommand(scenarios), upCommand(dir), runCommand(scenarios, dir), downCommand(dir), vmCommand())
	return cmd
}

func listCommand(scenarios []scenario.Scenario) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "The scenarios that run knows",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asJSON, err := cmd.Flags().GetBool("json"); err == nil && asJSON { // a flag of the whole program
				return listJSON(cmd.OutOrStdout(), scenarios)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			for _, s := range scenarios {
				fmt.Fprintf(w, "%s\t%s\n", s.Name, s.Summary)
			}
			return w.Flush()
		},
	}
}

// listJSON writes the scenarios for programs.
func listJSON(w io.Writer, scenarios []scenario.Scenario) error {
	type entry struct {
		Name     string `json:"name"`
		Summary  string `json:"summary"`
		NeedsVRF bool   `json:"needs_vrf"`
	}
	list := []entry{}
	for _, s := range scenarios {
		list = append(list, entry{s.Name, s.Summary, s.NeedsVRF})
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(list)
}

func runCommand(scenarios []scenario.Scenario, dir *string) *cobra.Command {
	var keep bool
	var o scenario.Options
	cmd := &cobra.Command{
		Use:   "run SCENARIO...",
		Short: "Tell scenarios one after the other, check what they say, and take the lab down again",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("SCENARIO is missing; `hostroute lab list` names them")
			}
			if keep && len(args) > 1 {
				return fmt.Errorf("--keep leaves one lab standing, and %d scenarios need one each", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			chosen, needsVRF, err := choose(scenarios, args)
			if err != nil {
				return err
			}
			if o.From != "" {
				if o.From, err = filepath.Abs(o.From); err != nil {
					return fmt.Errorf("--from: %w", err)
				}
				if _, err := os.Stat(o.From); err != nil {
					return fmt.Errorf("--from: %w", err)
				}
			}
			if lacking, err := needVM(); err != nil {
				return err
			} else if needsVRF && lacking {
				return again(cmd, slices.Concat([]string{"--dir", *dir, "run"}, runFlags(o), args)...)
			}
			o.Dir, o.Out = *dir, cmd.OutOrStdout()
			var failed error
			for _, sc := range chosen {
				if failed = errors.Join(failed, tell(cmd, sc, o, keep)); cmd.Context().Err() != nil {
					break
				}
			}
			return failed
		},
	}
	cmd.Flags().BoolVar(&keep, "keep", false, "leave the lab standing (not in the VM, which ends with the scenario)")
	cmd.Flags().BoolVar(&o.Short, "short", false, "repeat less: whether a scenario works, not its figures")
	cmd.Flags().StringVar(&o.From, "from", "", "begin agent-upgrade with another hostroute, the program `FILE`")
	return cmd
}

// runFlags are the flags of run that matter to the scenarios.
func runFlags(o scenario.Options) (flags []string) {
	if o.Short {
		flags = append(flags, "--short")
	}
	if o.From != "" {
		flags = append(flags, "--from", o.From)
	}
	return flags
}

// choose finds scenarios by their names, and says whether one of them needs VRF.
func choose(all []scenario.Scenario, names []string) (chosen []scenario.Scenario, needsVRF bool, err error) {
	for _, name := range names {
		sc, err := scenario.Find(all, name)
		if err != nil {
			return nil, false, err
		}
		chosen, needsVRF = append(chosen, sc), needsVRF || sc.NeedsVRF
	}
	return chosen, needsVRF, nil
}

// tell runs a scenario on this kernel. Nobody's lab is taken down but the one that the scenario built.
func tell(cmd *cobra.Command, sc scenario.Scenario, o scenario.Options, keep bool) error {
	binary, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding the program itself: %w", err)
	}
	o.Binary = binary
	l := lab.Open(lab.Reference(), o.Dir)
	if standing, err := l.Standing(cmd.Context()); err != nil {
		return err
	} else if standing {
		return fmt.Errorf("starting the scenario: %w", lab.ErrStanding)
	}
	runErr := scenario.Run(cmd.Context(), sc, o)
	if keep {
		return runErr
	}
	return errors.Join(runErr, down(cmd, l))
}

func upCommand(dir *string) *cobra.Command {
	var bare, shell bool
	var planes, reflectors int
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Build the topology, start hostroute on its hosts, and leave it standing",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			topology, err := lab.Sized(planes, reflectors)
			if err != nil {
				return err
			}
			if lacking, err := needVM(); err != nil {
				return err
			} else if !bare && lacking {
				return again(cmd, "--dir", *dir, "up", fmt.Sprintf("--planes=%d", planes), fmt.Sprintf("--reflectors=%d", reflectors), "--shell")
			}
			if err := up(cmd, topology, *dir, bare); err != nil || !shell {
				return err
			}
			sh := exec.CommandContext(cmd.Context(), "bash", "-i")
			sh.Stdin, sh.Stdout, sh.Stderr = os.Stdin, os.Stdout, os.Stderr
			_ = sh.Run() // the status of the user's last command is not ours
			return nil
		},
	}
	cmd.Flags().BoolVar(&bare, "bare", false, "start the reflectors and the edge only; guests stay switched off")
	cmd.Flags().BoolVar(&shell, "shell", false, "end in a shell")
	cmd.Flags().IntVar(&planes, "planes", lab.MinPlanes, fmt.Sprintf("planes, %d to %d", lab.MinPlanes, lab.MaxPlanes))
	cmd.Flags().IntVar(&reflectors, "reflectors", 1, fmt.Sprintf("route reflectors in each plane, 1 to %d: BIRD and FRR by turns", lab.MaxReflectors))
	return cmd
}

const hints = `The lab stands. Its hosts are network namespaces; each of these can be pasted as it is:

  ip netns exec hr-control %[3]s --log %[2]s publish %[4]s
  ip netns exec hr-vm1 ip -brief address
  ip netns exec hr-vm1 ping -c 3 203.0.113.13
  ip netns exec hr-vm1 ping -c 3 192.0.2.1
  ip netns exec hr-hv1 ip route show vrf public
  ip netns exec hr-rra birdc -s %[1]s/rra-bird.ctl show route table all
  %[3]s status --socket %[1]s/hv1/agent.sock
  %[3]s guests --socket %[1]s/hv1/agent.sock
  %[3]s lab down%[5]s

Nothing is in the log before the first. The guests run, and ask again and again: once they are in the log, they have
their addresses from their hypervisor within seconds. Only DHCPv6 asks ever less often; after a long wait its address
takes a minute. Configuration, state and logs are in %[1]s.
`

func up(cmd *cobra.Command, topology lab.Topology, dir string, bare bool) error {
	ctx := cmd.Context()
	l, err := lab.Up(ctx, topology, dir)
	if err != nil {
		return err
	}
	if !bare {
		if err := startHostroute(cmd, l); err != nil {
			l.Logs(cmd.ErrOrStderr(), 20)
			return errors.Join(err, down(cmd, l))
		}
	}
	return tellHints(cmd.OutOrStdout(), l)
}

// tellHints says how to walk around, under the name by which this program was found.
func tellHints(w io.Writer, l *lab.Lab) error {
	binary, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding the program itself: %w", err)
	}
	if inPath, err := exec.LookPath("hostroute"); err == nil && inPath == binary {
		binary = "hostroute"
	}
	where := ""
	if l.Dir != lab.DefaultDir {
		where = " --dir " + l.Dir
	}
	_, err = fmt.Fprintf(w, hints, l.Dir, l.LogURL(), binary, l.WorldFile(), where)
	return err
}

func startHostroute(cmd *cobra.Command, l *lab.Lab) error {
	binary, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding the program itself: %w", err)
	}
	if _, err := l.StartLog(cmd.Context(), binary); err != nil {
		return err
	}
	for _, h := range l.Topology.Hypervisors {
		if _, err := l.StartAgent(cmd.Context(), binary, h.Name); err != nil {
			return err
		}
	}
	_, err = l.BootGuests(cmd.Context())
	return err
}

func downCommand(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Remove the lab, also what a crash left of it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return down(cmd, lab.Open(lab.Reference(), *dir))
		},
	}
}

// down works even when the command was interrupted: that is when it matters most.
func down(cmd *cobra.Command, l *lab.Lab) error {
	ctx, cancel := withoutInterrupt(cmd.Context(), time.Minute)
	defer cancel()
	return l.Down(ctx)
}

// needVM says whether the kernel lacks VRF. In the VM it never does: there the answer would only repeat. It is
// an error when the question can't be asked, which must not look like the lack of VRF.
func needVM() (bool, error) {
	if os.Geteuid() != 0 {
		return false, errors.New("the lab makes network namespaces: run this as root")
	}
	err := vm.ProbeVRF()
	if errors.Is(err, exec.ErrNotFound) {
		return false, fmt.Errorf("%w: run `make setup` first, or install iproute2", err)
	}
	return err != nil && os.Getenv(vm.InVMEnv) == "", nil
}

// again runs this program with the arguments of a lab command in the VM.
func again(cmd *cobra.Command, args ...string) error {
	binary, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding the program itself: %w", err)
	}
	fmt.Fprintln(cmd.ErrOrStderr(), "this kernel has no VRF: continuing in a VM, which takes some seconds to boot")
	opts := vm.Options{Command: append(labArgs(cmd, binary), args...), Stdout: cmd.OutOrStdout()}
	if args[len(args)-1] == "--shell" {
		opts.Terminal, opts.Timeout = true, 24*time.Hour
	}
	if scenario.IsTerminal(cmd.OutOrStdout()) && os.Getenv("NO_COLOR") == "" {
		opts.Env = append(opts.Env, scenario.ColourEnv+"=1")
	}
	return inVM(cmd, opts)
}
