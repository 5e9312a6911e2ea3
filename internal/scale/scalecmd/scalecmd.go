package scalecmd

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/hostroute/hostroute/internal/scale"
)

// New returns the command `scale`.
func New() *cobra.Command {
	p := scale.Default()
	c := &cobra.Command{
		Use:   "scale",
		Short: "What a region of thousands of hypervisors needs: arithmetic and simulations",
		Long: `What a region of thousands of hypervisors needs: arithmetic, with what goes into it, and simulations of
the log's fan-out, of all agents starting at once after a power cut, and of a plane that returns.
docs/scale.md explains it. Nothing is started and nothing is sent.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := p.Check(); err != nil {
				return err
			}
			r := Make(p)
			if asJSON, err := cmd.Flags().GetBool("json"); err == nil && asJSON { // a flag of the whole program
				e := json.NewEncoder(cmd.OutOrStdout())
				e.SetIndent("", "  ")
				return e.Encode(r)
			}
			return r.write(cmd.OutOrStdout())
		},
	}
	f := c.Flags()
	f.IntVar(&p.Hypervisors, "hypervisors", p.Hypervisors, "`N` hypervisors")
	f.IntVar(&p.Guests, "guests", p.Guests, "`N` guests on each, with an address of each family")
	f.IntVar(&p.Planes, "planes", p.Planes, "`N` planes")
	f.IntVar(&p.Reflectors, "reflectors", p.Reflectors, "`N` reflectors of each plane that a hypervisor has sessions with")
	f.IntVar(&p.Clients, "clients", p.Clients, "`N` hypervisors that a reflector serves; 0: all")
	f.IntVar(&p.Threads, "threads", p.Threads, "`N` threads of a reflector that share its clients; BIRD 2 has one")
	f.IntVar(&p.VRFs, "vrfs", p.VRFs, "`N` VRFs with sessions of their own")
	f.Float64Var(&p.Events, "events", p.Events, "`N` events a second")
	f.Float64Var(&p.Networks, "networks", p.Networks, "`N` networks that change an hour")
	f.IntVar(&p.Servers, "servers", p.Servers, "`N` servers of the log")
	f.IntVar(&p.Services, "services", p.Services, "`N` instances of the log service, on hosts of their own")
	f.IntVar(&p.Cores, "cores", p.Cores, "`N` cores of each of these hosts")
	f.Float64Var(&p.Gigabits, "gigabits", p.Gigabits, "`N` Gbit/s of each server's link, and of each reflector's")
	f.Uint64Var(&p.Seed, "seed", p.Seed, "`N` that chance starts from")
	return c
}

func (r Report) write(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	p := r.Plan
	fmt.Fprintf(w, "%d hypervisors of %d guests, %d planes, %d VRFs, %g events a second, %g changes of networks an hour\n",
		p.Hypervisors, p.Guests, p.Planes, p.VRFs, p.Events, p.Networks)
	fmt.Fprint(w, "\nInputs\n")
	for _, s := range r.Inputs {
		fmt.Fprintf(w, "%s\t%s\t%s\n", s.Input, s.Value, s.From)
	}
	subject := ""
	for _, f := range r.Figures {
		if f.Subject != subject {
			subject = f.Subject
			fmt.Fprintf(w, "\nA %s\n", subject)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", f.Name, f.Result, f.Formula, f.Numbers)
	}
	r.writeSizes(w)
	r.writeSimulations(w)
	return w.Flush()
}

// writeSizes has a column for each size of the region.
func (r Report) writeSizes(w io.Writer) {
	fmt.Fprint(w, "\nBy size\nhypervisors")
	for _, s := range r.Sizes {
		fmt.Fprintf(w, "\t%d", s.Hypervisors)
	}
	fmt.Fprintln(w)
	for i, f := range r.Figures {
		fmt.Fprintf(w, "%s: %s", f.Subject, f.Name)
		for _, s := range r.Sizes {
			fmt.Fprintf(w, "\t%s", s.Figures[i].Result)
		}
		fmt.Fprintln(w)
	}
}

func (r Report) writeSimulations(w io.Writer) {
	fmt.Fprint(w, "\nSimulated: all agents start within 10 s and know nothing; the servers are back after 30 s\n")
	fmt.Fprint(w, "\thypervisors\tconnected: last\tin sync: 50 %\t99 %\tlast\tlongest queue\tCPU of servers\tof services\tsent\tdials\tquestions lost\n")
	for _, h := range r.Herds {
		s := h.Result
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%.2f GB\t%d\t%d\n", h.Name, h.Input.Hypervisors, short(s.Connected.Last),
			short(s.Synced.P50), short(s.Synced.P99), short(s.Synced.Last), s.Queue, short(s.ServerCPU), short(s.ServiceCPU), float64(s.Bytes)/1e9, s.Dials, s.Lost)
	}
	fmt.Fprint(w, "\nSimulated: events reach who they concern, for a minute\n")
	fmt.Fprint(w, "events/s\t50 %\t99 %\tlast\tnetworks: 50 %\tlast\tbusy\tlongest queue\n")
	for _, f := range r.Fanouts {
		s := f.Result
		fmt.Fprintf(w, "%g\t%s\t%s\t%s\t%s\t%s\t%.0f %%\t%d\n", f.Input.Events, short(s.Events.P50), short(s.Events.P99), short(s.Events.Last),
			short(s.Networks.P50), short(s.Networks.Last), 100*s.Busy, s.Queue)
	}
	fmt.Fprintf(w, "\nSimulated: a plane returns, and a reflector tells %d routes to all its clients\n", r.Plan.Hypervisors*r.Plan.Guests)
	fmt.Fprint(w, "clients\tfirst half complete\tlast\tCPU of the reflector\tsent\n")
	for _, b := range r.Returns {
		s := b.Result
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%.1f GB\n", b.Input.Clients, short(s.Complete.P50), short(s.Complete.Last), short(s.CPU), s.Sent/1e9)
	}
	fmt.Fprint(w, "\nSimulated and measured: herds on 2 cores, with the CPU times of the same run\n")
	fmt.Fprint(w, "hypervisors\tguests\t50 %: simulated\tmeasured\tlast: simulated\tmeasured\n")
	for _, v := range r.Measured {
		fmt.Fprintf(w, "%d\t%d\t%s\t%s\t%s\t%s\n", v.Hypervisors, v.Guests, short(v.Result.Synced.P50), short(v.P50), short(v.Result.Synced.Last), short(v.Last))
	}
}

// short is a duration with three digits.
func short(d time.Duration) string {
	switch {
	case d >= 100*time.Minute:
		return fmt.Sprintf("%.1f h", d.Hours())
	case d >= 10*time.Second:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d >= time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return d.Round(10 * time.Microsecond).String()
}
