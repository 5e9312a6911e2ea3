package benchcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hostroute/hostroute/internal/bench"
	"github.com/hostroute/hostroute/internal/bench/contender"
	"github.com/hostroute/hostroute/internal/bench/report"
	"github.com/hostroute/hostroute/internal/bench/run"
)

// ErrFailed is the error of a comparison that ran, and in which hostroute couldn't do a job. The report says which.
var ErrFailed = errors.New("hostroute could not do all of it")

const (
	nameHostroute = "hostroute"
	nameBIRD      = "bird"
	nameFRR       = "frr"
)

var names = []string{nameHostroute, nameBIRD, nameFRR}

// New returns the command `bench`.
func New() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Compare hostroute with BIRD and FRR: time, CPU and memory from BGP into the kernel",
		Long: `Has hostroute, BIRD and FRR do the same, by turns, each in a fresh network namespace on this machine: take routes from
two route reflectors, which this program plays, and write them into a kernel table. It prints what each needed, from
the first UPDATE until the kernel had everything; docs/benchmarks.md says how that is measured. Nothing else should be
running meanwhile. ^C ends it, and reports what was measured until then.

Jobs: ` + jobWords,
		Example: "  hostroute lab bench --quick\n  hostroute lab bench --routes 2M --family 4 --jobs load,loss --contenders hostroute,bird --dir results",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.settle(cmd.Flags())
			p, err := o.parse()
			if err != nil {
				return err
			}
			return compare(cmd, o, p)
		},
	}
	o.register(cmd.Flags())
	return cmd
}

const jobWords = `load (a whole table), churn (a tenth of it moves to other hypervisors), loss (a reflector ends its
session), return (it comes back and tells everything), change (single routes move, one after the other), single (one
route in each UPDATE, each with other attributes); and for hostroute only local (routes of its own are announced while a
reflector is lost) and restart (it is killed and started again).`

// compare does what the plan says, and reports.
func compare(cmd *cobra.Command, o options, p plan) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("comparing needs network namespaces: run this as root")
	}
	contenders, versions, err := enlist(cmd.Context(), p.contenders)
	if err != nil {
		return err
	}
	h, err := machine()
	if err != nil {
		return err
	}
	h.Versions, h.Rounds = versions, p.rounds
	dir, done, err := workspace(o.dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	progress := &progress{w: cmd.ErrOrStderr(), total: p.runs()}
	progress.begin(p, versions)
	samples, err := run.Run(cmd.Context(), run.Plan{
		Jobs: p.jobs, Contenders: contenders, Rounds: p.rounds, Limit: o.limit, Dir: dir, Skip: p.skip, Observe: progress.sample,
	})
	h.Interrupted = err != nil
	if len(samples) > 0 {
		err = errors.Join(err, tell(cmd, o, h, samples))
	}
	return errors.Join(err, objection(samples))
}

// enlist finds who is compared, and asks each for its version, which shows what isn't installed before an hour has
// gone by.
func enlist(ctx context.Context, chosen []string) (contenders []contender.Contender, versions []string, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, fmt.Errorf("finding the program itself: %w", err)
	}
	all := map[string]contender.Contender{nameHostroute: contender.NewHostroute(self), nameBIRD: contender.NewBIRD(), nameFRR: contender.NewFRR()}
	var missing error
	for _, name := range chosen {
		version, err := all[name].Version(ctx)
		if errors.Is(err, contender.ErrNotInstalled) {
			missing = errors.Join(missing, fmt.Errorf("%s can't be compared: %w; or leave it out with --contenders", name, err))
			continue
		} else if err != nil {
			return nil, nil, fmt.Errorf("asking %s for its version: %w", name, err)
		}
		if !strings.HasPrefix(strings.ToLower(version), name) {
			version = name + " " + version
		}
		contenders, versions = append(contenders, all[name]), append(versions, version)
	}
	return contenders, versions, missing
}

// workspace makes the directory for the contenders' configurations and logs, and says how to leave it: below the
// user's directory it stays.
func workspace(users string) (dir string, done func() error, err error) {
	if users == "" {
		dir, err := os.MkdirTemp("", "hostroute-bench-")
		if err != nil {
			return "", nil, fmt.Errorf("making a directory for the contenders: %w", err)
		}
		return dir, func() error { return os.RemoveAll(dir) }, nil
	}
	dir, err = filepath.Abs(filepath.Join(users, "contenders"))
	if err != nil {
		return "", nil, fmt.Errorf("--dir: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", nil, fmt.Errorf("--dir: %w", err)
	}
	return dir, func() error { return nil }, nil
}

// tell reports to standard output, and into the user's directory.
func tell(cmd *cobra.Command, o options, h report.Header, samples []bench.Sample) error {
	var err error
	switch asJSON, _ := cmd.Flags().GetBool("json"); { // a flag of the whole program
	case asJSON:
		err = report.JSON(cmd.OutOrStdout(), h, samples)
	case o.markdown:
		err = report.Markdown(cmd.OutOrStdout(), h, samples)
	default:
		err = report.Text(cmd.OutOrStdout(), h, samples)
	}
	if err != nil {
		err = fmt.Errorf("writing the report: %w", err)
	}
	if o.dir == "" {
		return err
	}
	return errors.Join(err, files(cmd.ErrOrStderr(), o.dir, h, samples))
}

// files writes all forms of the report.
func files(w io.Writer, dir string, h report.Header, samples []bench.Sample) error {
	results := report.Summarize(samples)
	forms := []struct {
		name  string
		write func(io.Writer) error
	}{
		{"report.json", func(w io.Writer) error { return report.JSON(w, h, samples) }},
		{"report.md", func(w io.Writer) error { return report.Markdown(w, h, samples) }},
	}
	for _, v := range report.Variants(results) {
		forms = append(forms, struct {
			name  string
			write func(io.Writer) error
		}{v.Name() + ".svg", func(w io.Writer) error { return report.SVG(w, h, results, v) }})
	}
	for _, form := range forms {
		path := filepath.Join(dir, form.name)
		var b strings.Builder
		if err := form.write(&b); err != nil {
			return fmt.Errorf("writing %s: %w", path, err)
		}
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			return fmt.Errorf("writing the report: %w", err)
		}
		fmt.Fprintf(w, "wrote %s\n", path)
	}
	return nil
}

// objection is what is wrong with hostroute.
func objection(samples []bench.Sample) error {
	var failed []string
	for _, s := range samples {
		if s.Contender == nameHostroute && s.Failure != "" {
			failed = append(failed, fmt.Sprintf("%s: %s", report.Describe(s.Job), s.Failure))
		}
	}
	if len(failed) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrFailed, strings.Join(failed, "; "))
}
