package log

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestTurnsComeInOrder has requests wait for one that takes long.
func TestTurnsComeInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns(1)
		if got := turns.await(t.Context(), "first", nil); got != turnCome {
			t.Fatalf("the first gets %v", got)
		}
		var order []string
		told := map[string]int{}
		ctx, stop := context.WithCancel(t.Context())
		for _, asker := range []string{"b", "a", "", "b", "c", ""} {
			go func() {
				name := asker
				switch turns.await(ctx, asker, func() { told[name]++ }) {
				case turnCome:
					order = append(order, name)
					turns.leave()
				case turnSuperseded:
					order = append(order, name+" superseded")
				case turnStopping:
					order = append(order, name+" stopped")
				}
			}()
			synctest.Wait()
		}
		<-time.After(10 * assurance)
		turns.leave()
		synctest.Wait()
		want := []string{"b superseded", "a", "", "b", "c", ""}
		if !slices.Equal(order, want) {
			t.Errorf("the order is %q, want %q", order, want)
		}
		if got := fmt.Sprint(told); got != "map[:20 a:10 b:10 c:10]" {
			t.Errorf("who waits was told so: %s", got)
		}
		if len(turns.latest) > 0 {
			t.Errorf("%d requests are kept", len(turns.latest))
		}
		if turns.await(t.Context(), "d", nil) != turnCome {
			t.Fatal("nobody is left, and there is no turn")
		}
		go func() { order = append(order, fmt.Sprint(turns.await(ctx, "e", nil) == turnStopping)) }()
		synctest.Wait()
		stop()
		synctest.Wait()
		if last := order[len(order)-1]; last != "true" {
			t.Errorf("a stop is told as %s", last)
		}
	})
}
