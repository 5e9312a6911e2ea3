package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// ErrFailed is in the chain of the error of a scenario that ran and did not go as it should.
var ErrFailed = errors.New("the scenario failed")

// ErrUnknown is in the chain of the error when no scenario has the name.
var ErrUnknown = errors.New("no such scenario")

// Scenario is a story with a name.
type Scenario struct {
	Name string
	// Summary is one line for the list.
	Summary string
	// NeedsVRF says that it can only run where the kernel has VRF, so elsewhere in the VM.
	NeedsVRF bool
	// Tell does everything; an error means that it could not go on.
	Tell func(ctx context.Context, s *Story) error
}

// Options are what the command line knows and the story needs.
type Options struct {
	// Binary is the hostroute program that the scenario starts.
	Binary string
	// From is the program that a scenario of an upgrade begins with; empty: Binary, so that everything is
	// restarted and no version changes.
	From string
	// Short asks for fewer repetitions: enough to show that a scenario works, too few for its figures.
	Short bool
	// Dir is the lab's directory.
	Dir string
	// Out gets the story and the table.
	Out io.Writer
}

// Find looks a scenario up by name. The error lists the names there are.
func Find(all []Scenario, name string) (Scenario, error) {
	i := slices.IndexFunc(all, func(s Scenario) bool { return s.Name == name })
	if i >= 0 {
		return all[i], nil
	}
	var names []string
	for _, s := range all {
		names = append(names, s.Name)
	}
	return Scenario{}, fmt.Errorf("looking for scenario %q: %w (there are: %s)", name, ErrUnknown, strings.Join(names, ", "))
}

// Run tells the story and prints the table. Its error is nil exactly when the story came to its end, checked
// something, and no check failed. A story that was interrupted has no table: what it didn't come to says nothing.
func Run(ctx context.Context, sc Scenario, opts Options) error {
	s := newStory(opts)
	s.printf("%s\n", s.bold(sc.Name+": "+sc.Summary))
	err := sc.Tell(ctx, s)
	if ctx.Err() != nil {
		return fmt.Errorf("telling scenario %s, step %d: %w", sc.Name, s.steps, context.Cause(ctx))
	}
	if err != nil {
		s.Check("the story comes to its end", err)
	}
	s.table()
	failed := s.failures()
	if len(failed) > 0 || err != nil {
		for _, f := range s.onFailure {
			f(s.out)
		}
		return fmt.Errorf("%w: %d of %d checks", ErrFailed, len(failed), len(s.checks))
	}
	if len(s.checks) == 0 {
		return fmt.Errorf("%w: it checked nothing", ErrFailed)
	}
	return nil
}
