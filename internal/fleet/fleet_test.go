package fleet

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// task records what the fleet does to it.
type task struct {
	port    Port
	service atomic.Value
	starts  atomic.Int32
	fail    func(start int32) error
	cause   atomic.Value
}

func (k *task) Update(s string) { k.service.Store(s) }

func (k *task) Run(ctx context.Context) error {
	if n := k.starts.Add(1); k.fail != nil {
		if err := k.fail(n); err != nil {
			return err
		}
	}
	<-ctx.Done()
	k.cause.Store(context.Cause(ctx).Error())
	return nil
}

// running starts a fleet whose tasks fail as told, and collects them.
func running(t *testing.T, fail func(int32) error) (f *Fleet[string, *task], made *[]*task, stop func()) {
	made = &[]*task{}
	f = New(func(p Port, s string) *task {
		k := &task{port: p, fail: fail}
		k.Update(s)
		*made = append(*made, k)
		return k
	}, quiet)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	return f, made, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestTheWholeStateRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, made, stop := running(t, nil)
		one, two, again := Port{"tap1", 1}, Port{"tap2", 2}, Port{"tap1", 7}
		f.Set(map[Port]string{one: "a", two: "b"})
		synctest.Wait()
		f.Set(map[Port]string{one: "a2", two: "b"})
		synctest.Wait()
		if len(*made) != 2 {
			t.Fatalf("%d tasks made, want one a tap", len(*made))
		}
		for _, k := range *made {
			if want := map[Port]string{one: "a2", two: "b"}[k.port]; k.service.Load() != want || k.starts.Load() != 1 {
				t.Errorf("%v serves %v after %d starts, want %q after one", k.port, k.service.Load(), k.starts.Load(), want)
			}
		}
		f.Set(map[Port]string{again: "a2"})
		synctest.Wait()
		for _, k := range (*made)[:2] {
			if k.cause.Load() != ErrDropped.Error() {
				t.Errorf("%v ended because of %v, want %v", k.port, k.cause.Load(), ErrDropped)
			}
		}
		if len(*made) != 3 || (*made)[2].port != again {
			t.Fatalf("a device that replaced one of its name got no task of its own")
		}
		stop()
		if cause := (*made)[2].cause.Load(); cause != context.Canceled.Error() {
			t.Errorf("at the end of the process the cause is %v, want none of ours", cause)
		}
	})
}

// TestATaskThatDoesNotEndHoldsUpNobodyElse: only what wants the same name or
// device has to wait for it.
func TestATaskThatDoesNotEndHoldsUpNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan struct{})
		f, made, stop := running(t, nil)
		(*f).build = func(p Port, s string) *task {
			k := &task{port: p}
			if p.Index == 1 {
				k.fail = func(int32) error { <-stuck; return nil }
			}
			k.Update(s)
			*made = append(*made, k)
			return k
		}
		f.Set(map[Port]string{{"tap1", 1}: "a"})
		synctest.Wait()
		f.Set(map[Port]string{{"tap2", 2}: "b", {"tap1", 7}: "a", {"renamed", 1}: "c"})
		synctest.Wait()
		starts := map[Port]int32{}
		for _, k := range *made {
			starts[k.port] = k.starts.Load()
		}
		if starts[Port{"tap2", 2}] != 1 {
			t.Error("a tap waits for the task of another one")
		}
		if starts[Port{"tap1", 7}] != 0 || starts[Port{"renamed", 1}] != 0 {
			t.Errorf("what replaces a task doesn't wait for its end: %v", starts)
		}
		f.Set(map[Port]string{{"tap1", 7}: "a"}) // before it began it ends
		synctest.Wait()
		close(stuck)
		synctest.Wait()
		for _, k := range *made {
			if want := int32(1); k.port == (Port{"renamed", 1}) && k.starts.Load() != 0 || k.port == (Port{"tap1", 7}) && k.starts.Load() != want {
				t.Errorf("%v was started %d times", k.port, k.starts.Load())
			}
		}
		stop()
	})
}

func TestAFailedTaskIsStartedAgainAndSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("no such device")
		f, made, stop := running(t, func(start int32) error {
			switch {
			case start < 3:
				return broken
			case start == 3:
				panic("hello")
			}
			return nil
		})
		defer stop()
		f.Set(map[Port]string{{"tap1", 1}: "a"})
		synctest.Wait()
		state := func() (err error) {
			f.Each(func(_ Port, _ *task, e error) { err = e })
			return err
		}
		if err := state(); !errors.Is(err, broken) {
			t.Errorf("while it waits the error is %v", err)
		}
		time.Sleep(5 * longestPause) // virtual time
		synctest.Wait()
		if n := (*made)[0].starts.Load(); n != 4 || state() != nil {
			t.Errorf("after %d starts the error is %v; want it to run at the fourth", n, state())
		}
	})
}
