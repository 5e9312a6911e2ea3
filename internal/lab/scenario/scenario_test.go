package scenario

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func tell(t *testing.T, f func(ctx context.Context, s *Story) error) (string, error) {
	t.Helper()
	t.Setenv("NO_COLOR", "")
	t.Setenv(ColourEnv, "")
	var out bytes.Buffer
	err := Run(t.Context(), Scenario{Name: "tale", Summary: "for a test", Tell: f}, Options{Out: &out})
	return out.String(), err
}

var (
	errBroken = errors.New("it is\nbroken")
	times     = regexp.MustCompile(`[0-9.]+ m?s`)
)

func TestStoryAndTable(t *testing.T) {
	got, err := tell(t, func(ctx context.Context, s *Story) error {
		err := s.Step(ctx, "up", func(context.Context) error {
			s.Say("hello %d", 1)
			s.Show("ip route", "a\nb\n")
			s.Check("äpfel", nil)
			s.Check("pears", nil)
			s.Measure("speed", "3 m/h")
			return nil
		})
		if err != nil {
			return err
		}
		return s.Step(ctx, "down again", func(ctx context.Context) error {
			s.Check("plums", nil)
			return nil
		})
	})
	want := `tale: for a test

1. up
   hello 1
   $ ip route
     a
     b
   ✓ äpfel
   ✓ pears
   · speed: 3 m/h
   T

2. down again
   ✓ plums
   T

Checked
  up
    äpfel  ok
    pears  ok
  down again
    plums  ok

Measured
  speed  3 m/h

all 3 checks passed
`
	if diff := cmp.Diff(want, times.ReplaceAllString(got, "T")); diff != "" || err != nil {
		t.Errorf("error %v, story (-want +got):\n%s", err, diff)
	}
}

func TestWhatFails(t *testing.T) {
	step := func(s *Story, ctx context.Context, err error) error {
		return s.Step(ctx, "a step", func(context.Context) error { return err })
	}
	for name, c := range map[string]struct {
		tell func(ctx context.Context, s *Story) error
		want string
	}{
		"a check": {func(_ context.Context, s *Story) error {
			s.Check("good", nil)
			s.Check("bad", errBroken)
			return nil
		}, "1 of 2 checks"},
		"a step": {func(ctx context.Context, s *Story) error {
			s.Check("good", nil)
			return step(s, ctx, errBroken)
		}, "1 of 2 checks"},
		"a condition": {func(ctx context.Context, s *Story) error {
			s.Eventually(ctx, "nothing", time.Nanosecond, func() error { return errBroken })
			return nil
		}, "1 of 1 checks"},
		"no check": {func(ctx context.Context, s *Story) error { return step(s, ctx, nil) }, "checked nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			story, err := tell(t, c.tell)
			if !errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want ErrFailed with %q", err, c.want)
			}
			if name != "no check" && (!strings.Contains(story, "FAILED") || !strings.Contains(story, "       broken\n")) {
				t.Errorf("the story doesn't tell of the failure:\n%s", story)
			}
		})
	}
}

func TestFailureShowsMore(t *testing.T) {
	for _, err := range []error{nil, errBroken} {
		story, _ := tell(t, func(_ context.Context, s *Story) error {
			s.OnFailure(func(w io.Writer) { fmt.Fprint(w, "the logs") })
			s.Check("it", err)
			return nil
		})
		if strings.Contains(story, "the logs") != (err != nil) {
			t.Errorf("with %v the story is:\n%s", err, story)
		}
	}
}

func TestColoursOnlyWhereWanted(t *testing.T) {
	t.Setenv("NO_COLOR", "")
	t.Setenv(ColourEnv, "1")
	if !coloured(io.Discard) {
		t.Errorf("%s=1 gives no colours", ColourEnv)
	}
	t.Setenv("NO_COLOR", "1")
	if coloured(io.Discard) {
		t.Error("NO_COLOR is ignored")
	}
}

func TestInterruptedIsNoFailure(t *testing.T) {
	var out bytes.Buffer
	ctx, stop := context.WithCancel(t.Context())
	err := Run(ctx, Scenario{Name: "tale", Tell: func(ctx context.Context, s *Story) error {
		s.OnFailure(func(w io.Writer) { fmt.Fprint(w, "the logs") })
		return s.Step(ctx, "up", func(ctx context.Context) error {
			stop()
			s.Check("cut short", ctx.Err())
			return ctx.Err()
		})
	}}, Options{Out: &out})
	if !errors.Is(err, context.Canceled) || errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), "tale, step 1") {
		t.Errorf("error %v", err)
	}
	if strings.Contains(out.String(), "the logs") || strings.Contains(out.String(), "checks failed") {
		t.Errorf("it is told as a failure:\n%s", out.String())
	}
}

func TestEventuallyTellsHowLong(t *testing.T) {
	_, err := tell(t, func(ctx context.Context, s *Story) error {
		left := 3
		took, ok := s.Eventually(ctx, "a countdown", time.Minute, func() error {
			if left--; left > 0 {
				return errBroken
			}
			return nil
		})
		if !ok || took <= 0 {
			t.Errorf("took %v, %v", took, ok)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestFindNamesTheOthers(t *testing.T) {
	all := []Scenario{{Name: "one"}, {Name: "two"}}
	if s, err := Find(all, "two"); err != nil || s.Name != "two" {
		t.Errorf("finding two: %v, %v", s.Name, err)
	}
	if _, err := Find(all, "three"); !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "one, two") {
		t.Errorf("finding three: %v", err)
	}
}
