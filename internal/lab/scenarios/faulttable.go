package scenarios

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/hostroute/hostroute/internal/lab"
)

// faultRow is what was seen of a fault.
type faultRow struct {
	fault         planeFault
	over          string         // the planes in use while it lasted
	says          []string       // problems of the first hypervisor that has some
	during, after []lab.FlowLoss // there and back in each family, as lab.Both lists them
}

// tellFaults shows everything side by side.
func (w *world) tellFaults(context.Context) error {
	w.story.Say("A packet each %v, → from vm1 on hv1 to vm3 on hv2, ← back; a silent path is lost after %v here.", trafficInterval, lab.PathBFD().Detection())
	w.story.Show("", faultTable(w.faults))
	var err error
	if len(w.faults) < len(planeFaults) {
		err = fmt.Errorf("%d were", len(w.faults))
	}
	w.story.Check(fmt.Sprintf("all %d faults were told of", len(planeFaults)), err)
	return nil
}

// faultTable has a row for each fault, and below it what `status` says.
func faultTable(rows []faultRow) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "fault\tflows over\tlost of sent: IPv4 →\t←\tIPv6 →\t←\toutage\tat its end")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%s", r.fault.short, strings.Join(strings.Split(r.over, ""), " "))
		for _, l := range r.during {
			fmt.Fprintf(w, "\t%d of %d", l.Lost, l.Sent)
		}
		fmt.Fprintf(w, "\t%s\t%s\n", r.outage(), sumOf(r.after))
	}
	_ = w.Flush() // to memory
	lines := strings.SplitAfter(text.String(), "\n")
	for i, r := range rows {
		for _, p := range r.says {
			lines[i+1] += "    status: " + p + "\n"
		}
	}
	return strings.Join(lines, "")
}

// outage is the longest of all flows.
func (r faultRow) outage() string {
	if r.fault.random {
		return "here and there"
	}
	longest := time.Duration(0)
	for _, l := range r.during {
		longest = max(longest, l.Outage)
	}
	if longest == 0 {
		return "none"
	}
	return fmt.Sprintf("%d ms", longest.Milliseconds())
}

// sumOf adds up what all flows lost.
func sumOf(losses []lab.FlowLoss) string {
	lost, sent := 0, 0
	for _, l := range losses {
		lost, sent = lost+l.Lost, sent+l.Sent
	}
	return fmt.Sprintf("%d of %d", lost, sent)
}

// lossOf is an error if anything was lost.
func lossOf(losses []lab.FlowLoss) (lost error) {
	for _, l := range losses {
		if l.Lost > 0 {
			lost = errors.Join(lost, fmt.Errorf("%s: %s", l.Flow, l))
		}
	}
	return lost
}
