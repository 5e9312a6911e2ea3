package kernel

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// planeResult is what a plane's loss and return cost, round by round.
type planeResult struct {
	lost, back            cost
	carrierLost           samples // until the kernel had dealt with it and said so
	repaired, carrierBack cost
	rewrite               samples
}

// cost is that of one kind of call of the agent.
type cost struct {
	call      samples
	own       samples // without what the kernel takes
	messages  int     // in the last round
	allocated uint64  // bytes, in the last round
}

type samples []time.Duration

func (s samples) median() time.Duration {
	sorted := slices.Sorted(slices.Values(s))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// String is the median and, of several, the least and the most.
func (s samples) String() string {
	if len(s) == 1 {
		return milliseconds(s[0])
	}
	return fmt.Sprintf("%s (%s-%s)", milliseconds(s.median()), milliseconds(slices.Min(s)), milliseconds(slices.Max(s)))
}

func milliseconds(d time.Duration) string {
	ms := d.Seconds() * 1000
	switch {
	case ms < 10:
		return fmt.Sprintf("%.2f", ms)
	case ms < 100:
		return fmt.Sprintf("%.1f", ms)
	}
	return fmt.Sprintf("%.0f", ms)
}

// planeTables collects the rows of what is printed at the end.
type planeTables struct {
	told, carrier []string
}

func (t *planeTables) add(size planeSize, r planeResult) {
	head := fmt.Sprintf("%s\t%d\t%d x %d", size.family(), size.routes, size.planes, size.hypervisors)
	t.told = append(t.told, fmt.Sprintf("%s\t%v\t%v\t%d\t%d\t%v\t%v\t%.0f", head, r.lost.call, r.lost.own, r.lost.messages, r.lost.allocated>>10,
		r.back.call, r.rewrite, float64(r.rewrite.median())/float64(r.lost.call.median())))
	t.carrier = append(t.carrier, fmt.Sprintf("%s\t%v\t%v\t%v\t%v\t%v\t%d", head, r.carrierLost, r.repaired.call, r.repaired.own,
		r.carrierBack.call, r.carrierBack.own, r.carrierBack.messages))
}

func (t *planeTables) String() string {
	var s strings.Builder
	fmt.Fprintln(&s, "\nOne plane is told lost, as by BFD, and back. Times in ms: median (least-most) of the rounds.")
	write(&s, "\troutes\tnext hops\tlost\tagent's own part\tmessages\tKB allocated\tback\trewriting all routes\ttimes as long", t.told)
	fmt.Fprintln(&s, "\nOne plane loses its carrier, and gets it back. Times in ms.")
	write(&s, "\troutes\tnext hops\tkernel alone\tthen agent\tits own part\tback\tagent's own part\tmessages", t.carrier)
	return s.String()
}

func write(s *strings.Builder, head string, rows []string) {
	w := tabwriter.NewWriter(s, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, head+"\t")
	for _, row := range rows {
		fmt.Fprintln(w, row+"\t")
	}
	w.Flush()
}
